"""The ten probing tasks of Conneau et al. (2018) on toy sentences, with gold labels."""

from __future__ import annotations

import random
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

from nmtprune.data.toy.grammar import MAX_WORDS, sentences_of
from nmtprune.data.toy.lexicon import LEXICON, LIVING, NOUNS
from nmtprune.data.toy.source_language import depth_of, source_text, source_tokens, source_tree, tokens_of
from nmtprune.data.toy.syntax import Sentence
from nmtprune.data.toy.text import PUNCTUATION, detokenise
from nmtprune.foundation.errors import UserError, suggest

LENGTH_BINS = (6, 8, 10, 13, 16, MAX_WORDS)  # most words of a sentence with each SentLen label


@dataclass(frozen=True)
class Probe:
    """A probing task: its category (surface, syntactic or semantic) and its labels."""

    category: str
    labels: tuple[str, ...]


PROBES: dict[str, Probe] = {
    "SentLen": Probe("surface", tuple(str(label) for label in range(len(LENGTH_BINS)))),
    "WC": Probe(
        "surface", tuple(noun.singular for kind in LIVING for noun in LEXICON.nouns[kind].items[4:16])
    ),
    "TreeDepth": Probe("syntactic", ("3", "4", "5", "6", "7")),
    "TopConst": Probe(
        "syntactic",
        (
            "NP_VP_.",
            "ADVP_NP_VP_.",
            "PP_NP_VP_.",
            "Q_NP_VP_?",
            "S_,_CC_S_.",
            "SBAR_,_NP_VP_.",
            "NP_VP_SBAR_.",
        ),
    ),
    "BShift": Probe("syntactic", ("O", "I")),
    "Tense": Probe("semantic", ("PAST", "PRES")),
    "SubjNum": Probe("semantic", ("NN", "NNS")),
    "ObjNum": Probe("semantic", ("NN", "NNS")),
    "SOMO": Probe("semantic", ("O", "C")),
    "CoordInv": Probe("semantic", ("O", "I")),
}
_PROBED_WORDS = frozenset(PROBES["WC"].labels)


def probing_labels(sentence: Sentence) -> dict[str, str]:
    """The labels of an unaltered sentence for the tasks that are defined on it.

    Number and tense are those of the main clause, or of the first of two coordinate clauses.
    """
    main, tree = sentence.main, source_tree(sentence)
    words = [token for token in tokens_of(tree) if token not in PUNCTUATION]
    labels = {
        "SentLen": str(bisect_left(LENGTH_BINS, len(words))),
        "TreeDepth": str(depth_of(tree)),
        "TopConst": "_".join(child if isinstance(child, str) else child[0] for child in tree[1:]),
        "Tense": "PAST" if main.past else "PRES",
        "SubjNum": "NNS" if main.subject.plural else "NN",
    }
    if main.object:
        labels["ObjNum"] = "NNS" if main.object.plural else "NN"
    probed_words = [word for word in words if word in _PROBED_WORDS]
    if len(probed_words) == 1:
        labels["WC"] = probed_words[0]
    return {task: label for task, label in labels.items() if label in PROBES[task].labels}


def swap_adjacent(tokens: Sequence[str], rng: random.Random) -> list[str]:
    """Exchange two different adjacent words of a tokenised sentence that have no punctuation between them."""
    pairs = enumerate(pairwise(tokens))
    first = rng.choice(
        [index for index, pair in pairs if pair[0] != pair[1] and not PUNCTUATION.intersection(pair)]
    )
    return [*tokens[:first], tokens[first + 1], tokens[first], *tokens[first + 2 :]]


def replace_odd(sentence: Sentence, rng: random.Random) -> Sentence:
    """Replace the subject noun, verb or object noun of the main clause by one that does not fit."""
    main, verb = sentence.main, sentence.main.verb
    part = rng.choice(("subject", "verb", "object") if main.object else ("subject", "verb"))
    if part == "verb":
        verbs = LEXICON.transitive if main.object else LEXICON.intransitive
        odd = verbs.only(
            lambda other: (
                main.named_subject.noun.kind not in other.subject_kinds
                and not (main.object and main.object.noun.kind in other.object_kinds)
            )
        )
        return replace(sentence, main=replace(main, verb=odd.draw(rng)))
    fitting = verb.subject_kinds if part == "subject" else verb.object_kinds
    kind = rng.choice([kind for kind in NOUNS if kind not in fitting])
    phrase = replace(getattr(main, part), noun=LEXICON.nouns[kind].draw(rng))
    return replace(sentence, main=replace(main, **{part: phrase}))


ALTERING: dict[str, Callable[[Sentence, random.Random], list[str]]] = {
    "BShift": lambda sentence, rng: swap_adjacent(source_tokens(sentence), rng),
    "SOMO": lambda sentence, rng: source_tokens(replace_odd(sentence, rng)),
    "CoordInv": lambda sentence, rng: source_tokens(sentence, inverted=True),
}


def _probing_example(task: str, sentence: Sentence, rng: random.Random) -> tuple[str | None, str]:
    """The label of a sentence, or None if the task is not defined on it, and its text, altered by chance."""
    if task not in ALTERING:
        return probing_labels(sentence).get(task), source_text(sentence)
    if task == "CoordInv" and not sentence.coordinator:
        return None, source_text(sentence)
    label = rng.choice(PROBES[task].labels)
    if label == "O":
        return label, source_text(sentence)
    return label, detokenise(ALTERING[task](sentence, rng))


def probing_examples(task: str, sentences: int, seed: int) -> Iterator[tuple[str, str]]:
    """`sentences` pairs (label, source sentence) of a probing task, in random order.

    Numbers of labels differ by at most one. Half of the sentences of BShift ("I": two adjacent words
    exchanged), SOMO ("C": a word replaced by one that does not fit) and CoordInv ("I": coordinate
    clauses exchanged) are altered; "O" marks the original ones. Raises UserError for an unknown task.
    """
    if task not in PROBES:
        raise UserError(f"unknown probing task `{task}`; {suggest(task, PROBES)}")
    labels = PROBES[task].labels
    rng = random.Random(f"nmtprune toy probing {task} {seed}")
    missing = Counter({label: sentences // len(labels) for label in labels})
    missing.update(labels[: sentences % len(labels)])
    chosen: list[tuple[str, str]] = []
    for sentence in sentences_of(seed):
        if len(chosen) == sentences:
            break
        label, source = _probing_example(task, sentence, rng)
        if label and missing[label]:
            missing[label] -= 1
            chosen.append((label, source))
    rng.shuffle(chosen)
    yield from chosen
