"""Every table and figure of every paper by Snakemake on the micro task, from nothing to the page."""

import csv

import pytest
from conftest import Workplace

from nmtprune import papers


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    workplace = Workplace(tmp_path_factory.mktemp("papers"), preset="micro-papers")
    done = workplace.snakemake("--cores", "2")
    assert done.returncode == 0, done.stderr[-5000:]
    return workplace


def test_every_table_and_figure_is_made_and_nothing_is_missing_in_it(finished):
    with finished.inside():
        items = papers.items(finished.config)
        assert {item.paper for item in items} == set(papers.names()) and {item.kind for item in items} == set(papers.EXTENSIONS)
        for item in items:
            for file in papers.files_of("micro-papers", item):
                assert file.stat().st_size > 0, file
            with open(papers.files_of("micro-papers", item)[0], encoding="utf-8", newline="") as lines:
                rows = list(csv.DictReader(lines))
            assert rows and not any(row.get("missing") for row in rows), item.key


def test_a_second_run_makes_nothing(finished):
    done = finished.snakemake("--dry-run")
    assert "Nothing to be done" in done.stdout + done.stderr


def test_direct_grids_are_scored_by_one_process_a_model(finished):
    tables = {str(file.relative_to(finished / "results/models")) for file in (finished / "results/models").rglob("variants.csv")}
    assert tables == {f"micro/{recipe}/s1/train/variants.csv" for recipe in ("micro-lstm", "micro-snapshots")}
    with open(finished / "results/models/micro/micro-lstm/s1/train/variants.csv", encoding="utf-8", newline="") as lines:
        rows = list(csv.DictReader(lines))
    only = [row for row in rows if row["chain"].rsplit("/", 1)[1].count("-") == 3]
    assert len(only) == 3 * 8 and all(row["bleu"] == "" and float(row["perplexity"]) > 1 for row in only)
    assert all(float(row["seconds"]) > 0 for row in rows)
