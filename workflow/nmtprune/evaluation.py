"""Scores of models and of many variants of one model, kept by digest so that nothing is scored twice."""

from __future__ import annotations

import csv
import dataclasses
import io
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from nmtprune import manifest, models, paths
from nmtprune.chain import Chain
from nmtprune.config import Config
from nmtprune.data.corpus import splits_of
from nmtprune.data.subwords import Subwords
from nmtprune.files import digest, read_json, write_json, write_text
from nmtprune.pruning.classes import prunable
from nmtprune.scoring.engine import Search
from nmtprune.scoring.model import Model, from_checkpoint, read_dictionary
from nmtprune.scoring.score import Scorer
from nmtprune.scoring.size import sparsity
from nmtprune.steps.prune import masks_for
from nmtprune.steps.store import SCORES, lock


class Evaluation:
    """Scores chains of one task, recipe and subwords: development and test sets are read and encoded once."""

    def __init__(self, config: Config, chain: Chain, sets: Iterable[str] | None = None) -> None:
        self.config = config
        self.recipe = config.recipe(chain.recipe)
        self.data = config.data_folder(chain)
        task, text = config.task(chain.task), paths.text(chain.task)
        source, target = task["source"], task["target"]
        names = sets or [name for name in splits_of(task) if name != "train"]
        files = {name: (text / f"{name}.{source}", text / f"{name}.{target}") for name in names}
        decoding = self.recipe.get("decoding", {})
        search = Search(**{key: value for key, value in decoding.items() if key != "engine"})
        self.identity = {**config.scoring(chain.recipe), "text": manifest.read(text / paths.MANIFEST)["digest"]}
        engine, device = decoding.get("engine", "auto"), config.settings["device"]
        self.scorer = Scorer(files, Subwords.load(self.data), target, engine, search, device)

    def model(self, chain: Chain) -> Model:
        """A chain's model, masked where its last step is a mask."""
        model = from_checkpoint(models.checkpoint_of(chain), paths.binarised(self.data))
        masks = models.masks_of(chain) if chain.last.family.selects else None
        return dataclasses.replace(model, state=models.masked(model.state, masks))

    def rows(self, chain: Chain, model: Model, masks: Mapping[str, Tensor] | None) -> list[dict[str, Any]]:
        """A row for each set; from what is kept, where the same model was scored the same way before."""
        directory = paths.model(chain)
        state = paths.state(directory)
        identity = digest({"model": manifest.digest_of(self.config, chain), **self.identity})
        kept = state / SCORES
        with lock(state):
            if kept.exists() and (found := read_json(kept))["digest"] == identity and _whole(found["rows"]):
                return found["rows"]
            masked = dataclasses.replace(model, state=models.masked(model.state, masks))
            names = prunable(model.state, self.recipe["prunable"]["embeddings"])
            weights, zeros = sparsity(masked.state, names)
            rows = [
                {"chain": str(chain), **row, "prunable": weights, "sparsity": 100 * zeros} for row in self.scorer.score(masked, directory)
            ]
            write_json(kept, {"digest": identity, "rows": rows})
        return rows


def development_bleu(config: Config, chain: Chain, options: Any) -> Callable[[Mapping[str, Tensor]], float]:
    """A function from weights to BLEU on the development set, for the selection of checkpoints. `options`: fairseq's of the model."""
    evaluation = Evaluation(config, chain, ["dev"])
    task, binarised = config.task(chain.task), paths.binarised(evaluation.data)
    dictionaries = [read_dictionary(binarised / f"dict.{task[side]}.txt") for side in ("source", "target")]
    flat = dict(options) if isinstance(options, Mapping) else vars(options)
    return lambda state: evaluation.scorer.bleu(Model(dict(state), flat, *dictionaries))


def _whole(rows: list[dict[str, Any]]) -> bool:
    return all(Path(row["hypotheses"]).exists() and Path(row["hypotheses"]).with_suffix(".nll").exists() for row in rows)


def score(config: Config, chain: Chain) -> None:
    """Write scores.csv of a chain's model. Raises UserError where the model or its data is missing."""
    evaluation = Evaluation(config, chain)
    _write(paths.model(chain) / paths.SCORES, evaluation.rows(chain, evaluation.model(chain), None))


def score_variants(config: Config, parent: Chain, variants: list[Chain]) -> None:
    """Write variants.csv of a model: a row for each set of each variant (a step that only selects). One process, one model in memory."""
    evaluation = Evaluation(config, parent)
    model = evaluation.model(parent)
    rows = []
    for variant in variants:
        masks = masks_for(variant.last, model.state, evaluation.recipe["prunable"]["embeddings"])
        rows += evaluation.rows(variant, model, masks)
        print(f"scored {variant}", flush=True)
    _write(paths.model(parent) / paths.VARIANTS, rows)


def _write(path: Path, rows: list[dict[str, Any]]) -> None:
    out = io.StringIO()
    writer = csv.DictWriter(out, fieldnames=list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_text(path, out.getvalue())
