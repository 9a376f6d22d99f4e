"""The arguments of the verbs: positional ones, options, and what a shell completes for each."""

from __future__ import annotations

import argparse
import os
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from nmtprune.cli import completion
from nmtprune.experiment import paths
from nmtprune.experiment.analysis_kinds import ANALYSIS_KINDS
from nmtprune.experiment.metrics import QUALITIES
from nmtprune.experiment.step_kinds import INT8_ENGINES
from nmtprune.fairseq_bridge import TOOLS

FORMATS = ("engine", "marian")  # of an exported model
PAIR = re.compile(r"[A-Za-z_]\w*=")
# `completes` is not an argument of argparse: it says what a shell completes (see nmtprune.cli.completion)
CHAIN = {"metavar": "chain", "completes": "chain"}
POSITIONAL = {
    "task": {"help": "a task: a file of tasks/ by its name", "completes": "task"},
    "subwords": {
        "help": "subword settings of a recipe, by the name of their folder, as sentencepiece-joint-4000"
    },
    "top": {
        "help": (
            "the number of candidates per source piece + the number of most frequent target pieces, as "
            f"50+200; 50 is short for 50+{paths.MOST_FREQUENT}"
        )
    },
    "model": {
        **CHAIN,
        "help": (
            "the model: its chain (toy/toy/s1/train), its folder under results/models, or a file in that"
        ),
    },
    "models": {
        **CHAIN,
        "nargs": "+",
        "help": "the models to time, all of one task; the first one is the anchor of the others",
    },
    "freed": {
        **CHAIN,
        "nargs": "*",
        "help": "the models to make again (default: all that the rest of the run needs)",
    },
    "steps": {
        "metavar": "step",
        "nargs": "+",
        "help": "the steps that make the variants, such as prune-local-50",
    },
    "table": {"help": "the table to write, a .csv file", "completes": "file"},
    "analysis": {"help": f"one of {', '.join(ANALYSIS_KINDS)}", "completes": tuple(ANALYSIS_KINDS)},
    "shard": {"type": int, "help": "the number of the shard, from 1 on"},
    "shards": {"type": int, "help": "the number of shards"},
    "done": {"help": "the file to write once the shard is measured"},
    "init folder": {"metavar": "folder", "help": "the new folder", "completes": "folder"},
    "keep folder": {"metavar": "folder", "help": "the folder to copy into", "completes": "folder"},
    "export folder": {"metavar": "folder", "help": "the new folder", "completes": "folder"},
    "shell": {"help": f"one of {', '.join(completion.SHELLS)}", "completes": completion.SHELLS},
    "tool": {"help": f"one of {', '.join(TOOLS)}", "completes": TOOLS},
    "arguments": {
        "metavar": "argument",
        "nargs": argparse.REMAINDER,
        "help": "the tool's own arguments; --help shows them",
    },
}
OPTIONS = {
    "status": {
        "--watch": {
            "type": float,
            "metavar": "SECONDS",
            "nargs": "?",
            "const": 2.0,
            "help": (
                "draw progress bars of the run and of each training, again every SECONDS seconds until the "
                "run is done (default: one table; without a number: %(const)g seconds)"
            ),
        },
    },
    "plan": {
        "--calibrate": {
            "action": "store_true",
            "help": "first measure recipes of which nothing has run here yet",
        },
        "--cores": {
            "type": int,
            "metavar": "N",
            "default": os.cpu_count(),
            "help": "the number of cores that the run may use (default: this machine's, %(default)s)",
        },
        "--gpus": {
            "type": int,
            "metavar": "N",
            "default": 1,
            "help": "the number of GPUs that the run may use, if it uses any (default: %(default)s)",
        },
    },
    "free": {
        "--yes": {"action": "store_true", "help": "remove the files (default: only list them)"},
        "--models": {
            "action": "store_true",
            "help": "include the weights of scored models, which `export` needs",
        },
    },
    "variants": {
        "--full": {
            "metavar": "STEP",
            "nargs": "+",
            "default": [],
            "help": "steps that are scored on the development set too",
        }
    },
    "speed": {
        "--rounds": {
            "type": int,
            "metavar": "N",
            "required": True,
            "help": "how many times each model translates the test set (needed)",
        },
        "--idle": {
            "action": "store_true",
            "help": "wait for an idle machine, and fail if other processes keep a core busy meanwhile",
        },
    },
    "choose": {
        "--within": {
            "type": float,
            "required": True,
            "metavar": "BLEU",
            "help": "models must lose less than this much BLEU on the development set (needed)",
        },
        "--metric": {
            "default": "bleu",
            "metavar": "METRIC",
            "help": f"what is lost, one of {', '.join(QUALITIES)} (default: %(default)s)",
            "completes": QUALITIES,
        },
        "--task": {
            "metavar": "TASK",
            "help": "choose for this task only (default: all tasks of the run)",
            "completes": "task",
        },
        "--against": {
            **CHAIN,
            "metavar": "CHAIN",
            "help": "the model to compare with (default: the best on the development set)",
        },
    },
    "export": {
        "--engine": {
            "default": "auto",
            "metavar": "ENGINE",
            "help": (
                "ctranslate2, onnx, or auto: the first of these that supports the model (default: "
                "%(default)s)"
            ),
            "completes": ("auto", *INT8_ENGINES),
        },
        "--format": {
            "default": "engine",
            "metavar": "FORMAT",
            "help": (
                "engine, or marian: the format of transformers, for a model that began with such an import "
                "(default: %(default)s)"
            ),
            "completes": FORMATS,
        },
        "--precision": {
            "metavar": "PRECISION",
            "help": (
                "float32 or int8 (default: int8 for a model that was rounded for the engine, else float32)"
            ),
            "completes": ("float32", "int8"),
        },
        "--shortlist": {
            "action": argparse.BooleanOptionalAction,
            "help": "with or without a lexical shortlist (default: as the recipe decodes)",
        },
    },
}
OF_EVERY_VERB = {
    "--configfile": {
        "type": Path,
        "metavar": "FILE",
        "completes": "file",
        "help": "settings that override config.yaml, as Snakemake's option (default: none)",
    },
    "--preset": {
        "metavar": "PRESET",
        "completes": "preset",
        "help": "short for --set preset=PRESET (default: the one in config.yaml, otherwise toy)",
    },
    "--set": {
        "action": "extend",
        "nargs": "+",
        "default": [],
        "metavar": "KEY=VALUE",
        "help": "settings that override files; values in YAML, as Snakemake's --config (default: none)",
    },
    # for rules: take so many GPUs, and wait until they are free
    "--lease": {"type": int, "default": 0, "help": argparse.SUPPRESS},
    # for rules: record what the job has cost, under a name derived from this log's
    "--cost": {"type": Path, "help": argparse.SUPPRESS},
}


class Parser(argparse.ArgumentParser):
    """A parser whose `--set` takes only pairs; argparse alone would also give it the chain that follows."""

    def parse_known_args(
        self, args: Sequence[str] | None = None, namespace: Any = None
    ) -> tuple[argparse.Namespace, list[str]]:
        return super().parse_known_args(_pairs_apart(sys.argv[1:] if args is None else args), namespace)


def _pairs_apart(words: Sequence[str]) -> list[str]:
    """Turn `--set a=1 b=2 word` into `--set=a=1 --set=b=2 word`.

    Words after `--` and those of fairseq's tools stay as they are.
    """
    apart: list[str] = []
    left = iter(words)
    for word in left:
        if word == "--" or (word == "fairseq" and not apart):
            return [*apart, word, *left]
        if apart and apart[-1] == "--set" and not word.startswith("-"):
            apart[-1] = f"--set={word}"
        elif apart and apart[-1].startswith("--set=") and PAIR.match(word):
            apart.append(f"--set={word}")
        else:
            apart.append(word)
    return apart


def add(verb: argparse.ArgumentParser, argument: str, settings: dict[str, Any]) -> None:
    """Add an argument to the parser of a verb, with what a shell completes for it."""
    added: Any = verb.add_argument(  # completion reads the attribute that is added
        argument, **{key: value for key, value in settings.items() if key != "completes"}
    )
    added.completes = settings.get("completes")
