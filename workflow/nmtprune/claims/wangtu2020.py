"""What Wang and Tu 2020 find, as functions over scores.

Intervals of importances are those of bootstrap replicates over sentences, and over seeds where there are several.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np

from nmtprune.analysis.importance import SEED, UNIMPORTANT, Agreement, Importance, rank_agreement
from nmtprune.claims.evidence import Evidence, matching, only
from nmtprune.claims.registry import claim
from nmtprune.claims.verdict import (
    Estimate,
    Undecidable,
    Verdict,
    above,
    all_of,
    correlation,
    every,
    signed,
    while_missing,
)
from nmtprune.papers import Row
from nmtprune.pruning.component_names import KINDS, read_component
from nmtprune.reporting.kinds import heatmaps

CONTRIBUTION, CRITICALITY = "contribution", "criticality"
EARLY = 34.0  # percent of the training up to which a checkpoint is early: the paper's epochs 3 and 4
NORMAL = 1.959964
UNIT = ""  # contributions are shares


def _importance(evidence: Evidence, row: Row, metric: str = CONTRIBUTION) -> Importance:
    """The importances of a row's components, those of them that are known."""
    found = heatmaps.importance(row, metric, evidence.measured)
    if found is None:
        raise Undecidable(evidence.measured.missing(row.chains[0], {metric}) or f"the {metric} of {row.chains[0]} is not there yet")
    known = [name for name in found.components if not np.isnan(found.mean[name])]
    return found.take(known)


def _drawn(importance: Importance) -> np.ndarray:
    """[samples, components]: means over the seeds drawn for each sample, of replicates over sentences."""
    if importance.replicates is None:
        raise Undecidable("the statistics of sentences, which give the contributions their intervals, are not there")
    seeds, samples, _ = importance.replicates.shape
    chosen = np.random.default_rng(SEED).integers(seeds, size=(samples, seeds))
    return importance.replicates[chosen, np.arange(samples)[:, None]].mean(axis=1)


def _estimate(importance: Importance, measure: Callable[[np.ndarray], np.ndarray]) -> Estimate:
    """A measure of contributions [..., components], with ± 1.96 standard errors of its replicates."""
    value, half = float(measure(importance.values).mean()), NORMAL * float(measure(_drawn(importance)).std(ddof=1))
    return Estimate(value, value - half, value + half, UNIT)


def _places(importance: Importance, kinds: Sequence[str], layers: Callable[[int, int], bool] = lambda layer, depth: True) -> list[int]:
    """The places of components of some kinds whose layer, of so many, is wanted."""
    found = [(place, *read_component(name)) for place, name in enumerate(importance.components)]
    return [place for place, kind, layer in found if kind in kinds and layers(layer, importance.depths[kind])]


def _contrast(importance: Importance, more: Sequence[int], less: Sequence[int]) -> Estimate:
    """The mean contribution at some places less that at others."""
    if not more or not less:
        raise Undecidable("the model has none of the components that are compared")
    return _estimate(importance, lambda values: values[..., list(more)].mean(-1) - values[..., list(less)].mean(-1))


def _of_rows(evidence: Evidence, key: str, contrasts: Callable[[Importance], dict[str, Estimate]]) -> tuple[Verdict, str]:
    """Whether every contrast is positive in every model of a figure; of what is missing, the reason."""
    verdicts, said, absent = [], [], []
    for row in evidence.rows(key):
        try:
            found = contrasts(_importance(evidence, row))
        except Undecidable as reason:
            absent.append(str(reason))
            continue
        verdicts.append(every(list(found.values())))
        said.append(f"{row.name or 'contribution'}: {', '.join(f'{name} {estimate}' for name, estimate in found.items())}")
    if not verdicts:
        raise Undecidable(absent[0])
    return while_missing(all_of(verdicts), absent), "; ".join([*said, *absent])


def _printed(kind: str) -> str:
    """`D:SA`, as in the paper."""
    return kind.replace(".", ":")


@claim(
    "wangtu2020/least",
    "The decoder self-attention layers are least important",
    "section 3.1, figure 3",
    "wangtu2020/figure3",
)
def decoder_self_attention_is_least_important(evidence: Evidence) -> tuple[Verdict, str]:
    def contrasts(found: Importance) -> dict[str, Estimate]:
        least = _places(found, ["D.SA"])
        return {f"{_printed(kind)} less D:SA": _contrast(found, _places(found, [kind]), least) for kind in KINDS if kind != "D.SA"}

    return _of_rows(evidence, "wangtu2020/figure3", contrasts)


@claim(
    "wangtu2020/most",
    "The decoder feed-forward layers are most important",
    "section 3.1, figure 3",
    "wangtu2020/figure3",
)
def decoder_feed_forward_is_most_important(evidence: Evidence) -> tuple[Verdict, str]:
    def contrasts(found: Importance) -> dict[str, Estimate]:
        most = _places(found, ["D.FF"])
        return {f"D:FF less {_printed(kind)}": _contrast(found, most, _places(found, [kind])) for kind in KINDS if kind != "D.FF"}

    return _of_rows(evidence, "wangtu2020/figure3", contrasts)


def _lower(layer: int, depth: int) -> bool:
    return 2 * layer <= depth


def _upper(layer: int, depth: int) -> bool:
    return 2 * layer > depth + 1


def _halves(
    name: str, text: str, kinds: Sequence[str], more: Callable[[int, int], bool], less: Callable[[int, int], bool], said: str
) -> None:
    """Enter the claim that components of some kinds are more important in one half of the layers than in the other."""

    @claim(f"wangtu2020/{name}", text, "section 3.1, figure 3", "wangtu2020/figure3")
    def one_half_is_more_important(evidence: Evidence) -> tuple[Verdict, str]:
        def contrasts(found: Importance) -> dict[str, Estimate]:
            return {said: _contrast(found, *(_places(found, kinds, half) for half in (more, less)))}

        return _of_rows(evidence, "wangtu2020/figure3", contrasts)


_halves(
    "near-input",
    "Lower components in the encoder are more important",
    ("E.SA", "E.FF"),
    _lower,
    _upper,
    "lower less upper half of the encoder",
)
_halves(
    "near-output",
    "Higher components in the decoder (encoder-attention and feed-forward) are more important",
    ("D.EA", "D.FF"),
    _upper,
    _lower,
    "upper less lower half of the decoder",
)
_halves(
    "encoder-attention",
    "Higher encoder-attention layers are more important than lower ones",
    ("D.EA",),
    _upper,
    _lower,
    "upper less lower half of D:EA",
)


def _agrees(found: Agreement) -> Verdict:
    """Whether the order of components is alike: an interval of the rank correlation above 0."""
    if np.isnan(found.low):
        return Verdict.UNDECIDED
    return Verdict.HOLDS if found.low > 0 else Verdict.FAILS if found.high < 0 else Verdict.UNDECIDED


def _rho(found: Agreement) -> str:
    if np.isnan(found.rho):
        return "no rank correlation, since one of the two does not vary"
    interval = "" if np.isnan(found.low) else f" [{signed(found.low)}, {signed(found.high)}]"
    return f"rank correlation {signed(found.rho)}{interval} over {found.components} components"


@claim(
    "wangtu2020/metrics",
    "The two importance metrics agree well with each other",
    "section 3.1, figure 3",
    "wangtu2020/figure3",
)
def both_metrics_agree(evidence: Evidence) -> tuple[Verdict, str]:
    verdicts, said, absent = [], [], []
    for row in evidence.rows("wangtu2020/figure3"):
        try:
            found = rank_agreement(*(_importance(evidence, row, metric) for metric in (CONTRIBUTION, CRITICALITY)))
        except Undecidable as reason:
            absent.append(str(reason))
            continue
        verdicts.append(_agrees(found))
        said.append(f"{row.name}: {_rho(found)}".removeprefix(": "))
    if not verdicts:
        raise Undecidable(absent[0])
    return while_missing(all_of(verdicts), absent), "; ".join([*said, *absent])


def _with_default(evidence: Evidence, other_recipe: bool, what: str) -> tuple[Verdict, str]:
    """Whether models of figure 4, of another seed or another size, order components as the default model does: the figure's
    baseline, or that of figure 3."""
    rows = evidence.rows("wangtu2020/figure4")
    default = next((row for row in rows if row.baseline), None) or evidence.rows("wangtu2020/figure3")[0]
    recipe = default.chains[0].recipe
    chosen = [row for _, row in matching(rows, ".*") if (row.chains[0].recipe != recipe) == other_recipe and row.chains != default.chains]
    if not chosen:
        raise Undecidable(f"there is no model of {what} beside the default one here")
    ours = _importance(evidence, default)
    found, absent = {}, []
    for row in chosen:
        try:
            found[row.name] = rank_agreement(ours, _importance(evidence, row))
        except Undecidable as reason:
            absent.append(str(reason))
    if not found:
        raise Undecidable(absent[0])
    verdict = while_missing(all_of(_agrees(each) for each in found.values()), absent)
    return verdict, "; ".join([*(f"{name}: {_rho(each)}" for name, each in found.items()), *absent])


@claim(
    "wangtu2020/seeds",
    "The importance of components is consistent across initialisation seeds",
    "section 3.1, figures 3 and 4",
    "wangtu2020/figure4",
    "wangtu2020/figure3",
)
def seeds_agree(evidence: Evidence) -> tuple[Verdict, str]:
    return _with_default(evidence, False, "another seed")


@claim(
    "wangtu2020/sizes",
    "The importance of components is consistent across model capacities",
    "section 3.1, figures 3 and 4",
    "wangtu2020/figure4",
    "wangtu2020/figure3",
)
def sizes_agree(evidence: Evidence) -> tuple[Verdict, str]:
    return _with_default(evidence, True, "another size")


def _unimportant_with(evidence: Evidence, key: str, what: Callable[[Row], float], sign: int) -> tuple[Verdict, str]:
    """Whether the number of unimportant components grows (sign 1) or falls (-1) with what the rows differ in: the slope of counts over
    its rank, with ± 1.96 standard errors of the replicates."""
    found, absent = {}, []
    for row in sorted(evidence.rows(key), key=what):
        try:
            found.setdefault(what(row), _importance(evidence, row))
        except Undecidable as reason:
            absent.append(str(reason))
    if len(found) < 2:
        raise Undecidable(absent[0] if absent else f"{key} has fewer than two models here")

    def count(values: np.ndarray) -> np.ndarray:
        return (values < UNIMPORTANT).sum(-1)

    counts = [float(count(each.values).mean()) for each in found.values()]
    ranks = np.arange(len(counts)) - (len(counts) - 1) / 2
    weights = ranks / (ranks @ ranks)
    drawn = np.stack([count(_of_one_seed_a_sample(each)) for each in found.values()], axis=-1) @ weights
    value, half = float(np.array(counts) @ weights), NORMAL * float(drawn.std(ddof=1))
    estimate = Estimate(value, value - half, value + half, " components a step")
    said = ", ".join(f"{total:g} at {number:,.10g}".replace("inf", "all") for number, total in zip(found, counts, strict=True))
    verdict = while_missing(above(estimate if sign > 0 else -estimate), absent)
    return verdict, "; ".join([f"unimportant (contribution below {UNIMPORTANT:g}) are {said}: {estimate}", *absent])


def _of_one_seed_a_sample(importance: Importance) -> np.ndarray:
    """[samples, components]: replicates, each of a seed that is drawn: a count is of one model, not of a mean of several."""
    _drawn(importance)  # says what is missing
    seeds, samples, _ = importance.replicates.shape
    return importance.replicates[np.random.default_rng(SEED).integers(seeds, size=samples), np.arange(samples)]


@claim(
    "wangtu2020/dropout",
    "The lower the dropout ratio, the fewer unimportant components the model has",
    "section 3.2, figure 6",
    "wangtu2020/figure6",
)
def more_dropout_leaves_more_unimportant(evidence: Evidence) -> tuple[Verdict, str]:
    def dropout(row: Row) -> float:
        return evidence.config.recipe(row.chains[0].recipe)["architecture"]["dropout"]

    return _unimportant_with(evidence, "wangtu2020/figure6", dropout, 1)


@claim(
    "wangtu2020/data",
    "The more training data, the fewer unimportant components the model has",
    "section 3.2, figure 7",
    "wangtu2020/figure7",
)
def more_data_leaves_fewer_unimportant(evidence: Evidence) -> tuple[Verdict, str]:
    def pairs(row: Row) -> float:
        return evidence.config.task(row.chains[0].task).get("sample", {}).get("pairs", math.inf)

    return _unimportant_with(evidence, "wangtu2020/figure7", pairs, -1)


@claim(
    "wangtu2020/early",
    "Important components can be identified at an early stage of training, and not at initialisation",
    "section 3.2, figure 8",
    "wangtu2020/figure8",
)
def important_ones_are_seen_early_and_not_at_initialisation(evidence: Evidence) -> tuple[Verdict, str]:
    rows = evidence.rows("wangtu2020/figure8")
    final = _importance(evidence, only(rows, "train", "the trained model"))
    at = {float(match["percent"]): row for match, row in matching(rows, r"train/at-(?P<percent>[\d.]+)")}
    early = {percent: row for percent, row in at.items() if 0 < percent <= EARLY}
    if 0 not in at or not early:
        raise Undecidable("there is no model at initialisation, or none early in training, here")
    found = {percent: rank_agreement(_importance(evidence, at[percent]), final) for percent in sorted({0.0, *early})}
    initially = _agrees(found[0]) if not np.isnan(found[0].rho) else Verdict.UNDECIDED
    seen = [_agrees(found[percent]) for percent in early]
    verdict = Verdict.UNDECIDED
    if initially is Verdict.HOLDS:
        verdict = Verdict.FAILS
    elif Verdict.HOLDS in seen:
        verdict = Verdict.HOLDS
    elif set(seen) == {Verdict.FAILS}:
        verdict = Verdict.FAILS
    said = "; ".join(f"at {percent:g} % of training {_rho(each)}" for percent, each in found.items())
    return verdict, f"with the trained model, {said}"


@claim(
    "wangtu2020/similarity",
    "The representations of unimportant components are less similar to the output layer representation than important ones'",
    "section 3.2, table 1",
    "wangtu2020/table1",
)
def important_ones_resemble_the_output_more(evidence: Evidence) -> tuple[Verdict, str]:
    verdicts, said, absent = [], [], []
    done: set = set()
    for row in evidence.rows("wangtu2020/table1"):
        if row.chains in done:
            continue
        done.add(row.chains)
        try:
            most, least = _groups(evidence, row)
        except Undecidable as reason:
            absent.append(str(reason))
            continue
        marks = np.array([1.0] * len(most) + [0.0] * len(least))
        found = correlation(np.array([*most, *least]), marks)
        verdicts.append(found.verdict)
        p = f"p = {found.p:.3f}, permutations of {found.points} components"
        said.append(f"{row.name} {np.mean(most):.2f} important, {np.mean(least):.2f} unimportant, {p}".strip())
    if not verdicts:
        raise Undecidable(absent[0])
    return while_missing(all_of(verdicts), absent), "; ".join([*said, *absent])


def _groups(evidence: Evidence, row: Row) -> tuple[list[float], list[float]]:
    """The PWCCA of the k most important and of the k least important components, means over seeds: those that contribute most, and
    those that iterative ablation removes first."""
    most, least = [], []
    importance = _importance(evidence, row)
    for place, chain in enumerate(row.chains):
        similarity, order = (evidence.measured.analysis(chain, name) for name in ("similarity", "order"))
        if similarity is None or order is None:
            raise Undecidable(evidence.measured.missing(chain, {"similarity", "order"}) or f"{chain} has no order yet")
        pwcca = similarity.set_index("component")["pwcca"]
        removed = order[(order["method"] == "iterative") & (order["number"] > 0)].sort_values("number")["component"]
        unimportant = [name for name in removed if name in pwcca.index][: len(pwcca) // 2]
        if place < len(importance.values):
            by_contribution = sorted(zip(-importance.values[place], importance.components, strict=True))
            important = [name for _, name in by_contribution if name in pwcca.index and name not in unimportant][: len(unimportant)]
            most.append([pwcca[name] for name in important])
            least.append([pwcca[name] for name in unimportant])
    if not most or not most[0]:
        raise Undecidable("no component was removed by ablation")
    count = min(map(len, (*most, *least)))
    return [np.mean([each[n] for each in most]) for n in range(count)], [np.mean([each[n] for each in least]) for n in range(count)]


def _by_task(evidence: Evidence, key: str, better: str, worse: str, said: str) -> tuple[Verdict, str]:
    """Whether one model is better than another on every task of a table; each is told by its steps, or by its paper's recipe."""
    found, absent = {}, []
    rows = evidence.rows(key)
    for task in dict.fromkeys(row.paper_task for row in rows):
        of_task = [row for row in rows if row.paper_task == task]
        ours = next((row for row in of_task if _is(row, better)), None)
        theirs = next((row for row in of_task if _is(row, worse)), None)
        if ours is None or theirs is None:
            continue
        try:
            found[ours.group or task] = evidence.difference(ours, theirs)
        except Undecidable as reason:
            absent.append(str(reason))
    if not found:
        raise Undecidable(absent[0] if absent else f"{key} does not have both models here")
    verdict = while_missing(every(list(found.values())), absent)
    return verdict, "; ".join([f"{said}, " + "; ".join(f"{name} {estimate}" for name, estimate in found.items()), *absent])


def _is(row: Row, what: str) -> bool:
    """Whether a row is the shallow model, which is trained plainly by a recipe of its own, or made by steps of this kind."""
    if what == "shallow":
        return "shallow" in row.paper_recipe
    return row.chains[0].last.text.startswith(what)


@claim(
    "wangtu2020/pruned-shallow",
    "The model without its unimportant components outperforms the one with a shallower decoder",
    "section 3.3, table 3",
    "wangtu2020/table3",
)
def pruned_is_better_than_shallow(evidence: Evidence) -> tuple[Verdict, str]:
    return _by_task(evidence, "wangtu2020/table3", "drop", "shallow", "pruned less shallow")


@claim(
    "wangtu2020/rewind-continue",
    "Rewinding unimportant components and training on improves over training on alone",
    "section 3.3, table 4",
    "wangtu2020/table4",
)
def rewinding_is_better_than_continuing(evidence: Evidence) -> tuple[Verdict, str]:
    return _by_task(evidence, "wangtu2020/table4", "rewind", "continue", "rewound less trained on")
