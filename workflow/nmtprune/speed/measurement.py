"""The speed of a task's models, measured by one job: which engines run which model, and the table."""

from __future__ import annotations

import dataclasses
import importlib.metadata
import statistics
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from nmtprune.data.subwords import Subwords
from nmtprune.experiment import paths, slices
from nmtprune.experiment.chain import Chain
from nmtprune.experiment.config import Config
from nmtprune.foundation.errors import UserError
from nmtprune.foundation.files import digest, read_json, read_lines, sha256_of, write_json, write_table
from nmtprune.runtime import devices
from nmtprune.speed import protocol, pymarian
from nmtprune.store import checkpoints, manifest
from nmtprune.store.model import Model, of_chain, pieces_of
from nmtprune.store.state import lock
from nmtprune.translation.opening import FAST, bytes_in_8_bits, module_of

NO_GPU = "its library here has no GPU to use"
VERSION = 2  # grows when the protocol changes


def measure(config: Config, out: Path, chains: list[Chain], rounds: int, idle: bool = False) -> None:
    """Measure the speed of one task's models, the first of them the anchor, and write the table `out`.

    `<out>.left_out.csv` lists the engines that a model was not measured in, and why.

    Numbers of two jobs are never mixed: if the models change, all are measured again, and a killed job starts
    over. Rows are kept by digest, so that the same models on the same machine are not measured twice. One job
    at a time measures in this folder of results; others wait. Raises UserError if the models are of different
    tasks, if one is missing, and, with `idle`, if other processes keep cores busy before or during the
    measurement.
    """
    if other := next((chain for chain in chains if chain.task != chains[0].task), None):
        raise UserError(
            f"speed: {other} is of another task than {chains[0]}; measure one task's models at a time"
        )
    kept = paths.kept_speed(out)
    identity = _identity(config, chains, rounds)
    with lock(paths.SPEED):
        record = read_json(kept) if kept.exists() else {}
        if record.get("digest") != identity:
            if idle:
                protocol.wait_until_idle()
            with tempfile.TemporaryDirectory(prefix="nmtprune-speed-") as folder:
                measured, left_out = _measure(config, chains, rounds, Path(folder))
            others = statistics.median(row["others_cpu"] for row in measured)
            if idle and others > protocol.IDLE:
                raise UserError(protocol.refused(others))
            record = {"digest": identity, "rows": measured, "left_out": left_out}
            write_json(kept, record)
    write_table(paths.left_out(out), record["left_out"], protocol.LEFT_OUT_COLUMNS)
    rows = [{"device": "cpu"} | row for row in record["rows"]]  # older records say no device
    write_table(out, rows, protocol.COLUMNS)


def _identity(config: Config, chains: list[Chain], rounds: int) -> str:
    text = manifest.read(paths.text(chains[0].task) / paths.MANIFEST)["digest"]
    of_chains = [
        [str(chain), manifest.digest_of(config, chain), slices.of_scores(config, chain.recipe)]
        for chain in chains
    ]
    shortlists = sorted({file for chain in chains if (file := config.shortlist(chain))})
    machine = [
        protocol.cpu_model(),
        pymarian.missing(),
        *map(importlib.metadata.version, ("ctranslate2", "onnxruntime", "fairseq")),
    ]
    protocol_of = [VERSION, rounds, protocol.BATCH_SIZES, protocol.SINGLE_SENTENCES]
    if config.settings["speed_device"] == "cuda":
        machine.append(devices.gpu_name())
    settings = [protocol_of, machine, [sha256_of(file) for file in shortlists]]
    return digest([settings, text, of_chains])


class _Source:
    """A task's main test set in the pieces of one folder of data.

    `batches`: the file of its batches. `sizes`: by batch size, the numbers of sentences and of source words.
    """

    def __init__(self, config: Config, chain: Chain, folder: Path) -> None:
        task, data = chain.task, config.data_folder(chain)
        name, language = config.task(task).main_test, config.task(task).source
        lines, subwords = read_lines(paths.text(task) / f"{name}.{language}"), Subwords.load(data)
        self.batches = folder / f"{data.name}.json"
        chosen = protocol.write_batches(
            [pieces_of(subwords.encode("source", line)) for line in lines], self.batches
        )
        self.sizes = {
            size: (len(indices), sum(len(lines[index].split()) for index in indices))
            for size, indices in chosen.items()
        }
        self.shortlist = config.shortlist(chain)


def _measure(
    config: Config, chains: list[Chain], rounds: int, folder: Path
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    sources: dict[Path, _Source] = {}
    facts: dict[protocol.Case, dict[str, Any]] = {}
    left_out: list[dict[str, Any]] = []
    device = config.settings["speed_device"]
    for number, chain in enumerate(chains):
        data = config.data_folder(chain)
        source = sources[data] = sources.get(data) or _Source(config, chain, folder)
        model = of_chain(config, chain)
        search = dataclasses.asdict(config.recipe(chain.recipe).decoding.search)
        precision = "int8" if chain.quantised_for else "float32"
        for engine, reason in _engines(model, chain.quantised_for, number == 0, device):
            if reason:
                left_out.append({"chain": str(chain), "engine": engine, "reason": reason})
                print(f"{chain} is not measured in {engine}: {reason}", flush=True)
                continue
            python = pymarian.interpreter() if engine == pymarian.NAME else sys.executable
            files = folder / f"{number}-{engine}"
            files.mkdir()
            _save(model, engine, precision, files)
            shortlist = source.shortlist if engine in FAST else None
            case = protocol.Case(
                str(chain), engine, files, source.batches, search, precision, shortlist, python, device
            )
            facts[case] = {"size_int8": bytes_in_8_bits(model, engine, folder) if engine in FAST else None}
    core = protocol.idlest_core()
    measured = protocol.measure(
        list(facts), lambda case: protocol.Worker(case, core, folder / "job.json"), rounds
    )
    sizes = {source.batches: source.sizes for source in sources.values()}
    return [row | facts[case] for case, row in protocol.rows(measured, sizes, core)], left_out


def _engines(
    model: Model, quantised_for: str | None, slow: bool, device: str
) -> Iterator[tuple[str, str | None]]:
    """The engines to measure a model in, each with the reason why it cannot run the model, or None.

    A model in 8 bits has one engine, its own. `slow`: fairseq's generator and pymarian too.
    """
    for name in FAST:
        if quantised_for in (None, name):
            module = module_of(name)
            without_gpu = device == "cuda" and not module.RUNTIME.has_gpu()
            yield name, NO_GPU if without_gpu else module.supports(model)
    if slow:
        yield "fairseq", None
        of_marian = "Marian is measured on the CPU alone" if device == "cuda" else pymarian.missing()
        yield pymarian.NAME, of_marian or pymarian.supports(model)


def _save(model: Model, engine: str, precision: str, folder: Path) -> None:
    """Write the files that an engine loads into a folder."""
    match engine:
        case "fairseq":
            checkpoints.save(
                {field.name: getattr(model, field.name) for field in dataclasses.fields(model)},
                folder / paths.MODEL,
            )
        case pymarian.NAME:
            pymarian.save(model, folder)
        case _:
            module_of(engine).save(model, folder, precision)
