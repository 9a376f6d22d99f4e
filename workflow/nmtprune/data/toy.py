"""The `toy` parallel corpus: a small grammar of two invented languages, with gold labels for the ten probing
tasks.

A sentence is drawn as an abstract structure (`Sentence`, `Clause`, `NounPhrase`) and then written in both
languages.

* The source language has subject-verb-object order, marks number and tense, and has words of two senses: a
noun's sense
  follows the field of its clause's verb, a verb's sense follows whether its object is alive.
* The target language puts the verb second in main clauses, first in questions and last in subordinate
clauses.
  Articles, adjectives and pronouns agree in gender, number and case; some verbs leave their prefix at the end
  of the clause; two nouns form one word.

Words are drawn with a Zipf-like distribution; gender, plural, strong past and second sense are properties of
a word that a model has to memorise.
"""

from __future__ import annotations

import random
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate, islice, pairwise
from typing import Any, Generic, TypeVar

from nmtprune.foundation.errors import UserError, suggest

T = TypeVar("T")


@dataclass(frozen=True)
class Example:
    """A sentence pair in raw text, with its labels in the probing tasks that need no altered sentence.

    A task without a label here is not defined on the sentence (ObjNum of an intransitive verb, for one).
    """

    source: str
    target: str
    labels: dict[str, str]


@dataclass(frozen=True)
class Probe:
    """A probing task of Conneau et al. (2018): its category (surface, syntactic or semantic) and its
    labels.
    """

    category: str
    labels: tuple[str, ...]


# Vocabulary sizes and the shares of words with something to memorise.
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

MIN_WORDS, MAX_WORDS = 4, 25
LENGTH_BINS = (6, 8, 10, 13, 16, MAX_WORDS)  # the longest sentence of each SentLen label, in words
PUNCTUATION = frozenset(",.?")


# The lexicon


@dataclass(frozen=True)
class Word:
    """A word that does not inflect in the source; as an adjective it takes an ending in the target."""

    source: str
    target: str


@dataclass(frozen=True)
class TargetNoun:
    singular: str
    plural: str
    gender: str


@dataclass(frozen=True)
class Noun:
    """`senses[field]` is its translation in a clause whose verb is of that field: two nouns if it is
    ambiguous.
    """

    singular: str
    plural: str
    kind: str
    senses: tuple[TargetNoun, TargetNoun]


@dataclass(frozen=True)
class TargetVerb:
    """`present` and `past` hold the singular and the plural form."""

    prefix: str
    present: tuple[str, str]
    past: tuple[str, str]


@dataclass(frozen=True)
class Verb:
    """`senses[alive]` is its translation with a living object or without: two different verbs if it takes
    both.
    """

    present: tuple[str, str]
    past: str
    field: int
    subject_kinds: tuple[str, ...]
    object_kinds: tuple[str, ...]
    senses: tuple[TargetVerb, TargetVerb]


class Weighted(Generic[T]):
    """Items drawn with a probability that falls with their rank, like the words of a natural language."""

    def __init__(self, items: Sequence[T]) -> None:
        self.items = tuple(items)
        self._cumulative = list(accumulate(1 / (rank + 2) for rank in range(len(self.items))))

    def draw(self, rng: random.Random) -> T:
        return rng.choices(self.items, cum_weights=self._cumulative)[0]

    def only(self, condition: Callable[[T], bool]) -> Weighted[T]:
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
    """All words of both languages: the same ones for every corpus."""

    def __init__(self) -> None:
        self._rng = random.Random("nmtprune toy lexicon")
        self._taken: set[str] = set()
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
        """A new stem of so many syllables, distinct from all others and from their irregular forms."""
        while True:
            count = self._rng.choice(counts)
            stem = "".join(self._rng.choice(part) for _ in range(count) for part in syllable)
            forms = {stem, stem.translate(VOWEL_SHIFT)}
            if not forms & self._taken:
                self._taken |= forms
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


# The abstract structure of a sentence


@dataclass(frozen=True)
class NounPhrase:
    noun: Noun
    plural: bool
    definite: bool = True
    adjective: Word | None = None
    modifier: Noun | None = None
    relative: Clause | None = None


@dataclass(frozen=True)
class Pronoun:
    """Stands for `antecedent`, the subject of a clause whose verb is of `field`."""

    antecedent: NounPhrase
    field: int

    @property
    def plural(self) -> bool:
        return self.antecedent.plural


@dataclass(frozen=True)
class Trace:
    """The subject of a relative clause that the relative pronoun stands for."""

    plural: bool


@dataclass(frozen=True)
class Clause:
    """A relative clause has a `Trace` as its subject, or lacks the object of its transitive verb."""

    verb: Verb
    past: bool
    subject: NounPhrase | Pronoun | Trace
    object: NounPhrase | None = None
    object_lives: bool = False  # known also where a relative pronoun stands for the object
    adverb: Word | None = None
    place: tuple[Word, NounPhrase] | None = None


@dataclass(frozen=True)
class Sentence:
    """A main clause, alone or with a coordinate or a subordinate one; `front` names what stands before the
    subject.
    """

    main: Clause
    front: str = ""  # "adverb", "place", "subordinate" or nothing
    question: bool = False
    coordinator: Word | None = None
    connective: Word | None = None
    subordinator: Word | None = None
    second: Clause | None = None


class Grammar:
    """Draws sentences at random."""

    def __init__(self, lexicon: Lexicon, rng: random.Random) -> None:
        self.lexicon = lexicon
        self.rng = rng

    def _chance(self, probability: float) -> bool:
        return self.rng.random() < probability

    def _noun_phrase(self, kind: str, depth: int) -> NounPhrase:
        """A noun phrase within `depth` relative clauses."""
        lexicon, rng = self.lexicon, self.rng
        phrase = NounPhrase(
            noun=lexicon.nouns[kind].draw(rng),
            plural=self._chance(0.4),
            definite=self._chance(0.6),
            adjective=lexicon.adjectives.draw(rng) if self._chance(0.25) else None,
            modifier=lexicon.nouns["thing"].draw(rng) if kind == "thing" and self._chance(0.3) else None,
        )
        if kind != "place" and self._chance(0.05 / (1 + depth)):
            phrase = replace(phrase, relative=self._relative(phrase, depth + 1))
        return phrase

    def _relative(self, head: NounPhrase, depth: int) -> Clause:
        kind, past = head.noun.kind, self._chance(0.5)
        if kind in LIVING and self._chance(0.7):
            return self._clause(Trace(head.plural), kind, past, depth)
        verb = self.lexicon.transitive_on[kind].draw(self.rng)
        subject = self._noun_phrase(self.rng.choice(verb.subject_kinds), depth)
        return Clause(verb, past, subject, object_lives=kind in LIVING)

    def _clause(self, subject: NounPhrase | Pronoun | Trace, kind: str, past: bool, depth: int = 0) -> Clause:
        """A clause about a subject of this kind; a relative clause has neither place nor adverb."""
        lexicon, rng = self.lexicon, self.rng
        transitive = self._chance(0.7)
        verb = (lexicon.transitive_of if transitive else lexicon.intransitive_of)[kind].draw(rng)
        clause = Clause(verb, past, subject)
        if transitive:
            kind = rng.choice(verb.object_kinds)
            clause = replace(clause, object=self._noun_phrase(kind, depth), object_lives=kind in LIVING)
        if depth == 0 and self._chance(0.15):
            clause = replace(
                clause, place=(lexicon.prepositions.draw(rng), self._noun_phrase("place", depth))
            )
        if depth == 0 and self._chance(0.15):
            clause = replace(clause, adverb=lexicon.adverbs.draw(rng))
        return clause

    def _full_clause(self, past: bool) -> Clause:
        kind = self.rng.choice(LIVING)
        return self._clause(self._noun_phrase(kind, 0), kind, past)

    def _second_clause(self, main: Clause, past: bool) -> Clause:
        """A clause beside `main`: in half of the cases a pronoun takes up the subject."""
        if self._chance(0.5):
            return self._clause(Pronoun(main.subject, main.verb.field), main.subject.noun.kind, past)
        return self._full_clause(past)

    def _any_sentence(self) -> Sentence:
        lexicon, rng = self.lexicon, self.rng
        past = self._chance(0.5)
        main = self._full_clause(past)
        match rng.choices(("simple", "question", "coordinate", "subordinate"), (76, 8, 8, 8))[0]:
            case "question":
                return Sentence(main, question=True)
            case "coordinate":
                # Events are told in their order: that nothing past follows the present is a cue to the
                # clauses' order.
                second = self._second_clause(main, past and self._chance(0.5))
                connective = lexicon.connectives.draw(rng) if self._chance(0.5) else None
                return Sentence(
                    main, second=second, coordinator=lexicon.coordinators.draw(rng), connective=connective
                )
            case "subordinate":
                front = "subordinate" if self._chance(0.5) else ""
                second = self._second_clause(main, self._chance(0.5))
                return Sentence(main, front, second=second, subordinator=lexicon.subordinators.draw(rng))
            case _:
                fronts = [part for part in ("adverb", "place") if getattr(main, part) and self._chance(0.6)]
                return Sentence(main, rng.choice(fronts) if fronts else "")

    def sentence(self) -> Sentence:
        """A sentence of `MIN_WORDS` to `MAX_WORDS` source words."""
        while True:
            sentence = self._any_sentence()
            if MIN_WORDS <= _length(sentence) <= MAX_WORDS:
                return sentence


# The source language, as parse trees: a tree is a label followed by its children, a word is a plain string

Tree = tuple[Any, ...]

DETERMINERS = {True: ("ta", "ta"), False: ("un", "nek")}  # definite or not: singular, plural
SOURCE_PRONOUNS = ("zo", "zi")
RELATIVE_PRONOUN, QUESTION_PARTICLE = "ke", "chu"


def source_tree(sentence: Sentence, inverted: bool = False) -> Tree:
    """The parse tree of a source sentence; `inverted` exchanges its two coordinate clauses."""
    main, second = sentence.main, sentence.second
    if sentence.question:
        return ("S", ("Q", QUESTION_PARTICLE), *_source_clause(main), "?")
    if second and sentence.coordinator:
        clauses = [
            ("S", *_source_clause(main)),
            ("S", *_adverbial(sentence.connective), *_source_clause(second)),
        ]
        first, last = reversed(clauses) if inverted else clauses
        return ("S", first, ",", ("CC", sentence.coordinator.source), last, ".")
    if second and sentence.subordinator:
        subordinate = ("SBAR", sentence.subordinator.source, ("S", *_source_clause(second)))
        if sentence.front == "subordinate":
            return ("S", subordinate, ",", *_source_clause(main), ".")
        return ("S", *_source_clause(main), subordinate, ".")
    if sentence.front == "adverb":
        return ("S", *_adverbial(main.adverb), *_source_clause(replace(main, adverb=None)), ".")
    if sentence.front == "place":
        return ("S", *_source_place(main.place), *_source_clause(replace(main, place=None)), ".")
    return ("S", *_source_clause(main), ".")


def _source_clause(clause: Clause) -> list[Tree]:
    objects = [_source_noun_phrase(clause.object)] if clause.object else []
    form = clause.verb.past if clause.past else clause.verb.present[clause.subject.plural]
    predicate = ("VP", form, *objects, *_source_place(clause.place), *_adverbial(clause.adverb))
    match clause.subject:
        case NounPhrase() as phrase:
            return [_source_noun_phrase(phrase), predicate]
        case Pronoun() as pronoun:
            return [("NP", SOURCE_PRONOUNS[pronoun.plural]), predicate]
        case _:
            return [predicate]


def _adverbial(word: Word | None) -> list[Tree]:
    return [("ADVP", word.source)] if word else []


def _source_place(place: tuple[Word, NounPhrase] | None) -> list[Tree]:
    return [("PP", place[0].source, _source_noun_phrase(place[1]))] if place else []


def _source_noun_phrase(phrase: NounPhrase) -> Tree:
    words = [DETERMINERS[phrase.definite][phrase.plural]]
    if phrase.adjective:
        words.append(phrase.adjective.source)
    if phrase.modifier:
        words.append(phrase.modifier.singular)
    words.append(phrase.noun.plural if phrase.plural else phrase.noun.singular)
    relative = (
        [("SBAR", RELATIVE_PRONOUN, ("S", *_source_clause(phrase.relative)))] if phrase.relative else []
    )
    return ("NP", *words, *relative)


def _depth(tree: Tree | str) -> int:
    return 0 if isinstance(tree, str) else 1 + max(_depth(child) for child in tree[1:])


def source_tokens(sentence: Sentence, inverted: bool = False) -> list[str]:
    """The words and punctuation marks of a source sentence."""
    return _tokens(source_tree(sentence, inverted))


def source_text(sentence: Sentence) -> str:
    return detokenise(source_tokens(sentence))


def _tokens(tree: Tree | str) -> list[str]:
    return [tree] if isinstance(tree, str) else [token for child in tree[1:] for token in _tokens(child)]


def _length(sentence: Sentence) -> int:
    return sum(token not in PUNCTUATION for token in source_tokens(sentence))


# The target language, as lists of tokens

# Endings by case; the columns are `GENDERS`, then the plural. Articles and pronouns take the strong ones, and
# so does an adjective after an indefinite article; after a definite one it takes the weak ones.
STRONG = {
    "nominative": ("or", "ia", "ot", "ei"),
    "accusative": ("on", "ia", "ot", "ei"),
    "dative": ("om", "ira", "om", "en"),
}
WEAK = {
    "nominative": ("e", "e", "e", "en"),
    "accusative": ("en", "e", "e", "en"),
    "dative": ("en", "en", "en", "en"),
}


def target_tokens(sentence: Sentence) -> list[str]:
    """The words and punctuation marks of the translation."""
    main, second = sentence.main, sentence.second
    if sentence.question:
        return [*_verb_first(main), "?"]
    if second and sentence.coordinator:
        connective = [sentence.connective.target] if sentence.connective else []
        return [*_verb_second(main), ",", sentence.coordinator.target, *_verb_second(second, connective), "."]
    if second and sentence.subordinator:
        subordinate = [sentence.subordinator.target, *_verb_last(second)]
        if sentence.front == "subordinate":
            return [*_verb_second(main, [*subordinate, ","]), "."]
        return [*_verb_second(main), ",", *subordinate, "."]
    if sentence.front == "adverb":
        return [*_verb_second(replace(main, adverb=None), [main.adverb.target]), "."]
    if sentence.front == "place":
        return [*_verb_second(replace(main, place=None), _target_place(main)), "."]
    return [*_verb_second(main), "."]


def _verb_second(clause: Clause, front: Sequence[str] = ()) -> list[str]:
    """A main clause; the subject comes before the verb unless something else stands in front."""
    if front:
        return [*front, *_verb_first(clause)]
    subject, (prefix, form) = _target_subject(clause), _target_verb(clause)
    return [*subject, form, *_target_predicate(clause), *prefix]


def _verb_first(clause: Clause) -> list[str]:
    prefix, form = _target_verb(clause)
    return [form, *_target_subject(clause), *_target_predicate(clause), *prefix]


def _verb_last(clause: Clause) -> list[str]:
    prefix, form = _target_verb(clause)
    return [*_target_subject(clause), *_target_predicate(clause), "".join([*prefix, form])]


def _target_verb(clause: Clause) -> tuple[list[str], str]:
    """The separable prefix, where there is one, and the finite form without it."""
    verb = clause.verb.senses[clause.object_lives]
    form = (verb.past if clause.past else verb.present)[clause.subject.plural]
    return ([verb.prefix] if verb.prefix else []), form


def _target_subject(clause: Clause) -> list[str]:
    match clause.subject:
        case NounPhrase() as phrase:
            return _target_noun_phrase(phrase, clause.verb.field, "nominative")
        case Pronoun(antecedent, field):
            return ["j" + STRONG["nominative"][_agreement(antecedent, field)]]
        case _:
            return []


def _target_predicate(clause: Clause) -> list[str]:
    """Adverb, place and object, in this order."""
    adverb = [clause.adverb.target] if clause.adverb else []
    objects = _target_noun_phrase(clause.object, clause.verb.field, "accusative") if clause.object else []
    return [*adverb, *_target_place(clause), *objects]


def _target_place(clause: Clause) -> list[str]:
    if not clause.place:
        return []
    preposition, phrase = clause.place
    return [preposition.target, *_target_noun_phrase(phrase, clause.verb.field, "dative")]


def _agreement(phrase: NounPhrase, field: int) -> int:
    """The column of the ending tables that a noun phrase asks for."""
    return len(GENDERS) if phrase.plural else GENDERS.index(phrase.noun.senses[field].gender)


def _target_noun_phrase(phrase: NounPhrase, field: int, case: str) -> list[str]:
    noun, column = phrase.noun.senses[field], _agreement(phrase, field)
    tokens = [("s" if phrase.definite else "k") + STRONG[case][column]]
    if phrase.adjective:
        tokens.append(phrase.adjective.target + (WEAK if phrase.definite else STRONG)[case][column])
    head = noun.plural if phrase.plural else noun.singular
    if phrase.modifier:
        modifier = phrase.modifier.senses[field]
        head = modifier.singular + ("s" if modifier.gender == "feminine" else "") + head
    tokens.append(head)
    if phrase.relative:
        relative_case = "nominative" if isinstance(phrase.relative.subject, Trace) else "accusative"
        tokens += [",", "w" + STRONG[relative_case][column], *_verb_last(phrase.relative), ","]
    return tokens


def detokenise(tokens: Sequence[str]) -> str:
    """Raw text: a capital at the start, punctuation attached, no comma beside another mark."""
    words: list[str] = []
    for token in tokens:
        if token in PUNCTUATION:
            words[-1] = words[-1].rstrip(",") + token
        else:
            words.append(token)
    text = " ".join(words)
    return text[:1].upper() + text[1:]


# The corpus

LEXICON = Lexicon()


def _sentences(seed: int) -> Iterator[Sentence]:
    grammar = Grammar(LEXICON, random.Random(f"nmtprune toy corpus {seed}"))
    while True:
        yield grammar.sentence()


def generate(sentences: int, seed: int) -> Iterator[Example]:
    """That many sentence pairs: the same for equal arguments, a larger corpus of the same seed begins with
    them.
    """
    for sentence in islice(_sentences(seed), sentences):
        yield Example(source_text(sentence), detokenise(target_tokens(sentence)), probing_labels(sentence))


# The probing tasks

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
    """The labels of an unaltered sentence in the tasks that are defined on it.

    Number and tense are those of the main clause, or of the first of two coordinate clauses.
    """
    main, tree = sentence.main, source_tree(sentence)
    words = [token for token in _tokens(tree) if token not in PUNCTUATION]
    labels = {
        "SentLen": str(bisect_left(LENGTH_BINS, len(words))),
        "TreeDepth": str(_depth(tree)),
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
    """Exchange two different words of a tokenised sentence that stand side by side, with no punctuation
    between.
    """
    pairs = enumerate(pairwise(tokens))
    at = rng.choice([at for at, pair in pairs if pair[0] != pair[1] and not PUNCTUATION.intersection(pair)])
    return [*tokens[:at], tokens[at + 1], tokens[at], *tokens[at + 2 :]]


def replace_odd(sentence: Sentence, rng: random.Random) -> Sentence:
    """Replace the main clause's subject noun, verb or object noun by one that does not go with the others."""
    main, verb = sentence.main, sentence.main.verb
    part = rng.choice(("subject", "verb", "object") if main.object else ("subject", "verb"))
    if part == "verb":
        verbs = LEXICON.transitive if main.object else LEXICON.intransitive
        odd = verbs.only(
            lambda other: (
                main.subject.noun.kind not in other.subject_kinds
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
    """The label, None where the task is not defined, and the source sentence; a coin decides whether to alter
    it.
    """
    if task not in ALTERING:
        return probing_labels(sentence).get(task), source_text(sentence)
    if task == "CoordInv" and not sentence.coordinator:
        return None, source_text(sentence)
    label = rng.choice(PROBES[task].labels)
    if label == "O":
        return label, source_text(sentence)
    return label, detokenise(ALTERING[task](sentence, rng))


def probing_examples(task: str, sentences: int, seed: int) -> Iterator[tuple[str, str]]:
    """That many (label, source sentence) pairs of a probing task in random order, labels in equal numbers
    within one.

    Half of the sentences of BShift ("I", two adjacent words exchanged), SOMO ("C", a word replaced by an odd
    one) and CoordInv ("I", coordinate clauses exchanged) are altered; "O" marks the original ones.

    Raises `UserError` for an unknown task.
    """
    if task not in PROBES:
        raise UserError(f"Unknown probing task {task!r}: {suggest(task, PROBES)}")
    labels = PROBES[task].labels
    rng = random.Random(f"nmtprune toy probing {task} {seed}")
    missing = Counter({label: sentences // len(labels) for label in labels})
    missing.update(labels[: sentences % len(labels)])
    chosen: list[tuple[str, str]] = []
    for sentence in _sentences(seed):
        if len(chosen) == sentences:
            break
        label, source = _probing_example(task, sentence, rng)
        if label and missing[label]:
            missing[label] -= 1
            chosen.append((label, source))
    rng.shuffle(chosen)
    yield from chosen
