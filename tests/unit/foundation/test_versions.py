"""Recorded versions: PyTorch's with its build, and none of them a part of an identity."""

import importlib.metadata
import importlib.util

import pytest
import torch

from nmtprune.foundation import versions


def test_the_build_of_pytorch():
    assert versions.of("torch") == torch.__version__
    assert versions.of("torch").startswith(importlib.metadata.version("torch").partition("+")[0])


@pytest.mark.parametrize("recorded", ["2.13.0", "2.13.0+cu130", "2.13.0+cpu"])
def test_a_build_that_the_metadata_lack(tmp_path, monkeypatch, recorded):
    folder = tmp_path / "torch"
    folder.mkdir()
    (folder / "__init__.py").write_text("raise ImportError('not to be imported')")
    (folder / "version.py").write_text(
        f"from typing import Optional\n\n__all__ = ['__version__']\n__version__ = '{recorded}'\n"
    )
    spec = importlib.util.spec_from_file_location("torch", folder / "__init__.py")
    monkeypatch.setattr(versions.importlib.util, "find_spec", lambda name: spec)
    monkeypatch.setattr(versions.importlib.metadata, "version", lambda package: "2.13.0")
    assert versions.of("torch") == recorded


def test_other_versions_are_the_same_model(studio, monkeypatch):
    from nmtprune.experiment import chain
    from nmtprune.store import manifest

    train = chain.parse("micro/micro/s1/train")
    with studio.inside():
        before = manifest.digest_of(studio.config, train)
        made = manifest.make(studio.config, train, before, {})
        monkeypatch.setattr(manifest.versions, "of", lambda package: "0.0+other")
        monkeypatch.setattr(manifest.platform, "python_version", lambda: "3.13.0")
        assert manifest.digest_of(studio.config, train) == before
        assert manifest.make(studio.config, train, before, {})["versions"] != made["versions"]
