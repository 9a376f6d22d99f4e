"""The `toy` parallel corpus of two invented languages, with gold labels for the ten probing tasks.

A sentence is drawn as an abstract structure (`syntax`) by a small grammar (`grammar`), and then written
in both languages.

* The source language has subject-verb-object order, marks number and tense, and has words with two
  senses: the sense of a noun depends on the field of its clause's verb, the sense of a verb on whether
  its object is alive.
* The target language has the verb second in main clauses, first in questions and last in subordinate
  clauses. Articles, adjectives and pronouns agree in gender, number and case; some verbs leave their
  prefix at the end of the clause; two nouns form one word.

Words are drawn from a Zipf-like distribution. Gender, plural, strong past and second sense are
properties of a word that a model has to memorise.
"""

from nmtprune.data.toy.corpus import Example, generate
from nmtprune.data.toy.probes import PROBES, probing_examples, probing_labels

__all__ = ["PROBES", "Example", "generate", "probing_examples", "probing_labels"]
