"""Clean the sentence pairs of a training corpus."""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from nmtprune.data.fetch import Pair

DROPS = ("empty", "control characters", "too long", "ratio", "duplicate")

# Unicode's control characters (Cc) except the tab, and its line and paragraph separators, where many programs
# end a line.
_CONTROL = re.compile("[\x00-\x08\x0a-\x1f\x7f-\x9f\u2028\u2029]")


def clean(pairs: Iterable[Pair], cleaning: Mapping[str, Any], counts: Counter[str]) -> Iterator[Pair]:
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
    control = cleaning.get("control_characters", "replace")
    max_words = cleaning.get("max_words") or float("inf")
    max_characters = cleaning.get("max_characters") or float("inf")
    max_ratio = cleaning.get("max_ratio") or float("inf")
    seen: set[bytes] | None = set() if cleaning.get("duplicates") == "drop" else None

    def reason(source: str, target: str) -> str | None:
        if not source or not target:
            return "empty"
        if control == "drop" and (_CONTROL.search(source) or _CONTROL.search(target)):
            return "control characters"
        words = len(source.split()), len(target.split())
        if max(words) > max_words or max(len(source), len(target)) > max_characters:
            return "too long"
        if max(words) > max_ratio * min(words):
            return "ratio"
        if seen is not None:
            key = hashlib.blake2b(f"{source}\n{target}".encode(), digest_size=16).digest()
            if key in seen:
                return "duplicate"
            seen.add(key)
        return None

    for source, target, *labels in pairs:
        counts["read"] += 1
        if control == "replace":
            source, target = (_CONTROL.sub(" ", side) for side in (source, target))
        source, target = source.strip(), target.strip()
        dropped = reason(source, target)
        counts[dropped or "kept"] += 1
        if not dropped:
            yield source, target, *labels
