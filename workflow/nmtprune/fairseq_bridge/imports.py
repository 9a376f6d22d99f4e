"""Import models from elsewhere: checkpoints that stock fairseq wrote, and Marian models."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nmtprune.fairseq_bridge.shim  # noqa: F401  (before fairseq)

import torch
from fairseq import checkpoint_utils, tasks
from fairseq.models import ARCH_MODEL_REGISTRY, MODEL_REGISTRY
from omegaconf import OmegaConf, open_dict
from torch import Tensor

from nmtprune.experiment.imports import Import
from nmtprune.fairseq_bridge import checkpoint_classes, marian, session
from nmtprune.foundation.errors import UserError
from nmtprune.store import checkpoints
from nmtprune.store.model import read_dictionary

# Parameters with a row for each symbol of the source's or the target's dictionary.
SOURCE_ROWS = (marian.SOURCE,)
TARGET_ROWS = (marian.TARGET, marian.OUTPUT, marian.BIAS)
# Options that name files with first weights, which need not exist any more.
OF_ITS_FIRST_WEIGHTS = {"encoder_embed_path", "decoder_embed_path"}


def read(file: Path, trust: bool) -> dict[str, Any]:
    """Read a checkpoint and upgrade its configuration (`cfg`) to the form of fairseq 0.12.

    Without `trust`, a checkpoint that needs more than data classes to be loaded is refused. Raises
    UserError if the file is refused, or is not a checkpoint of fairseq's translation task.
    """
    saved = checkpoints.read(file, more=() if trust else checkpoint_classes.classes(), trust=trust)
    if not isinstance(saved, dict) or "model" not in saved or not (saved.get("cfg") or saved.get("args")):
        raise UserError(
            f"{file} is not a fairseq checkpoint: it lacks `model` or its configuration (`cfg`, `args`)"
        )
    if saved.get("cfg") is not None:
        saved["cfg"] = OmegaConf.create(saved["cfg"], flags={"allow_objects": True})
    saved = checkpoint_utils._upgrade_state_dict(saved)
    task, architecture = saved["cfg"].task._name, session.architecture_of(saved["cfg"].model)
    if task != "translation" or architecture not in (*ARCH_MODEL_REGISTRY, *MODEL_REGISTRY):
        raise UserError(
            f"{file}: its task `{task}` or architecture `{architecture}` is not fairseq's own translation; "
            "no other can be imported"
        )
    return saved


def read_import(given: Import) -> dict[str, Any]:
    """The checkpoint or Marian model that an import names, as a checkpoint of fairseq; see `read`."""
    if given.marian is not None:
        return marian.read(Path(given.marian))
    return read(given.weights, given.trust)


def convert(saved: dict[str, Any], file: Path, binarised: Path, source: str, target: str) -> dict[str, Any]:
    """A checkpoint of ours with the weights of `saved`, which was read from `file`.

    If the data in `binarised` has only some of the symbols of the model's own dictionaries, which lie beside
    it, so has the checkpoint. Raises UserError if the model does not fit the data.
    """
    cfg = saved["cfg"]
    with open_dict(cfg):
        cfg.task.data = str(binarised)
        cfg.task.source_lang, cfg.task.target_lang = source, target
        cfg.common.user_dir = None
        for name in OF_ITS_FIRST_WEIGHTS & checkpoints.options_by_name(cfg.model).keys():
            setattr(cfg.model, name, None)
        cfg.task.eval_bleu = False
    try:
        model = tasks.setup_task(cfg.task).build_model(cfg.model)
    except Exception as error:  # a checkpoint's options can make fairseq raise anything
        raise UserError(
            f"{file}: fairseq cannot build its model: {' '.join(str(error).split())[:300]}"
        ) from None
    weights = _trimmed(saved["model"], binarised, source, target)
    try:
        model.load_state_dict(weights, strict=True, model_cfg=cfg.model)
    except RuntimeError as error:
        raise UserError(
            f"{file} does not fit its dictionaries or its own configuration: "
            f"{' '.join(str(error).split())[:300]}"
        ) from None
    history = saved.get("optimizer_history") or [{}]
    return session.checkpoint(cfg, model.state_dict(), history[-1].get("num_updates", 0))


def _trimmed(weights: dict[str, Tensor], binarised: Path, source: str, target: str) -> dict[str, Tensor]:
    """The weights with those rows of embeddings that are in the dictionaries of the data."""
    made = dict(weights)
    for language, names in ((source, SOURCE_ROWS), (target, TARGET_ROWS)):
        whole, left = (folder / f"dict.{language}.txt" for folder in (binarised.parent, binarised))
        if not whole.is_file() or whole.read_bytes() == left.read_bytes():
            continue
        numbers = {symbol: number for number, symbol in enumerate(read_dictionary(whole))}
        kept = torch.tensor([numbers[symbol] for symbol in read_dictionary(left)])
        made |= {name: weights[name][kept] for name in names if name in weights}
    return made
