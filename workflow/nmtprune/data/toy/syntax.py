"""The abstract structure of a toy sentence, from which both languages are written."""

from __future__ import annotations

from dataclasses import dataclass

from nmtprune.data.toy.lexicon import Noun, Verb, Word


@dataclass(frozen=True)
class NounPhrase:
    """A noun with article, and possibly an adjective, a modifying noun and a relative clause."""

    noun: Noun
    plural: bool
    definite: bool = True
    adjective: Word | None = None
    modifier: Noun | None = None
    relative: Clause | None = None


@dataclass(frozen=True)
class Pronoun:
    """A pronoun for `antecedent`, the subject of a clause whose verb has this `field`."""

    antecedent: NounPhrase
    field: int

    @property
    def plural(self) -> bool:
        """Whether the antecedent is plural."""
        return self.antecedent.plural


@dataclass(frozen=True)
class Trace:
    """The subject of a relative clause that the relative pronoun stands for."""

    plural: bool


@dataclass(frozen=True)
class Clause:
    """A clause; the subject of a relative clause is a `Trace`, or its transitive verb lacks the object."""

    verb: Verb
    past: bool
    subject: NounPhrase | Pronoun | Trace
    object: NounPhrase | None = None
    object_lives: bool = False  # set also if a relative pronoun stands for the object
    adverb: Word | None = None
    place: tuple[Word, NounPhrase] | None = None

    @property
    def named_subject(self) -> NounPhrase:
        """The subject where it has a noun, as in every main clause. Raises TypeError where it has none."""
        if not isinstance(self.subject, NounPhrase):
            raise TypeError(f"{self.subject} has no noun")
        return self.subject


@dataclass(frozen=True)
class Sentence:
    """A main clause, alone or with a coordinate or subordinate clause.

    `front` names what stands before the subject.
    """

    main: Clause
    front: str = ""  # "adverb", "place", "subordinate" or nothing
    question: bool = False
    coordinator: Word | None = None
    connective: Word | None = None
    subordinator: Word | None = None
    second: Clause | None = None
