"""The words of the toy languages and their forms; one lexicon for all corpora."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Generic, TypeVar

T = TypeVar("T")

# Vocabulary sizes, and shares of words with properties to memorise.
NOUNS = {"person": 16, "animal": 16, "thing": 12, "food": 8, "place": 4}
TRANSITIVE, INTRANSITIVE, ADJECTIVES, ADVERBS = 16, 6, 6, 4
AMBIGUOUS, IRREGULAR, SEPARABLE = 0.15, 0.15, 0.3

LIVING = ("person", "animal")
SUBJECT_KINDS = (("person",), LIVING, ("animal",))
OBJECT_KINDS = (
    ("person",),
    ("thing",),
    ("person", "thing"),
    ("animal",),
    ("food",),
    LIVING,
    ("thing", "food"),
)


@dataclass(frozen=True)
class Word:
    """A word that does not inflect in the source language; in the target, an adjective takes endings."""

    source: str
    target: str


@dataclass(frozen=True)
class TargetNoun:
    """A noun of the target language."""

    singular: str
    plural: str
    gender: str


@dataclass(frozen=True)
class Noun:
    """A noun of the source language with its translations.

    `senses[field]` is the translation in a clause whose verb has that field: two different nouns if the
    noun is ambiguous.
    """

    singular: str
    plural: str
    kind: str
    senses: tuple[TargetNoun, TargetNoun]


@dataclass(frozen=True)
class TargetVerb:
    """A verb of the target language; `present` and `past` hold the singular and the plural form."""

    prefix: str
    present: tuple[str, str]
    past: tuple[str, str]


@dataclass(frozen=True)
class Verb:
    """A verb of the source language with its translations; `present` holds the singular and the plural form.

    `senses[alive]` is the translation with a living object or without: two different verbs if the verb
    takes both kinds of objects.
    """

    present: tuple[str, str]
    past: str
    field: int
    subject_kinds: tuple[str, ...]
    object_kinds: tuple[str, ...]
    senses: tuple[TargetVerb, TargetVerb]


class Weighted(Generic[T]):
    """Items drawn with a probability that falls with their rank, as in natural languages."""

    def __init__(self, items: Sequence[T]) -> None:
        self.items = tuple(items)
        self._cumulative = list(accumulate(1 / (rank + 2) for rank in range(len(self.items))))

    def draw(self, rng: random.Random) -> T:
        """Draw one item."""
        return rng.choices(self.items, cum_weights=self._cumulative)[0]

    def only(self, condition: Callable[[T], bool]) -> Weighted[T]:
        """The items that satisfy a condition."""
        return Weighted([item for item in self.items if condition(item)])


SOURCE_SYLLABLE = (tuple("ptkbdgmnlrsvf"), tuple("aeiou"), ("", "", "l", "n", "r", "m"))
TARGET_SYLLABLE = (
    ("br", "tr", "kl", "st", "sch", *"whdgmnrfl"),
    tuple("aeiou"),
    ("", "ch", "ng", "rk", "lt", "b"),
)
GENDERS = ("masculine", "feminine", "neuter")
TARGET_PREFIXES = ("ab", "ein", "vor", "zu", "mit", "weg")
VOWEL_SHIFT = str.maketrans("aeiou", "eioua")
UMLAUT = str.maketrans("aou", "äöü")
TARGET_PLURALS: tuple[Callable[[str], str], ...] = (
    lambda stem: stem + "en",
    lambda stem: stem + "e",
    lambda stem: stem.translate(UMLAUT) + "er",
)


class Lexicon:
    """All words of both languages, the same ones for every corpus."""

    def __init__(self) -> None:
        self._rng = random.Random("nmtprune toy lexicon")
        self._used: set[str] = set()
        self.nouns = {kind: Weighted([self._noun(kind) for _ in range(size)]) for kind, size in NOUNS.items()}
        transitive = [self._verb(OBJECT_KINDS[rank % len(OBJECT_KINDS)]) for rank in range(TRANSITIVE)]
        self.transitive = Weighted(transitive)
        self.intransitive = Weighted([self._verb(()) for _ in range(INTRANSITIVE)])
        self.transitive_of = {
            kind: self.transitive.only(lambda v, k=kind: k in v.subject_kinds) for kind in LIVING
        }
        self.intransitive_of = {
            kind: self.intransitive.only(lambda v, k=kind: k in v.subject_kinds) for kind in LIVING
        }
        self.transitive_on = {
            kind: self.transitive.only(lambda v, k=kind: k in v.object_kinds) for kind in NOUNS
        }
        self.adjectives = self._words(ADJECTIVES)
        self.adverbs = self._words(ADVERBS)
        self.prepositions = self._words(4)
        self.coordinators = self._words(3)
        self.subordinators = self._words(4)
        self.connectives = self._words(3)

    def _chance(self, probability: float) -> bool:
        return self._rng.random() < probability

    def _stem(self, syllable: tuple[tuple[str, ...], ...], counts: Sequence[int]) -> str:
        """A new stem, different from all others and their irregular forms.

        `counts`: possible numbers of syllables.
        """
        while True:
            count = self._rng.choice(counts)
            stem = "".join(self._rng.choice(part) for _ in range(count) for part in syllable)
            forms = {stem, stem.translate(VOWEL_SHIFT)}
            if not forms & self._used:
                self._used |= forms
                return stem

    def _source_stem(self) -> str:
        return self._stem(SOURCE_SYLLABLE, (2,))

    def _target_stem(self) -> str:
        return self._stem(TARGET_SYLLABLE, (1, 2, 2))

    def _words(self, count: int) -> Weighted[Word]:
        return Weighted([Word(self._source_stem(), self._target_stem()) for _ in range(count)])

    def _senses(self, make: Callable[[], T], ambiguous: bool) -> tuple[T, T]:
        first = make()
        return first, make() if ambiguous else first

    def _noun(self, kind: str) -> Noun:
        stem = self._source_stem()
        plural = stem.translate(VOWEL_SHIFT) if self._chance(IRREGULAR) else stem + "s"
        return Noun(stem, plural, kind, self._senses(self._target_noun, self._chance(AMBIGUOUS)))

    def _target_noun(self) -> TargetNoun:
        stem = self._target_stem()
        return TargetNoun(stem, self._rng.choice(TARGET_PLURALS)(stem), self._rng.choice(GENDERS))

    def _verb(self, object_kinds: tuple[str, ...]) -> Verb:
        stem = self._source_stem()
        past = stem.translate(VOWEL_SHIFT) if self._chance(IRREGULAR) else stem + "ev"
        return Verb(
            present=(stem + "a", stem + "an"),
            past=past,
            field=self._rng.randrange(2),
            subject_kinds=self._rng.choice(SUBJECT_KINDS),
            object_kinds=object_kinds,
            senses=self._senses(
                self._target_verb, ambiguous=len({kind in LIVING for kind in object_kinds}) == 2
            ),
        )

    def _target_verb(self) -> TargetVerb:
        stem = self._target_stem()
        strong = stem.translate(VOWEL_SHIFT)
        return TargetVerb(
            prefix=self._rng.choice(TARGET_PREFIXES) if self._chance(SEPARABLE) else "",
            present=(stem + "t", stem + "en"),
            past=(strong, strong + "en") if self._chance(IRREGULAR) else (stem + "te", stem + "ten"),
        )


LEXICON = Lexicon()
