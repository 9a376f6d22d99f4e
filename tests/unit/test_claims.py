"""Claims, from scores made up here: no number in this file was measured. Swapping two rows' scores flips a verdict."""

import math
import re
import zlib

import numpy as np
import pandas as pd
import pytest

from nmtprune import claims, config, papers
from nmtprune.analysis import importance
from nmtprune.claims.evidence import Evidence, steps
from nmtprune.claims.registry import CLAIMS
from nmtprune.claims.verdict import (
    Estimate,
    Undecidable,
    Verdict,
    above,
    alike,
    all_of,
    correlation,
    every,
    in_order,
    not_worse,
    over_seeds,
    some,
)
from nmtprune.data.probing import CATEGORIES
from nmtprune.pruning import shapes
from nmtprune.pruning.component_names import of_shape
from nmtprune.reporting import claims as shown
from nmtprune.reporting.kinds import heatmaps
from nmtprune.reporting.measured import Measured, Way
from nmtprune.scoring import significance

HOLDS, FAILS, UNDECIDED = Verdict
SENTENCES, WORDS = 400, 20
BY_KEY = {each.key: each for each in CLAIMS}
ABSENT = "is not scored yet"
WITH_MARGIN = {  # what is as good holds, or is not known to be
    "see2016/direct-40",
    "see2016/retrained-80",
    "see2016/sparse-near-dense",
    "wang2020/direct-20",
    "wang2020/retrained-50",
    "behnke2021/two-thirds",
}


class Pretended(Measured):
    """Scores that are made up: `quality` (0 to 1) of a chain gives its translations; each other measure is a function of the chain, and
    None is a score that is missing. `translations`: whether they are there, or BLEU alone."""

    def __init__(self, run, quality=None, nll=None, values=None, analyses=None, shape=None, seconds=None, translations=True):
        super().__init__(run)
        self._quality, self._nll, self._values = quality, nll, values or {}
        self._analyses, self._shape, self._seconds = analyses or {}, shape, seconds
        self.translations = translations
        self.statistics = lambda chain, which=1: self._translated(chain) if translations else None
        self.analysis = lambda chain, name: self._analyses.get(name, lambda _: None)(chain)

    def _translated(self, chain):
        quality = self._quality(chain) if self._quality else None
        return None if quality is None else translated(str(chain), round(quality, 6))

    def value(self, chain, metric, test_set=1, way=None):
        if metric == "bleu":
            statistics = self._translated(chain)
            return None if statistics is None else float(significance.bleu(statistics.sum(1))[0])
        if metric in ("nll_per_token", "perplexity"):
            nll = self._nll(chain) if self._nll else None
            return nll if nll is None or metric == "nll_per_token" else math.exp(nll)
        if metric == "ffn_sparsity":
            return self._sparsity(chain, shapes.FFN)
        if metric == "speed_up":
            return 10 / self._seconds(chain) if self._seconds else None
        return self._values[metric](chain) if metric in self._values else None

    def shape(self, chain):
        return self._shape(self.config, chain) if self._shape else None

    def scores(self, chain, test_set=None):
        return None

    def way(self, item):
        return Way("onnx", True) if self._seconds else None

    def speed(self, chain, way, batch_size=32):
        if self._seconds is None or way is None:
            return None
        seconds = self._seconds(chain)
        return {"seconds": seconds, "seconds_low": 0.99 * seconds, "seconds_high": 1.01 * seconds, "runs": "5"}

    def missing(self, chain, sources):
        return None if set(sources) <= set(self._analyses) else f"{chain} {ABSENT}"


def translated(name: str, quality: float) -> np.ndarray:
    """[1, sentences, 10]: BLEU statistics of translations in which a word is right with this probability, drawn by the name."""
    draws = np.random.default_rng(zlib.crc32(name.encode()))
    totals = np.array([WORDS - order for order in range(4)])
    matches = draws.binomial(totals, quality ** np.arange(1, 5), size=(SENTENCES, 4))
    lengths = np.full((SENTENCES, 2), WORDS)
    return np.concatenate([lengths, matches, np.broadcast_to(totals, matches.shape)], axis=1).astype(float)[None]


def run_of(*names, seeds=(1,)):
    return config.from_settings({"preset": "paper", "papers": list(names), "seeds": list(seeds)})


def verdict(key, run=None, **scores):
    """What is found of one claim in a run with its tables and figures, all rows of the paper."""
    claim = BY_KEY[key]
    run = run or run_of(*claim.items, seeds=scores.pop("seeds", (1,)))
    return claim.finding(Evidence(run, Pretended(run, **scores), papers.items(run)))


def text(chain):
    return "/".join(map(str, chain.steps))


def swapped(function, one, other):
    """A function of chains with the scores of two kinds of chains exchanged; each is a pattern and the text that leads to the other."""

    def exchanged(chain):
        from nmtprune import chain as chains

        address = str(chain)
        for pattern, instead in (one, other):
            if re.search(pattern, address):
                return function(chains.parse(re.sub(pattern, instead, address)))
        return function(chain)

    return exchanged


# --- the rules of deciding


def test_a_difference_holds_or_fails_only_with_its_whole_interval():
    assert above(Estimate(1.0, 0.1, 2.0)) is HOLDS
    assert above(Estimate(-1.0, -2.0, -0.1)) is FAILS
    assert above(Estimate(1.0, -0.1, 2.0)) is above(Estimate(0.0, 0.0, 0.0)) is UNDECIDED


def test_no_loss_and_as_good_as_have_a_margin():
    assert not_worse(0.5)(Estimate(-0.1, -0.4, 0.2)) is HOLDS
    assert not_worse(0.5)(Estimate(-0.1, -0.6, 0.4)) is UNDECIDED
    assert not_worse(0.5)(Estimate(-1.0, -1.4, -0.6)) is FAILS
    assert alike(0.5)(Estimate(0.1, -0.2, 0.4)) is HOLDS
    assert alike(0.5)(Estimate(0.3, 0.0, 0.6)) is UNDECIDED
    assert alike(0.5)(Estimate(1.0, 0.6, 1.4)) is alike(0.5)(Estimate(-1.0, -1.4, -0.6)) is FAILS


def test_several_differences_are_put_together_conservatively():
    clear, open_, near = Estimate(2, 1, 3), Estimate(0.5, -0.5, 1.5), Estimate(-1.0, -1.95, -0.05)
    assert every([clear, clear]) is HOLDS and every([clear, open_]) is UNDECIDED and every([clear, -clear]) is FAILS
    assert every([near]) is FAILS and every([clear, near, clear]) is UNDECIDED  # one of three is below by chance more easily
    assert some([open_, clear]) is HOLDS and some([-near, open_, open_]) is UNDECIDED and some([-clear, near]) is FAILS
    assert every([]) is some([]) is all_of([]) is UNDECIDED


def test_many_small_losses_of_independent_trainings_are_one_by_their_signs():
    losses = [Estimate(-0.5, -1.5, 0.5)] * 7
    assert every(losses) is UNDECIDED and every(losses, independent=True) is FAILS
    assert every(losses[:5], independent=True) is UNDECIDED  # 5 of 5: p = 0.06


def test_an_interval_is_widened_by_the_number_of_comparisons():
    wide = Estimate(1.0, 0.0, 2.0).adjusted(10)
    assert wide.high == pytest.approx(1 + 2.807 / 1.96, abs=1e-3) and wide.low == pytest.approx(1 - 2.807 / 1.96, abs=1e-3)
    assert Estimate(1.0, 0.0, 2.0).adjusted(1) == Estimate(1.0, 0.0, 2.0)


def test_rank_correlations_are_exact_for_few_points():
    found = correlation(np.arange(5), np.arange(5))
    assert (found.rho, found.p, found.verdict) == (1.0, pytest.approx(2 / 120), HOLDS)
    assert correlation(np.arange(5), -np.arange(5)).verdict is FAILS
    assert correlation(np.arange(2), np.arange(2)).p == 1.0  # two points say nothing
    assert correlation(np.ones(5), np.arange(5)).verdict is UNDECIDED
    rows = np.array([[1, 2, 3, 4, 6, 5], [1, 3, 2, 4, 5, 6]])
    assert correlation(rows, np.arange(6)).verdict is HOLDS


def test_an_order_within_blocks_is_told_by_pages_test():
    shares = np.array([[4.0, 3, 2, 1]] * 5) + np.arange(5)[:, None]
    assert in_order(shares)[0] is HOLDS and in_order(shares[:, ::-1])[0] is FAILS
    assert in_order(shares[:1])[0] is UNDECIDED


def test_fewer_than_three_seeds_have_no_spread():
    assert over_seeds([1.0, 1.1, 0.9], "").low > 0
    with pytest.raises(Undecidable, match="2 seeds"):
        over_seeds([1.0, 1.1], "")


# --- the list


def test_every_claim_is_listed_once_with_its_place_and_tables_that_exist():
    assert len(BY_KEY) == len(CLAIMS) >= 40
    assert [each for each in papers.names() if not any(claim.paper == each for claim in CLAIMS)] == []
    for claim in CLAIMS:
        assert re.fullmatch(r"[a-z0-9-]+", claim.name) and claim.of_its_paper
        assert re.search(r"section|table|figure", claim.where) and not claim.text.endswith(".")
        for key in claim.items:
            paper, _, name = key.partition("/")
            assert (papers.FOLDER / paper / f"{name}.yaml").exists(), key


# --- See et al. 2016


def of_pruned(chain):
    """Made-up qualities: what is pruned by class-blind pruning is better than by other schemes, retrained is better than dense, and
    sparse from the beginning between pruned and retrained, near dense."""
    last = chain.last.family.name
    percent = next((float(step["percent"]) for step in chain.steps if step.family.name == "prune"), 0)
    scheme = next((step["scheme"] for step in chain.steps if step.family.name == "prune"), "global")
    if last == "prune":
        return 0.86 - 0.001 * percent - (0.06 if scheme != "global" else 0) if percent > 40 else 0.88 - (0.06 if scheme != "global" else 0)
    return {"train": 0.85, "retrain": 0.9, "restart": 0.87, "continue": 0.86, "rejuvenate": 0.92}[last]


SEE = {
    "see2016/class-blind-best": ((r"prune-global", "prune-uniform"), (r"prune-uniform", "prune-global")),
    "see2016/direct-40": ((r"train/prune-global-40$", "train"), (r"train$", "train/prune-global-40")),
    "see2016/retrained-80": ((r"train/prune-global-80/retrain$", "train"), (r"train$", "train/prune-global-80/retrain")),
    "see2016/sparse-below-retrained": ((r"restart$", "retrain"), (r"retrain$", "restart")),
    "see2016/sparse-near-dense": ((r"train/prune-global-80/restart$", "train"), (r"train$", "train/prune-global-80/restart")),
}


@pytest.mark.parametrize("key", SEE)
def test_claims_of_see2016_by_bleu(key):
    assert verdict(key, quality=of_pruned).verdict is HOLDS
    assert verdict(key, quality=swapped(of_pruned, *SEE[key])).verdict is FAILS
    assert verdict(key, quality=lambda chain: 0.85).verdict in ((HOLDS, UNDECIDED) if key in WITH_MARGIN else (UNDECIDED,))
    missing = verdict(key, quality=lambda chain: None)
    assert missing.verdict is UNDECIDED and ABSENT in missing.because


def test_without_translations_a_difference_must_leave_one_bleu():
    def quality(chain):
        return of_pruned(chain) if "prune" in str(chain) else 0.882  # some tenths of a BLEU above

    key = "see2016/direct-40"
    by_sentence, by_value = (verdict(key, quality=quality, translations=there) for there in (True, False))
    assert by_value.verdict is UNDECIDED and "no translations at hand" in by_value.because
    assert verdict(key, quality=of_pruned, translations=False).verdict is HOLDS
    assert "[" in by_sentence.because


def test_a_ratio_that_is_not_run_is_judged_by_those_that_speak_of_it():
    run = config.from_settings({"preset": "toy", "papers": ["see2016/figure6"]})  # 20, 50 and 80 %
    assert verdict("see2016/direct-40", run, quality=lambda chain: 0.9 if "prune" in str(chain) else 0.85).verdict is HOLDS
    assert verdict("see2016/direct-40", run, quality=lambda chain: 0.8 if "prune" in str(chain) else 0.85).verdict is FAILS
    falls = verdict(
        "see2016/direct-40", run, quality=lambda chain: 0.9 if "prune-global-20" in str(chain) or text(chain) == "train" else 0.8
    )
    assert falls.verdict is UNDECIDED and "40 % itself is not among the ratios" in falls.because


ORDER = ["attention", "softmax", "target_layer_4", "target_layer_3", "target_layer_2", "source_layer_4", "source_layer_1"]


def damage(chain):
    """Negative log-likelihood: the more, the earlier the class stands in ORDER."""
    only = chain.last.get("class")
    return 2.0 if only is None else 2.0 + 0.2 * (len(ORDER) - ORDER.index(only) if only in ORDER else 0.1 * (len(only) % 7))


def test_classes_that_suffer_most():
    crucial, top = "see2016/crucial-classes", "see2016/top-layer"
    lower = (r"attention$", "source_layer_1"), (r"source_layer_1$", "attention")
    layers = (r"target_layer_4$", "target_layer_2"), (r"target_layer_2$", "target_layer_4")
    assert verdict(crucial, nll=damage).verdict is verdict(top, nll=damage).verdict is HOLDS
    assert verdict(crucial, nll=swapped(damage, *lower)).verdict is verdict(top, nll=swapped(damage, *layers)).verdict is FAILS
    assert verdict(crucial, nll=swapped(damage, *layers)).verdict is HOLDS
    assert verdict(crucial, nll=lambda chain: 2.0).verdict is UNDECIDED
    assert ABSENT in verdict(crucial).because and verdict(crucial).verdict is UNDECIDED


def test_the_largest_deleted_magnitude_ranks_with_damage():
    key = "see2016/largest-deleted"
    assert verdict(key, nll=damage, values={"largest_pruned": damage}).verdict is HOLDS
    assert verdict(key, nll=damage, values={"largest_pruned": lambda chain: -damage(chain)}).verdict is FAILS
    assert verdict(key, nll=damage, values={"largest_pruned": lambda chain: 1.0}).verdict is UNDECIDED
    assert "largest_pruned" in verdict(key, nll=damage).because or ABSENT in verdict(key, nll=damage).because


GATES = ("candidate", "input gate", "output gate", "forget gate")


def kept(gates=GATES, ascends=True):
    """The analysis of weights: the earlier a gate, the more is kept; feed-forward in the lower layers, recurrent in the upper ones."""
    rows = []
    for side in ("source", "target"):
        for layer in range(1, 5):
            for connection in ("feed-forward", "recurrent"):
                for place, gate in enumerate(gates):
                    lower = 2.5 - layer if ascends else layer - 2.5
                    value = 20 - place + (lower if connection == "feed-forward" else -lower)
                    rows.append(
                        {"name": "kept_of_part", "class": f"{side} layer {layer}", "gate": gate, "connection": connection}
                        | {"value": value}
                    )
    return {"weights": lambda chain: pd.DataFrame(rows)}


def test_gates_and_halves_of_layers():
    assert verdict("see2016/gates", analyses=kept()).verdict is HOLDS
    assert verdict("see2016/gates", analyses=kept(GATES[::-1])).verdict is FAILS
    assert verdict("see2016/layers", analyses=kept()).verdict is HOLDS
    assert verdict("see2016/layers", analyses=kept(ascends=False)).verdict is FAILS
    for key in ("see2016/gates", "see2016/layers", "see2016/rare-words"):
        found = verdict(key)
        assert found.verdict is UNDECIDED and "has not run yet" in found.because


def gone(count, rank):
    names = {f"{side}_words_gone": count for side in ("source", "target")} | {f"{side}_rank_gone": rank for side in ("source", "target")}
    return {"weights": lambda chain: pd.DataFrame({"name": names.keys(), "value": names.values()})}


def test_words_that_vanish():
    key = "see2016/rare-words"
    assert verdict(key, analyses=gone(100, 95.0)).verdict is HOLDS
    assert verdict(key, analyses=gone(100, 5.0)).verdict is FAILS
    assert verdict(key, analyses=gone(3, 60.0)).verdict is UNDECIDED
    none = verdict(key, analyses=gone(0, math.nan))
    assert none.verdict is UNDECIDED and "No source word vanishes" in none.because


# --- Wang et al. 2020

TWICE = r"rejuvenate-zero/prune-local-50/retrain/rejuvenate-zero$"


def of_rejuvenated(chain):
    rounds = sum(step.family.name == "rejuvenate" for step in chain.steps)
    return {0: of_pruned(chain), 1: 0.9, 2: 0.93, 3: 0.93}[rounds] if chain.last.family.name == "rejuvenate" else of_pruned(chain)


WANG = {
    "wang2020/direct-20": ((r"train/prune-local-20$", "train"), (r"train$", "train/prune-local-20")),
    "wang2020/retrained-50": ((r"train/prune-local-50/retrain$", "train"), (r"train$", "train/prune-local-50/retrain")),
    "wang2020/rejuvenated": (
        (r"(?<!zero/)prune-local-50/retrain/rejuvenate-zero$", "continue"),
        (r"continue$", "prune-local-50/retrain/rejuvenate-zero"),
    ),
    "wang2020/second-round": ((TWICE, "rejuvenate-zero"), (r"rejuvenate-zero$", "rejuvenate-zero/prune-local-50/retrain/rejuvenate-zero")),
}


def of_wang(chain):
    percent = next((float(step["percent"]) for step in chain.steps if step.family.name == "prune"), 0)
    return 0.88 if chain.last.family.name == "prune" and percent <= 20 else of_rejuvenated(chain)


@pytest.mark.parametrize("key", WANG)
def test_claims_of_wang2020_by_bleu(key):
    assert verdict(key, quality=of_wang).verdict is HOLDS
    assert verdict(key, quality=swapped(of_wang, *WANG[key])).verdict is FAILS
    assert verdict(key, quality=lambda chain: 0.85).verdict in ((HOLDS, UNDECIDED) if key in WITH_MARGIN else (UNDECIDED,))
    missing = verdict(key, quality=lambda chain: None)
    assert missing.verdict is UNDECIDED and ABSENT in missing.because


def test_rejuvenation_on_every_task_fails_by_one_of_them():
    def quality(chain):
        return 0.8 if chain.task == "iwslt14-de-en" and chain.last.family.name == "rejuvenate" else of_wang(chain)

    found = verdict("wang2020/rejuvenated", quality=quality)
    assert found.verdict is FAILS and "iwslt14-de-en −" in found.because

    def missing(chain):
        return None if chain.task == "iwslt14-de-en" else of_wang(chain)

    found = verdict("wang2020/rejuvenated", quality=missing)
    assert found.verdict is UNDECIDED and "iwslt14-de-en" in found.because and ABSENT in found.because


def test_transformers_are_less_prunable():
    def of_both(chain):
        pruned, less = chain.last.family.name in ("prune", "retrain"), "lstm" in chain.recipe
        return 0.84 if pruned and less else 0.7 if pruned else 0.85

    key = "wang2020/less-prunable"
    assert verdict(key, quality=of_both).verdict is HOLDS
    assert verdict(key, quality=lambda chain: 1.54 - of_both(chain) if "prune" in str(chain) else 0.85).verdict is FAILS
    assert verdict(key, quality=lambda chain: 0.85).verdict is UNDECIDED
    alone = verdict(key, run_of("wang2020/figure1"), quality=of_both)
    assert alone.verdict is UNDECIDED and "does not have see2016/figure6" in alone.because and alone.items == ("wang2020/figure1",)


def test_strategies_are_compared_by_margins(monkeypatch):
    def of_strategy(chain):
        return 0.85 + 0.03 * ("prune-local" in str(chain))

    local, zero = "wang2020/local-global", "wang2020/zero-external"
    assert verdict(local, quality=of_strategy).verdict is HOLDS
    assert verdict(local, quality=swapped(of_strategy, (r"prune-local", "prune-global"), (r"prune-global", "prune-local"))).verdict is FAILS
    assert verdict(local, quality=lambda chain: 0.85).verdict is UNDECIDED
    assert verdict(zero, quality=lambda chain: 0.85 + 0.03 * ("zero" in str(chain))).verdict is FAILS
    assert ABSENT in verdict(zero).because
    few = {"zero": 0, "external": 3}  # sentences that differ

    def nearly_alike(name, quality):
        same = translate("all", quality).copy()
        same[0, : few[name.rpartition("-")[2]], 5] = 0
        return same

    translate = translated
    monkeypatch.setattr("test_claims.translated", nearly_alike)
    found = verdict(zero, quality=lambda chain: 0.85)
    assert found.verdict is HOLDS, found.because


def test_perplexities():
    def nll(chain):
        return {"train": 2.0, "retrain": 2.2, "rejuvenate": 1.8, "continue": 1.9}[chain.last.family.name]

    key = "wang2020/perplexity"
    zero = (r"/prune-local-50/retrain/rejuvenate-zero$", ""), (r"train$", "train/prune-local-50/retrain/rejuvenate-zero")
    assert verdict(key, nll=nll).verdict is HOLDS
    assert verdict(key, nll=swapped(nll, zero[0], (r"/train$", "/train/prune-local-50/retrain/rejuvenate-zero"))).verdict is FAILS
    assert verdict(key, nll=lambda chain: 2.0).verdict is UNDECIDED
    assert ABSENT in verdict(key).because


def probed(gains, width=0.5):
    def analysis(chain):
        gain = gains if chain.last.family.name == "rejuvenate" else {}
        rows = [
            {"name": name, "accuracy": 60 + gain.get(category, 0), "low": 60 - width, "high": 60 + width, "missing": ""}
            for name, category in CATEGORIES.items()
        ]
        return pd.DataFrame(rows)

    return {"probing": analysis}


def test_probes():
    key = "wang2020/lexical"
    assert verdict(key, analyses=probed({"lexical": 5})).verdict is HOLDS
    assert verdict(key, analyses=probed({"syntactic": 5})).verdict is FAILS
    assert verdict(key, analyses=probed({"lexical": 0.5, "syntactic": 0.4})).verdict is UNDECIDED
    assert ABSENT in verdict(key).because


def places(further):
    def analysis(chain):
        moved = {"rejuvenate": further, "continue": 1.0, "train": 0.0}.get(chain.last.family.name, 0.5)
        return pd.DataFrame({"value": np.full(8, moved * (1 + 0.01 * chain.seed))})

    return {"representations": analysis}


def test_representations():
    key = "wang2020/representations"
    assert verdict(key, analyses=places(1.5), seeds=(1, 2, 3)).verdict is HOLDS
    assert verdict(key, analyses=places(0.7), seeds=(1, 2, 3)).verdict is FAILS
    assert verdict(key, analyses=places(1.5)).verdict is UNDECIDED
    assert "has not run yet" in verdict(key).because


# --- Behnke and Heafield 2021


def strength(chain):
    return next((float(step["lambda"]) for step in chain.steps if step.family.name == "lasso"), 0.0)


def shape_of(run, chain, rising=True):
    """The stronger the lasso the fewer units, and more are left higher up."""
    dense = dense_shape(run, chain)
    lasso = next((step for step in chain.steps if step.family.name == "lasso"), None)
    if lasso is None:
        return dense
    left = {}
    for side, layers in dense.items():
        shares = [1 / (1 + 8 * strength(chain) * (1 - 0.9 * place / len(layers))) for place in range(len(layers))]
        shares = shares if rising else shares[::-1]
        left[side] = [{**layer, "ffn": round(layer["ffn"] * s)} for layer, s in zip(layers, shares, strict=True)]
    return left


def dense_shape(run, chain):
    return shapes.uniform(run.recipe(chain.recipe)["architecture"])


def of_student(chain):
    last = chain.last.family.name
    return {"converge": 0.88, "restart": 0.82, "int8": 0.84 if "micro" in chain.recipe else 0.86, "finetune": 0.87}.get(last, 0.85)


BEHNKE = {
    "behnke2021/two-thirds": ((r"train-pretrain/.*/converge$", "train"), (r"/train$", "/train-pretrain/lasso-ffn-both-0.5/slice/converge")),
    "behnke2021/reinitialised": ((r"converge$", "restart"), (r"restart$", "converge")),
    "behnke2021/int8": ((r"student-12-1-micro(?=.*int8)", "student-12-1"), (r"student-12-1(?=/.*int8)", "student-12-1-micro")),
    "behnke2021/finetuning": ((r"int8-onnx/finetune$", "int8-onnx"), (r"int8-onnx$", "int8-onnx/finetune")),
}


@pytest.mark.parametrize("key", BEHNKE)
def test_claims_of_behnke2021_by_bleu(key):
    assert verdict(key, quality=of_student, shape=shape_of).verdict is HOLDS
    assert verdict(key, quality=swapped(of_student, *BEHNKE[key]), shape=shape_of).verdict is FAILS
    assert verdict(key, quality=lambda chain: 0.85, shape=shape_of).verdict in ((HOLDS, UNDECIDED) if key in WITH_MARGIN else (UNDECIDED,))
    missing = verdict(key, shape=shape_of)
    assert missing.verdict is UNDECIDED and ABSENT in missing.because


def test_what_was_not_pruned_far_enough_says_nothing_of_two_thirds():
    found = verdict("behnke2021/two-thirds", quality=of_student, shape=dense_shape)
    assert found.verdict is UNDECIDED and "at most 0 % are removed" in found.because


def test_speed_grows_with_lambda():
    key = "behnke2021/speed"

    def seconds(chain):
        return 10 / (1 + strength(chain))

    assert verdict(key, quality=of_student, seconds=seconds).verdict is HOLDS
    assert verdict(key, quality=of_student, seconds=lambda chain: 20 - seconds(chain)).verdict is FAILS
    assert verdict(key, quality=of_student, seconds=lambda chain: 10.0).verdict is UNDECIDED
    assert "not measured yet" in verdict(key, quality=of_student).because


def test_one_step_back_is_enough_to_fail():
    run = run_of("behnke2021/table1a")
    assert verdict("behnke2021/speed", run, seconds=lambda chain: 10 / (1 + strength(chain))).verdict is HOLDS
    back = verdict("behnke2021/speed", run, seconds=lambda chain: 9.0 if strength(chain) == 0.5 else 10 / (1 + strength(chain)))
    assert back.verdict is FAILS


def test_widths():
    key = "behnke2021/widths"
    assert verdict(key, shape=shape_of).verdict is HOLDS
    assert verdict(key, shape=lambda run, chain: shape_of(run, chain, rising=False)).verdict is FAILS
    assert verdict(key, shape=dense_shape).verdict is UNDECIDED
    assert ABSENT in verdict(key).because


def test_two_layers_do_not_tell_whether_widths_ascend():
    run = config.from_settings({"preset": "toy", "papers": ["behnke2021/table3"]})
    found = verdict("behnke2021/widths", run, shape=shape_of)
    assert found.verdict is UNDECIDED and "over 2 points, p = 1.000" in found.because


def test_patterns_across_tasks():
    def of_task(run, chain, alike=True):
        return shape_of(run, chain, rising=alike or "es-en" not in chain.task)

    key = "behnke2021/patterns"
    assert verdict(key, shape=of_task).verdict is HOLDS
    assert verdict(key, shape=lambda run, chain: of_task(run, chain, alike=False)).verdict is FAILS
    assert ABSENT in verdict(key).because


def test_the_front():
    def seconds(chain):
        return 1.0 if "12-1" in chain.recipe and "lasso" in str(chain) else 3.0

    key = "behnke2021/front"
    assert verdict(key, quality=of_student, seconds=seconds).verdict is HOLDS
    assert (
        verdict(key, quality=of_student, seconds=lambda chain: 1.0).verdict is UNDECIDED
    )  # pruned students of the other shapes are as good
    reinit = swapped(of_student, *BEHNKE["behnke2021/reinitialised"])
    assert verdict(key, quality=reinit, seconds=seconds).verdict is FAILS
    assert "not measured yet" in verdict(key, quality=of_student).because


# --- Wang and Tu 2020

DEPTH = 6


def components(depth=DEPTH):
    shape = {"encoder": [{"self": 8, "ffn": 64}] * depth, "decoder": [{"self": 8, "ffn": 64, "cross": 8}] * depth}
    return of_shape(shape)


LEVEL = {"D.SA": 0.05, "E.SA": 0.3, "E.FF": 0.3, "D.EA": 0.4, "D.FF": 0.8}


def important(component, depth):
    """As the paper finds it: by kind, and by the distance from input and output."""
    height = (component.layer - (depth + 1) / 2) / depth
    slope = {"E.SA": -0.15, "E.FF": -0.15, "D.SA": 0.002, "D.EA": 0.15, "D.FF": 0.15}[component.kind]
    return LEVEL[component.kind] + slope * height


def pretended(monkeypatch, value, depth=DEPTH, noise=0.01):
    """Makes up importances: `value` of component, row and metric; a row that has none is not there."""

    def made(row, metric, measured):
        names = components(depth(row) if callable(depth) else depth)
        values = [value(each, row, metric) for each in names]
        if None in values:
            return None
        drawn = np.random.default_rng(len(names)).normal(0, noise, size=(len(row.chains), importance.SAMPLES, len(names)))
        matrix = np.array([values] * len(row.chains), float)
        return importance.Importance(tuple(map(str, names)), matrix, matrix[:, None] + drawn if metric == "contribution" else None)

    monkeypatch.setattr(heatmaps, "importance", made)


MAPS = ("least", "most", "near-input", "near-output", "encoder-attention")


@pytest.mark.parametrize("depth", [6, 2])
def test_importance_by_kind_and_layer(monkeypatch, depth):
    swaps = {"least": {"D.SA": "E.SA", "E.SA": "D.SA"}, "most": {"D.FF": "D.EA", "D.EA": "D.FF"}}
    for name in MAPS:
        key = f"wangtu2020/{name}"
        pretended(monkeypatch, lambda each, row, metric: important(each, depth), depth)
        assert verdict(key).verdict is HOLDS, key

        def exchanged(each, row, metric, name=name):
            if name in swaps:
                return important(each._replace(kind=swaps[name].get(each.kind, each.kind)), depth)
            return important(each._replace(layer=depth + 1 - each.layer), depth)

        pretended(monkeypatch, exchanged, depth)
        assert verdict(key).verdict is FAILS, key
        pretended(monkeypatch, lambda each, row, metric: 0.5, depth)
        assert verdict(key).verdict is UNDECIDED
        pretended(monkeypatch, lambda each, row, metric: None, depth)
        assert ABSENT in verdict(key).because


def test_both_metrics_agree(monkeypatch):
    key = "wangtu2020/metrics"
    for sign, expected in ((1, HOLDS), (-1, FAILS)):
        pretended(monkeypatch, lambda each, row, metric, s=sign: (1 if metric == "contribution" else s) * important(each, DEPTH))
        assert verdict(key).verdict is expected
    pretended(monkeypatch, lambda each, row, metric: important(each, DEPTH) if metric == "contribution" else None)
    assert verdict(key).verdict is UNDECIDED and ABSENT in verdict(key).because


@pytest.mark.parametrize(("key", "of"), [("wangtu2020/seeds", "Seed 66"), ("wangtu2020/sizes", "Deeper")])
def test_seeds_and_sizes_agree(monkeypatch, key, of):
    def depth(row):
        return 12 if row.label == "Deeper" else DEPTH

    def value(each, row, metric, sign):
        return sign * important(each, depth(row)) if row.label == of else important(each, depth(row))

    for sign, expected in ((1, HOLDS), (-1, FAILS)):
        pretended(monkeypatch, lambda each, row, metric, s=sign: value(each, row, metric, s), depth)
        assert verdict(key).verdict is expected
    pretended(monkeypatch, lambda each, row, metric: None if row.label == of else important(each, depth(row)), depth)
    found = verdict(key)
    assert found.verdict is UNDECIDED and ABSENT in found.because


@pytest.mark.parametrize(("key", "sign"), [("wangtu2020/dropout", 1), ("wangtu2020/data", -1)])
def test_unimportant_components_are_counted(monkeypatch, key, sign):
    run = run_of(*BY_KEY[key].items)
    rows = papers.items(run)[0].rows

    def value(each, row, metric, sign):
        place = [steps(r) + r.label for r in rows].index(steps(row) + row.label)
        none_of_them = 5 * (place if sign > 0 else len(rows) - place)
        return 0.0 if [*map(str, components())].index(str(each)) < none_of_them else 0.5

    for s, expected in ((sign, HOLDS), (-sign, FAILS)):
        pretended(monkeypatch, lambda each, row, metric, s=s: value(each, row, metric, s))
        found = verdict(key, run)
        assert found.verdict is expected, found.because
    pretended(monkeypatch, lambda each, row, metric: 0.5)
    assert verdict(key, run).verdict is UNDECIDED
    pretended(monkeypatch, lambda each, row, metric: None)
    assert ABSENT in verdict(key, run).because


def test_importance_is_seen_early_and_not_at_initialisation(monkeypatch):
    def value(each, row, metric, first="train/at-0"):
        at_random = np.random.default_rng(zlib.crc32(str(each).encode())).random()
        return at_random if steps(row) == first else important(each, DEPTH)

    key = "wangtu2020/early"
    pretended(monkeypatch, value)
    assert verdict(key).verdict is HOLDS
    pretended(monkeypatch, lambda *args: value(*args, first="train/at-50"))
    assert verdict(key).verdict is FAILS  # known from the beginning
    pretended(monkeypatch, lambda each, row, metric: None if "at-0" in steps(row) else important(each, DEPTH))
    assert ABSENT in verdict(key).because
    pretended(monkeypatch, lambda each, row, metric: 0.0 if "at-0" in steps(row) else important(each, DEPTH))
    assert verdict(key).verdict is HOLDS  # a model that translates nothing loses nothing


def test_important_components_resemble_the_output(monkeypatch):
    names = sorted(components(), key=lambda each: important(each, DEPTH))
    pretended(monkeypatch, lambda each, row, metric: important(each, DEPTH))

    def analyses(sign, count=7):
        pwcca = [{"component": str(each), "pwcca": 0.5 + sign * 0.01 * place} for place, each in enumerate(names)]
        order = [{"method": "iterative", "number": n, "component": str(each)} for n, each in enumerate(names[:count], 1)]
        order.append({"method": "iterative", "number": 0, "component": "none"})
        return {"similarity": lambda chain: pd.DataFrame(pwcca), "order": lambda chain: pd.DataFrame(order)}

    key = "wangtu2020/similarity"
    assert verdict(key, analyses=analyses(1)).verdict is HOLDS
    assert verdict(key, analyses=analyses(-1)).verdict is FAILS
    assert verdict(key, analyses=analyses(1, count=2)).verdict is UNDECIDED  # two against two
    assert ABSENT in verdict(key).because


@pytest.mark.parametrize(
    ("key", "ours", "theirs"),
    [("wangtu2020/pruned-shallow", "drop-", "shallow"), ("wangtu2020/rewind-continue", "rewind-", "continue-short")],
)
def test_pruned_and_rewound_models(key, ours, theirs):
    def quality(chain, better=ours, worse=theirs):
        return 0.88 if better in str(chain) else 0.82 if worse in str(chain) else 0.85

    assert verdict(key, quality=quality).verdict is HOLDS
    assert verdict(key, quality=lambda chain: quality(chain, theirs, ours)).verdict is FAILS
    assert verdict(key, quality=lambda chain: 0.85).verdict is UNDECIDED
    assert ABSENT in verdict(key).because


# --- what is shown


def test_only_claims_of_the_runs_tables_are_decided():
    run = run_of("wang2020/table1", "see2016/figure6")
    decided = claims.decide(run, Pretended(run, quality=of_wang))
    assert {claim.key for claim, _ in decided} == {
        "wang2020/local-global",
        "wang2020/zero-external",
        "see2016/direct-40",
        "see2016/retrained-80",
        "see2016/sparse-below-retrained",
        "see2016/sparse-near-dense",
    }
    assert [claim.paper for claim, _ in decided] == ["wang2020"] * 2 + ["see2016"] * 4


def test_the_file_has_verdict_numbers_and_links():
    run = run_of("wang2020/table1", "see2016/figure6")
    decided = shown.decide(run, Pretended(run, quality=of_wang))
    printed = shown.markdown(run, decided)
    assert shown.summary(decided) in printed and shown.summary(decided).startswith("Of 6 claims ")
    line = next(line for line in printed.splitlines() if "Local pruning" in line)
    assert "[Table 1](wang2020/table1.md)" in line and re.search(r"\*\*\w+\*\*", line)
    assert "[Figure 6](see2016/figure6.png)" in printed
    assert printed.index("## Wang et al. 2020") < printed.index("## See et al. 2016")


def test_a_run_without_scores_has_no_verdict_but_reasons(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run = config.from_settings({"preset": "toy"})
    decided = claims.decide(run, Measured(run))
    assert len(decided) > 25
    assert {found.verdict for _, found in decided} == {UNDECIDED}
    assert all(len(found.because) > 20 and found.because.endswith(".") for _, found in decided)
