"""Every table and figure of every paper in Snakemake on the micro task, from nothing to the page."""

import csv
import itertools
import json
import re
from pathlib import Path

import pytest
from support.workplace import Workplace

from nmtprune.experiment import papers, paths
from nmtprune.experiment.item_kinds import ITEM_KINDS
from nmtprune.experiment.run import Run
from nmtprune.store import units


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    workplace = Workplace(tmp_path_factory.mktemp("papers"), preset="micro-papers")
    done = workplace.snakemake("--cores", "2")
    assert done.returncode == 0, done.stderr[-5000:]
    return workplace


def test_every_table_and_figure_is_made_and_nothing_is_missing_in_it(finished):
    with finished.inside():
        run = Run(finished.config)
        items = run.items
        assert {item.paper for item in items} == set(papers.names()) and {item.kind for item in items} == set(
            ITEM_KINDS
        )
        for item in items:
            for file in run.files_of(item):
                assert file.stat().st_size > 0, file
            with open(run.files_of(item)[0], encoding="utf-8", newline="") as lines:
                rows = list(csv.DictReader(lines))
            absent = {row["missing"] for row in rows if row.get("missing")}
            assert rows and all(said.endswith("has no such component") for said in absent), (
                item.key
            )  # but the paper's deeper model has


def test_speeds_widths_and_sparsities_are_in_the_tables_of_students(finished):
    """No cell is empty except those that the page explains.

    They are those of COMET, whose model is not given, and of a second test set, which does not exist.
    """
    with finished.inside():
        run = Run(finished.config)
        items = [item for item in run.items if item.paper == "behnke2021"]
        tables = [(item, run.files_of(item)[0]) for item in items if item.kind in ("table", "front")]
        page = run.outputs[0].read_text()
        for item, file in tables:
            with open(file, encoding="utf-8", newline="") as lines:
                rows = list(csv.DictReader(lines))
            for row, column in itertools.product(rows, item.columns):
                explained = column.metric == "comet" or column.test_set == 2
                assert (row[column.key] == "") == explained, (item.key, row["label"], column.key)
            for row in (row for row in rows if "/slice" in row["chain"]):
                assert float(row.get("ffn_sparsity", 1)) > 0
                assert "ffn" not in item.widths or any(
                    float(row[f"ffn_encoder_{layer}"]) < 32 for layer in (1, 2)
                )
    assert "COMET: no comet_model is set" in page and "has 1 test set" in page
    assert {missing for item in items for missing in item.left_out} >= {
        "12-1 micro student",
        "12-1 student with 4 heads",
    }
    assert all(missing in page for item in items for missing in item.left_out)


def test_all_students_are_timed_by_every_engine_that_takes_them(finished):
    with finished.inside():
        (chains,) = Run(finished.config).speed_groups.values()
        with open("results/speed/micro-papers/micro-distilled.csv", encoding="utf-8", newline="") as lines:
            rows = list(csv.DictReader(lines))
        with open(
            "results/speed/micro-papers/micro-distilled.left_out.csv", encoding="utf-8", newline=""
        ) as lines:
            reasons = list(csv.DictReader(lines))
    timed = {(row["chain"], row["engine"]) for row in rows}
    assert all((str(chain), "onnx") in timed for chain in chains)
    floats = [
        str(chain) for chain in chains if not chain.quantised_for
    ]  # those in 8 bits are their one engine's
    assert {(chain, "ctranslate2") for chain in floats} <= timed | {
        (row["chain"], row["engine"]) for row in reasons
    }
    assert {row["chain"].split("/")[1] for row in rows if row["engine"] == "ctranslate2"} == {
        "micro-student-attention"
    }
    assert all((row["precision"] == "int8") == ("int8-onnx" in row["chain"]) for row in rows)
    assert all(float(row["words_per_second"]) > 0 for row in rows)


def test_a_second_run_makes_nothing(finished):
    done = finished.snakemake("--dry-run")
    assert "Nothing to be done" in done.stdout + done.stderr


def test_direct_grids_are_scored_by_one_process_a_model(finished):
    tables = {
        str(file.relative_to(finished / "results/models"))
        for file in (finished / "results/models").rglob("variants.csv")
    }
    assert tables == {
        f"micro/{recipe}/s1/train/variants.csv"
        for recipe in ("micro", "micro-components", "micro-lstm", "micro-snapshots")
    }
    with open(
        finished / "results/models/micro/micro-lstm/s1/train/variants.csv", encoding="utf-8", newline=""
    ) as lines:
        rows = list(csv.DictReader(lines))
    only = [row for row in rows if row["chain"].rsplit("/", 1)[1].count("-") == 3]
    assert len(only) == 3 * 8 and all(row["bleu"] == "" and float(row["perplexity"]) > 1 for row in only)
    assert all(float(row["seconds"]) > 0 for row in rows)


def test_a_kept_run_is_shown_as_it_was_and_none_of_it_is_made_again(finished, tmp_path):
    """Without any checkpoint the tables are the same, byte for byte.

    A further seed of a student is trained on the kept translations.
    """
    kept = tmp_path / "kept"
    done = finished.nmtprune("keep", str(kept))
    assert done.returncode == 0 and "not whole" not in done.stdout, done.stdout + done.stderr
    assert not list(kept.rglob("*.pt"))
    fresh = Workplace(tmp_path / "fresh", preset="micro-papers", kept=str(kept))
    done = fresh.snakemake("--cores", "2")
    assert done.returncode == 0, done.stderr[-5000:]
    assert not (fresh / "results/models").exists() and not (fresh / "results/speed").exists()
    told = fresh.nmtprune("status").stdout
    made, scored = re.search(r"(\d+ of \d+) models made, (\d+ of \d+) scored", told).groups()
    assert len({*made.split(" of ")}) == len({*scored.split(" of ")}) == 1 and "waiting" not in told, (
        told
    )  # all of them
    with finished.inside():
        tables = [file for file in Run(finished.config).outputs if file.suffix in (".csv", ".md")]
    assert len(tables) > 50
    for file in tables:
        assert (fresh / file).read_bytes() == (finished / file).read_bytes(), file
    fresh.configure(
        preset="micro-papers",
        kept=str(kept),
        papers=[],
        chains=["micro-distilled/micro-student/s7/train"],
        name="mine",
    )
    done = fresh.snakemake("-n", "--quiet", "rules")
    made = done.stdout.partition("Job stats:")[2].partition("\n\n")[0]
    rules = {line.split()[0] for line in made.splitlines()[3:]}
    assert rules == {"all", "data", "pages", "score", "shortlist", "train", "total"}, done.stdout
    assert " 1" in next(line for line in made.splitlines() if line.startswith("train"))


def test_a_kept_unit_that_lacks_what_is_asked_or_is_of_other_settings_is_made_again(finished, tmp_path):
    kept = tmp_path / "kept"
    finished.nmtprune("keep", str(kept))
    fresh = Workplace(tmp_path / "fresh", preset="micro-papers", kept=str(kept))

    def to_make():
        with fresh.inside():
            return {
                paths.unit(each)
                for each in Run(fresh.config).chains
                if paths.scores(each) in units.Kept(fresh.config).targets(Run(fresh.config))
            }

    assert to_make() == set()
    unit = Path("micro/micro-lstm/s1")
    sealed = kept / "models" / unit
    lacking = next(sealed.rglob("scores.csv"))
    content = lacking.read_bytes()
    lacking.unlink()
    units.seal(sealed)  # kept by a run that did not ask for it
    assert to_make() == {unit}
    lacking.write_bytes(content)
    manifest = sealed / "train" / "manifest.json"
    made = json.loads(manifest.read_text())
    made["slice"]["seed"] = 2
    manifest.write_text(json.dumps(made))
    units.seal(sealed)
    assert to_make() == {unit}
