"""What See et al. 2016 find, as functions over scores."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pandas as pd

from nmtprune.claims.evidence import Evidence, at_ratio, by_ratio, matching, only, steps
from nmtprune.claims.registry import claim
from nmtprune.claims.verdict import (
    MARGIN,
    Estimate,
    Undecidable,
    Verdict,
    above,
    correlation,
    every,
    every_by_signs,
    in_order,
    listed,
    numbers,
    signed,
)
from nmtprune.papers import Row

SCHEMES = {"global": "class-blind", "uniform": "class-uniform", "distribution": "class-distribution"}
NEAR = 1.0  # BLEU below the dense model that "close to the baseline performance" allows; the paper draws about as much in figure 6
GATES = ("candidate", "input gate", "output gate", "forget gate")  # from the most to the least kept
MIDDLE = 50.0  # percent of the vocabulary: the mean rank of words that vanish by chance
NORMAL = 1.959964


@claim(
    "see2016/class-blind-best",
    "Class-blind pruning outperforms both other schemes at all pruning percentages",
    "section 4.1, figure 3",
    "see2016/figure3",
)
def class_blind_is_best(evidence: Evidence) -> tuple[Verdict, str]:
    rows = evidence.rows("see2016/figure3")
    by_scheme = {scheme: by_ratio(rows, rf"train/prune-{scheme}-(?P<percent>[\d.]+)") for scheme in SCHEMES}
    estimates: dict[tuple[float, str], Estimate] = {}
    for percent, row in by_scheme["global"].items():
        for scheme in ("uniform", "distribution"):
            if percent in by_scheme[scheme]:
                estimates[percent, scheme] = evidence.difference(row, by_scheme[scheme][percent])
    if not estimates:
        raise Undecidable("no ratio is pruned by all schemes here")
    ratios = sorted({percent for percent, _ in estimates})

    def where(verdict: Verdict) -> list[float]:
        count = 1 if verdict is Verdict.HOLDS else len(estimates)
        judged = {percent: [above(e.adjusted(count)) for (p, _), e in estimates.items() if p == percent] for percent in ratios}
        return [p for p, found in judged.items() if (set(found) == {verdict} if verdict is Verdict.HOLDS else verdict in found)]

    best, worse = where(Verdict.HOLDS), where(Verdict.FAILS)
    largest = max(estimates, key=lambda key: estimates[key].value)
    smallest = min(estimates, key=lambda key: estimates[key].value)
    text = f"above both at {len(best)} of {len(ratios)} ratios{f' ({numbers(best)} %)' if best else ''}, below one of them at {len(worse)}"
    for name, (percent, scheme) in (("most", largest), ("least", smallest)):
        text += f"; {name} against {SCHEMES[scheme]} at {percent:g} %: {estimates[percent, scheme]}"
    return every(list(estimates.values())), text


def _at_ratio(evidence: Evidence, pattern: str, percent: float, margin: float) -> tuple[Verdict, str]:
    """Whether models of figure 6 pruned by so much are no worse than the dense one."""
    rows = evidence.rows("see2016/figure6")
    verdict, said = at_ratio(evidence, by_ratio(rows, pattern), only(rows, "train", "the dense model"), percent, margin)
    return verdict, f"against the dense model {said}, {margin:g} BLEU allowed"


@claim(
    "see2016/direct-40",
    "Up to about 40 % pruning, performance is mostly unaffected",
    "section 4.2, figure 6",
    "see2016/figure6",
)
def forty_percent_go_directly(evidence: Evidence) -> tuple[Verdict, str]:
    return _at_ratio(evidence, r"train/prune-global-(?P<percent>[\d.]+)", 40, MARGIN)


@claim(
    "see2016/retrained-80",
    "With retraining, baseline performance is recovered and improved upon up to 80 % pruning",
    "section 4.2, figure 6",
    "see2016/figure6",
)
def eighty_percent_go_with_retraining(evidence: Evidence) -> tuple[Verdict, str]:
    verdict, text = _at_ratio(evidence, r"train/prune-global-(?P<percent>[\d.]+)/retrain", 80, MARGIN)
    rows = evidence.rows("see2016/figure6")
    try:
        gain = evidence.difference(only(rows, "train/continue", "the model trained on"), only(rows, "train", "the dense model"))
    except Undecidable:
        return verdict, text
    return verdict, f"{text}; trained on without pruning {gain}"


@claim(
    "see2016/sparse-below-retrained",
    "Models that are sparse from the beginning do not perform as well as those pruned and retrained",
    "section 4.3, figure 6",
    "see2016/figure6",
)
def sparse_from_the_beginning_is_below_retrained(evidence: Evidence) -> tuple[Verdict, str]:
    rows = evidence.rows("see2016/figure6")
    sparse = by_ratio(rows, r"train/prune-global-(?P<percent>[\d.]+)/restart")
    retrained = by_ratio(rows, r"train/prune-global-(?P<percent>[\d.]+)/retrain")
    estimates = {each: evidence.difference(sparse[each], retrained[each]) for each in sparse if each in retrained}
    if not estimates:
        raise Undecidable("no ratio has both here")
    said = listed(f"{estimate} at {each:g} %" for each, estimate in estimates.items())
    return every([-each for each in estimates.values()]), f"against retrained {said}"


@claim(
    "see2016/sparse-near-dense",
    "Models that are sparse from the beginning come close to the baseline performance",
    "section 4.3, figure 6",
    "see2016/figure6",
)
def sparse_from_the_beginning_is_near_dense(evidence: Evidence) -> tuple[Verdict, str]:
    return _at_ratio(evidence, r"train/prune-global-(?P<percent>[\d.]+)/restart", 80, NEAR)


def _rises(evidence: Evidence, key: str) -> dict[str, Row]:
    """The rows of a figure that are pruned by class-uniform 90 % in one class alone, by the class."""
    found = matching(evidence.rows(key), r"train/prune-uniform-90-(?P<weights>.+)")
    if not found:
        raise Undecidable("no class is pruned alone here")
    return {match["weights"].replace("_", " "): row for match, row in found}


def _suffer_most(evidence: Evidence, crucial: list[str], of: Callable[[str], bool]) -> tuple[Verdict, str]:
    """Whether pruning each of some classes alone costs more likelihood than each of the others that are asked of."""
    rows = {name: row for name, row in _rises(evidence, "see2016/figure4").items() if of(name)}
    if absent := [name for name in crucial if name not in rows]:
        raise Undecidable(f"the model has no class {listed(absent)}")
    others = [name for name in rows if name not in crucial]
    if not others:
        raise Undecidable("there is no class to compare with")
    baseline = only(evidence.rows("see2016/figure4"), "train", "the dense model")
    rise = {name: evidence.value(row, "perplexity") - evidence.value(baseline, "perplexity") for name, row in rows.items()}
    least, most = min(crucial, key=rise.get), max(others, key=rise.get)
    said = listed(f"{name} {signed(rise[name])}" for name in sorted(crucial, key=rise.get, reverse=True))
    estimate = evidence.nll_difference(rows[least], rows[most])
    return above(estimate), f"perplexity {said}; most of the others: {most} {signed(rise[most])}"


@claim(
    "see2016/crucial-classes",
    "Under class-uniform pruning, attention and softmax weights cause more of the loss than any other class",
    "section 4.1, figure 4",
    "see2016/figure4",
)
def attention_and_softmax_suffer_most(evidence: Evidence) -> tuple[Verdict, str]:
    return _suffer_most(evidence, ["attention", "softmax"], lambda name: True)


@claim(
    "see2016/top-layer",
    "Under class-uniform pruning, the top target layer causes more of the loss than any other layer",
    "section 4.1, figure 4",
    "see2016/figure4",
)
def top_target_layer_suffers_most_of_layers(evidence: Evidence) -> tuple[Verdict, str]:
    layers = [name for name in _rises(evidence, "see2016/figure4") if name.startswith("target layer")]
    top = max(layers, key=lambda name: int(name.rpartition(" ")[2]), default="target layer")
    return _suffer_most(evidence, [top], lambda name: " layer " in name)


@claim(
    "see2016/largest-deleted",
    "The most damaging classes to prune also tend to be those with weights of greater magnitude",
    "section 4.1, figure 5",
    "see2016/figure5",
)
def largest_deleted_magnitude_ranks_with_damage(evidence: Evidence) -> tuple[Verdict, str]:
    rows = _rises(evidence, "see2016/figure5")
    magnitudes = [evidence.value(row, "largest_pruned") for row in rows.values()]
    found = correlation(np.array(magnitudes), np.array([evidence.value(row, "perplexity") for row in rows.values()]))
    return found.verdict, f"{found} (classes)"


def _kept(evidence: Evidence) -> pd.DataFrame:
    """Kept shares in percent of an LSTM's sub-groups, over seeds: class, gate, connection, value, seed."""
    row = evidence.rows("see2016/figure8")[0]
    frames = [found.assign(seed=c.seed) for c in row.chains if (found := evidence.measured.analysis(c, "weights")) is not None]
    if not frames:
        raise Undecidable(evidence.measured.reason(row.chains[0], "weights"))
    every_one = pd.concat(frames)
    parts = every_one[(every_one["name"] == "kept_of_part") & every_one["gate"].notna()]
    if parts.empty:
        raise Undecidable("the model has no LSTM")
    return parts


@claim(
    "see2016/gates",
    "Weights connecting to the input are most crucial, followed by the input gate, then the output gate, then the forget gate",
    "section 4.5, figure 8",
    "see2016/figure8",
)
def candidate_is_kept_most_and_forget_gate_least(evidence: Evidence) -> tuple[Verdict, str]:
    parts = _kept(evidence)
    shares = parts.pivot_table("value", ["seed", "class", "connection"], "gate")
    verdict, p = in_order(shares[list(GATES)].to_numpy())
    means = listed(f"{gate} {shares[gate].mean():.1f} %" for gate in GATES)
    order = " > ".join(shares[list(GATES)].mean().sort_values(ascending=False).index)
    return verdict, f"kept on average {means}: {order}; Page's trend test over {len(shares)} halves of layers, p = {p:.3f}"


@claim(
    "see2016/layers",
    "For lower layers the feed-forward input is much more important than the recurrent input, for higher layers the recurrent one",
    "section 4.5, figure 8",
    "see2016/figure8",
)
def lower_layers_keep_feed_forward_and_higher_recurrent(evidence: Evidence) -> tuple[Verdict, str]:
    parts = _kept(evidence).copy()
    parts[["side", "layer"]] = parts["class"].str.extract(r"(source|target) layer (\d+)")
    parts["layer"] = parts["layer"].astype(int)
    if parts["layer"].max() < 2:
        raise Undecidable("the model has one layer")
    shares = parts.pivot_table("value", ["side", "layer", "seed", "gate"], "connection").reset_index()
    gain = shares["feed-forward"] - shares["recurrent"]
    highest = shares.groupby("side")["layer"].transform("max")
    ends = {"lowest": gain[shares["layer"] == 1], "highest": -gain[shares["layer"] == highest]}
    said = (
        f"in the lowest layers the feed-forward half keeps {signed(ends['lowest'].mean())} percentage points more, "
        f"in the highest the recurrent half {signed(ends['highest'].mean())}"
    )
    counts = [f"{int((gains > 0).sum())} of {len(gains)}" for gains in ends.values()]
    return every_by_signs(
        [gains.to_numpy() for gains in ends.values()]
    ), f"{said}; so in {counts[0]} and {counts[1]} of the gates, sign test"


@claim(
    "see2016/rare-words",
    "Words all of whose embedding weights go at 80 % are uncommon ones",
    "section 4.5",
    "see2016/words",
)
def words_that_vanish_are_rare(evidence: Evidence) -> tuple[Verdict, str]:
    row = evidence.rows("see2016/words")[0]
    estimates, said = [], []
    for side in ("source", "target"):
        analyses = [found for chain in row.chains if (found := evidence.measured.analysis(chain, "weights")) is not None]
        if not analyses:
            raise Undecidable(evidence.measured.reason(row.chains[0], "weights"))
        values = [each.set_index("name")["value"] for each in analyses]
        gone = [each.get(f"{side}_words_gone", math.nan) for each in values]
        ranks = [each.get(f"{side}_rank_gone", math.nan) for each in values]
        count = int(np.nansum(gone))
        if not count:
            said.append(f"no {side} word vanishes")
            continue
        rank = float(np.nansum(np.array(gone) * np.nan_to_num(ranks)) / count)
        half = NORMAL * 100 / math.sqrt(12 * count)  # of the mean rank of so many words drawn by chance
        estimates.append(Estimate(rank - MIDDLE, rank - MIDDLE - half, rank - MIDDLE + half, ""))
        said.append(f"{count} {side} words vanish, at {rank:.0f} % of the ranking by frequency on average (chance: 50 ± {half:.0f})")
    return every(estimates), f"{' and '.join(said)}, by {steps(row)}"
