"""Make fairseq 0.12.2 run on current Python and PyTorch; import this module before any part of fairseq.

There are four repairs, each necessary by itself:

* Python >= 3.11 refuses dataclass defaults that are not hashable; fairseq's configuration classes get
  `object.__hash__` back.
* PyTorch >= 2.6 loads only tensors by default; fairseq's checkpoints also hold their configuration,
  which `unpickling` allows.
* The release has eight duplicate Parameters in each encoder layer, for a fast path that current PyTorch
  rejects. They inflate parameter counts, look like prunable weights and break distributed training, so
  they are removed, and ignored when a checkpoint is loaded.
* Models evaluate some of their options as Python code, and the options of a checkpoint may come from
  anyone: only literals are evaluated.
"""

from __future__ import annotations

import dataclasses
import functools
import logging
import sys
import types
from typing import Any

import torch

from nmtprune.fairseq_bridge import checkpoint_classes, literals
from nmtprune.store import fast_path, unpickling


def _import_fairseq() -> None:
    plain_dataclass = dataclasses.dataclass

    @functools.wraps(plain_dataclass)
    def hashable_dataclass(cls: type | None = None, /, **options: Any) -> Any:
        if cls is None:
            return functools.partial(hashable_dataclass, **options)
        made = plain_dataclass(cls, **options)
        if cls.__module__.startswith("fairseq") and made.__hash__ is None:
            made.__hash__ = object.__hash__
        return made

    dataclasses.dataclass = hashable_dataclass
    try:
        import fairseq  # noqa: F401, PLC0415 - under the repaired `dataclass`
    finally:
        dataclasses.dataclass = plain_dataclass


def _load_whole_checkpoints() -> None:
    from fairseq import checkpoint_utils  # noqa: PLC0415 - after the first repair

    class TorchThatLoadsConfigurations(types.ModuleType):
        load = staticmethod(
            lambda file, map_location=None: unpickling.load(file, checkpoint_classes.classes())
        )

        def __getattr__(self, name: str) -> Any:
            return getattr(torch, name)

    checkpoint_utils.torch = TorchThatLoadsConfigurations("torch")


def _evaluate_literals_alone() -> None:
    for name, module in list(sys.modules.items()):
        if name == "fairseq.utils" or name.startswith("fairseq.models."):
            vars(module)["eval"] = literals.value_of


def _remove_fast_path() -> None:
    from fairseq.modules.transformer_layer import TransformerEncoderLayerBase  # noqa: PLC0415 - after the first repair

    plain_init = TransformerEncoderLayerBase.__init__

    def init(self: Any, *args: Any, **kwargs: Any) -> None:
        plain_init(self, *args, **kwargs)
        for key in fast_path.KEYS:
            delattr(self, key)
        self.can_use_fastpath = False
        self.BT_version = False

    def load(self: Any, state_dict: dict, prefix: str, *args: Any) -> None:
        for key in fast_path.KEYS:
            state_dict.pop(prefix + key, None)
        torch.nn.Module._load_from_state_dict(self, state_dict, prefix, *args)

    TransformerEncoderLayerBase.__init__ = init
    TransformerEncoderLayerBase._load_from_state_dict = load


# This logger would report that an optional package is missing.
logging.getLogger("fairseq.tasks.text_to_speech").setLevel(logging.ERROR)
_import_fairseq()
_load_whole_checkpoints()
_evaluate_literals_alone()
_remove_fast_path()
