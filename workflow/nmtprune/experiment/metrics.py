"""The registry of metrics in columns of tables and figures: one entry for each, with all that is known."""

from __future__ import annotations

import operator
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from nmtprune.experiment import shapes
from nmtprune.experiment.chain import Chain
from nmtprune.foundation import commands

if TYPE_CHECKING:
    from nmtprune.measurements.measurements import Measured

SCORES, SPEED = "scores", "speed"  # tables that metrics are read from, besides analyses
BATCH_SIZE = 32  # sentences translated together in measurements of speed
BYTES = {"MB": 1e6, "MiB": 2**20}
MILLION = 1e6
BLEU = ("BLEU", "bleu_signature")


class Against(NamedTuple):
    """A comparison with the baseline row: the metric to compare, and a function of two values."""

    metric: str
    compare: Callable[[float, float], float]


def _two_decimals(value: float, unit: str) -> str:
    return f"{value:.2f}"


def _three_decimals(value: float, unit: str) -> str:
    return f"{value:.3f}"


def _one_decimal(value: float, unit: str) -> str:
    return f"{value:.1f}"


def _whole(value: float, unit: str) -> str:
    return f"{value:,.0f}"


def _signed(value: float, unit: str) -> str:
    return f"{value:+.2f}".replace("-", "−")


def _bytes(value: float, unit: str) -> str:
    return f"{value / BYTES[unit]:.2f} {unit}"


def _count_in_millions(value: float, unit: str) -> str:
    """A number with at least three digits: `12.3M`, `1.23M`, `0.123M`."""
    millions = value / MILLION
    return f"{millions:.{1 if millions >= 10 else 2 if millions >= 1 else 3}f}M"


def _operations(value: float, unit: str) -> str:
    return f"{value / MILLION:.2f}M"


@dataclass(frozen=True)
class Metric:
    """A metric.

    `about`: what it is, as docs/configuration.md prints it. `printed`: a function that gives a value as
    text; sizes take a unit. `axis`: the divisor of values on the axis of a figure. `reads`: where its
    numbers are read from: SCORES, SPEED or the name of an analysis.

    Its value is `value(measured, chain, test_set)` if that is given, or a comparison `against` the
    baseline row. Otherwise it is read from a table: from the row of this name in an analysis, else from
    the column `column` (by default its name), for scores on the split `split` or the column's test set,
    for speeds with `batch_size` sentences together.

    `varies`: it depends on the seed, so that it is printed with its deviation. `translations`,
    `likelihoods`: it measures translations or likelihoods of references, so that captions name the test
    set. `signature`: the name of the score, and the column with its signature. `on_request`: models are
    scored by it if the setting `measures` names it. `said`: what captions say about it. `lacking`: the reason
    why a scored model may lack it. `may_be_none`: it is undefined for some models. `more_is_better`: higher
    values are better although it is a cost. `in_full`: models that are only pruned are scored on the
    development set for it. `by_component`: it measures each component, not the model. `by_sentence`: the
    score (`scoring.significance.SCORES`) that gives its interval from statistics of sentences. `better`: of
    measures of quality, 1 if higher values are better and -1 if lower ones are.
    """

    name: str
    about: str
    printed: Callable[[float, str], str] = _two_decimals
    axis: float = 1
    reads: str = SCORES
    value: Callable[[Measured, Chain, int | str], float | None] | None = None
    against: Against | None = None
    column: str = ""
    split: str = ""
    batch_size: int = BATCH_SIZE
    varies: bool = False
    translations: bool = False
    likelihoods: bool = False
    signature: tuple[str, str] | None = None
    on_request: bool = False
    said: str = ""
    lacking: Callable[[Measured, Chain], str | None] | None = None
    may_be_none: bool = False
    more_is_better: bool = False
    in_full: bool = False
    by_component: bool = False
    by_sentence: str = ""
    better: int = 0

    @property
    def title(self) -> str:
        """What it is called in running text."""
        return self.signature[0] if self.signature else self.name.replace("_", " ")


def _gap(measured: Measured, chain: Chain, test_set: int | str) -> float | None:
    train, dev = measured.value(chain, "train_nll"), measured.value(chain, "dev_nll")
    return None if train is None or dev is None else dev - train


def _on_request(name: str, title: str, about: str, better: int = 1) -> Metric:
    """A measure of translations that is scored where the setting `measures` names it."""
    return Metric(
        name,
        about,
        varies=True,
        translations=True,
        signature=(title, f"{name}_signature"),
        on_request=True,
        by_sentence=name,
        better=better,
        lacking=lambda measured, chain: measured.lacks_measure(chain, name),
    )


SPARSITY_SAID = (
    "Sparsity is of FFN units or attention heads in encoder and decoder together, whatever was pruned."
)

METRICS = {
    metric.name: metric
    for metric in (
        Metric(
            "bleu",
            "BLEU by sacreBLEU",
            varies=True,
            translations=True,
            signature=BLEU,
            by_sentence="bleu",
            better=1,
        ),
        Metric(
            "delta",
            "difference in BLEU from the baseline row",
            _signed,
            against=Against("bleu", operator.sub),
            varies=True,
            translations=True,
            signature=BLEU,
        ),
        Metric(
            "bleu_tokenised",
            "BLEU after Moses' tokenisation of both sides, as multi-bleu counts it",
            value=lambda measured, chain, test_set: measured.mean_tokenised_bleu(chain, test_set),
            varies=True,
            translations=True,
            said=(
                "Tokenised BLEU: of text tokenised by Moses' rules, as multi-bleu counts it; sacreBLEU with "
                "tok:none|smooth:none."
            ),
        ),
        Metric(
            "dev_bleu",
            "BLEU on the development set",
            column="bleu",
            split="dev",
            varies=True,
            lacking=lambda measured, chain: (
                f"{chain} is not scored on the development set; score it: "
                f"{commands.nmtprune('score', str(chain))}"
            ),
            in_full=True,
            by_sentence="bleu",
        ),
        Metric(
            "chrf",
            "chrF by sacreBLEU",
            varies=True,
            translations=True,
            signature=("chrF", "chrf_signature"),
            by_sentence="chrf",
            better=1,
        ),
        _on_request("chrfpp", "chrF++", "chrF++ by sacreBLEU"),
        _on_request("ter", "TER", "translation edit rate by sacreBLEU, in percent; less is better", -1),
        _on_request(
            "spbleu", "spBLEU", "BLEU of the pieces of FLORES-200's SentencePiece model, by sacreBLEU"
        ),
        Metric(
            "comet",
            "100 times the system score of COMET",
            varies=True,
            translations=True,
            signature=("COMET", "comet_signature"),
            lacking=lambda measured, chain: measured.lacks_comet(chain),
            by_sentence="comet",
            better=1,
        ),
        Metric(
            "perplexity",
            "perplexity of the references, per target token",
            varies=True,
            likelihoods=True,
            by_sentence="perplexity",
            better=-1,
        ),
        Metric(
            "perplexity_delta",
            "difference in perplexity from the baseline row",
            _signed,
            against=Against("perplexity", operator.sub),
            varies=True,
            likelihoods=True,
        ),
        Metric(
            "nll_per_token",
            "negative log-likelihood per target token",
            _three_decimals,
            varies=True,
            likelihoods=True,
            by_sentence="nll_per_token",
        ),
        Metric(
            "train_nll",
            "negative log-likelihood per target token on a sample of the training data",
            _three_decimals,
            column="nll_per_token",
            split="train",
            varies=True,
            by_sentence="nll_per_token",
        ),
        Metric(
            "dev_nll",
            "negative log-likelihood per target token on the development set",
            _three_decimals,
            column="nll_per_token",
            split="dev",
            varies=True,
            by_sentence="nll_per_token",
        ),
        Metric("gap", "`dev_nll` minus `train_nll`", _signed, value=_gap, varies=True),
        Metric("parameters", "number of weights of the model", _count_in_millions),
        Metric("nonzero", "number of weights that are not zero", _count_in_millions),
        Metric("prunable", "number of prunable weights, which percentages count", _count_in_millions),
        Metric("sparsity", "zeros in percent of the prunable weights", _one_decimal),
        Metric("largest_pruned", "magnitude of the largest pruned weight"),
        Metric(
            "updates",
            "number of updates of all the chain's trainings",
            _whole,
            value=lambda measured, chain, test_set: measured.updates(chain),
        ),
        Metric("size_dense", "bytes in single precision", _bytes),
        Metric("size_sparse", "bytes in the sparse file", _bytes),
        Metric(
            "size_stored",
            "bytes as stored: in the sparse file for a sparse model, in the engine's files for a model in 8 "
            "bits, otherwise in single precision",
            _bytes,
            axis=MILLION,
            value=lambda measured, chain, test_set: measured.stored_size(chain),
            lacking=lambda measured, chain: (
                f"the size of {chain} was not measured when it was scored; score it again: "
                f"{commands.nmtprune('score', str(chain))}"
            ),
        ),
        Metric(
            "size_reduction",
            "reduction of `size_stored` from the baseline row's, in percent",
            _one_decimal,
            against=Against("size_stored", lambda ours, theirs: 100 * (1 - ours / theirs)),
        ),
        Metric(
            "ffn_sparsity",
            "removed FFN units in percent of the recipe's; tied layers count once",
            _one_decimal,
            value=lambda measured, chain, test_set: measured.sparsity(chain, shapes.FFN),
            said=SPARSITY_SAID,
        ),
        Metric(
            "att_sparsity",
            "removed attention heads in percent of the recipe's; tied layers count once",
            _one_decimal,
            value=lambda measured, chain, test_set: measured.sparsity(chain, shapes.ATTENTION),
            said=SPARSITY_SAID,
        ),
        Metric("macs_per_word", "multiply-accumulates for each source word", _operations, axis=MILLION),
        Metric(
            "source_words_gone",
            "number of source words without any embedding weight left",
            _whole,
            reads="weights",
        ),
        Metric(
            "target_words_gone",
            "number of target words without any embedding weight left",
            _whole,
            reads="weights",
        ),
        Metric(
            "source_rank_gone",
            "mean frequency rank of the words in `source_words_gone`, in percent of the vocabulary",
            _one_decimal,
            reads="weights",
            may_be_none=True,
        ),
        Metric(
            "target_rank_gone",
            "mean frequency rank of the words in `target_words_gone`, in percent of the vocabulary",
            _one_decimal,
            reads="weights",
            may_be_none=True,
        ),
        Metric(
            "words_per_second",
            f"source words translated per second on one thread, in batches of {BATCH_SIZE} sentences",
            _whole,
            reads=SPEED,
            more_is_better=True,
        ),
        Metric(
            "words_per_second_batch1",
            "source words translated per second on one thread, one sentence at a time",
            _whole,
            reads=SPEED,
            column="words_per_second",
            batch_size=1,
            more_is_better=True,
        ),
        Metric("seconds", "seconds for translating the main test set", reads=SPEED),
        Metric(
            "speed_up",
            "speed relative to the baseline row's: ratio of medians over rounds in which both were measured",
            reads=SPEED,
            more_is_better=True,
        ),
        Metric("load_seconds", "seconds to load the model", reads=SPEED),
        Metric("peak_memory", "peak memory in bytes", _bytes, axis=MILLION, reads=SPEED),
        Metric("size_on_disk", "bytes of the engine's files", _bytes, axis=MILLION, reads=SPEED),
        Metric("size_int8", "bytes of the engine's files in 8 bits", _bytes, axis=MILLION, reads=SPEED),
        Metric(
            "contribution",
            "importance of each component by the BLEU lost without it (equation 1); only in heat maps",
            reads="contribution",
            by_component=True,
        ),
        Metric(
            "contribution_perplexity",
            "importance of each component by the loss in perplexity without it; only in heat maps",
            reads="contribution",
            by_component=True,
        ),
        Metric(
            "criticality",
            "importance of each component by the smallest alpha that holds (equation 2); only in heat maps",
            reads="criticality",
            by_component=True,
        ),
        Metric(
            "criticality_settled",
            "importance of each component by the smallest alpha from which all hold; only in heat maps",
            reads="criticality",
            by_component=True,
        ),
    )
}

ON_REQUEST = tuple(metric.name for metric in METRICS.values() if metric.on_request)
QUALITIES = tuple(metric.name for metric in METRICS.values() if metric.better)
