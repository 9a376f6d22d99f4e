"""Write toy sentences in the source language, as parse trees, tokens and text."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from nmtprune.data.toy.lexicon import Word
from nmtprune.data.toy.syntax import Clause, NounPhrase, Pronoun, Sentence
from nmtprune.data.toy.text import PUNCTUATION, detokenise

# A tree is a label followed by its children; a word is a plain string.

Tree = tuple[Any, ...]

DETERMINERS = {True: ("ta", "ta"), False: ("un", "nek")}  # singular and plural, by definiteness
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


def depth_of(tree: Tree | str) -> int:
    """The depth of a parse tree; 0 for a word."""
    return 0 if isinstance(tree, str) else 1 + max(depth_of(child) for child in tree[1:])


def source_tokens(sentence: Sentence, inverted: bool = False) -> list[str]:
    """The words and punctuation marks of a source sentence."""
    return tokens_of(source_tree(sentence, inverted))


def source_text(sentence: Sentence) -> str:
    """A source sentence as raw text."""
    return detokenise(source_tokens(sentence))


def tokens_of(tree: Tree | str) -> list[str]:
    """The words and punctuation marks of a parse tree."""
    return [tree] if isinstance(tree, str) else [token for child in tree[1:] for token in tokens_of(child)]


def length_of(sentence: Sentence) -> int:
    """The number of source words of a sentence, without punctuation marks."""
    return sum(token not in PUNCTUATION for token in source_tokens(sentence))
