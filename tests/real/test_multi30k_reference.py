"""The committed real run: its BLEU is that of sacrebleu's own command on its own hypotheses."""

import csv
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
MULTI30K = REPOSITORY.parent / "shared" / "data" / "multi30k"
REFERENCE = REPOSITORY / "results" / "reference" / "multi30k"
TABLES = sorted(REFERENCE.glob("wang2020/*.csv"))

pytestmark = [
    pytest.mark.skipif(not MULTI30K.is_dir(), reason=f"Multi30k is not at {MULTI30K}"),
    pytest.mark.skipif(not TABLES, reason=f"no tables of a real run are in {REFERENCE}"),
]


@pytest.mark.parametrize("table", TABLES, ids=lambda file: file.stem)
def test_bleu_of_the_kept_hypotheses(tmp_path, table):
    reference = next(file for file in sorted(MULTI30K.rglob("test_2016_flickr.de*")))
    if reference.suffix == ".gz":
        import gzip

        (tmp_path / "reference").write_bytes(gzip.decompress(reference.read_bytes()))
        reference = tmp_path / "reference"
    with open(table, encoding="utf-8", newline="") as file:
        rows = [row for row in csv.DictReader(file) if row.get("bleu") and row["task"] == "multi30k-en-de"]
    hypotheses = {row["row"]: REFERENCE / "models" / row["task"] / row["recipe"] / "s1" / row["chain"] for row in rows}
    for row in rows:
        kept = hypotheses[row["row"]] / "hypotheses" / "test_2016_flickr.txt"
        command = [sys.executable, "-m", "sacrebleu", str(reference), "-i", str(kept), "-m", "bleu", "-b", "-w", "9"]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        assert float(row["bleu"]) == pytest.approx(float(done.stdout), abs=1e-6), row["label"]
    assert rows or table.stem == "table3"
