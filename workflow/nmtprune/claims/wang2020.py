"""What Wang et al. 2020 find, as functions over scores."""

from __future__ import annotations

import math

import numpy as np
from scipy import stats

from nmtprune.claims.evidence import Evidence, at_ratio, by_ratio, matching, only, steps
from nmtprune.claims.registry import claim
from nmtprune.claims.verdict import (
    FEWEST_SEEDS,
    LEVEL,
    MARGIN,
    Estimate,
    Undecidable,
    Verdict,
    above,
    alike,
    all_of,
    every,
    listed,
    not_worse,
    over_seeds,
    while_missing,
)
from nmtprune.papers import Row
from nmtprune.reporting.kinds.changes import changes

PRUNED = r"train/prune-local-(?P<percent>[\d.]+)"
FREE_OF_RNN = {"directly": 40, "retrained": 80}  # percent that the RNN loses without harm and the Transformer does not
REJUVENATED = r"train/prune-local-[\d.]+/retrain/rejuvenate-zero"
GAINED = "wang2020/table2", "wang2020/table3", "wang2020/table4"


def _by_data(rows: tuple[Row, ...]) -> dict[str, list[Row]]:
    """Rows by their group: one a data set."""
    found: dict[str, list[Row]] = {}
    for row in rows:
        found.setdefault(row.group, []).append(row)
    return found


def _free(evidence: Evidence, pattern: str, percent: float) -> tuple[Verdict, str]:
    """Whether so much can go without a loss on every data set of figure 1."""
    verdicts, said = [], []
    for group, rows in _by_data(evidence.rows("wang2020/figure1")).items():
        verdict, differences = at_ratio(evidence, by_ratio(rows, pattern), only(rows, "train", "the baseline"), percent, MARGIN)
        verdicts.append(verdict)
        said.append(f"{group} {differences}")
    return all_of(verdicts), f"{'; '.join(said)}; {MARGIN:g} BLEU allowed"


@claim(
    "wang2020/direct-20",
    "Over 20 % of parameters can be directly pruned without degrading the translation performance",
    "section 3.2, figure 1",
    "wang2020/figure1",
)
def twenty_percent_go_directly(evidence: Evidence) -> tuple[Verdict, str]:
    return _free(evidence, PRUNED, 20)


@claim(
    "wang2020/retrained-50",
    "With training after pruning, 50 % can be pruned with no performance loss",
    "section 3.2, figure 1",
    "wang2020/figure1",
)
def half_goes_with_retraining(evidence: Evidence) -> tuple[Verdict, str]:
    return _free(evidence, f"{PRUNED}/retrain", 50)


def _losses(evidence: Evidence, rows: tuple[Row, ...] | list[Row], scheme: str) -> dict[tuple[float, str], Estimate]:
    """BLEU lost in percent of the dense model's, by ratio and by whether pruned models were retrained."""
    baseline = only(rows, "train", "the dense model")
    dense = evidence.value(baseline, "bleu")
    if not dense:
        raise Undecidable(f"{baseline.name} has no BLEU that could be lost")
    found = {}
    for retrained, after in (("directly", ""), ("retrained", "/retrain")):
        for percent, row in by_ratio(rows, rf"train/prune-{scheme}-(?P<percent>[\d.]+){after}").items():
            found[percent, retrained] = (-evidence.difference(row, baseline)).scaled(100 / dense, " %")
    return found


@claim(
    "wang2020/less-prunable",
    "Transformer is less over-parameterized than RNN-based NMT models (20 % against 40 %, and 50 % against 80 %)",
    "section 3.2, figure 1, and figure 6 of See et al.",
    "wang2020/figure1",
    "see2016/figure6",
)
def transformer_is_less_prunable_than_rnn(evidence: Evidence) -> tuple[Verdict, str]:
    of_transformer = _losses(evidence, next(iter(_by_data(evidence.rows("wang2020/figure1")).values())), "local")
    of_rnn = _losses(evidence, evidence.rows("see2016/figure6"), "global")
    verdicts, said = [], []
    for way, wanted in FREE_OF_RNN.items():
        common = [percent for percent, each in of_transformer if each == way and (percent, way) in of_rnn]
        if not common:
            raise Undecidable(f"no ratio is pruned {way} in both models here")
        key = min(common, key=lambda percent: abs(percent - wanted)), way
        more = of_transformer[key] - of_rnn[key]
        verdicts.append(above(more))
        said.append(f"{way} at {key[0]:g} % {of_transformer[key].value:.0f} % of its BLEU against {of_rnn[key].value:.0f} % ({more})")
    return all_of(verdicts), f"the Transformer loses {'; '.join(said)}"


def _strategies(evidence: Evidence) -> dict[tuple[str, str], Row]:
    """The rows of table 1 by pruning and rejuvenation."""
    pattern = r"train/prune-(?P<scheme>local|global)-[\d.]+/retrain/rejuvenate-(?P<values>zero|external)"
    return {(match["scheme"], match["values"]): row for match, row in matching(evidence.rows("wang2020/table1"), pattern)}


def _pairs_of_strategies(evidence: Evidence, pairs: dict[str, tuple[tuple[str, str], tuple[str, str]]]) -> dict[str, Estimate]:
    rows = _strategies(evidence)
    found = {name: evidence.difference(rows[one], rows[other]) for name, (one, other) in pairs.items() if {one, other} <= set(rows)}
    if not found:
        raise Undecidable("the strategies are not among the rows here")
    return found


def _said(estimates: dict[str, Estimate]) -> str:
    return "; ".join(f"{name} {estimate}" for name, estimate in estimates.items())


@claim(
    "wang2020/local-global",
    "Local pruning is at least as good as global pruning",
    "section 3.3, table 1",
    "wang2020/table1",
)
def local_is_at_least_as_good_as_global(evidence: Evidence) -> tuple[Verdict, str]:
    pairs = {f"local less global, {values}": (("local", values), ("global", values)) for values in ("zero", "external")}
    found = _pairs_of_strategies(evidence, pairs)
    return every(list(found.values()), not_worse(MARGIN)), f"{_said(found)}; {MARGIN:g} BLEU allowed"


@claim(
    "wang2020/zero-external",
    "Rejuvenation from zero and from the baseline's values perform alike",
    "section 3.3, table 1",
    "wang2020/table1",
)
def zero_is_as_good_as_external(evidence: Evidence) -> tuple[Verdict, str]:
    pairs = {f"zero less external, {scheme}": ((scheme, "zero"), (scheme, "external")) for scheme in ("local", "global")}
    found = _pairs_of_strategies(evidence, pairs)
    return every(list(found.values()), alike(MARGIN)), f"{_said(found)}; within {MARGIN:g} BLEU to either side"


@claim(
    "wang2020/rejuvenated",
    "Rejuvenation outperforms the baseline trained on for as long, on every task and architecture",
    "section 3.3, tables 2, 3 and 4",
    *GAINED,
)
def rejuvenated_is_better_than_trained_on(evidence: Evidence) -> tuple[Verdict, str]:
    models: dict[tuple[str, str], dict[str, Row]] = {}
    for row in (row for rows in evidence.some_rows(*GAINED).values() for row in rows):
        for name, pattern in (("rejuvenated", REJUVENATED), ("trained on", "train/continue")):
            if matching([row], pattern):
                kept = models.setdefault((row.chains[0].task, row.chains[0].recipe), {})
                kept[name] = max(kept.get(name, row), row, key=lambda each: len(each.chains))
    found, absent = {}, []
    for (task, recipe), rows in models.items():
        try:
            if len(rows) == 2:
                found[f"{recipe} on {task}"] = evidence.difference(rows["rejuvenated"], rows["trained on"])
        except Undecidable as reason:
            absent.append(str(reason))
    if not found:
        raise Undecidable(absent[0] if absent else "no model was both rejuvenated and trained on")
    verdict = while_missing(every(list(found.values()), independent=True), absent)
    return verdict, "; ".join([f"rejuvenated less trained on, {_said(found)}", *absent])


@claim(
    "wang2020/second-round",
    "A second round of rejuvenation is better than one",
    "section 3.3, table 2",
    "wang2020/table2",
)
def second_round_is_better(evidence: Evidence) -> tuple[Verdict, str]:
    rows = evidence.rows("wang2020/table2")
    again = f"{REJUVENATED}{REJUVENATED.removeprefix('train')}"
    second = only(rows, again, "a second round")
    first = next((row for _, row in matching(rows, REJUVENATED) if row.chains[0].recipe == second.chains[0].recipe), None)
    if first is None:
        raise Undecidable("there is no row of a first round here")
    estimate = evidence.difference(second, first)
    return above(estimate), f"second less first round {estimate}"


@claim(
    "wang2020/perplexity",
    "Perplexity is lowest after rejuvenation, then the baseline's, and highest after pruning and retraining",
    "appendix, table 6",
    "wang2020/table6",
)
def perplexity_falls_by_rejuvenation(evidence: Evidence) -> tuple[Verdict, str]:
    rows = evidence.rows("wang2020/table6")
    baseline = only(rows, "train", "the baseline")
    pruned, rejuvenated = only(rows, rf"{PRUNED}/retrain", "PruTrain"), only(rows, REJUVENATED, "RejTrain")
    gains = [evidence.nll_difference(baseline, rejuvenated), evidence.nll_difference(pruned, baseline)]
    shown = [f"{evidence.value(row, 'perplexity'):.2f}" for row in (rejuvenated, baseline, pruned)]
    return every(gains), (
        f"rejuvenated {shown[0]}, baseline {shown[1]}, pruned {shown[2]}; baseline less rejuvenated {gains[0]}, "
        f"pruned less baseline {gains[1]}"
    )


@claim(
    "wang2020/lexical",
    "Rejuvenation gains most on the lexical probing tasks",
    "section 4, table 7 and figure 3",
    "wang2020/figure3",
    "wang2020/table7",
)
def gain_is_largest_on_lexical_probes(evidence: Evidence) -> tuple[Verdict, str]:
    key = next((key for key in ("wang2020/figure3", "wang2020/table7") if key in evidence.items), "wang2020/figure3")
    rows = evidence.rows(key)
    row = only(rows, REJUVENATED, "RejTrain")
    records = [each for each in changes(evidence.items[key], evidence.measured).to_dict("records") if each["chain"] == steps(row)]
    gains = {each["category"]: _change(each) for each in records if not each["missing"]}
    if "lexical" not in gains or len(gains) < 2:
        missing = [each["missing"] for each in records if each["missing"]]
        raise Undecidable(missing[0] if missing else "the lexical probes have nothing to be compared with")
    absent = [each["category"] for each in records if each["missing"]]
    verdict = while_missing(every([gains["lexical"] - gain for category, gain in gains.items() if category != "lexical"]), absent)
    said = "; ".join(f"{category} {gain}" for category, gain in gains.items())
    if 1 < len(row.chains) < FEWEST_SEEDS:
        verdict, said = Verdict.UNDECIDED, f"{said} ({len(row.chains)} seeds, whose spread is not known)"
    return verdict, f"accuracy against the baseline's: {said}{f'; no {listed(absent)} probes' if absent else ''}"


def _change(record: dict) -> Estimate:
    """A relative change of accuracy in percent; over several seeds, Student's interval."""
    half, seeds = record["half_width"], record["seeds"]
    if seeds > 1:
        half = float(stats.t.ppf(1 - LEVEL / 2, seeds - 1)) * half / math.sqrt(seeds)
    return Estimate(record["change"], record["change"] - half, record["change"] + half, " %")


@claim(
    "wang2020/representations",
    "Rejuvenation moves the encoder's representations further than training on",
    "section 4, figure 2",
    "wang2020/figure2",
)
def rejuvenation_moves_representations_further(evidence: Evidence) -> tuple[Verdict, str]:
    rows = evidence.rows("wang2020/figure2")
    start = _representations(evidence, only(rows, "train", "the baseline"))
    phases = {"RejTrain": REJUVENATED, "ConTrain": "train/continue"}
    ends = {name: _representations(evidence, only(rows, pattern, name)) for name, pattern in phases.items()}
    seeds = [seed for seed in start if all(seed in end for end in ends.values())]
    if not seeds:
        raise Undecidable("no seed has the representations of all phases")
    moved = {name: [float(np.linalg.norm(end[seed] - start[seed])) for seed in seeds] for name, end in ends.items()}
    means = {name: f"{np.mean(each):.3f}" for name, each in moved.items()}
    said = f"distances {means['RejTrain']} (RejTrain) and {means['ConTrain']} (ConTrain)"
    try:
        estimate = over_seeds(np.subtract(moved["RejTrain"], moved["ConTrain"]), "")
    except Undecidable as reason:
        return Verdict.UNDECIDED, f"{said}, of {reason}"
    bounds = ", ".join(f"{bound:+.3f}" for bound in (estimate.low, estimate.high))
    return above(estimate), f"{said}, difference {estimate.value:+.3f} [{bounds}] over {len(seeds)} seeds".replace("-", "−")


def _representations(evidence: Evidence, row: Row) -> dict[int, np.ndarray]:
    """The encoder's mean representation by seed."""
    found = {chain.seed: evidence.measured.analysis(chain, "representations") for chain in row.chains}
    there = {seed: each["value"].to_numpy(float) for seed, each in found.items() if each is not None}
    if not there:
        raise Undecidable(evidence.measured.reason(row.chains[0], "representations"))
    return there
