"""Raw text of toy sentences, from their words and punctuation marks."""

from __future__ import annotations

from collections.abc import Sequence

PUNCTUATION = frozenset(",.?")


def detokenise(tokens: Sequence[str]) -> str:
    """Raw text: a capital at the start, punctuation attached, no comma next to another mark."""
    words: list[str] = []
    for token in tokens:
        if token in PUNCTUATION:
            words[-1] = words[-1].rstrip(",") + token
        else:
            words.append(token)
    text = " ".join(words)
    return text[:1].upper() + text[1:]
