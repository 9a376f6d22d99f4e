"""Models from elsewhere, of stock fairseq and of Marian, are imported by a few lines of configuration."""

import csv
import json
import os
import re
import shutil
import sys

import torch
from safetensors.torch import load_file
from support.marian import write

from nmtprune.foundation.files import read_json, read_lines
from nmtprune.store import checkpoints
from nmtprune.store.fast_path import KEYS

FAIRSEQ_TRAIN = "import nmtprune.fairseq_bridge.shim; from fairseq_cli.train import cli_main; cli_main()"
ARCHITECTURE = (
    "--arch transformer --encoder-layers 1 --decoder-layers 1 --encoder-embed-dim 16 --decoder-embed-dim 16 "
)
ARCHITECTURE += (
    "--encoder-ffn-embed-dim 24 --decoder-ffn-embed-dim 24 --encoder-attention-heads 2 "
    "--decoder-attention-heads 2"
)
TRAINING = (
    "--optimizer adam --lr 0.005 --lr-scheduler inverse_sqrt --warmup-updates 8 --max-tokens 500 "
    "--max-update 16 --cpu"
)
TRAINING += (
    " --criterion label_smoothed_cross_entropy --label-smoothing 0.1 --no-epoch-checkpoints "
    "--save-dir . --seed 3"
)
CONFIG = """\
own: {own}
papers: []
name: imported
imports:
  mine: {{checkpoint: outside/checkpoint_best.pt, dictionaries: outside/data-bin,
         subwords: outside/spm.model}}
chains: [micro/micro/s1/import-mine/prune-global-50/retrain]
"""


def test_import_prune_retrain_score(studio, workplace):
    from support.workplace import MICRO

    outside = workplace / "outside"
    data = next((studio / "results/data/micro").glob("sentencepiece*"))
    shutil.copytree(data / "bin", outside / "data-bin")
    shutil.copy(next(data.glob("*.model")), outside / "spm.model")
    workplace.folder, there = outside, workplace.folder
    trained = workplace.run(
        sys.executable, "-c", FAIRSEQ_TRAIN, "data-bin", *ARCHITECTURE.split(), *TRAINING.split()
    )
    workplace.folder = there
    assert trained.returncode == 0, trained.stderr[-3000:]
    # the release writes eight unused parameters an encoder layer, which our loading of fairseq leaves out
    checkpoint = checkpoints.read(outside / "checkpoint_best.pt")
    checkpoint["model"] |= {f"encoder.layers.0.{key}": torch.ones(5, 5) for key in KEYS}
    checkpoints.save(checkpoint, outside / "checkpoint_best.pt")

    (workplace / "config.yaml").write_text(CONFIG.format(own=MICRO))
    done = workplace.snakemake("--cores", "1")
    assert done.returncode == 0, done.stderr[-5000:]

    imported = workplace.model("micro/micro/s1/import-mine")
    ours, theirs = checkpoints.read(imported / "model.pt")["model"], checkpoint["model"]
    assert not any(name.startswith("encoder.layers.0.") and name.rsplit(".", 1)[-1] in KEYS for name in ours)
    assert all(
        torch.equal(tensor, theirs[name]) for name, tensor in ours.items() if "_float_tensor" not in name
    )
    retrained = imported / "prune-global-50" / "retrain"
    masks = checkpoints.read_masks(imported / "prune-global-50" / "mask.pt")
    after = checkpoints.read(retrained / "last.pt")["model"]
    assert all(not after[name][~mask].any() for name, mask in masks.items())
    with open(retrained / "scores.csv", encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["set"] for row in rows] == ["train", "dev", "test"]
    assert all(abs(float(row["sparsity"]) - 50) < 0.05 and float(row["perplexity"]) > 1 for row in rows)

    # another checkpoint of the same name is another model
    before = json.loads((imported / "manifest.json").read_text())["digest"]
    checkpoint["model"]["decoder.layers.0.fc1.bias"] += 1
    checkpoints.save(checkpoint, outside / "checkpoint_best.pt")
    os.utime(outside / "checkpoint_best.pt", (1, 1))  # however old it says that it is
    planned = workplace.snakemake("-n")
    assert re.search(r"^import_checkpoint +1$", planned.stdout + planned.stderr, re.MULTILINE)
    done = workplace.nmtprune("run", "micro/micro/s1/import-mine")
    assert done.returncode == 0, done.stderr
    assert json.loads((imported / "manifest.json").read_text())["digest"] != before
    changed = checkpoints.read(imported / "model.pt")["model"]["decoder.layers.0.fc1.bias"]
    assert torch.equal(changed, checkpoint["model"]["decoder.layers.0.fc1.bias"])


def test_a_marian_model_is_imported_trimmed_pruned_retrained_scored_and_written_back(studio, workplace):
    text = studio / "results" / "data" / "micro" / "text"
    texts = [read_lines(text / f"train.{language}") for language in ("src", "tgt")]
    write(workplace / "opus", texts=texts, more=["▁never", "▁used"], max_position_embeddings=256)
    chain = "micro/micro/s1/import-opus/prune-global-50/retrain"
    imports = {"opus": {"marian": "opus", "vocabulary": "trim"}}
    workplace.configure(papers=[], name="imported", imports=imports, chains=[chain])
    done = workplace.snakemake("--cores", "1")
    assert done.returncode == 0, done.stderr[-5000:]
    with open(workplace.model(chain) / "scores.csv", encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["set"] for row in rows] == ["train", "dev", "test"]
    assert all(abs(float(row["sparsity"]) - 50) < 0.05 and float(row["perplexity"]) > 1 for row in rows)
    assert chain in (workplace / "results/imported/index.html").read_text(encoding="utf-8")
    written = workplace.nmtprune("export", chain, "back", "--format", "marian")
    assert written.returncode == 0, written.stderr
    theirs, ours = (read_json(workplace / folder / "vocab.json") for folder in ("opus", "back"))
    assert set(ours) <= set(theirs) - {"▁never", "▁used"}
    assert len(load_file(workplace / "back" / "model.safetensors")["model.shared.weight"]) == len(ours)
    assert "Nothing to be done" in (again := workplace.snakemake("-n")).stdout + again.stderr
