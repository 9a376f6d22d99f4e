"""Write toy sentences in the target language, as lists of tokens."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from nmtprune.data.toy.lexicon import GENDERS
from nmtprune.data.toy.syntax import Clause, NounPhrase, Pronoun, Sentence, Trace
from nmtprune.foundation.known import known

# Endings by case; the columns are `GENDERS`, then the plural. Articles, pronouns, and adjectives after an
# indefinite article take strong endings; adjectives after a definite article take weak endings.
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
        return [*_verb_second(replace(main, adverb=None), [known(main.adverb).target]), "."]
    if sentence.front == "place":
        return [*_verb_second(replace(main, place=None), _target_place(main)), "."]
    return [*_verb_second(main), "."]


def _verb_second(clause: Clause, front: Sequence[str] = ()) -> list[str]:
    """A main clause; its subject comes before the verb unless something else is in front."""
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
    """The separable prefix, if there is one, and the finite form without it."""
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
    """The column of the tables of endings for a noun phrase."""
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
