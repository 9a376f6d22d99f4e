"""An example of a run of one's own, which `python -m nmtprune init` writes: it runs as it is, and is there to be changed."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

from nmtprune import paths
from nmtprune.config import Config
from nmtprune.data import toy
from nmtprune.errors import UserError
from nmtprune.files import write_lines, write_text

TASK, RECIPE = "mine", "my-small"
LANGUAGES = ("src", "tgt")
SENTENCES = {"train": 6000, "dev": 200, "test": 500}

CONFIG = """\
# A run of your own:
#   {command}
# Its page is {page}. Every key: docs/configuration.md.
name: {name}
own: {folder}  # this folder: tasks/ and recipes/; presets/ and papers/ (tables of your own) are looked for here too
papers: []  # none of the papers' tables; [wang2020/table2] would put that one on the page as well
# Models, each the chain of steps that makes it: <task>/<recipe>/s<seed>/<steps>. A second seed is the same chain with s2.
chains:
  - {task}/{recipe}/s1/train/prune-local-50
  - {task}/{recipe}/s1/train/prune-local-50/retrain
  - {task}/{recipe}/s1/train/prune-local-80/retrain
  - {task}/{recipe}/s1/train/int8-ctranslate2
controls: true  # the dense model is also trained on for as many updates: what retraining alone would give
speed: true  # models are timed, alone on the machine
"""

TASK_FILE = """\
# A corpus: plain text, a sentence a line, the two sides line by line translations of each other. The sentences here are of two invented
# languages; put your files in their place.
title: My corpus
source: {source}  # language codes, as the files' names end: en, de, ...
target: {target}
train: [{{files: {train}}}]  # also .gz; several entries are put together
dev: [{{files: {dev}}}]  # chooses checkpoints and models; or {{held_out: 100}}: every hundredth training pair
test:  # test sets by name, the main one first; they decide nothing
  test: [{{files: {test}}}]
cleaning: {{max_words: 100, max_ratio: 4}}  # of training pairs alone
"""

RECIPE_FILE = """\
# A model and how each step trains it: what a shipped recipe says (workflow/recipes), and what differs here. For 30,000 pairs `tiny-128` is
# a beginning, for millions `base`.
extends: toy
title: My Transformer (2+2 layers, d 64)
subwords: {type: sentencepiece, size: 700, joint: true}
schedules:
  train: {updates: 400, learning_rate: {peak: 7.0e-3, warm_up: 80, decay: linear, updates: 440}}
  retrain: {updates: 80, learning_rate: {phases: [{updates: 80, rate: last}]}}
  # as long and with the same rates as retrain: the control
  continue: {updates: 80, reset_after: [], learning_rate: {phases: [{updates: 80, rate: last}]}}
"""


def write(folder: Path, config: Config) -> str:
    """Write the example into a new folder and say what to do with it. Raises UserError where the folder holds something already."""
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UserError(f"init: {folder} is there already; name a folder that is new or empty")
    name = config.name_after(folder.resolve().name)
    file = folder / "config.yaml"
    command = f"snakemake --cores all --configfile {shlex.quote(str(file))}"
    page = paths.page(name) / "index.html"
    for seed, (split, sentences) in enumerate(SENTENCES.items(), 1):
        pairs = list(toy.generate(sentences, 1000 + seed))
        for language, lines in zip(LANGUAGES, ([pair.source for pair in pairs], [pair.target for pair in pairs]), strict=True):
            write_lines(folder / "corpus" / f"{split}.{language}", lines)
    corpora = {split: json.dumps(f"{folder}/corpus/{split}.{{lang}}", ensure_ascii=False) for split in SENTENCES}
    write_text(folder / "tasks" / f"{TASK}.yaml", TASK_FILE.format(source=LANGUAGES[0], target=LANGUAGES[1], **corpora))
    write_text(folder / "recipes" / f"{RECIPE}.yaml", RECIPE_FILE)
    settings = {"name": name, "folder": json.dumps(str(folder), ensure_ascii=False), "task": TASK, "recipe": RECIPE}
    write_text(file, CONFIG.format(command=command, page=page, **settings))
    return "\n".join(
        [f"An example is in {folder}: corpus/, tasks/, recipes/ and config.yaml, with comments. Run it:", command, f"Its page: {page}"]
    )
