"""The whole workflow in Snakemake on the micro task, from nothing to tables."""

import base64
import csv
import json
import os
import shutil
import sys
from pathlib import Path

import pytest
from support.workplace import Workplace

from nmtprune.experiment.run import Run
from nmtprune.planning.jobs import Jobs
from nmtprune.store import current

TABLES = ("figure1", "table2")
TRAIN = "micro/micro/s1/train"


def test_all_tables_and_the_page_are_there(finished):
    with finished.inside():
        outputs = Run(finished.config).outputs
        assert len(outputs) == 13 and all(file.stat().st_size > 0 for file in outputs)
        page = outputs[0].read_text()
    assert all(f"wang2020/{name}" in page for name in TABLES)
    rows = finished.table("table2")
    assert [row["chain"].count("/") for row in rows if row["recipe"] == "micro"] == [0, 1, 3, 6, 9, 1, 2, 3]
    assert not any(row["missing"] for row in rows)
    assert [int(float(row["updates"])) for row in rows] == [24, 48, 48, 72, 96, 29, 72, 96]


def test_the_pruned_share_is_measured(finished):
    shares = {row["chain"]: float(row["sparsity"]) for row in finished.table("figure1")}
    assert shares["train"] < 0.1
    for percent in (20, 50):
        for steps in (f"train/prune-local-{percent}", f"train/prune-local-{percent}/retrain"):
            assert shares[steps] == pytest.approx(percent, abs=0.05)


def test_the_tables_bleu_is_that_of_sacrebleus_own_command_on_the_kept_hypotheses(finished):
    reference = "results/data/micro/text/test.tgt"
    for row in finished.table("table2"):
        hypotheses = f"results/models/micro/micro/s1/{row['chain']}/hypotheses/test.txt"
        done = finished.run(
            sys.executable,
            "-m",
            "sacrebleu",
            reference,
            "-i",
            hypotheses,
            "-m",
            "bleu",
            "chrf",
            "-b",
            "-w",
            "9",
        )
        assert done.returncode == 0, done.stderr
        bleu, chrf = (
            float(score)
            for score in done.stdout.replace("[", " ").replace("]", " ").replace(",", " ").split()
        )
        assert float(row["bleu"]) == pytest.approx(bleu, abs=1e-6)
        assert float(row["chrf"]) == pytest.approx(chrf, abs=1e-6)


def test_a_kept_run_has_its_page_tables_and_scores_and_no_weights(finished, tmp_path):
    done = finished.nmtprune("keep", str(tmp_path / "kept"))
    assert done.returncode == 0, done.stderr
    kept = {file.relative_to(tmp_path / "kept") for file in (tmp_path / "kept").rglob("*") if file.is_file()}
    page = finished / "results" / "micro"
    shown = {file.relative_to(page) for file in page.rglob("*") if file.is_file()}
    left = {str(file) for file in shown - kept}
    # the mark of a run that was made here, and what only Snakemake's report reads
    assert left == {"complete", "report.rst", "wang2020/table2.html"}
    scores = Path("models") / TRAIN / "scores.csv"
    assert (tmp_path / "kept" / scores).read_bytes() == (finished.model(TRAIN) / "scores.csv").read_bytes()
    assert not [file for file in kept if file.suffix == ".pt" or "state" in file.parts]


def test_every_job_notes_the_files_that_snakemake_gives_it(finished):
    """The package and the rules say the same of what a job reads."""
    folder = finished / ".snakemake" / "metadata"
    given = {}
    for file in filter(Path.is_file, folder.rglob("*")):
        made = base64.urlsafe_b64decode(
            "".join(part.removeprefix("@") for part in file.relative_to(folder).parts)
        ).decode()
        given[Path(made)] = {Path(each) for each in json.loads(file.read_text())["input"]}
    with finished.inside():
        notes = {made: set(origins) for made, origins in current.notes().items()}
        jobs = set(Jobs(Run(finished.config)))
    assert jobs == notes.keys() <= given.keys()
    assert notes == {made: given[made] for made in notes}


def test_a_second_run_does_nothing(finished):
    before = {file: file.stat().st_mtime_ns for file in (finished / "results").rglob("*") if file.is_file()}
    done = finished.finish()
    assert "Nothing to be done" in done.stdout + done.stderr
    after = {file: file.stat().st_mtime_ns for file in (finished / "results").rglob("*") if file.is_file()}
    assert after == before


def test_a_deleted_table_and_a_deleted_model_come_back_without_training(finished, tmp_path):
    """What Snakemake deletes or a person loses is restored from a step's own state."""
    copy = Workplace(tmp_path / "copy")
    shutil.copytree(finished.folder, copy.folder, dirs_exist_ok=True)
    table_before = (copy / "results/micro/wang2020/table2.csv").read_bytes()
    for name in ("model.pt", "manifest.json"):
        (copy.model(TRAIN) / name).unlink()
    done = copy.nmtprune("run", TRAIN)
    assert done.returncode == 0 and "update" not in done.stdout
    assert (copy.model(TRAIN) / "model.pt").read_bytes() == (finished.model(TRAIN) / "model.pt").read_bytes()
    (copy / "results/micro/wang2020/table2.csv").unlink()
    done = copy.nmtprune("render")
    assert done.returncode == 0, done.stderr
    assert (copy / "results/micro/wang2020/table2.csv").read_bytes() == table_before


def test_after_a_failed_training_there_is_a_page_and_the_same_command_goes_on(finished, tmp_path):
    workplace = Workplace(tmp_path / "copy")
    shutil.copytree(finished.folder, workplace.folder, dirs_exist_ok=True)
    page, model = workplace / "results/micro/index.html", workplace.model(TRAIN) / "model.pt"
    whole, times = model.read_bytes(), (model.stat().st_atime_ns, model.stat().st_mtime_ns)
    page.unlink()
    shutil.rmtree(workplace.model(f"{TRAIN}/continue"))
    model.write_bytes(b"damaged")
    os.utime(model, ns=times)
    assert workplace.snakemake("--cores", "2").returncode != 0
    assert f"{TRAIN}/continue was begun and not finished" in page.read_text()
    assert any(row["missing"] for row in workplace.table("table2"))
    model.write_bytes(whole)
    os.utime(model, ns=times)
    workplace.finish()
    assert workplace.table("table2") == finished.table("table2")


def untimed(scores):
    """The rows of a score table without the seconds that scoring took."""
    with open(scores, encoding="utf-8", newline="") as file:
        return [
            {key: value for key, value in row.items() if key != "seconds"} for row in csv.DictReader(file)
        ]


def test_a_killed_scoring_goes_on_where_it_was(finished, tmp_path):
    workplace = Workplace(tmp_path / "copy")
    shutil.copytree(finished.folder, workplace.folder, dirs_exist_ok=True)
    directory = workplace.model(TRAIN)
    before = untimed(directory / "variants.csv")
    (directory / "variants.csv").unlink()
    variants = ("prune-local-20", "prune-local-50")
    for step in variants:
        (directory / step / "state" / "scores.json").unlink()
        shutil.rmtree(directory / step / "hypotheses")
    process = workplace.start(sys.executable, "-m", "nmtprune", "variants", TRAIN, *variants)
    first = process.stdout.readline()
    assert first.startswith(f"scored {TRAIN}/prune-local-20 in ")
    process.kill()
    process.communicate()
    assert not (directory / "variants.csv").exists()
    kept = directory / "prune-local-20" / "hypotheses" / "test.txt"
    written = kept.stat().st_mtime_ns
    done = workplace.nmtprune("variants", TRAIN, *variants)
    assert done.returncode == 0, done.stderr
    assert untimed(directory / "variants.csv") == before
    assert kept.stat().st_mtime_ns == written
