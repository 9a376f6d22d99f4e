"""The grammar of the toy languages, which draws sentences at random."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import replace

from nmtprune.data.toy.lexicon import LEXICON, LIVING, Lexicon
from nmtprune.data.toy.source_language import length_of
from nmtprune.data.toy.syntax import Clause, NounPhrase, Pronoun, Sentence, Trace

MIN_WORDS, MAX_WORDS = 4, 25  # of a source sentence


class Grammar:
    """Draws sentences at random."""

    def __init__(self, lexicon: Lexicon, rng: random.Random) -> None:
        self.lexicon = lexicon
        self.rng = rng

    def _chance(self, probability: float) -> bool:
        return self.rng.random() < probability

    def _noun_phrase(self, kind: str, depth: int) -> NounPhrase:
        """A noun phrase inside `depth` relative clauses."""
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
        """A clause with a subject of this kind; a relative one (`depth` > 0) has neither place nor adverb."""
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
        """A clause beside `main`; in half of the cases its subject is a pronoun for the subject of `main`."""
        if self._chance(0.5):
            subject = main.named_subject
            return self._clause(Pronoun(subject, main.verb.field), subject.noun.kind, past)
        return self._full_clause(past)

    def _any_sentence(self) -> Sentence:
        lexicon, rng = self.lexicon, self.rng
        past = self._chance(0.5)
        main = self._full_clause(past)
        match rng.choices(("simple", "question", "coordinate", "subordinate"), (76, 8, 8, 8))[0]:
            case "question":
                return Sentence(main, question=True)
            case "coordinate":
                # Events are told in order: a past clause never follows a present one, which is a cue to the
                # order of clauses.
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
            if MIN_WORDS <= length_of(sentence) <= MAX_WORDS:
                return sentence


def sentences_of(seed: int) -> Iterator[Sentence]:
    """An endless stream of sentences for this seed."""
    grammar = Grammar(LEXICON, random.Random(f"nmtprune toy corpus {seed}"))
    while True:
        yield grammar.sentence()
