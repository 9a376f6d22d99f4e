"""A model as a folder that translates: its engine's files, its subwords, and the command `translate`.

The folder needs no nmtprune.
"""

from __future__ import annotations

import importlib.metadata
import os
import shutil
from dataclasses import asdict
from pathlib import Path
from typing import Any

from nmtprune.data.subwords import Subwords
from nmtprune.experiment import paths
from nmtprune.experiment.chain import Chain
from nmtprune.experiment.config import Config
from nmtprune.experiment.library import WORKFLOW
from nmtprune.experiment.search import Search
from nmtprune.experiment.subwords import model_files
from nmtprune.export.readme import readme
from nmtprune.foundation.errors import UserError, suggest
from nmtprune.foundation.files import write_json, write_lines, write_text
from nmtprune.store import manifest
from nmtprune.store.model import Model, of_chain
from nmtprune.translation.batching import BATCH_PIECES, BATCH_SENTENCES
from nmtprune.translation.opening import FAST, PRECISIONS, module_of
from nmtprune.translation.shortlist import Shortlist

TOP = 50  # candidates of a source piece, if a shortlist is asked for and the recipe decodes without one

_SCRIPT = Path(__file__).parent / "translate.py"
_SUBWORD_PACKAGES = {"sentencepiece": ("sentencepiece",), "bpe": ("subword-nmt",), "words": ()}


def export(
    config: Config,
    chain: Chain,
    folder: Path,
    engine: str = "auto",
    precision: str | None = None,
    shortlist: bool | None = None,
) -> str:
    """Write a chain's model into a new folder, whole or not at all; return the engine.

    `engine`: `auto` is the engine that the chain was rounded for, otherwise CTranslate2 if it supports the
    model, otherwise ONNX Runtime. `precision`: by default int8 for a chain that was rounded for this engine,
    otherwise float32. `shortlist`: by default as the recipe decodes. Raises UserError if the folder is not
    empty, the model is missing, or no engine can run it as asked.
    """
    if folder.exists() and not (folder.is_dir() and not any(folder.iterdir())):
        raise UserError(f"export: `{folder}` is there already; name a new folder")
    identity = manifest.read(paths.manifest(chain))["digest"]
    model, search = of_chain(config, chain), config.recipe(chain.recipe).decoding.search
    engine = _engine(chain, model, search, engine)
    precision = precision or ("int8" if chain.quantised_for == engine else "float32")
    if precision not in PRECISIONS:
        raise UserError(f"export: unknown precision `{precision}`; {suggest(precision, PRECISIONS)}")
    candidates = _candidates(config, chain, shortlist)
    temporary = folder.absolute().with_name(f".{folder.absolute().name}.{os.getpid()}.tmp")
    try:
        temporary.mkdir(parents=True)
        module_of(engine).save(model, temporary / "model", precision)
        if candidates and engine == "ctranslate2":
            Shortlist.load(candidates).as_vmap(temporary / "model" / "vmap.txt")
        elif candidates:
            shutil.copyfile(candidates, temporary / "model" / "shortlist.npz")
        shutil.copyfile(_SCRIPT, temporary / "translate")
        (temporary / "translate").chmod(0o755)
        runtime = Path(module_of(engine).RUNTIME.__file__)
        shutil.copyfile(runtime, temporary / f"{engine}_runtime.py")
        settings = _subwords(config.data_folder(chain), temporary / "subwords")
        about = {
            "chain": str(chain),
            "digest": identity,
            "engine": engine,
            "precision": precision,
            "shortlist": candidates is not None,
            "search": asdict(search),
            "max_source_length": model.max_source_length,
            "batch": {"sentences": BATCH_SENTENCES, "pieces": BATCH_PIECES},
            "subwords": settings,
        }
        write_json(temporary / "config.json", about)
        write_lines(temporary / "requirements.txt", _requirements(engine, settings))
        shutil.copyfile(WORKFLOW.parent / "LICENSE", temporary / "LICENSE")
        write_text(temporary / "README.md", readme(config, chain, about, temporary))
        os.rename(temporary, folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return engine


def _engine(chain: Chain, model: Model, search: Search, asked: str) -> str:
    """The engine to export for: `asked`, or the first that supports the model if that is `auto`.

    Raises UserError with the reasons if no engine can run the model.
    """
    if asked not in ("auto", *FAST):
        raise UserError(f"export: unknown engine `{asked}`; {suggest(asked, ('auto', *FAST))}")
    usual = (chain.quantised_for,) if chain.quantised_for else FAST
    reasons = {}
    for name in usual if asked == "auto" else (asked,):
        reasons[name] = module_of(name).supports(model)
        if name == "onnx" and search.replace_unknowns:
            reasons[name] = "it does not replace unknown words, as the recipe's decoding asks for"
        if reasons[name] is None:
            return name
    why = "; ".join(f"`{name}`: {reason}" for name, reason in reasons.items())
    raise UserError(f"export: {chain} runs in no engine that can be exported ({why}); export another model")


def _candidates(config: Config, chain: Chain, wanted: bool | None) -> Path | None:
    """The file of the shortlist; None if there are no limits on target pieces.

    Raises UserError if the file has not been made yet.
    """
    given = config.shortlist(chain)
    if wanted is False or (wanted is None and given is None):
        return None
    file = given or paths.shortlist(config.data_folder(chain), TOP)
    if not file.exists():
        raise UserError(
            f"export: there is no shortlist {file}: make it first (snakemake {file}), or export with "
            "--no-shortlist"
        )
    return file


def _subwords(data: Path, folder: Path) -> dict[str, Any]:
    """Copy the subword models into `folder`; return the settings that `translate` needs for them."""
    given = Subwords.load(data)
    files = model_files(given.settings)
    folder.mkdir()
    for file in {*files} if given.settings["type"] != "words" else ():
        shutil.copyfile(data / file, folder / file)
    settings = {name: given.settings.get(name, False) for name in ("type", "moses", "reverse_source")}
    code = {"target_code": given.settings["target_code"]} if "target_code" in given.settings else {}
    return {**settings, **code, "languages": given.languages, "files": files}


def _requirements(engine: str, subwords: dict[str, Any]) -> list[str]:
    """The packages that `translate` imports, with the versions that are installed here."""
    packages = [
        *module_of(engine).PACKAGES,
        *_SUBWORD_PACKAGES[subwords["type"]],
        *(["sacremoses"] if subwords["moses"] else []),
    ]
    return [f"{package}=={importlib.metadata.version(package)}" for package in packages]
