"""Generate the toy corpus: sentence pairs in raw text with labels for probing."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

from nmtprune.data.toy.grammar import sentences_of
from nmtprune.data.toy.probes import probing_labels
from nmtprune.data.toy.source_language import source_text
from nmtprune.data.toy.target_language import target_tokens
from nmtprune.data.toy.text import detokenise


@dataclass(frozen=True)
class Example:
    """A sentence pair in raw text, with its labels for the probing tasks that do not alter sentences.

    A task without a label is not defined on the sentence, such as ObjNum for an intransitive verb.
    """

    source: str
    target: str
    labels: dict[str, str]


def generate(sentences: int, seed: int) -> Iterator[Example]:
    """`sentences` sentence pairs: the same ones for equal arguments.

    A larger corpus with the same seed begins with them.
    """
    for sentence in islice(sentences_of(seed), sentences):
        yield Example(source_text(sentence), detokenise(target_tokens(sentence)), probing_labels(sentence))
