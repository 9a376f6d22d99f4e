"""COMET (Rei et al. 2020) by unbabel-comet, if it and its model are installed; nothing is downloaded."""

from __future__ import annotations

import functools
import importlib.util
import os
from pathlib import Path
from typing import Any

from nmtprune.foundation import versions
from nmtprune.foundation.errors import UserError
from nmtprune.runtime import devices

BATCH_SENTENCES = 16


def unavailable(model_path: str | Path | None) -> str | None:
    """Why there are no scores by the COMET checkpoint `model_path`, as a phrase; None if there can be."""
    if not model_path:
        return "no comet_model is set"
    settings = Path(model_path).parent.parent / "hparams.yaml"  # the place where COMET looks for this file
    for file in (Path(model_path), settings):
        if not os.path.isfile(file):
            return f"there is no file {file}"
    if importlib.util.find_spec("comet") is None:
        return "COMET is not installed: pip install unbabel-comet"
    return None


def scores(
    sources: list[str], hypotheses: list[str], references: list[str], model_path: str | Path
) -> list[float]:
    """COMET of each sentence, times 100, from plain text.

    Raises UserError if `unavailable` gives a reason, or if the encoder that the model builds on is not in the
    cache of Hugging Face.
    """
    reason = unavailable(model_path)
    if reason:
        raise UserError(f"comet_model: {reason}.")
    examples = [
        {"src": source, "mt": hypothesis, "ref": reference}
        for source, hypothesis, reference in zip(sources, hypotheses, references, strict=True)
    ]
    gpus = int(devices.torch_device() == "cuda")
    prediction = _model(str(model_path)).predict(
        examples, batch_size=BATCH_SENTENCES, gpus=gpus, progress_bar=False
    )
    return [100 * float(score) for score in prediction.scores]


def signature(model_path: str | Path) -> str:
    """What scores were counted with, in sacreBLEU's manner: `model:wmt22-comet-da|version:2.2.6`.

    A model is called after the folder that it was downloaded into: the one that Hugging Face names
    `models--<owner>--<model>`, otherwise the one that holds `checkpoints`.
    """
    *_, folder, _, _ = Path(model_path).absolute().parts
    hub = (part for part in Path(model_path).parts if part.startswith("models--"))
    return f"model:{next(hub, folder).rpartition('--')[2]}|version:{versions.of('unbabel-comet')}"


@functools.lru_cache(maxsize=1)
def _model(path: str) -> Any:
    os.environ["HF_HUB_OFFLINE"] = "1"  # read when the hub's library is imported
    library = importlib.import_module("comet")
    try:
        return library.load_from_checkpoint(path, local_files_only=True)
    except OSError as error:
        reason = str(error).splitlines()[0]
        raise UserError(
            f"comet_model {path}: the encoder that it builds on is not in the local cache of Hugging Face "
            f"({reason})."
        ) from None
