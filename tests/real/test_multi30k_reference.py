"""The committed real run: its BLEU is what sacrebleu computes from its hypotheses."""

import csv
import functools

import pytest
import sacrebleu
from support.workplace import REPOSITORY

MULTI30K = REPOSITORY.parent / "shared" / "data" / "multi30k"
REFERENCE = REPOSITORY / "results" / "reference"
TABLES = sorted(REFERENCE.glob("multi30k*/*/*.csv"))
EN_DE = ("multi30k-en-de", "multi30k-en-de-distilled")

pytestmark = [
    pytest.mark.skipif(not MULTI30K.is_dir(), reason=f"Multi30k is not at {MULTI30K}"),
    pytest.mark.skipif(not TABLES, reason=f"no tables of a real run are in {REFERENCE}"),
]


@pytest.mark.parametrize("table", TABLES, ids=lambda file: f"{file.parent.name}-{file.stem}")
def test_bleu_of_the_kept_hypotheses(tmp_path, table):
    reference = next(file for file in sorted(MULTI30K.rglob("test_2016_flickr.de*")))
    if reference.suffix == ".gz":
        import gzip

        (tmp_path / "reference").write_bytes(gzip.decompress(reference.read_bytes()))
        reference = tmp_path / "reference"
    with open(table, encoding="utf-8", newline="") as file:
        rows = [row for row in csv.DictReader(file) if row.get("bleu") and row["task"] in EN_DE]
    for row in rows:
        models = table.parent.parent / "models" / row["task"] / row["recipe"]
        of_seeds = sorted(models.glob(f"s*/{row['chain']}/hypotheses/test_2016_flickr.txt"))
        scores = [bleu_by_sacrebleu(kept, reference) for kept in of_seeds[: int(row["seeds"])]]
        # directly pruned models' hypotheses are not kept
        assert scores or row["chain"].rpartition("/")[2].startswith("prune-"), row["label"]
        if scores:
            assert float(row["bleu"]) == pytest.approx(sum(scores) / len(scores), abs=1e-6), row["label"]


@functools.cache
def bleu_by_sacrebleu(hypotheses, reference):
    """As `sacrebleu <reference> -i <hypotheses>` has it."""
    lines = [file.read_text(encoding="utf-8").splitlines() for file in (hypotheses, reference)]
    return sacrebleu.corpus_bleu(lines[0], [lines[1]]).score
