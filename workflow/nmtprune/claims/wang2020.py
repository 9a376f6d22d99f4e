"""The claims of Wang et al. 2020, as functions of scores."""

from __future__ import annotations

import math

import numpy as np

from nmtprune.claims.evidence import NLL, Evidence, at_ratio, by_ratio, matching, only, over_cases, steps
from nmtprune.claims.registry import claim
from nmtprune.claims.verdict import (
    FEWEST_SEEDS,
    MARGIN,
    Decision,
    Estimate,
    Requirement,
    Undecidable,
    alike,
    all_of,
    every,
    over_seeds,
    together,
)
from nmtprune.experiment.papers import Row
from nmtprune.measurements import absences
from nmtprune.measurements.probing import changes
from nmtprune.measurements.trajectory import cosine
from nmtprune.scoring.significance import NORMAL_95

PRUNED = r"train/prune-local-(?P<percent>[\d.]+)"
REJUVENATED = r"train/prune-local-[\d.]+/retrain/rejuvenate-zero"
TWICE = f"{REJUVENATED}{REJUVENATED.removeprefix('train')}"
CONTROL_OF_TWICE = "train/continue/continue"  # as many updates as two rounds have
GAINED = "wang2020/table2", "wang2020/table3", "wang2020/table4"
LOW_RESOURCE = "small"  # the paper's recipe for its low-resource tasks
COMPARED = {
    "directly": ("", 20, 40),
    "retrained": ("/retrain", 50, 80),
}  # percent that papers prune without loss: Transformer, RNN
SCHEMES = (
    ("local", "uniform"),
    ("local", "local"),
    ("global", "global"),
)  # of Transformer and RNN that are comparable


def _by_group(rows: tuple[Row, ...]) -> dict[str, list[Row]]:
    """Rows by group; each group is a data set."""
    groups: dict[str, list[Row]] = {}
    for row in rows:
        groups.setdefault(row.group, []).append(row)
    return groups


def _free(evidence: Evidence, pattern: str, percent: float) -> Decision:
    """Whether `percent` of the weights can go without loss on every data set of figure 1."""
    groups = _by_group(evidence.rows("wang2020/figure1"))

    def of_group(name: str) -> Decision:
        return at_ratio(
            evidence, by_ratio(groups[name], pattern), only(groups[name], "train", "the baseline"), percent
        )

    decisions = over_cases(groups, of_group)
    exact = [
        each.deciding for each in decisions if each.deciding and f"at {percent:g} %" == each.deciding.what
    ]
    decision = together(exact) if len(exact) == len(decisions) == len(groups) > 1 else all_of(decisions)
    return decision.but(f"{'; '.join(each.because for each in decisions)}; {MARGIN:g} BLEU allowed")


@claim(
    "wang2020/direct-20",
    "over 20% of parameters can be directly pruned without degrading the translation performance",
    "section 3.2, figure 1",
    "wang2020/figure1",
    headline=True,
)
def twenty_percent_go_directly(evidence: Evidence) -> Decision:
    return _free(evidence, PRUNED, 20)


@claim(
    "wang2020/retrained-50",
    "When adding a simple continuous training phase after pruning, we are able to prune 50% with no "
    "performance loss",
    "section 3.2, figure 1",
    "wang2020/figure1",
    headline=True,
)
def half_goes_with_retraining(evidence: Evidence) -> Decision:
    return _free(evidence, f"{PRUNED}/retrain", 50)


def _loss(
    evidence: Evidence, rows: tuple[Row, ...] | list[Row], scheme: str, after: str
) -> dict[float, Estimate]:
    """BLEU lost by pruning, in percent of the dense model's BLEU, by the percentage that was pruned."""
    dense = only(rows, "train", "the dense model")
    dense_bleu = evidence.value(dense, "bleu")
    if not dense_bleu:
        raise Undecidable(f"the BLEU of {dense.name} is 0, so that none can be lost")
    pruned = by_ratio(rows, rf"train/prune-{scheme}-(?P<percent>[\d.]+){after}")
    return {
        percent: evidence.difference(dense, row).scaled(100 / dense_bleu, " %")
        for percent, row in pruned.items()
    }


@claim(
    "wang2020/less-prunable",
    "Compared with findings in See et al. (2016), Transformer is less over-parameterized than RNN-based NMT "
    "models (20% vs. 40% and 50% "
    "vs. 80%)",
    "section 3.2, figure 1; See et al., figures 3 and 6",
    "wang2020/figure1",
    "see2016/figure3",
    "see2016/figure6",
    note="At a percentage between those of the two papers, and pruned by comparable schemes (by matrix and "
    "by class, or both globally), "
    "the Transformer must lose a larger share of its BLEU than the RNN.",
)
def transformer_is_less_prunable_than_rnn(evidence: Evidence) -> Decision:
    transformer = [row for row in evidence.rows("wang2020/figure1") if row.paper_task == "wmt14-en-de"]
    of_rnn = [
        row for rows in evidence.some_rows("see2016/figure3", "see2016/figure6").values() for row in rows
    ]

    def of_way(way: str) -> Decision:
        after, lowest, highest = COMPARED[way]
        for ours, theirs in SCHEMES:
            losses = _loss(evidence, transformer, ours, after), _loss(evidence, of_rnn, theirs, after)
            common = sorted(
                set(losses[0]) & set(losses[1]), key=lambda percent: abs(percent - (lowest + highest) / 2)
            )
            if common:
                lost = losses[0][common[0]] - losses[1][common[0]]
                return every(
                    [
                        Requirement(
                            f"Transformer minus RNN ({ours}, {theirs}) at {common[0]:g} %, "
                            "loss in percent of the dense model's BLEU",
                            lost,
                        )
                    ]
                )
        raise Undecidable(f"no ratio is pruned {way} by comparable schemes in both models here")

    return all_of(over_cases(COMPARED, of_way))


def _strategies(evidence: Evidence) -> dict[tuple[str, str], Row]:
    """The rows of table 1 by pruning scheme and rejuvenation values."""
    pattern = r"train/prune-(?P<scheme>local|global)-[\d.]+/retrain/rejuvenate-(?P<values>zero|external)"
    return {
        (match["scheme"], match["values"]): row
        for match, row in matching(evidence.rows("wang2020/table1"), pattern)
    }


def _strategy(evidence: Evidence, scheme: str, values: str) -> Row:
    rows = _strategies(evidence)
    if (scheme, values) not in rows:
        raise Undecidable(f"{scheme} pruning with {values} rejuvenation was not run")
    return rows[scheme, values]


@claim(
    "wang2020/local-global",
    "the local pruning strategy performs better than the global one, especially with the rejuvenation "
    "counterpart (28.12 vs. 28.08 BLEU)",
    "section 3.3, table 1",
    "wang2020/table1",
)
def local_is_better_than_global(evidence: Evidence) -> Decision:
    local, globally = (_strategy(evidence, scheme, "zero") for scheme in ("local", "global"))
    return every([Requirement("local minus global, zero", evidence.difference(local, globally))])


@claim(
    "wang2020/zero-external",
    "zero and external initialization perform similarly in terms of BLEU score",
    "section 3.3, table 1",
    "wang2020/table1",
    note=(
        f"“Similarly” is read as within {MARGIN:g} BLEU to either side, under local pruning, for which the "
        "paper has both."
    ),
)
def zero_is_as_good_as_external(evidence: Evidence) -> Decision:
    zero, external = (_strategy(evidence, "local", values) for values in ("zero", "external"))
    requirements = alike("zero minus external, local", evidence.difference(zero, external))
    return every(requirements).but(f"{requirements[0]}; within {MARGIN:g} BLEU to either side")


def _trained(
    evidence: Evidence, ours: str, theirs: str, only_of: str | None = None
) -> dict[str, tuple[Row, Row]]:
    """Pairs of rows of tables 2 to 4, by recipe and task, whose steps match two patterns.

    Of several rows, the one with the most seeds counts.
    """
    models: dict[tuple[str, str], dict[str, Row]] = {}
    for row in (row for rows in evidence.some_rows(*GAINED).values() for row in rows):
        for pattern in (ours, theirs):
            if matching([row], pattern) and only_of in (None, row.paper_recipe):
                kept = models.setdefault((row.first.recipe, row.first.task), {})
                kept[pattern] = max(kept.get(pattern, row), row, key=lambda each: len(each.chains))
    return {
        f"{recipe} on {task}": (rows[ours], rows[theirs])
        for (recipe, task), rows in models.items()
        if len(rows) == 2
    }


@claim(
    "wang2020/rejuvenated",
    "Compared with continuous training, the proposed method significantly and incrementally improves the "
    "translation quality in all cases",
    "section 3.3, tables 2, 3 and 4",
    *GAINED,
    note=(
        "The mean gain over tasks and architectures must lie above 0, and no single gain significantly below."
    ),
    headline=True,
)
def rejuvenated_is_better_than_trained_on(evidence: Evidence) -> Decision:
    decision = evidence.in_all(_trained(evidence, REJUVENATED, "train/continue"))
    return decision.but(f"rejuvenated minus trained further, {decision.because}")


@claim(
    "wang2020/rejuvenated-baseline",
    "the pruned parameters can be rejuvenated to improve the baseline model by up to +0.8 BLEU points",
    "abstract; section 3.3, tables 2, 3 and 4",
    *GAINED,
    note=(
        "The mean gain over tasks and architectures must lie above 0, and no single gain significantly below."
    ),
    headline=True,
)
def rejuvenated_is_better_than_the_baseline(evidence: Evidence) -> Decision:
    decision = evidence.in_all(_trained(evidence, REJUVENATED, "train"))
    return decision.but(f"rejuvenated minus baseline, {decision.because}")


@claim(
    "wang2020/low-resource",
    "For low-resource translation (De⇒En and En⇒Fr), ConTrain can not further improve the performance",
    "section 3.3, table 3",
    "wang2020/table3",
    note=f"Read as a mean gain of less than {MARGIN:g} BLEU over both tasks.",
)
def training_on_gains_nothing_on_small_data(evidence: Evidence) -> Decision:
    evidence.rows("wang2020/table3")
    pairs = _trained(evidence, "train", "train/continue", LOW_RESOURCE)
    if not pairs:
        raise Undecidable("no low-resource model was trained further here")
    decision = evidence.in_all(pairs, MARGIN)
    return decision.but(f"baseline minus trained further, {decision.because}; {MARGIN:g} BLEU allowed")


@claim(
    "wang2020/second-round",
    "iterative rejuvenation can incrementally improve the baseline model up to 28.33 BLEU points (+0.79 and "
    "+0.59 over BASE and ConTrain)",
    "section 3.3, table 2",
    "wang2020/table2",
    note=(
        "Two rounds must be better than one, and better than the baseline trained further for as many "
        "updates as two rounds have."
    ),
)
def second_round_is_better(evidence: Evidence) -> Decision:
    rows = evidence.rows("wang2020/table2")
    second = only(rows, TWICE, "a second round")
    of_recipe = [row for row in rows if row.first.recipe == second.first.recipe]
    first = only(of_recipe, REJUVENATED, "a first round")
    control = only(of_recipe, CONTROL_OF_TWICE, "the baseline trained further for as long as two rounds")
    compared = {"second minus first round": first, "second round minus trained further for as long": control}
    return every([Requirement(what, evidence.difference(second, row)) for what, row in compared.items()])


@claim(
    "wang2020/perplexity",
    "the RejTrain model can achieve lower perplexity than baseline and Contrain models (5.08 vs. 5.14/5.15) "
    "… PruTrain increases the "
    "perplexity",
    "section 4 (Adequacy and Fluency), table 6",
    "wang2020/table6",
)
def perplexity_falls_by_rejuvenation(evidence: Evidence) -> Decision:
    rows = evidence.rows("wang2020/table6")
    baseline, trained_on = only(rows, "train", "the baseline"), only(rows, "train/continue", "ConTrain")
    pruned, rejuvenated = only(rows, rf"{PRUNED}/retrain", "PruTrain"), only(rows, REJUVENATED, "RejTrain")
    pairs = {
        "baseline minus rejuvenated": (baseline, rejuvenated),
        "trained further minus rejuvenated": (trained_on, rejuvenated),
        "pruned minus baseline": (pruned, baseline),
    }
    decision = every([Requirement(what, evidence.difference(*pair, NLL)) for what, pair in pairs.items()])
    shown = (evidence.value(row, "perplexity") for row in (rejuvenated, baseline, trained_on, pruned))
    named = zip(("rejuvenated", "baseline", "trained further", "pruned"), shown, strict=True)
    return decision.but(
        f"perplexity on the main test set: {', '.join(f'{what} {value:.2f}' for what, value in named)}; over "
        f"all test sets pooled: {decision.because}"
    )


@claim(
    "wang2020/lexical",
    "the RejTrain model performs better on the lower level of linguistic subtasks, especially on lexical "
    "ones (i.e. 0.6%)",
    "section 4 (Linguistic Insights), figure 3; appendix A.2, table 7",
    "wang2020/figure3",
    "wang2020/table7",
    note="The relative gain on lexical probes must lie above 0 and above the gains on the other categories.",
)
def gain_is_largest_on_lexical_probes(evidence: Evidence) -> Decision:
    key = next(
        (key for key in ("wang2020/figure3", "wang2020/table7") if key in evidence.items), "wang2020/figure3"
    )
    row = only(evidence.rows(key), REJUVENATED, "RejTrain")
    evidence.require_plateau(row)
    records = [
        each
        for each in changes(evidence.items[key], evidence.measured).to_dict("records")
        if each["chain"] == steps(row)
    ]
    gains = {each["category"]: _change(each) for each in records if not each["missing"]}
    absent = [
        f"no {each['category']} probes: {', and '.join(absences.merged([each['missing']]))}"
        for each in records
        if each["missing"]
    ]
    if "lexical" not in gains or len(gains) < 2:
        raise Undecidable(absent[0] if absent else "the lexical probes have nothing to be compared with")
    requirements = [Requirement("lexical", gains["lexical"])]
    requirements += [
        Requirement(f"lexical minus {name}", gains["lexical"] - gain)
        for name, gain in gains.items()
        if name != "lexical"
    ]
    return every(requirements).while_missing(absent)


def _change(record: dict) -> Estimate:
    """The relative change of accuracy in percent.

    With too few seeds its error comes from the probing sets' test sentences; otherwise from the spread over
    seeds, whose models are tested on the same sentences.
    """
    values = record["values"]
    noise = (record["noise"] / NORMAL_95) ** 2 if len(values) < FEWEST_SEEDS else 0.0
    return over_seeds(values, " %", noise)


@claim(
    "wang2020/representations",
    "The continuous training still transforms the representations in the same direction as the baseline "
    "phase … the rejuvenation training "
    "jumps to a different place compared with the ConTrain",
    "section 4 (Escaping from Local Optimum), figure 2",
    "wang2020/figure2",
    note="ConTrain's displacement must have the larger cosine with the last displacement of the baseline, "
    "and RejTrain's displacement must "
    "be the longer one.",
)
def rejuvenation_leads_elsewhere(evidence: Evidence) -> Decision:
    rows = evidence.rows("wang2020/figure2")
    baseline = only(rows, "train", "the baseline")
    evidence.require_plateau(baseline)
    earlier = max(
        matching(rows, r"train/at-(?P<percent>[\d.]+)"),
        key=lambda found: float(found[0]["percent"]),
        default=None,
    )
    if earlier is None:
        raise Undecidable("there is no earlier checkpoint of the baseline here")
    before, start = (_representations(evidence, row) for row in (earlier[1], baseline))
    ends = {
        name: _representations(evidence, only(rows, pattern, name))
        for name, pattern in (("Rej", REJUVENATED), ("Con", "train/continue"))
    }
    seeds = [seed for seed in start if seed in before and all(seed in end for end in ends.values())]
    if not seeds:
        raise Undecidable("no seed has the representations of all phases")
    moved = {name: [end[seed] - start[seed] for seed in seeds] for name, end in ends.items()}
    own = [start[seed] - before[seed] for seed in seeds]
    longer = [
        float(np.linalg.norm(rej) - np.linalg.norm(con))
        for rej, con in zip(moved["Rej"], moved["Con"], strict=True)
    ]
    turned = [
        cosine(con, base) - cosine(rej, base)
        for con, rej, base in zip(moved["Con"], moved["Rej"], own, strict=True)
    ]
    if any(math.isnan(each) for each in turned):
        raise Undecidable("a phase selected the checkpoint that it began with, so that it has no direction")
    if len(seeds) < FEWEST_SEEDS:
        count = "1 seed is" if len(seeds) == 1 else f"{len(seeds)} seeds are"
        raise Undecidable(
            f"{count} too few for a spread: distance {np.mean(longer):+.3f}, cosine {np.mean(turned):+.2f}"
        )
    requirements = [
        Requirement("cosine with the baseline's direction, ConTrain minus RejTrain", over_seeds(turned, "")),
        Requirement("distance, RejTrain minus ConTrain", over_seeds(longer, "")),
    ]
    return every(requirements)


def _representations(evidence: Evidence, row: Row) -> dict[int, np.ndarray]:
    """The encoder's mean representation by seed."""
    analyses = {chain.seed: evidence.measured.analysis(chain, "representations") for chain in row.chains}
    vectors = {
        seed: analysis["value"].to_numpy(float) for seed, analysis in analyses.items() if analysis is not None
    }
    if not vectors:
        raise Undecidable(evidence.measured.reason(row.first, "representations"))
    return vectors
