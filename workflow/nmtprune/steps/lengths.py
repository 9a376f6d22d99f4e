"""Checks that a text's lengths fit a model's positions and batches, before training and at an import."""

from __future__ import annotations

from collections.abc import Sequence

from nmtprune.experiment import paths
from nmtprune.experiment.chain import Chain
from nmtprune.experiment.config import Config
from nmtprune.experiment.subwords import SIDES
from nmtprune.fairseq_bridge.binarise import lengths
from nmtprune.foundation.errors import UserError


def check_lengths(
    config: Config, chain: Chain, positions: Sequence[int], limits: Sequence[int] | None = None
) -> None:
    """Raises UserError if a development or test line is too long, or if no training pair is short enough.

    `positions` [source, target]: the most pieces that the model takes, end of sentence included. `limits`
    [source, target]: the most pieces that a side of a training pair may have. With `limits`, a batch must
    also hold each side of the development set, and the number of training pairs that are left out is printed.
    """
    task, folder = config.task(chain.task), paths.binarised(config.data_folder(chain))
    languages = task.languages
    for split in ("dev", *task.tests):
        room = (
            config.schedule(chain.recipe, chain.last.schedule).batch_tokens
            if limits is not None and split == "dev"
            else None
        )
        for side, sizes, most in zip(SIDES, lengths(folder, split, languages), positions, strict=True):
            limit = min(most, room or most)
            if len(sizes) and sizes.max() > limit:
                line, pieces = int(sizes.argmax()) + 1, int(sizes.max())
                why = (
                    f"a batch takes {limit} (batch_tokens)"
                    if limit < most
                    else f"the model has positions for {limit}"
                )
                raise UserError(
                    f"task `{task.title}`: line {line} of the {side} side of `{split}` has {pieces} "
                    "pieces, end of sentence included, "
                    f"and {why}: shorten the line"
                )
    if limits is None:
        return
    source, target = lengths(folder, "train", languages)
    fitting = (source <= limits[0]) & (target <= limits[1])
    left_out = len(fitting) - int(fitting.sum())
    where = f"{config.library.place('recipes', chain.recipe)}: schedules.{chain.last.schedule}"
    most = f"{limits[0]}" if limits[0] == limits[1] else f"{limits[0]} (source) or {limits[1]} (target)"
    if left_out == len(fitting):
        raise UserError(
            f"{where}: each of the {len(fitting)} training pairs has a side of more than {most} pieces, the "
            "most that batch_tokens, "
            "max_length and the model's positions allow: raise batch_tokens, or split the lines"
        )
    if left_out:
        print(
            f"{left_out:,} of {len(fitting):,} training pairs are left out: a side has more than {most} "
            "pieces",
            flush=True,
        )
