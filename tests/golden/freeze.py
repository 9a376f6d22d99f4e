"""Freeze what must not change by accident: identities, job graphs and numbers of rendered pages.

    python tests/golden/freeze.py               all of it, after an intended change; then review `git diff`
    python tests/golden/freeze.py jobs tables   parts of it: identities, jobs, tables

`test_golden.py` computes the same again and compares. A failure names the chain, the job or the cell. If
an identity has changed on purpose (a step computes something else, a shipped recipe is another), say in
the commit why models are made again, and freeze anew. Names of rules, words of captions and the order of
jobs are not frozen.

Pages are rendered from frozen scores (`<preset>.scores.tar.xz`):

    toy      the run of `make demo` that results/reference/toy held (`keep_scores`)
    paper    made up (`make_scores`, by tests/support/made_up_results.py): three seeds, statistics of
             sentences, translations, and the kinds of figures that toy lacks
"""

from __future__ import annotations

import contextlib
import csv
import io
import json
import lzma
import os
import re
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from nmtprune.experiment import config, papers, paths, slices
from nmtprune.experiment.analysis_kinds import ANALYSIS_KINDS
from nmtprune.experiment.chain import Chain, parse_steps
from nmtprune.experiment.config import Config
from nmtprune.experiment.run import Run
from nmtprune.measurements.measurements import Measured
from nmtprune.measurements.plateaus import plateaus
from nmtprune.reporting import claims_page, kinds
from nmtprune.reporting.captions import caption

HERE = Path(__file__).resolve().parent
REPOSITORY = HERE.parents[1]
MICRO = HERE.parent / "micro"
PRESETS = ("toy", "multi30k", "iwslt14", "wmt14", "paper", "micro", "micro-papers")
RENDERED = {  # preset -> settings of the run whose scores are frozen
    "toy": {"seeds": [1]},
    "paper": {
        "seeds": [1, 2, 3],
        "papers": [
            *(
                "see2016/figure3",
                "see2016/figure6",
                "wang2020/table2",
                "wang2020/table5",
                "wangtu2020/table3",
                "beyond/scale",
            ),
            *("behnke2021/table1a", "behnke2021/figure4", "behnke2021/norms"),
        ],
    },
}
KINDS = ("identities", "jobs", "tables")
NUMBER = re.compile(r"[-−+]?\d[\d,]*(?:\.\d+)?(?:e[-+]?\d+)?")

# Snakemake, which writes down every job of its plan
WRITE_JOBS = """
import json, sys
import snakemake.cli
from snakemake.dag import DAG
update = DAG.update_priority
def write(dag):
    update(dag)
    jobs = [
        {"inputs": [*job.input], "outputs": [*job.output], "params": dict(job.params.items())}
        for job in dag.needrun_jobs()
    ]
    with open(sys.argv[1], "w", encoding="utf-8") as file:
        json.dump(jobs, file)
DAG.update_priority = write
snakemake.cli.main(sys.argv[2:])
"""


def file_of(kind: str) -> Path:
    return HERE / f"{kind}.json.xz"


def read(kind: str) -> Any:
    return json.loads(lzma.decompress(file_of(kind).read_bytes()))


def write(kind: str, value: Any) -> None:
    file_of(kind).write_bytes(lzma.compress(json.dumps(value, sort_keys=True, indent=0).encode(), preset=9))


def run_of(preset: str, **settings: Any) -> Config:
    return config.from_settings({"preset": preset, "own": str(MICRO), "device": "cpu", **settings})


# --- identities


def identities(preset: str) -> dict[str, dict[str, Any]]:
    """The slice of each chain, which enters its digest, and settings of scores, analyses and data.

    The settings are by task and recipe.
    """
    run = run_of(preset)
    chains = Run(run).models
    of_models = {str(chain): slices.of_step(run, chain) for chain in chains}
    pairs = {
        (chain.task, chain.recipe): Chain(chain.task, chain.recipe, 1, parse_steps("train"))
        for chain in chains
    }
    of_scores = {f"{task}/{recipe}": _settings(run, chain) for (task, recipe), chain in sorted(pairs.items())}
    return json.loads(json.dumps({"models": of_models, "settings": of_scores}))


def _settings(run: Config, chain: Chain) -> dict[str, Any]:
    return {
        "scoring": slices.of_scores(run, chain.recipe),
        "analyses": {name: kind.identity(run, chain) for name, kind in ANALYSIS_KINDS.items()},
        "corpus": slices.of_text(run, chain.task),
        "subwords": run.subwords(chain),
        "data": str(run.data_folder(chain)),
        "shortlist": str(run.shortlist(chain)),
    }


# --- jobs


def jobs(preset: str) -> dict[str, dict[str, Any]]:
    """Snakemake's own plan for an empty folder: outputs, inputs and params of each job, by first output."""
    with tempfile.TemporaryDirectory() as folder:
        settings = {"preset": preset, "own": str(MICRO), "device": "cpu"}
        Path(folder, "config.yaml").write_text(json.dumps(settings))
        snakemake = [
            "--snakefile",
            str(REPOSITORY / "Snakefile"),
            "--workflow-profile",
            str(REPOSITORY / "profiles" / "default"),
        ]
        command = [
            sys.executable,
            "-c",
            WRITE_JOBS,
            "jobs.json",
            *snakemake,
            "-n",
            "--quiet",
            "all",
            "--cores",
            "1",
        ]
        package = os.pathsep.join(filter(None, [str(REPOSITORY / "workflow"), os.environ.get("PYTHONPATH")]))
        environment = {**os.environ, "PYTHONPATH": package}
        done = subprocess.run(
            command, cwd=folder, env=environment, capture_output=True, text=True, check=False
        )
        if done.returncode != 0:
            raise RuntimeError(done.stdout + done.stderr)
        planned = json.loads(Path(folder, "jobs.json").read_text().replace(f"{REPOSITORY}/", ""))
    return {job["outputs"][0]: _job(job) for job in planned if job["outputs"]}


def _job(job: dict[str, Any]) -> dict[str, Any]:
    """A job with its files in order, and with what params hold as JSON text read."""
    return {
        "inputs": sorted(set(job["inputs"])),
        "outputs": sorted(job["outputs"]),
        "params": {
            name: _read_json(value) for name, value in job["params"].items() if name != "titles"
        },  # words
    }


def _read_json(value: Any) -> Any:
    try:
        return json.loads(value)
    except (TypeError, ValueError):
        return value


# --- tables


def tables(preset: str) -> dict[str, Any]:
    """All numbers rendered from frozen scores: of tables, figures, claims and the page's plateaus."""
    run = run_of(preset, **RENDERED[preset])
    with scores_of(preset):
        measured = Measured(run)
        items = {item.key: _item(item, measured) for item in Run(run).items}
        decided = claims_page.table(claims_page.decide(Run(run), measured))
        reached = [
            [str(each.chain), each.updates, each.perplexity, each.further, each.gain.nll, each.done]
            for each in plateaus((row.chains for item in Run(run).items for row in item.rows), measured)
        ]
    return json.loads(json.dumps({"items": items, "claims": _claims(decided), "plateaus": reached}))


def _item(item: papers.Item, measured: Measured) -> dict[str, Any]:
    from matplotlib import pyplot

    made = kinds.make(item, measured)
    pyplot.close("all")
    printed = [table for table in (made.table, made.widths) if table]
    cells = [[str(cell) for cell in row] for table in printed for row in table.cells]
    said = [*caption(item, measured), *made.sentences, *made.footnotes]
    return {"csv": made.numbers.to_csv(index=False), "cells": cells, "caption": numbers_in(" ".join(said))}


def _claims(table: str) -> dict[str, dict[str, Any]]:
    rows = {f"{row['paper']}/{row['name']}": row for row in csv.DictReader(io.StringIO(table))}
    words = ("text", "where", "note", "precision")
    return {
        key: {**{name: row[name] for name in row if name not in words}, "here": numbers_in(row["here"])}
        for key, row in rows.items()
    }


def numbers_in(text: str) -> list[str]:
    """All numbers of a text in their order, as they are printed."""
    return NUMBER.findall(text)


@contextlib.contextmanager
def scores_of(preset: str) -> Iterator[None]:
    """Be in a folder that has a run's frozen scores as its results."""
    with tempfile.TemporaryDirectory() as folder:
        with tarfile.open(HERE / f"{preset}.scores.tar.xz") as archive:
            archive.extractall(folder, filter="data")
        with contextlib.chdir(folder):
            yield


def keep_scores(preset: str, results: Path) -> None:
    """Store what rendering reads from a run's results.

    These are scores, analyses, histories, manifests, speeds, translations and texts.
    """
    kept = (".csv", ".npz", ".json", ".txt", ".nll")
    left_out = {"state", "shards", "snapshots"}
    wanted = [*(results / "models").rglob("*"), *(results / "speed").rglob("*")]
    chosen = [
        file for file in wanted if file.is_file() and file.suffix in kept and not left_out & set(file.parts)
    ]
    texts = [file for file in (results / "data").glob("*/text/*") if file.is_file()]
    with (
        lzma.open(HERE / f"{preset}.scores.tar.xz", "wb", preset=9) as packed,
        tarfile.open(fileobj=packed, mode="w") as archive,
    ):
        for file in sorted([*chosen, *texts]):
            about = archive.gettarinfo(file, str(paths.RESULTS / file.relative_to(results)))
            about.uid = about.gid = about.mtime = 0
            about.uname = about.gname = ""
            with file.open("rb") as content:
                archive.addfile(about, content)


def make_scores(preset: str) -> None:
    """Make a run's scores up, and put them by."""
    from support import made_up_results

    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
        made_up_results.write(run_of(preset, **RENDERED[preset]))
        keep_scores(preset, Path("results"))


def main(chosen: list[str]) -> None:
    for kind in chosen or KINDS:
        make, presets = globals()[kind], RENDERED if kind == "tables" else PRESETS
        write(kind, {preset: make(preset) for preset in presets})
        print(f"{file_of(kind)}: {file_of(kind).stat().st_size:,} bytes")


if __name__ == "__main__":
    main(sys.argv[1:])
