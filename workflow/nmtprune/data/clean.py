"""Clean the sentence pairs of a training corpus."""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Iterable, Iterator

from nmtprune.data.fetch import Pair
from nmtprune.experiment.task import Cleaning

DROPS = ("empty", "control characters", "too long", "ratio", "duplicate")

# Unicode's control characters (Cc) except the tab, and its line and paragraph separators, where many programs
# end a line.
_CONTROL = re.compile("[\x00-\x08\x0a-\x1f\x7f-\x9f\u2028\u2029]")
_NO_LIMIT = float("inf")


def clean(pairs: Iterable[Pair], cleaning: Cleaning, counts: Counter[str]) -> Iterator[Pair]:
    """Yield the pairs to train on, and count all pairs in `counts`.

    Counts are `read`, `kept`, and each reason of `DROPS`. `cleaning`: see schemas/task.schema.json. A
    pair counts under the first reason that applies, in the order of `DROPS`:

    * empty: a side has no visible character;
    * control characters: a side has one and `control_characters` is `drop` (`replace`, the default,
      replaces it by a space);
    * too long: a side has more than `max_words` words or `max_characters` characters;
    * ratio: one side has more than `max_ratio` times as many words as the other;
    * duplicate: an equal pair was kept before, and `duplicates` is `drop` (which needs 100 bytes of
      memory for each pair).
    """
    seen: set[bytes] = set()
    for source, target, *labels in pairs:
        counts["read"] += 1
        if cleaning.control_characters == "replace":
            source, target = (_CONTROL.sub(" ", side) for side in (source, target))
        source, target = source.strip(), target.strip()
        dropped = _reason(source, target, cleaning)
        if not dropped and cleaning.duplicates == "drop":
            key = hashlib.blake2b(f"{source}\n{target}".encode(), digest_size=16).digest()
            dropped = "duplicate" if key in seen else None
            seen.add(key)
        counts[dropped or "kept"] += 1
        if not dropped:
            yield source, target, *labels


def _reason(source: str, target: str, cleaning: Cleaning) -> str | None:
    """The first reason of `DROPS`, except `duplicate`, that applies to a pair; None if none does."""
    if not source or not target:
        return "empty"
    if cleaning.control_characters == "drop" and (_CONTROL.search(source) or _CONTROL.search(target)):
        return "control characters"
    words, characters = (len(source.split()), len(target.split())), (len(source), len(target))
    if max(words) > (cleaning.max_words or _NO_LIMIT):
        return "too long"
    if max(characters) > (cleaning.max_characters or _NO_LIMIT):
        return "too long"
    if max(words) > (cleaning.max_ratio or _NO_LIMIT) * min(words):
        return "ratio"
    return None
