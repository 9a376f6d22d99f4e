"""The registry of engines: choose and open the engine for a model.

The module of an engine (`ctranslate2.engine`, `onnx.engine`) has `ENGINE`, the class of the loaded
engine; `supports`, the reason why the engine cannot run a model; `save`, which writes the engine's files
for a model; `PACKAGES`, which these files need; and `RUNTIME`, the module that loads them without the
rest of nmtprune. fairseq runs every model.
"""

from __future__ import annotations

import tempfile
from importlib import import_module
from pathlib import Path
from types import ModuleType

from nmtprune.experiment.step_kinds import INT8_ENGINES
from nmtprune.foundation.errors import UserError
from nmtprune.foundation.files import size_of
from nmtprune.store.model import Model
from nmtprune.translation.engine import Engine
from nmtprune.translation.shortlist import Shortlist

FAST = INT8_ENGINES  # in the order in which `auto` tries them
ENGINES = ("auto", *FAST, "fairseq")
PRECISIONS = ("float32", "int8")
_MODULES = {name: f"nmtprune.translation.{name}.engine" for name in FAST}


def module_of(name: str) -> ModuleType:
    """The module of a fast engine, imported only when needed, since its libraries load slowly."""
    return import_module(_MODULES[name])


def device_of(name: str, device: str) -> str:
    """Where CTranslate2 or ONNX Runtime computes, `cpu` or `cuda`, by the setting `device`.

    Only for `cuda` do they take a GPU: with `auto`, GPUs are left to trainings, and models translate on the
    cores. If the library here cannot use a GPU, it computes on the CPU, and a line in the log says so.
    """
    if device != "cuda":
        return "cpu"
    if module_of(name).RUNTIME.has_gpu():
        return "cuda"
    print(f"engine {name} runs on the CPU: its library here has no GPU to use", flush=True)
    return "cpu"


def open_engine(
    model: Model,
    name: str = "auto",
    threads: int = 1,
    device: str = "auto",
    precision: str = "float32",
    shortlist: Shortlist | None = None,
) -> Engine:
    """The engine called `name` with `model` loaded.

    `auto` is CTranslate2 if it supports the model, otherwise ONNX Runtime, otherwise fairseq. `device`
    (auto, cpu, cuda): see `device_of`; fairseq takes a GPU for `auto` too. CTranslate2 and ONNX Runtime run
    in float32 or int8, and search only the candidates of the shortlist if there is one.
    Raises UserError for an unknown engine or precision, and if the engine cannot do what is asked for.
    """
    for what, value, valid in (("scoring engine", name, ENGINES), ("precision", precision, PRECISIONS)):
        if value not in valid:
            raise UserError(f"unknown {what} `{value}`; valid: {', '.join(valid)}.")
    wish = "int8" if precision == "int8" else "a shortlist" if shortlist is not None else None
    if name == "fairseq" and wish:
        raise UserError(f"engine `fairseq` has no {wish.removeprefix('a ')}; valid: {', '.join(FAST)}.")
    reasons = {}
    for fast in FAST if name == "auto" else () if name == "fairseq" else (name,):
        module = module_of(fast)
        reasons[fast] = module.supports(model)
        if reasons[fast] is None:
            return module.ENGINE(model, threads, precision, shortlist, device_of(fast, device))
    if name in FAST:
        others = [other for other in ENGINES if other != name and not (wish and other == "fairseq")]
        raise UserError(f"engine `{name}` cannot run this model: {reasons[name]}; use {_either(others)}.")
    if wish:
        why = "; ".join(f"`{fast}`: {reason}" for fast, reason in reasons.items())
        raise UserError(
            f"no engine with {wish} can run this model ({why}); use `fairseq` in float32 and without a "
            "shortlist."
        )
    from nmtprune.fairseq_bridge.generation import FairseqEngine  # noqa: PLC0415 - fairseq takes seconds

    return FairseqEngine(model, device)


def bytes_in_8_bits(model: Model, name: str, folder: Path) -> int:
    """Size in bytes of the files of a model in int8 for an engine.

    They are written to a temporary folder in `folder`.
    """
    with tempfile.TemporaryDirectory(dir=folder) as files:
        module_of(name).save(model, Path(files), "int8")
        return size_of(Path(files))


def _either(names: list[str]) -> str:
    quoted = [f"`{name}`" for name in names]
    return " or ".join([", ".join(quoted[:-1]), quoted[-1]])
