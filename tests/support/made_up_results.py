"""A made-up folder of results for rendering: nothing in it was measured, and no model exists.

Qualities follow from the chain (pruning costs, retraining recovers, seeds differ a little), for several
seeds. Translations are drawn from them, and all scores follow from those, so that claims and tables have
something to decide.
"""

from __future__ import annotations

import json
import math
import zlib
from pathlib import Path
from typing import Any

import numpy as np

from nmtprune.experiment import paths, slices
from nmtprune.experiment.chain import Chain
from nmtprune.experiment.config import Config
from nmtprune.experiment.run import Run
from nmtprune.experiment.step_kinds import sparsity_sought
from nmtprune.foundation.files import write_json, write_lines, write_table
from nmtprune.scoring import sentence_statistics, significance
from nmtprune.speed.protocol import COLUMNS, LEFT_OUT_COLUMNS

SENTENCES, WORDS, TOKENS = 60, 20, 24
WORD = "abcdefghij"


def write(run: Config) -> None:
    """Write the files under results/ in the working directory."""
    tables: dict[Path, tuple[list[dict[str, Any]], dict[str, np.ndarray]]] = {}
    for chain in Run(run).models:
        rows, statistics = tables.setdefault(paths.scores(chain), ([], {}))
        selects = chain.last.kind.selects
        for name in run.task(chain.task).pooled_tests if selects else run.task(chain.task).splits:
            row, arrays = _scores(run, chain, name)
            rows.append(row)
            statistics |= arrays
        if not selects:
            _model(run, chain)
    for file, (rows, statistics) in tables.items():
        write_table(file, rows)
        sentence_statistics.write(
            file.with_name(f"{'variants' if file.name == paths.VARIANTS else 'sentences'}.npz"), statistics
        )
    for task, chains in Run(run).speed_groups.items():
        write_table(
            paths.speed(run.name, task),
            [_speed(chain, size) for chain in chains for size in (32, 1)],
            COLUMNS,
        )
        write_table(paths.left_out(paths.speed(run.name, task)), [], LEFT_OUT_COLUMNS)


def _draws(chain: Chain, what: str = "") -> np.random.Generator:
    return np.random.default_rng(zlib.crc32(f"{chain}{what}".encode()))


def _quality(chain: Chain) -> float:
    """The probability that a word is correct."""
    quality = 0.86
    for step in chain.steps:
        match step.kind.name:
            case "prune":
                quality -= 0.35 * (float(step["percent"]) / 100) ** 3 + (
                    0.02 if step["scheme"] == "uniform" else 0
                )
            case "retrain" | "converge" | "rejuvenate" | "restart":
                quality += 0.5 * (0.88 - quality)
            case "rewind" | "drop" | "cut" | "continue":
                quality += 0.005
    return quality + 0.004 * float(_draws(chain, "quality").normal())


def _left(chain: Chain) -> float:
    """The share of a layer's units that a lasso leaves."""
    strengths = [_strength(step["lambda"]) for step in chain.steps if step.kind.name == "lasso"]
    return 1 / (1 + 2 * sum(strengths))


def _strength(penalty: str) -> float:
    """A lambda; one that is sought (`to67`) is as strong as leaves what it should."""
    sought = sparsity_sought(penalty)
    return float(penalty) if sought is None else (1 / (1 - sought / 100) - 1) / 2


def _scores(run: Config, chain: Chain, name: str) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    draws, quality = _draws(chain, name), _quality(chain)
    totals = np.array([WORDS - order for order in range(4)])
    matches = draws.binomial(totals, quality ** np.arange(1, 5), size=(SENTENCES, 4))
    statistics = np.concatenate(
        [np.full((SENTENCES, 2), WORDS), matches, np.broadcast_to(totals, matches.shape)], axis=1
    )
    nll = (
        np.round(
            4 * (TOKENS * (1.6 - quality) + draws.normal(0, 1, SENTENCES) - (3 if name == "train" else 0))
        )
        / 4
    )  # packs well
    per_token = float(nll.sum() / (TOKENS * SENTENCES))
    share = next((float(step["percent"]) for step in chain.steps if step.kind.name == "prune"), 0.0)
    shape, weights = run.recipe(chain.recipe).architecture.shape, 1_000_000
    if shape and _left(chain) < 1:
        shape = {
            side: [
                {part: max(1, int(width * _left(chain))) for part, width in layer.items()}
                for layer in shape[side]
            ]
            for side in shape
        }
    translated = name != "train"
    bleu = float(significance.bleu(statistics.sum(0).astype(float)))
    row = {
        **{
            "chain": str(chain),
            "set": name,
            "sentences": SENTENCES,
            "bleu": bleu if translated else "",
            "bleu_signature": "made up",
        },
        **{
            "chrf": 0.9 * bleu if translated else "",
            "chrf_signature": "made up",
            "comet": "",
            "perplexity": math.exp(per_token),
        },
        **{
            "nll_per_token": per_token,
            "target_tokens": TOKENS * SENTENCES,
            "parameters": int(weights * _left(chain)),
        },
        **{
            "nonzero": int(weights * (1 - share / 100)),
            "size_dense": 4 * weights,
            "size_sparse": int(5 * weights * (1 - share / 100)),
        },
        **{
            "engine": "ctranslate2",
            "precision": "float32",
            "shortlist": "",
            "macs_per_word": 1e6 * _left(chain),
            "beam": 5,
        },
        **{
            "hypotheses": str(paths.hypotheses(chain, name)) if translated else "",
            "prunable": weights,
            "sparsity": share,
        },
        **{
            "largest_pruned": 0.01 * share if share else "",
            "size_stored": int(4.5 * weights * (1 - share / 100)),
            "shape": json.dumps(shape),
        },
        "seconds": 1.0,
    }
    kept = {"nll": nll, "tokens": np.full(SENTENCES, TOKENS), **({"bleu": statistics} if translated else {})}
    return row, {f"{chain.last}/{name}/{what}": array for what, array in kept.items()}


def _model(run: Config, chain: Chain) -> None:
    """Write manifest, history, norms and translations of the main test set."""
    updates = run.schedule(chain.recipe, chain.last.schedule).updates if chain.last.kind.trains else 0
    facts = {
        "updates": updates,
        "selected_update": updates,
        "stopped_early": False,
        "precision": "fp32",
        "wall_seconds": 60.0,
    }
    write_json(
        paths.manifest(chain),
        {"chain": str(chain), "digest": "made up", "slice": slices.of_step(run, chain), **facts},
    )
    if chain.last.kind.trains:
        dev_nll = [1.6 - _quality(chain) + 0.002 * (4 - place) for place in range(5)]
        history = [
            {
                "update": updates * (place + 1) // 5,
                "epoch": place,
                "learning_rate": 1e-4,
                "train_nll": nll - 0.1,
                "dev_nll": nll,
            }
            for place, nll in enumerate(dev_nll)
        ]
        write_table(
            paths.history(chain), [{**each, "dev_perplexity": math.exp(each["dev_nll"])} for each in history]
        )
    if chain.last.kind.name == "slice":
        draws = _draws(chain, "norms")
        arrays = {
            matrix: np.abs(draws.normal(1, 0.2, 64)) * (draws.random(64) < _left(chain))
            for matrix in ("fc1", "fc2", "q_proj")
        }
        with open(paths.norms(chain), "wb") as file:
            np.savez_compressed(file, **arrays, fc1_cut=np.array(0.01))
    task = run.task(chain.task)
    main, text = task.main_test, np.random.default_rng(1)
    lines = [[WORD[place] * 3 for place in text.integers(0, len(WORD), 8)] for _ in range(SENTENCES)]
    for side in ("source", "target"):
        file = paths.text(chain.task) / f"{main}.{task.language(side)}"
        file.parent.mkdir(parents=True, exist_ok=True)
        write_lines(file, [" ".join(line) for line in lines])
    draws, quality = _draws(chain, "words"), _quality(chain)
    write_lines(
        paths.hypotheses(chain, main),
        [" ".join(word if draws.random() < quality else "x" for word in line) for line in lines],
    )


def _speed(chain: Chain, size: int) -> dict[str, Any]:
    seconds = (1 if size == 32 else 4) * (0.4 + 0.6 * _left(chain)) * (0.7 if chain.quantised_for else 1)
    precision = "int8" if chain.quantised_for else "float32"
    row = dict.fromkeys(COLUMNS, 1) | {
        "chain": str(chain),
        "engine": "onnx",
        "engine_version": "made up",
        "precision": precision,
    }
    row |= {
        "shortlist": 1,
        "batch_size": size,
        "runs": 5,
        "seconds": seconds,
        "seconds_low": 0.98 * seconds,
        "seconds_high": 1.03 * seconds,
    }
    row |= {
        "seconds_by_round": " ".join(f"{number}:{seconds:.3f}" for number in range(1, 6)),
        "words_per_second": 5000 / seconds,
    }
    return row | {
        "speed_up": 1 / seconds,
        "speed_up_low": 0.97 / seconds,
        "speed_up_high": 1.02 / seconds,
        "cpu": "made up",
        "others_cpu": 0.02,
    }
