"""The environment for `--sdm conda`, compared with what pip installs; no conda is needed."""

import os
import re
import subprocess
import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.specifiers import SpecifierSet
from support.workplace import REPOSITORY

ENVIRONMENTS = REPOSITORY / "envs"
PYTHON = """#!/bin/sh
echo "$PWD: $*" >> "$SAID"
case "$*" in
    *freeze*) echo cython==3.3.1 ;;
    *install*) cat "$PIP_CONSTRAINT" "$PIP_BUILD_CONSTRAINT" >> "$SAID" ;;
esac
"""


def test_condas_packages_are_those_that_pip_installs():
    pins = [
        line
        for line in (ENVIRONMENTS / "requirements.txt").read_text().splitlines()
        if not line.startswith("#")
    ]
    environment = yaml.safe_load((ENVIRONMENTS / "conda.yaml").read_text())
    *packages, of_pip = environment["dependencies"]
    assert of_pip == {"pip": pins}
    assert {package.partition("=")[0] for package in packages} == {"python", "pip", "cxx-compiler", "make"}


def test_what_is_installed_after_conda_needs_no_directory(tmp_path):
    """The script is run as Snakemake runs it: a copy, in the directory of the run."""
    script, python, said = tmp_path / "copy.post-deploy.sh", tmp_path / "bin" / "python", tmp_path / "said"
    script.write_bytes((ENVIRONMENTS / "conda.post-deploy.sh").read_bytes())
    python.parent.mkdir()
    python.write_text(PYTHON)
    python.chmod(0o755)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    environment = os.environ | {
        "PATH": f"{python.parent}{os.pathsep}{os.environ['PATH']}",
        "SAID": str(said),
        "TMPDIR": str(tmp_path),
    }
    before = set(tmp_path.iterdir())
    subprocess.run(["sh", str(script)], cwd=elsewhere, env=environment, check=True)
    freeze, install, *pins = said.read_text().splitlines()
    assert freeze == f"{elsewhere}: -m pip freeze --all --exclude pip"
    assert install.endswith("--no-deps fairseq==0.12.2") and pins == ["cython==3.3.1"] * 2
    assert set(tmp_path.iterdir()) - before == {said} and not list(elsewhere.iterdir())


def test_pre_commit_has_the_linters_of_the_development_requirements():
    pins = dict(
        line.split("==")
        for line in (ENVIRONMENTS / "requirements-dev.txt").read_text().splitlines()
        if "==" in line
    )
    hooks = yaml.safe_load((REPOSITORY / ".pre-commit-config.yaml").read_text())["repos"]
    assert {hook["repo"].rsplit("/", 1)[1].removesuffix("-pre-commit"): hook["rev"] for hook in hooks} == {
        name: f"v{pins[name]}" for name in ("ruff", "snakefmt")
    }


@pytest.mark.parametrize("script", ["conda.post-deploy.sh", "install.sh"])
def test_scripts_are_well_formed(script):
    assert subprocess.run(["sh", "-n", str(Path(ENVIRONMENTS, script))], check=False).returncode == 0


def test_one_range_of_pythons_is_said_tried_and_installed_for():
    """fairseq cannot be imported by 3.14, so pip and the script of `make setup` refuse to install there."""
    with open(REPOSITORY / "pyproject.toml", "rb") as file:
        said = SpecifierSet(tomllib.load(file)["project"]["requires-python"])
    tried = re.search(r"PYTHONS:-([\d. ]+)", (REPOSITORY / "tests/pythons.sh").read_text())[1].split()
    assert [f"3.{minor}" for minor in range(20) if f"3.{minor}" in said] == tried


def test_another_python_is_refused_in_a_sentence(tmp_path):
    python = tmp_path / "python"
    python.write_text(
        '#!/bin/sh\ncase "$1" in -c) exit 1 ;; --version) echo Python 3.14.0 ;; *) touch installed ;; esac\n'
    )
    python.chmod(0o755)
    environment = os.environ | {"PYTHON": str(python)}
    done = subprocess.run(
        ["sh", ENVIRONMENTS / "install.sh"], cwd=tmp_path, env=environment, text=True, capture_output=True
    )
    assert done.returncode == 1 and not (tmp_path / "installed").exists()
    assert (
        "is Python 3.14.0; nmtprune needs 3.11, 3.12 or 3.13" in done.stderr
        and len(done.stderr.splitlines()) == 1
    )
