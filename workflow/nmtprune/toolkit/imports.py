"""Checkpoints that stock fairseq wrote elsewhere."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nmtprune.toolkit.shim  # noqa: F401  (before fairseq)

from fairseq import checkpoint_utils, tasks
from fairseq.models import ARCH_MODEL_REGISTRY, MODEL_REGISTRY
from omegaconf import open_dict

from nmtprune import models
from nmtprune.errors import UserError
from nmtprune.toolkit import session


def convert(file: Path, binarised: Path, source: str, target: str) -> dict[str, Any]:
    """A checkpoint of ours with the weights of `file`. Raises UserError where it is none of fairseq's or does not fit `binarised`."""
    found = models.read(file)
    if not isinstance(found, dict) or "model" not in found or not (found.get("cfg") or found.get("args")):
        raise UserError(f"{file} is not a fairseq checkpoint: it lacks `model` or its configuration (`cfg`, `args`)")
    saved = checkpoint_utils.load_checkpoint_to_cpu(str(file))
    cfg = saved["cfg"]
    with open_dict(cfg):
        cfg.task.data = str(binarised)
        cfg.task.source_lang, cfg.task.target_lang = source, target
        cfg.common.user_dir = None
    task, architecture = cfg.task._name, getattr(cfg.model, "arch", None) or cfg.model.get("_name")
    if task != "translation" or architecture not in (*ARCH_MODEL_REGISTRY, *MODEL_REGISTRY):
        raise UserError(
            f"{file}: its task `{task}` or architecture `{architecture}` is not fairseq's own translation; no other can be imported"
        )
    model = tasks.setup_task(cfg.task).build_model(cfg.model)
    try:
        model.load_state_dict(saved["model"], strict=True, model_cfg=cfg.model)
    except RuntimeError as error:
        raise UserError(f"{file} does not fit its dictionaries or its own configuration: {' '.join(str(error).split())[:300]}") from None
    history = saved.get("optimizer_history") or [{}]
    return session.checkpoint(cfg, model.state_dict(), history[-1].get("num_updates", 0))
