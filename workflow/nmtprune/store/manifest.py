"""A model's manifest: its step, what the step depends on, and a digest over all of it."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import nmtprune
from nmtprune.experiment import paths, slices
from nmtprune.experiment.chain import Chain
from nmtprune.experiment.config import Config
from nmtprune.foundation import versions
from nmtprune.foundation.errors import UserError
from nmtprune.foundation.files import digest, read_json
from nmtprune.store import current
from nmtprune.store.ablation_order import least_important


def read(path: Path) -> dict[str, Any]:
    """Read a manifest. Raises UserError if it is missing or damaged."""
    try:
        return read_json(path)
    except FileNotFoundError:
        raise UserError(f"there is no {path}: make it first (snakemake {path})") from None
    except ValueError:
        raise UserError(f"{path} is damaged; remove it and run again") from None


def precision_of(made: Mapping[str, Any]) -> str:
    """The precision of a training by its manifest: `fp32`, `bf16`, or `bf16, fp32 from update 401`.

    Older manifests state only what the recipe asked for, which was always used.
    """
    return made.get("precision") or made.get("slice", {}).get("schedule", {}).get("precision", "fp32")


def digest_of(config: Config, chain: Chain) -> str:
    """A model's identity: a digest of its step's slice of the configuration, its parent and its data.

    The parent and the data enter by their own digests. For an import, the content of the checkpoint enters
    too: another file of the same name is another model. For `cut`, `drop` and `rewind`, so do the components
    that are taken. Raises UserError if the manifest of the data or of the parent is missing.
    """
    identity = {
        "slice": slices.of_step(config, chain),
        "data": read(config.data_folder(chain) / paths.MANIFEST)["digest"],
    }
    for name, file in chain.last.kind.own_files(config, chain).items():
        identity[name] = current.content_of(file, current.noted(paths.manifest(chain), file))
    if chain.last.kind.needs_order:
        identity["components"] = [str(component) for component in least_important(chain)]
    if chain.parent:  # a selection is made when it is needed, and may not exist yet
        selects = chain.parent.last.kind.selects
        identity["parent"] = (
            digest_of(config, chain.parent) if selects else read(paths.manifest(chain.parent))["digest"]
        )
    return digest(identity)


def make(config: Config, chain: Chain, identity: str, facts: dict[str, Any]) -> dict[str, Any]:
    """A model's manifest: its identity and the `facts` of its making (updates, the selected one, seconds)."""
    recorded = {package: versions.of(package) for package in ("torch", "fairseq")}
    return {
        "chain": str(chain),
        "step": chain.last.text,
        "digest": identity,
        "parent": str(chain.parent) if chain.parent else None,
        "data": str(config.data_folder(chain)),
        "slice": slices.of_step(config, chain),
        **facts,
        "versions": {"nmtprune": nmtprune.__version__, "python": platform.python_version(), **recorded},
    }
