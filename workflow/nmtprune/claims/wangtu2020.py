"""The claims of Wang and Tu 2020, as functions of scores.

Importances are compared by seed, with bootstrap replicates over sentences. A claim that the paper makes for
both metrics must hold by both.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np

from nmtprune.analysis.importance import UNIMPORTANT, Importance, spearman, unimportant
from nmtprune.claims.evidence import Evidence, draws, matching, only, over_cases
from nmtprune.claims.registry import claim
from nmtprune.claims.verdict import (
    AGREEMENT,
    FEWEST_SEEDS,
    MARGIN,
    Decision,
    Estimate,
    Requirement,
    Undecidable,
    agreement,
    agrees,
    all_of,
    by_p,
    differs,
    every,
    not_worse,
    over_points,
    over_replicates,
    together,
)
from nmtprune.experiment.chain import Chain
from nmtprune.experiment.components import KINDS, read_component
from nmtprune.experiment.papers import Row
from nmtprune.foundation.known import known
from nmtprune.measurements.isometry import spreads_over_layers
from nmtprune.measurements.similarity import GROUPS
from nmtprune.scoring.significance import bleu, p_as_text
from nmtprune.store.ablation_order import ITERATIVE

CONTRIBUTION, CRITICALITY, BY_PERPLEXITY = "contribution", "criticality", "contribution_perplexity"
METRICS = (CONTRIBUTION, CRITICALITY)
EARLY = 17.0  # percent of the training: the end of the paper's epoch 4
TRANSLATES = (
    1.0  # the least BLEU at which contributions are taken by BLEU; a model below it hardly translates
)
FREE = 3  # components of 30: "3 or 4 components can be ablated together"
SPREAD = (
    0.25  # the largest standard deviation over layers, relative to the mean, of isometry that is "similar"
)
UNMASKED = tuple(kind for kind in KINDS if kind != "D.SA")


def _places(
    importance: Importance,
    kinds: Sequence[str],
    layers: Callable[[int, int], bool] = lambda layer, depth: True,
) -> list[int]:
    """The indices of the components of some kinds in the layers for which `layers(layer, depth)` is true."""
    chosen = [
        place
        for place, (kind, layer) in enumerate(map(read_component, importance.components))
        if kind in kinds and layers(layer, importance.depths[kind])
    ]
    if not chosen:
        raise Undecidable("the model has none of the components that are compared")
    return chosen


def _estimate(
    importance: Importance, measure: Callable[[np.ndarray], np.ndarray], unit: str = ""
) -> Estimate:
    """The estimate of a measure of importances [..., components], over seeds and bootstrap replicates."""
    if importance.replicates is None:
        raise Undecidable("the sentence statistics behind the importances were not kept")
    observed, drawn = measure(importance.values)[:, None], measure(importance.replicates)
    return over_replicates(np.concatenate([observed, drawn], axis=1), unit)


def _contrast(importance: Importance, more: Sequence[int], less: Sequence[int]) -> Estimate:
    """The mean importance at the indices `more` minus that at the indices `less`."""
    return _estimate(
        importance, lambda values: values[..., list(more)].mean(-1) - values[..., list(less)].mean(-1)
    )


def _by_both_metrics(evidence: Evidence, contrasts: Callable[[Importance], dict[str, Estimate]]) -> Decision:
    """Whether every contrast is positive by both metrics in the models of figure 3.

    Each contrast's mean over models and metrics (random effects) must lie above 0, and no single value
    significantly below.
    """
    by_name: dict[str, list[Requirement]] = {}
    absent = []
    for row in evidence.rows("wangtu2020/figure3"):
        for metric in METRICS:
            try:
                for name, estimate in contrasts(evidence.importance(row, metric)).items():
                    by_name.setdefault(name, []).append(Requirement(f"{row.name} {metric}, {name}", estimate))
            except Undecidable as reason:
                absent.append(str(reason))
    if not by_name:
        raise Undecidable(absent[0])
    return all_of([together(cases) for cases in by_name.values()]).while_missing(absent)


def _printed(kind: str) -> str:
    """A kind of component in the paper's spelling: `D:SA`."""
    return kind.replace(".", ":")


@claim(
    "wangtu2020/least",
    "the decoder self-attention layers (“D:SA”) are least important",
    "section 3.1, figure 3",
    "wangtu2020/figure3",
    note="By both metrics.",
    headline=True,
)
def decoder_self_attention_is_least_important(evidence: Evidence) -> Decision:
    def contrasts(found: Importance) -> dict[str, Estimate]:
        least = _places(found, ["D.SA"])
        return {
            f"{_printed(kind)} minus D:SA": _contrast(found, _places(found, [kind]), least)
            for kind in KINDS
            if kind != "D.SA"
        }

    return _by_both_metrics(evidence, contrasts)


@claim(
    "wangtu2020/most",
    "the decoder feed-forward layers (“D:FF”) are most important",
    "section 3.1, figure 3",
    "wangtu2020/figure3",
    note="By both metrics.",
    headline=True,
)
def decoder_feed_forward_is_most_important(evidence: Evidence) -> Decision:
    def contrasts(found: Importance) -> dict[str, Estimate]:
        most = _places(found, ["D.FF"])
        return {
            f"D:FF minus {_printed(kind)}": _contrast(found, most, _places(found, [kind]))
            for kind in KINDS
            if kind != "D.FF"
        }

    return _by_both_metrics(evidence, contrasts)


def _lower(layer: int, depth: int) -> bool:
    return 2 * layer <= depth


def _upper(layer: int, depth: int) -> bool:
    return 2 * layer > depth + 1


def _end(layer: int, depth: int) -> bool:
    return layer in (1, depth)


def _middle(layer: int, depth: int) -> bool:
    return not _end(layer, depth)


Half = Callable[[int, int], bool]


def _enter_halves(name: str, text: str, kinds: Sequence[str], more: Half, less: Half, label: str) -> None:
    """Enter the claim that components of some kinds are more important in some layers than in others."""

    @claim(f"wangtu2020/{name}", text, "section 3.1, figure 3", "wangtu2020/figure3", note="By both metrics.")
    def some_layers_are_more_important(evidence: Evidence) -> Decision:
        def contrasts(found: Importance) -> dict[str, Estimate]:
            return {label: _contrast(found, *(_places(found, kinds, layers) for layers in (more, less)))}

        return _by_both_metrics(evidence, contrasts)


_enter_halves(
    "near-input",
    "Lower components in encoder (e.g. “E:SA” and “E:FF”) … are more important",
    ("E.SA", "E.FF"),
    _lower,
    _upper,
    "lower minus upper half of the encoder",
)
_enter_halves(
    "near-output",
    "higher components in decoder (e.g. “D:EA” and “D:FF”) are more important",
    ("D.EA", "D.FF"),
    _upper,
    _lower,
    "upper minus lower half of the decoder",
)
_enter_halves(
    "encoder-attention",
    "Higher encoder-attention (“D:EA”) layers in decoder are more important than lower encoder-attention "
    "layers",
    ("D.EA",),
    _upper,
    _lower,
    "upper minus lower half of D:EA",
)
_enter_halves(
    "ends",
    "For the other components, the bottom and top layers are more important than the intermediate layer",
    [kind for kind in KINDS if kind != "D.EA"],
    _end,
    _middle,
    "first and last minus the other layers, all but D:EA",
)


def _rhos(a: Importance, b: Importance) -> list[float]:
    """Rank correlations of two importances of one model, one per seed."""
    if len(a.values) != len(b.values):
        raise Undecidable("the importances that are compared were measured for different seeds")
    shared = [name for name in a.components if name in b.components]
    ours, theirs = a.take(shared).values, b.take(shared).values
    return list(spearman(ours, theirs))


@claim(
    "wangtu2020/metrics",
    "The two importance metrics agree well with each other",
    "section 3.1, figure 3",
    "wangtu2020/figure3",
    note=f"“Agree well” is read as a rank correlation above {AGREEMENT:g} over all components.",
)
def both_metrics_agree(evidence: Evidence) -> Decision:
    rows = {row.name: row for row in evidence.rows("wangtu2020/figure3")}

    def of_row(name: str) -> Decision:
        a, b = (evidence.importance(rows[name], metric) for metric in METRICS)
        return every([agrees("rank correlation", agreement(_rhos(a, b), len(a.components)))])

    decisions = over_cases(rows, of_row)
    cases = [each.deciding for each in decisions if each.deciding]
    return (
        together(cases).but("; ".join(each.because for each in decisions))
        if len(cases) == len(decisions) == len(rows) > 1
        else all_of(decisions)
    )


def _of_figure_4(evidence: Evidence, other_recipe: bool) -> tuple[Row, list[Row]]:
    """The default model of figure 4 (its baseline), and the models that differ in size, or only in seed."""
    rows = evidence.rows("wangtu2020/figure4")
    default = next((row for row in rows if row.baseline), rows[0])
    recipe = default.first.recipe
    others = [
        row
        for _, row in matching(rows, ".*")
        if (row.first.recipe != recipe) == other_recipe and row.chains != default.chains
    ]
    if not others:
        raise Undecidable(
            f"there is no model of another {'size' if other_recipe else 'seed'} beside the default one here"
        )
    return default, others


def _among_seeds(models: Sequence[Importance]) -> Decision:
    """Whether models that differ only in their seed rank components alike.

    The estimate is the mean rank correlation over all pairs of seeds.
    """
    values = np.concatenate([each.values for each in models])
    pairs = [(one, other) for one in range(len(values)) for other in range(one)]
    rhos = [float(spearman(values[one], values[other])) for one, other in pairs]
    of_pairs = agreement(rhos, len(models[0].components))
    of_seeds = Estimate(
        of_pairs.value, of_pairs.training, of_pairs.sentences, len(values), len(values) - 1, "", "correlation"
    )
    return every([agrees(f"mean rank correlation of {len(pairs)} pairs of {len(values)} seeds", of_seeds)])


@claim(
    "wangtu2020/seeds",
    "Clearly, the above conclusions hold in all cases [initialization seeds]",
    "section 3.1, figure 4 (a, b)",
    "wangtu2020/figure4",
    note=(
        f"Read as a mean rank correlation above {AGREEMENT:g} between the contributions of models with "
        "different seeds."
    ),
    headline=True,
)
def seeds_agree(evidence: Evidence) -> Decision:
    default, others = _of_figure_4(evidence, other_recipe=False)
    return _among_seeds([evidence.importance(row, CONTRIBUTION) for row in (default, *others)])


@claim(
    "wangtu2020/sizes",
    "Clearly, the above conclusions hold in all cases [model capacities]",
    "section 3.1, figure 4 (c, d)",
    "wangtu2020/figure4",
    "wangtu2020/figure3",
    note=(
        f"Read as rank correlations above {AGREEMENT:g} between each model's contributions and those of the "
        "default model."
    ),
)
def sizes_agree(evidence: Evidence) -> Decision:
    default, others = _of_figure_4(evidence, other_recipe=True)
    same = (default.first.task, default.first.recipe)
    in_figure_3 = evidence.some_rows("wangtu2020/figure3", "wangtu2020/figure4").get("wangtu2020/figure3", ())
    default = next(
        (row for row in in_figure_3 if (row.first.task, row.first.recipe) == same), default
    )  # all its seeds
    ours, named = evidence.importance(default, CONTRIBUTION), {row.name: row for row in others}

    def of_row(name: str) -> Decision:
        theirs = evidence.importance(named[name], CONTRIBUTION)
        depths = {
            kind: min(depth, theirs.depths[kind])
            for kind, depth in ours.depths.items()
            if kind in theirs.depths
        }
        a, b = ours.at_depths(depths), theirs.at_depths(depths)
        seeds = min(len(a.values), len(b.values))
        shared = [name for name in a.components if name in b.components]
        rhos = spearman(a.take(shared).values[:seeds], b.take(shared).values[:seeds])
        return every([agrees("rank correlation", agreement(rhos, len(shared)))])

    return all_of(over_cases(named, of_row))


def _unimportant_with(evidence: Evidence, key: str, what: Callable[[Row], float], sign: int) -> Decision:
    """Whether the number of unimportant components grows (sign 1) or falls (-1) with a setting of the rows.

    The estimate is the slope of the number over the rank of the setting, `what(row)`.
    """
    by_setting: dict[float, Importance] = {}
    absent = []
    for row in sorted(evidence.rows(key), key=what):
        try:
            by_setting.setdefault(what(row), evidence.importance(row, CONTRIBUTION))
        except Undecidable as reason:
            absent.append(str(reason))
    importances = list(by_setting.values())
    if len(importances) < 2:
        raise Undecidable(absent[0] if absent else f"{key} has fewer than two models here")
    seeds = min(len(each.values) for each in importances)
    if any(each.replicates is None for each in importances):
        raise Undecidable("the sentence statistics behind the importances were not kept")
    ranks = np.arange(len(importances)) - (len(importances) - 1) / 2
    numbers = [
        unimportant(np.concatenate([each.values[:seeds, None], known(each.replicates)[:seeds]], axis=1))
        for each in importances
    ]
    slopes = np.stack(numbers, axis=-1) @ (ranks / (ranks @ ranks))
    means = [float(unimportant(each.values).mean()) for each in importances]
    counts = ", ".join(
        f"{mean:.3g} at {setting:,.10g}".replace("inf", "all")
        for setting, mean in zip(by_setting, means, strict=True)
    )
    decision = every([Requirement("slope", over_replicates(sign * slopes, " components a step"))])
    return decision.but(
        f"unimportant (contribution below {UNIMPORTANT:g}) are {counts}; {decision.because}"
    ).while_missing(absent)


@claim(
    "wangtu2020/dropout",
    "Generally, the lower the dropout ratio, the fewer number of unimportant components the model has",
    "section 3.2, figure 6",
    "wangtu2020/figure6",
)
def more_dropout_leaves_more_unimportant(evidence: Evidence) -> Decision:
    def dropout(row: Row) -> float:
        return known(evidence.config.recipe(row.first.recipe).architecture.dropout)

    return _unimportant_with(evidence, "wangtu2020/figure6", dropout, 1)


@claim(
    "wangtu2020/data",
    "the more training data, the more important components are required",
    "section 3.2, figure 7",
    "wangtu2020/figure7",
)
def more_data_leaves_fewer_unimportant(evidence: Evidence) -> Decision:
    def pairs(row: Row) -> float:
        sample = evidence.config.task(row.first.task).sample
        return sample.pairs if sample else math.inf

    return _unimportant_with(evidence, "wangtu2020/figure7", pairs, -1)


@claim(
    "wangtu2020/early",
    "most of the important components can be identified at early stage of training (e.g., epoch 3 or 4), "
    "they cannot be identified at "
    "initialization",
    "section 3.2, figure 8",
    "wangtu2020/figure8",
    note="The rank correlation with the contributions in the trained model must exceed "
    f"{AGREEMENT:g} at the last checkpoint within {EARLY:g} % of the updates (the paper's epoch 4), and lie "
    "below it at initialisation. "
    "Contributions are measured by perplexity for a model that does not translate yet.",
)
def important_ones_are_seen_early_and_not_at_initialisation(evidence: Evidence) -> Decision:
    rows = evidence.rows("wangtu2020/figure8")
    trained = only(rows, "train", "the trained model")
    at = {float(match["percent"]): row for match, row in matching(rows, r"train/at-(?P<percent>[\d.]+)")}
    early = max((percent for percent in at if 0 < percent <= EARLY), default=None)
    if 0 not in at or early is None:
        raise Undecidable(
            f"there is no model at initialisation, or none within {EARLY:g} % of the training, here"
        )

    def with_trained(percent: float) -> tuple[str, Estimate]:
        metric = CONTRIBUTION if _translates(evidence, at[percent]) else BY_PERPLEXITY
        rhos = _rhos(evidence.importance(at[percent], metric), final := evidence.importance(trained, metric))
        how = "" if metric == CONTRIBUTION else ", by perplexity"
        return f"rank correlation at {percent:g} %{how}", agreement(rhos, len(final.components))

    (late_what, late), (first_what, first) = with_trained(early), with_trained(0)
    decision = every([agrees(late_what, late), differs(first_what, first)])
    return decision.but(f"with the trained model, {late_what} {late}; {first_what} {first}")


def _translates(evidence: Evidence, row: Row) -> bool:
    """Whether all of a row's models translate well enough to measure contributions by development BLEU."""
    analyses = [evidence.measured.analysis(chain, CONTRIBUTION) for chain in row.chains]
    return all(
        float(each[each["component"] == "none"]["bleu"].iloc[0]) >= TRANSLATES
        for each in analyses
        if each is not None
    )


@claim(
    "wangtu2020/similarity",
    "The representations of unimportant components are less similar to the output layer representation, "
    "comparing with important "
    "components'",
    "section 3.2, table 1",
    "wangtu2020/table1",
    note="Tested by permuting the components; table 1 prints the same p-values.",
)
def important_ones_resemble_the_output_more(evidence: Evidence) -> Decision:
    rows = {}
    for row in evidence.rows("wangtu2020/table1"):
        if all(row.chains != each.chains for each in rows.values()):
            rows[row.name] = row

    def of_row(name: str) -> Decision:
        similarity = evidence.similarity(rows[name])
        means = ", ".join(f"{similarity.mean(group):.2f} {group.lower()}" for group in GROUPS)
        return by_p(
            similarity.difference,
            similarity.p,
            f"{means}, {p_as_text(similarity.p)}",
            len(similarity.models) >= FEWEST_SEEDS,
        )

    return all_of(over_cases(rows, of_row))


@claim(
    "wangtu2020/isometry",
    "Each type of components in different layers have similar layerwise isometry values",
    "section 3.2, table 2",
    "wangtu2020/table2",
    note=f"Read as a standard deviation over layers below {SPREAD:g} of the mean, on average over all types "
    "but D:SA, which the paper "
    "excepts; in trained models, for Jacobians that include the residual connection.",
)
def isometry_is_alike_over_layers(evidence: Evidence) -> Decision:
    rows = {row.name: row for row in evidence.rows("wangtu2020/table2")}

    def of_row(name: str) -> Decision:
        lines = [
            found for chain in rows[name].chains if (found := spreads_over_layers(evidence.measured, chain))
        ]
        evidence.require_plateau(rows[name])
        if not lines:
            raise Undecidable(
                evidence.measured.missing(rows[name].first, {"isometry"})
                or f"the isometry of {name} is not there yet"
            )
        kinds = [kind for kind in UNMASKED if all(kind in line for line in lines)]
        values = np.array([[SPREAD - line[kind] for kind in kinds] for line in lines])
        means = ", ".join(f"{_printed(kind)} {np.mean([line[kind] for line in lines]):.2f}" for kind in kinds)
        decision = every(
            [
                Requirement(
                    f"{SPREAD:g} minus the relative spread over layers, mean over types",
                    over_points(values, ""),
                )
            ]
        )
        return decision.but(f"relative spread over layers {means}; {decision.because}")

    return all_of(over_cases(rows, of_row))


@claim(
    "wangtu2020/together",
    "a few unimportant components (e.g., 3 or 4 components) can be ablated together without performance drop",
    "section 3.3, figure 9",
    "wangtu2020/figure9",
    note=(
        f"{FREE} components in the order of iterative ablation, at most {MARGIN:g} BLEU lost on the test set."
    ),
    headline=True,
)
def a_few_go_together(evidence: Evidence) -> Decision:
    rows = {row.name: row for row in evidence.rows("wangtu2020/figure9")}

    def of_row(name: str) -> Decision:
        evidence.require_plateau(rows[name])
        losses = [line for chain in rows[name].chains if (line := _without(evidence, chain)) is not None]
        if not losses:
            chain = rows[name].first
            reason = evidence.measured.missing(chain, {"order"}) or _too_few(evidence, chain)
            raise Undecidable(reason or f"the sentence statistics of the ablations of {chain} were not kept")
        return every([not_worse(f"without {FREE} components", over_replicates(np.stack(losses), " BLEU"))])

    decisions = over_cases(rows, of_row)
    cases = [
        Requirement(name, each.deciding.estimate, -MARGIN)
        for name, each in zip(rows, decisions, strict=False)
        if each.deciding
    ]
    decision = together(cases) if len(cases) == len(decisions) == len(rows) else all_of(decisions)
    return decision.but(f"{'; '.join(each.because for each in decisions)}; {MARGIN:g} BLEU allowed")


def _too_few(evidence: Evidence, chain: Chain) -> str | None:
    """A clause that says that fewer than FREE components were ablated together; None if there were enough.

    The recipe says how many are.
    """
    order = evidence.measured.analysis(chain, "order")
    most = 0 if order is None else int(order.loc[order["method"] == ITERATIVE, "number"].max())
    return (
        f"{most} components of {chain} were ablated together (`importance.group` of its recipe), not {FREE}"
        if most < FREE
        else None
    )


def _without(evidence: Evidence, chain: Chain) -> np.ndarray | None:
    """[1 + SAMPLES]: BLEU on the test set without FREE components minus that of the whole model.

    The first is as observed, the others are on bootstrap samples.
    """
    order, arrays = evidence.measured.analysis(chain, "order"), evidence.measured.arrays(chain, "order")
    if order is None or arrays is None or "test_bleu" not in arrays:
        return None
    places = [
        order.index[(order["method"] == ITERATIVE) & (order["number"] == number)] for number in (0, FREE)
    ]
    if not all(len(each) for each in places):
        return None
    whole, ablated = (arrays["test_bleu"][each[0]].astype(float) for each in places)
    chosen = draws(evidence.measured.test_set(chain.task), len(whole))
    scores = [bleu(np.concatenate([each.sum(0, keepdims=True), chosen @ each])) for each in (ablated, whole)]
    return scores[0] - scores[1]


def _by_task(
    evidence: Evidence, key: str, better: str, worse: str, said: str, margin: float = 0.0
) -> Decision:
    """Whether the model `better` is better than `worse` on the tasks of a table, or no worse by a margin.

    See `_is` for the names of models.
    """
    pairs = {}
    rows = evidence.rows(key)
    for task in dict.fromkeys(row.paper_task for row in rows):
        of_task = [row for row in rows if row.paper_task == task]
        ours = next((row for row in of_task if _is(row, better)), None)
        theirs = next((row for row in of_task if _is(row, worse)), None)
        if ours and theirs:
            pairs[ours.group or task] = (ours, theirs)
    if not pairs:
        raise Undecidable(f"{key} does not have both models here")
    decision = evidence.in_all(pairs, margin)
    return decision.but(f"{said}, {decision.because}{f'; {margin:g} BLEU allowed' if margin else ''}")


def _is(row: Row, what: str) -> bool:
    """Whether a row is the model with this name.

    `shallow` and `train` are trained plainly, the former by a recipe of its own; any other name is the
    beginning of the last step.
    """
    if what in ("shallow", "train"):
        return row.first.last.text == "train" and ("shallow" in row.paper_recipe) == (what == "shallow")
    return row.first.last.text.startswith(what)


@claim(
    "wangtu2020/pruned-shallow",
    "the pruned model … consistently outperforms the shallow model",
    "section 3.3, table 3",
    "wangtu2020/table3",
    note="The mean gain over tasks must lie above 0, and no task's gain significantly below.",
    headline=True,
)
def pruned_is_better_than_shallow(evidence: Evidence) -> Decision:
    return _by_task(evidence, "wangtu2020/table3", "drop", "shallow", "pruned minus shallow")


@claim(
    "wangtu2020/pruned-standard",
    "the pruned model achieves competitive performance with the standard Transformer",
    "section 3.3, table 3",
    "wangtu2020/table3",
    note=f"Read as a mean loss of at most {MARGIN:g} BLEU over tasks.",
)
def pruned_is_as_good_as_standard(evidence: Evidence) -> Decision:
    return _by_task(evidence, "wangtu2020/table3", "drop", "train", "pruned minus standard", MARGIN)


@claim(
    "wangtu2020/rewind-continue",
    "directly fine-tuning the Transformer model (“Continue”) does not outperform the standard Transformer, "
    "while the rewind technique can "
    "further improve translation performance",
    "section 3.3, table 4",
    "wangtu2020/table4",
    note="Rewound models are compared with models trained further for as many updates: the mean gain over "
    "tasks must lie above 0, and no task's gain significantly below.",
    headline=True,
)
def rewinding_is_better_than_continuing(evidence: Evidence) -> Decision:
    return _by_task(evidence, "wangtu2020/table4", "rewind", "continue", "rewound minus trained further")


@claim(
    "wangtu2020/rewound-standard",
    "rewinding the unimportant components and then fine-tuning the Transformer model for a few more steps "
    "can further improve translation "
    "performance",
    "section 5; section 3.3, table 4",
    "wangtu2020/table4",
    note="Rewound models are compared with standard ones: the mean gain over tasks must lie above 0, and no "
    "task's gain "
    "significantly below.",
)
def rewinding_is_better_than_the_standard_model(evidence: Evidence) -> Decision:
    return _by_task(evidence, "wangtu2020/table4", "rewind", "train", "rewound minus standard")
