"""The toy language: its sentences, their translations, its labels, and its probing examples."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from itertools import islice

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nmtprune.data import toy
from nmtprune.data.toy.grammar import Grammar
from nmtprune.data.toy.lexicon import GENDERS, LEXICON, LIVING, Word
from nmtprune.data.toy.probes import replace_odd, swap_adjacent
from nmtprune.data.toy.source_language import source_text, source_tokens
from nmtprune.data.toy.syntax import Clause, NounPhrase, Sentence
from nmtprune.data.toy.target_language import STRONG, target_tokens
from nmtprune.data.toy.text import PUNCTUATION
from nmtprune.foundation.errors import UserError

SEEDS = st.integers(min_value=0, max_value=10**9)


def sentences_of(seed: int, count: int = 20) -> list[Sentence]:
    grammar = Grammar(LEXICON, random.Random(seed))
    return [grammar.sentence() for _ in range(count)]


def words_of(text: str) -> list[str]:
    return [word.strip(",.?").lower() for word in text.split()]


@given(SEEDS)
def test_a_smaller_corpus_is_the_beginning_of_a_larger_one_of_the_same_seed(seed):
    assert list(toy.generate(5, seed)) == list(islice(toy.generate(12, seed), 5))


def test_the_corpus_does_not_depend_on_the_hash_seed():
    command = (
        "from nmtprune.data import toy; print(list(toy.generate(20, 7)), *toy.probing_examples('SOMO', "
        "20, 7))"
    )
    printed = {
        subprocess.run(
            [sys.executable, "-c", command],
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "PYTHONHASHSEED": hash_seed},
            capture_output=True,
            check=True,
        ).stdout
        for hash_seed in ("1", "2")
    }
    assert len(printed) == 1


def test_sets_of_different_seeds_hardly_overlap():
    train = {example.source for example in toy.generate(8000, 1)}
    shared = sum(example.source in train for example in toy.generate(2000, 2))
    assert shared < 0.02 * 2000


@given(SEEDS)
def test_text_is_raw_with_a_capital_first_and_a_final_mark(seed):
    for example in toy.generate(10, seed):
        assert 4 <= len(example.source.split()) <= 25
        for text in (example.source, example.target):
            assert text[0].isupper()
            assert text[-1] in ".?"
            assert not any(mark in text for mark in (" ,", ",,", ",.", ",?", " .", "  "))


@given(SEEDS)
def test_labels_are_among_those_of_the_probe(seed):
    for example in toy.generate(20, seed):
        for task, label in example.labels.items():
            assert label in toy.PROBES[task].labels
        assert {"SentLen", "TopConst", "Tense", "SubjNum"} <= set(example.labels)


@given(SEEDS)
def test_number_labels_are_marked_on_the_subject_and_object_nouns(seed):
    for sentence in sentences_of(seed):
        for task, phrase in (("SubjNum", sentence.main.subject), ("ObjNum", sentence.main.object)):
            label = toy.probing_labels(sentence).get(task)
            if phrase is None:
                assert label is None
                continue
            words = words_of(source_text(sentence))
            form, other = phrase.noun.singular, phrase.noun.plural
            assert (other if label == "NNS" else form) in words


@given(SEEDS)
def test_the_tense_label_is_the_form_of_the_main_verb(seed):
    for sentence in sentences_of(seed):
        verb, words = sentence.main.verb, words_of(source_text(sentence))
        if toy.probing_labels(sentence)["Tense"] == "PAST":
            assert verb.past in words
        else:
            assert verb.present[sentence.main.subject.plural] in words


@given(SEEDS)
def test_target_articles_agree_in_gender_number_and_case(seed):
    for sentence in sentences_of(seed):
        clause = replace(sentence.main, adverb=None, place=None)
        subject = replace(clause.subject, adjective=None, modifier=None, relative=None, definite=True)
        noun = subject.noun.senses[clause.verb.field]
        column = 3 if subject.plural else GENDERS.index(noun.gender)
        article, head = target_tokens(Sentence(replace(clause, subject=subject)))[:2]
        assert article == "s" + STRONG["nominative"][column]
        assert head == (noun.plural if subject.plural else noun.singular)


@given(SEEDS)
def test_a_separable_prefix_ends_the_main_clause_and_joins_the_verb_of_a_subordinate_one(seed):
    for sentence in sentences_of(seed, 60):
        clause = sentence.main
        verb = clause.verb.senses[clause.object_lives]
        form = (verb.past if clause.past else verb.present)[clause.subject.plural]
        main = target_tokens(Sentence(clause))
        assert form in main
        if verb.prefix:
            assert main[-2:] == [verb.prefix, "."]
        subordinate = target_tokens(Sentence(clause, second=clause, subordinator=Word("source", "target")))
        assert subordinate[-2:] == [verb.prefix + form, "."]


@given(SEEDS)
def test_questions_put_the_verb_first_and_fronted_parts_keep_it_second(seed):
    for sentence in sentences_of(seed, 60):
        clause = replace(sentence.main, adverb=Word("source", "target"))
        verb = clause.verb.senses[clause.object_lives]
        form = (verb.past if clause.past else verb.present)[clause.subject.plural]
        assert target_tokens(Sentence(clause, question=True))[0] == form
        assert target_tokens(Sentence(clause, front="adverb"))[:2] == ["target", form]


def test_ambiguous_words_are_resolved_by_their_context():
    nouns = [
        noun for kind in LEXICON.nouns.values() for noun in kind.items if noun.senses[0] != noun.senses[1]
    ]
    verbs = [verb for verb in LEXICON.transitive.items if verb.senses[0] != verb.senses[1]]
    assert len(nouns) > 10
    assert verbs and all(len({kind in LIVING for kind in verb.object_kinds}) == 2 for verb in verbs)
    fields = {verb.field: verb for verb in LEXICON.intransitive.items}
    heads = {
        target_tokens(Sentence(Clause(verb, past=True, subject=NounPhrase(nouns[0], plural=False))))[1]
        for verb in fields.values()
    }
    assert heads == {sense.singular for sense in nouns[0].senses}


def test_two_nouns_form_one_target_word():
    head, modifier = LEXICON.nouns["thing"].items[:2]
    verb = LEXICON.intransitive.items[0]
    phrase = NounPhrase(head, plural=False, modifier=modifier)
    word = target_tokens(Sentence(Clause(verb, past=True, subject=phrase)))[1]
    assert word.startswith(modifier.senses[verb.field].singular)
    assert word.endswith(head.senses[verb.field].singular)


def test_source_words_are_distinct():
    verbs = [*LEXICON.transitive.items, *LEXICON.intransitive.items]
    nouns = [noun for kind in LEXICON.nouns.values() for noun in kind.items]
    forms = [form for noun in nouns for form in (noun.singular, noun.plural)]
    forms += [form for verb in verbs for form in (*verb.present, verb.past)]
    assert len(set(forms)) == len(forms)


@pytest.mark.parametrize("task", toy.PROBES)
def test_probing_labels_are_balanced(task):
    examples = list(toy.probing_examples(task, 125, seed=3))
    counts = Counter(label for label, _ in examples)
    assert len(examples) == 125
    assert set(counts) == set(toy.PROBES[task].labels)
    assert max(counts.values()) - min(counts.values()) <= 1
    assert examples == list(toy.probing_examples(task, 125, seed=3))


def test_probes_cover_the_three_categories():
    assert Counter(probe.category for probe in toy.PROBES.values()) == {
        "surface": 2,
        "syntactic": 3,
        "semantic": 5,
    }


def test_an_unknown_task_is_refused():
    with pytest.raises(UserError, match=r"BShit.*BShift"):
        next(toy.probing_examples("BShit", 10, 0))


@given(SEEDS)
def test_bshift_exchanges_exactly_one_adjacent_pair_of_words(seed):
    rng = random.Random(seed)
    for sentence in sentences_of(seed, 5):
        tokens = source_tokens(sentence)
        swapped = swap_adjacent(tokens, rng)
        changed = [at for at, (old, new) in enumerate(zip(tokens, swapped, strict=True)) if old != new]
        assert len(changed) == 2 and changed[1] == changed[0] + 1
        assert [swapped[changed[1]], swapped[changed[0]]] == [tokens[at] for at in changed]
        assert not {tokens[at] for at in changed} & PUNCTUATION


@given(SEEDS)
def test_somo_changes_one_word_into_one_that_does_not_fit(seed):
    rng = random.Random(seed)
    for sentence in sentences_of(seed, 5):
        odd = replace_odd(sentence, rng)
        tokens, altered = source_tokens(sentence), source_tokens(odd)
        assert sum(old != new for old, new in zip(tokens, altered, strict=True)) == 1
        main = odd.main
        fits = main.subject.noun.kind in main.verb.subject_kinds and (
            main.object is None or main.object.noun.kind in main.verb.object_kinds
        )
        assert not fits


@given(SEEDS)
def test_coordinv_exchanges_the_clauses_around_the_coordinator(seed):
    for sentence in sentences_of(seed):
        if sentence.coordinator:
            first, rest = source_tokens(sentence), source_tokens(sentence, inverted=True)
            at, other = (tokens.index(sentence.coordinator.source) for tokens in (first, rest))
            assert rest[other + 1 : -1] == first[: at - 1]
            assert rest[: other - 1] == first[at + 1 : -1]
