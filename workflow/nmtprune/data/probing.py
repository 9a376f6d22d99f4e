"""Examples of the ten probing tasks (Conneau et al. 2018) in a task's source language.

They come from one of three sources:

* `gold`: the toy grammar knows the labels of the sentences it generates;
* `senteval`: the public files of SentEval (English), if `data_dir` has them;
* `corpus`: SentLen, WC and BShift need no annotation and are made from the task's own training text.

A probe without a source is `Missing`, with the reason.
"""

from __future__ import annotations

import functools
import random
import re
from bisect import bisect_right
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice, pairwise
from pathlib import Path

from nmtprune.data import toy
from nmtprune.data.fetch import lines_of
from nmtprune.experiment.senteval import CATEGORIES, FILES, files_of
from nmtprune.experiment.task import Task
from nmtprune.foundation.errors import UserError
from nmtprune.foundation.files import evenly_spaced

SPLITS = {"tr": "train", "va": "dev", "te": "test"}  # as SentEval spells them

SEED = 2018  # for all random choices; toy corpora have other seeds
MIN_WORDS, MAX_WORDS = 5, 28  # length of corpus sentences, as in Conneau et al. (2018, section 2)
LENGTH_BINS = 6
SENTENCES_A_WORD = 100  # WC: training sentences for each word, as in Conneau et al.: 100,000 for 1,000 words
LEAST_A_LABEL = 10  # least number of sentences for each label; fewer teach and measure nothing
MOST_LINES = 1_000_000  # most lines of the training text to read

Labelled = tuple[str, str]  # sentence, label
# Lowercases text if the task does, before sentences are compared.
Spelling = Callable[[str], str]
_WORD = re.compile(r"[^\W\d_]+(?:['’-][^\W\d_]+)*")


@dataclass(frozen=True)
class Examples:
    """The examples of a probe; no sentence is in two splits."""

    source: str
    train: list[Labelled]
    dev: list[Labelled]
    test: list[Labelled]


@dataclass(frozen=True)
class Missing:
    """The reason why a probe has no examples."""

    reason: str


def probes(
    task: Task, text: Path, data_dir: Path | None, sizes: Mapping[str, int]
) -> Iterator[tuple[str, Examples | Missing]]:
    """Every probe, with its examples or the reason why it has none.

    `text`: the folder of the task's text; `sizes`: the most examples of `train`, `dev` and `test`. Equal
    arguments give equal examples. Labels are balanced, except in SentEval's files. Raises UserError for
    a malformed file.
    """
    spelt = str.lower if task.cleaning.lowercase else str
    generated = all("toy" in source for source in task.train)
    files = files_of(task, data_dir)
    sentences = functools.cache(lambda: _sentences(text / f"train.{task.source}", spelt))
    for name in CATEGORIES:
        if generated:
            examples = _gold(task, name, sizes, spelt)
        elif name in files:
            examples = _senteval(files[name], sizes, spelt)
        elif name in FROM_CORPUS:
            examples = _from_corpus(name, sentences(), sizes)
        else:
            examples = Missing(_unannotated(task, name))
        yield name, examples


def _unannotated(task: Task, name: str) -> str:
    if task.source == "en":
        return f"there is no probing/{FILES[name]} of SentEval in data_dir"
    return (
        f"it needs annotated sentences in the source language `{task.source}`, and those of SentEval "
        "are English"
    )


def _gold(task: Task, name: str, sizes: Mapping[str, int], spelt: Spelling) -> Examples | Missing:
    if any(source.get("reverse") for source in task.train):
        return Missing(
            "the toy grammar has labels for its source language, and this task translates from its target "
            "language"
        )
    by_label: dict[str, list[str]] = defaultdict(list)
    total = sum(sizes.values())
    unique = {
        spelt(sentence): label for label, sentence in toy.probing_examples(name, total + total // 20, SEED)
    }
    for sentence, label in unique.items():
        by_label[label].append(sentence)
    return _split("gold", by_label, sizes)


def _split(
    source: str, by_label: Mapping[str, Sequence[str]], sizes: Mapping[str, int]
) -> Examples | Missing:
    """Splits with equal numbers of every label, of the given sizes or smaller in the same proportions."""
    total = sum(sizes.values())
    each = min(total // len(by_label), *map(len, by_label.values())) if len(by_label) > 1 else 0
    if each < LEAST_A_LABEL:
        return Missing(
            f"the text has too few sentences: {each} for each of {len(by_label)} labels, and at least "
            f"{LEAST_A_LABEL} are needed"
        )
    dev, test = (max(1, each * sizes[split] // total) for split in ("dev", "test"))
    parts = {"dev": slice(0, dev), "test": slice(dev, dev + test), "train": slice(dev + test, each)}
    draw = random.Random(SEED)
    splits = {}
    for split, part in parts.items():
        splits[split] = [
            (sentence, label) for label, sentences in sorted(by_label.items()) for sentence in sentences[part]
        ]
        draw.shuffle(splits[split])
    return Examples(source, **splits)


# --- the files of SentEval


def _senteval(file: Path, sizes: Mapping[str, int], spelt: Spelling) -> Examples:
    """The examples of a file of SentEval, evenly spaced if there are too many.

    They are detokenised, since models read plain text. A sentence that occurs again, apart from spaces,
    is left out, since detokenising changes spaces. Raises UserError for a malformed line, a split
    without examples, or a single label.
    """
    splits: dict[str, list[Labelled]] = {split: [] for split in SPLITS.values()}
    seen: set[str] = set()
    with open(file, "rb") as stream:
        for number, line in enumerate(lines_of(stream, str(file)), 1):
            fields = line.split("\t")
            if len(fields) != 3 or fields[0] not in SPLITS or not fields[1].strip() or not fields[2].strip():
                raise UserError(
                    f"{file}, line {number}: expected tr, va or te, a label and a sentence with tabs "
                    f"between: {line[:60]!r}"
                )
            split, label, sentence = fields[0], fields[1], spelt(fields[2])
            if (letters := "".join(sentence.split())) not in seen:
                splits[SPLITS[split]].append((sentence, label))
            seen.add(letters)
    for short, split in SPLITS.items():
        if not splits[split]:
            raise UserError(
                f"{file} has no {split} examples (lines that begin with `{short}`): get the whole file again"
            )
    if len({label for _, label in splits["train"]}) < 2:
        raise UserError(f"{file} has a single label in its train examples: a probe needs at least two")
    detokenise = _detokeniser()
    return Examples(
        "senteval",
        **{
            split: [(detokenise(s), label) for s, label in _spaced(splits[split], sizes[split])]
            for split in splits
        },
    )


def _spaced(examples: Sequence[Labelled], most: int) -> list[Labelled]:
    return [examples[place] for place in evenly_spaced(len(examples), most)]


def _detokeniser() -> Callable[[str], str]:
    """A function that undoes the tokenisation of SentEval's sentences.

    Their tokenisation splits `don't` before its `n't`.
    """
    from sacremoses import MosesDetokenizer

    moses = MosesDetokenizer("en")
    return lambda line: moses.detokenize(line.replace(" n't", "n't").split())


# --- the task's own text


def _sentences(file: Path, spelt: Spelling) -> list[str]:
    """Distinct sentences of suitable length in random order, from evenly spaced lines if the text is long."""
    try:
        with open(file, "rb") as stream:
            step = -(-sum(1 for _ in stream) // MOST_LINES) or 1
            stream.seek(0)
            lines = islice(lines_of(stream, str(file)), 0, None, step)
            fitting = dict.fromkeys(
                spelt(line) for line in lines if MIN_WORDS <= len(line.split()) <= MAX_WORDS
            )
    except FileNotFoundError:
        raise UserError(f"there is no text {file} to make probes from") from None
    sentences = list(fitting)
    random.Random(SEED).shuffle(sentences)
    return sentences


def _from_corpus(name: str, sentences: list[str], sizes: Mapping[str, int]) -> Examples | Missing:
    by_label: dict[str, list[str]] = defaultdict(list)
    for sentence, label in FROM_CORPUS[name](sentences, sizes):
        by_label[label].append(sentence)
    return _split("corpus", by_label, sizes)


def sentence_lengths(sentences: list[str], _: Mapping[str, int]) -> Iterator[Labelled]:
    """SentLen: which of six ranges contains the number of words; each range has about as many sentences."""
    lengths = sorted(len(sentence.split()) for sentence in sentences)
    bounds = sorted(
        {lengths[place * len(lengths) // LENGTH_BINS] for place in range(1, LENGTH_BINS)} if lengths else ()
    )
    for sentence in sentences:
        yield sentence, str(bisect_right(bounds, len(sentence.split())))


def word_contents(sentences: list[str], sizes: Mapping[str, int]) -> Iterator[Labelled]:
    """WC: which of n words of medium frequency (ranks 2n to 3n) a sentence contains.

    Conneau et al. use 1,000 words of ranks 2,000 to 3,000 for 100,000 sentences. Here n is in proportion
    to the number of training sentences, and is halved until the text has enough sentences for each word.
    """
    words = [[word.lower() for word in _WORD.findall(sentence)] for sentence in sentences]
    counts = Counter(word for each in words for word in set(each))
    ranked = sorted(counts, key=lambda word: (-counts[word], word))
    count, word_of = max(2, sizes["train"] // SENTENCES_A_WORD), {}
    enough = SENTENCES_A_WORD * sum(sizes.values()) / sizes["train"]
    while count > 1:
        probed = set(ranked[2 * count : 3 * count])
        alone = (set(each) & probed if sum(word in probed for word in each) == 1 else () for each in words)
        word_of = {sentence: word for sentence, only in zip(sentences, alone, strict=True) for word in only}
        if probed and min(Counter(word_of.values())[word] for word in probed) >= enough:
            break
        count //= 2
    yield from word_of.items()


def bigram_shifts(sentences: list[str], _: Mapping[str, int]) -> Iterator[Labelled]:
    """BShift: whether two adjacent words are exchanged, which is done in every other sentence.

    The first word, whose capital letter would give the exchange away, and punctuation marks stay in
    place.
    """
    draw = random.Random(SEED)
    swappable = ((sentence, pairs) for sentence in sentences if (pairs := _pairs(sentence)))
    known = set(sentences)
    for number, (sentence, pairs) in enumerate(swappable):
        if number % 2:
            yield sentence, "O"
            continue
        first, second = draw.choice(pairs)
        shifted = f"{sentence[: first.start()]}{second[0]} {first[0]}{sentence[second.end() :]}"
        if shifted not in known:
            known.add(shifted)
            yield shifted, "I"


def _pairs(sentence: str) -> list[tuple[re.Match[str], re.Match[str]]]:
    """Different adjacent words with a single space between them, without the first word of the sentence."""
    words = list(_WORD.finditer(sentence))[1:]
    return [
        (a, b)
        for a, b in pairwise(words)
        if sentence[a.end() : b.start()] == " " and a[0].lower() != b[0].lower()
    ]


FROM_CORPUS: dict[str, Callable[[list[str], Mapping[str, int]], Iterable[Labelled]]] = {
    "SentLen": sentence_lengths,
    "WC": word_contents,
    "BShift": bigram_shifts,
}
