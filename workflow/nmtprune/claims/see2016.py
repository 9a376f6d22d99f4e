"""The claims of See et al. 2016, as functions of scores."""

from __future__ import annotations

import itertools

import numpy as np
import pandas as pd

from nmtprune.analysis.importance import spearman
from nmtprune.claims.evidence import NLL, Evidence, at_ratio, by_ratio, matching, only
from nmtprune.claims.registry import claim
from nmtprune.claims.verdict import (
    MARGIN,
    Decision,
    Estimate,
    Requirement,
    Undecidable,
    agreement,
    every,
    listed,
    not_worse,
    numbers,
    over_points,
    over_replicates,
    over_seeds,
    together,
)
from nmtprune.experiment.papers import Row
from nmtprune.measurements.weights import of_seeds

SCHEMES = {"global": "class-blind", "uniform": "class-uniform", "distribution": "class-distribution"}
GATES = ("candidate", "input gate", "output gate", "forget gate")  # from the most to the least kept
DIRECTLY, RETRAINED, SPARSE = (
    rf"train/prune-global-(?P<percent>[\d.]+){after}" for after in ("", "/retrain", "/restart")
)
POINTS = " percentage points"


@claim(
    "see2016/class-blind-best",
    "class-blind pruning outperforms both other schemes in terms of translation quality at all pruning "
    "percentages",
    "section 4.1, figure 3",
    "see2016/figure3",
    note=(
        "The mean over all percentages must lie above that of each other scheme, and no single percentage "
        "significantly below."
    ),
    headline=True,
)
def class_blind_is_best(evidence: Evidence) -> Decision:
    rows = evidence.rows("see2016/figure3")
    by_scheme = {scheme: by_ratio(rows, rf"train/prune-{scheme}-(?P<percent>[\d.]+)") for scheme in SCHEMES}
    means, cases = [], []
    for scheme in ("uniform", "distribution"):
        pairs = {
            percent: (row, by_scheme[scheme][percent])
            for percent, row in by_scheme["global"].items()
            if percent in by_scheme[scheme]
        }
        if not pairs:
            raise Undecidable("no ratio is pruned by all schemes here")
        cases += [
            Requirement(f"{SCHEMES[scheme]} at {percent:g} %", evidence.difference(*pair))
            for percent, pair in pairs.items()
        ]
        means.append(
            Requirement(
                f"mean over {numbers(pairs)} % against {SCHEMES[scheme]}",
                evidence.mean_difference(list(pairs.values())),
            )
        )
    ends = [
        max(cases, key=lambda each: each.estimate.value),
        min(cases, key=lambda each: each.estimate.value),
    ]
    return together(cases, means).but(
        f"{listed(map(str, means))}; largest and smallest at a single percentage: {listed(map(str, ends))}"
    )


def _at_ratio(evidence: Evidence, item: str, pattern: str, percent: float) -> Decision:
    """Whether the models of an item that are pruned by `percent` are no worse than the dense model."""
    rows = evidence.rows(item)
    decision = at_ratio(evidence, by_ratio(rows, pattern), only(rows, "train", "the dense model"), percent)
    return decision.but(f"against the dense model, {decision.because}; {MARGIN:g} BLEU allowed")


@claim(
    "see2016/direct-40",
    "up to about 40% pruning, performance is mostly unaffected",
    "section 4.2, figure 6",
    "see2016/figure6",
    headline=True,
)
def forty_percent_go_directly(evidence: Evidence) -> Decision:
    return _at_ratio(evidence, "see2016/figure6", DIRECTLY, 40)


@claim(
    "see2016/retrained-80",
    "by adding a retraining phase after pruning, we can prune 80% with no performance loss",
    "section 1; section 4.2, figure 6",
    "see2016/figure6",
    headline=True,
)
def eighty_percent_go_with_retraining(evidence: Evidence) -> Decision:
    return _at_ratio(evidence, "see2016/figure6", RETRAINED, 80)


@claim(
    "see2016/improved-80",
    "baseline performance (20.48 BLEU) is both recovered and improved upon, up to 80% pruning (20.91 BLEU)",
    "section 4.2, figure 6",
    "see2016/figure6",
)
def eighty_percent_retrained_are_above_the_baseline(evidence: Evidence) -> Decision:
    rows = evidence.rows("see2016/figure6")
    dense, retrained = only(rows, "train", "the dense model"), by_ratio(rows, RETRAINED)
    if 80 not in retrained:
        raise Undecidable("80 % retrained was not run")
    decision = every([Requirement("80 % retrained minus dense", evidence.difference(retrained[80], dense))])
    try:
        longer = evidence.difference(only(rows, "train/continue", "the model trained further"), dense)
    except Undecidable:
        return decision
    return decision.but(f"{decision.because}; trained further without pruning {longer}")


@claim(
    "see2016/sparse-below-retrained",
    "the 'sparse from the beginning' models do not perform as well as the pruned and retrained models",
    "section 4.3, figure 6",
    "see2016/figure6",
)
def sparse_from_the_beginning_is_below_retrained(evidence: Evidence) -> Decision:
    rows = evidence.rows("see2016/figure6")
    sparse, retrained = by_ratio(rows, SPARSE), by_ratio(rows, RETRAINED)
    pairs = {
        f"at {percent:g} %": (retrained[percent], row)
        for percent, row in sparse.items()
        if percent in retrained
    }
    if not pairs:
        raise Undecidable("no ratio has both here")
    decision = evidence.in_all(pairs)
    return decision.but(f"retrained minus sparse from the beginning, {decision.because}")


@claim(
    "see2016/sparse-near-dense",
    "but they do come close to the baseline performance",
    "section 4.3, figure 6",
    "see2016/figure6",
    note=f"“Close” is read as a mean loss of at most {MARGIN:g} BLEU over the percentages that were run.",
)
def sparse_from_the_beginning_is_near_dense(evidence: Evidence) -> Decision:
    rows = evidence.rows("see2016/figure6")
    dense, sparse = only(rows, "train", "the dense model"), by_ratio(rows, SPARSE)
    if not sparse:
        raise Undecidable("no model is sparse from the beginning here")
    mean = evidence.mean_difference([(row, dense) for row in sparse.values()])
    singles = listed(f"{evidence.difference(row, dense)} at {percent:g} %" for percent, row in sparse.items())
    return every([not_worse(f"mean over {numbers(sparse)} %", mean)]).but(
        f"against dense, mean {mean}: {singles}; {MARGIN:g} BLEU allowed"
    )


def _rows_of_classes(evidence: Evidence, key: str, scheme: str = "uniform") -> dict[str, Row]:
    """The rows of a figure by weight class: a scheme's share at 90 % is pruned from one class alone."""
    matches = matching(evidence.rows(key), rf"train/prune-{scheme}-90-(?P<weights>.+)")
    if not matches:
        raise Undecidable("no class is pruned alone here")
    return {match["weights"].replace("_", " "): row for match, row in matches}


def _crucial(classes: dict[str, Row]) -> list[str]:
    """The classes that the paper names: attention, softmax and the top target layer."""
    layers = [name for name in classes if name.startswith("target layer")]
    top = max(layers, key=lambda name: int(name.rpartition(" ")[2]), default="target layer")
    named = ["attention", "softmax", top]
    if absent := [name for name in named if name not in classes]:
        raise Undecidable(f"the model has no class {listed(absent)}")
    return named


def _mean_of(rows: list[Row], factor: float = 1.0) -> list[tuple[float, Row]]:
    return [(factor / len(rows), row) for row in rows]


@claim(
    "see2016/crucial-classes",
    "with class-uniform pruning, the overall performance loss is caused disproportionately by a few classes: "
    "target layer 4, attention and "
    "softmax weights",
    "section 4.1, figure 4",
    "see2016/figure4",
    note=(
        "Each of the three must raise the negative log-likelihood by more than the other classes do on "
        "average."
    ),
    headline=True,
)
def attention_softmax_and_the_top_target_layer_suffer_most(evidence: Evidence) -> Decision:
    classes = _rows_of_classes(evidence, "see2016/figure4")
    crucial = _crucial(classes)
    others = _mean_of([row for name, row in classes.items() if name not in crucial], -1.0)
    parts = [
        Requirement(
            f"{name} minus the other classes' mean", evidence.contrast([(1.0, classes[name]), *others])
        )
        for name in crucial
    ]
    return every(parts)


@claim(
    "see2016/higher-layers",
    "it seems that higher layers are more important than lower layers",
    "section 4.1, figure 4",
    "see2016/figure4",
    note="Under class-uniform pruning, the upper half of the layers must raise the negative log-likelihood "
    "more than the lower half, on "
    "the mean of source and target side.",
)
def higher_layers_suffer_more(evidence: Evidence) -> Decision:
    classes = _rows_of_classes(evidence, "see2016/figure4")
    terms: list[tuple[float, Row]] = []
    for side in ("source", "target"):
        layers = sorted(
            (name for name in classes if name.startswith(f"{side} layer")),
            key=lambda name: int(name.rpartition(" ")[2]),
        )
        if len(layers) < 2:
            raise Undecidable("the model has one layer")
        half = len(layers) // 2
        terms += _mean_of([classes[name] for name in layers[-half:]], 0.5) + _mean_of(
            [classes[name] for name in layers[:half]], -0.5
        )
    return every([Requirement("upper minus lower layers", evidence.contrast(terms))])


@claim(
    "see2016/class-blind-spreads",
    "under class-blind pruning, the damage caused by pruning softmax, attention and target layer 4 weights "
    "is greatly decreased, and the "
    "contribution of each class towards the performance loss is overall more uniform",
    "section 4.1, figure 4",
    "see2016/figure4",
    note="Both the mean damage of the three classes and the standard deviation over all classes must be "
    "smaller than under class-uniform "
    "pruning.",
)
def class_blind_pruning_spreads_the_damage(evidence: Evidence) -> Decision:
    uniform, blind = (
        _rows_of_classes(evidence, "see2016/figure4", scheme) for scheme in ("uniform", "global")
    )
    crucial = _crucial(uniform)
    if absent := [name for name in uniform if name not in blind]:
        raise Undecidable(f"class-blind pruning of {listed(absent)} alone was not run")
    less = evidence.contrast(
        _mean_of([uniform[name] for name in crucial]) + _mean_of([blind[name] for name in crucial], -1.0)
    )
    scores = {
        scheme: np.stack([evidence.by_seed([(1.0, row)], NLL) for row in rows.values()])
        for scheme, rows in (("uniform", uniform), ("blind", {name: blind[name] for name in uniform}))
    }
    spread = over_replicates(scores["uniform"].std(0) - scores["blind"].std(0), " nats per token")
    return every(
        [
            Requirement("damage of the three, uniform minus blind", less),
            Requirement("spread over classes, uniform minus blind", spread),
        ]
    )


@claim(
    "see2016/largest-deleted",
    "the most damaging classes to prune also tend to be those with weights of greater magnitude",
    "section 4.1, figure 5",
    "see2016/figure5",
)
def largest_deleted_magnitude_ranks_with_damage(evidence: Evidence) -> Decision:
    rows = list(_rows_of_classes(evidence, "see2016/figure5").values())
    for row in rows:
        evidence.require_plateau(row)
    magnitudes, rises = (
        [evidence.values(row, metric) for row in rows] for metric in ("largest_pruned", "perplexity")
    )
    seeds = [seed for seed in magnitudes[0] if all(seed in each for each in (*magnitudes, *rises))]
    rhos = [
        float(spearman(np.array([m[seed] for m in magnitudes]), np.array([r[seed] for r in rises])))
        for seed in seeds
    ]
    return every([Requirement(f"rank correlation over {len(rows)} classes", agreement(rhos, len(rows)))])


@claim(
    "see2016/regularisation-gap",
    "the less-pruned models perform better on the training set than the validation set, whereas the "
    "more-pruned models have closer "
    "performance on the two sets",
    "section 4.2",
    "see2016/gap",
    note=(
        "The gap (development minus training negative log-likelihood) of the least pruned model must exceed "
        "that of the most pruned one."
    ),
)
def more_pruned_models_have_a_smaller_gap(evidence: Evidence) -> Decision:
    rows = by_ratio(evidence.rows("see2016/gap"), RETRAINED)
    if len(rows) < 2:
        raise Undecidable("fewer than two ratios were retrained here")
    least, most = min(rows), max(rows)
    evidence.compare(rows[least], rows[most])
    terms = [(1.0, rows[least]), (-1.0, rows[most])]
    gaps = evidence.by_seed(terms, NLL, ("dev",)) - evidence.by_seed(terms, NLL, ("train",))
    spread = evidence.spread("see2016", evidence.kind(rows[least], rows[most]), "gap")
    narrowing = over_replicates(gaps, " nats per token", spread)
    return every([Requirement(f"gap at {least:g} % minus gap at {most:g} %", narrowing)])


@claim(
    "see2016/small-direct-60",
    "For this model, it is possible to prune 60% of parameters with no immediate performance loss",
    "section 5",
    "see2016/small",
)
def sixty_percent_of_the_small_model_go_directly(evidence: Evidence) -> Decision:
    return _at_ratio(evidence, "see2016/small", DIRECTLY, 60)


@claim(
    "see2016/small-retrained-90",
    "with retraining it is possible to prune 90%, and regain original performance",
    "section 5",
    "see2016/small",
)
def ninety_percent_of_the_small_model_go_with_retraining(evidence: Evidence) -> Decision:
    return _at_ratio(evidence, "see2016/small", RETRAINED, 90)


def _weights(evidence: Evidence, key: str, names: set[str]) -> pd.DataFrame:
    """Named results of the analysis of weights for all seeds of an item's first row; column `seed`."""
    row = evidence.rows(key)[0]
    of_all_seeds = of_seeds(row.chains, evidence.measured)
    if of_all_seeds is None:
        raise Undecidable(evidence.measured.reason(row.first, "weights"))
    evidence.require_plateau(row)
    return of_all_seeds[of_all_seeds["name"].isin(names)]


def _kept(evidence: Evidence) -> pd.DataFrame:
    """The shares, in percent, that are kept of each sub-group of an LSTM's weights.

    The columns are class, gate, connection, value and seed.
    """
    parts = _weights(evidence, "see2016/figure8", {"kept_of_part"})
    parts = parts[parts["gate"].notna()]
    if parts.empty:
        raise Undecidable("the model has no LSTM")
    return parts


def _over_points(shares: pd.DataFrame, unit: str = POINTS) -> Estimate:
    """The mean of values over seeds (rows) and points (columns)."""
    return over_points(shares.to_numpy(float), unit)


@claim(
    "see2016/gates",
    "the weights connecting to the input are most crucial, followed by the input gate, then the output gate, "
    "then the forget gate",
    "section 4.5, figure 8",
    "see2016/figure8",
    note="Each must keep a larger share of its weights than the next, on average over the feed-forward and "
    "recurrent halves of all "
    "layers' matrices.",
)
def candidate_is_kept_most_and_forget_gate_least(evidence: Evidence) -> Decision:
    parts = _kept(evidence)
    shares = {
        gate: of.pivot_table("value", "seed", ["class", "connection"]) for gate, of in parts.groupby("gate")
    }
    pairs = itertools.pairwise(GATES)
    decision = every(
        [
            Requirement(f"{more} minus {less}", _over_points(shares[more] - shares[less]))
            for more, less in pairs
        ]
    )
    means = listed(f"{gate} {shares[gate].to_numpy().mean():.1f} %" for gate in GATES)
    return decision.but(f"kept on average {means}; {decision.because}")


@claim(
    "see2016/layers",
    "for lower layers, the feed-forward input is much more important than the recurrent input, whereas for "
    "higher layers the recurrent "
    "input becomes more important",
    "section 4.5, figure 8",
    "see2016/figure8",
)
def lower_layers_keep_feed_forward_and_higher_recurrent(evidence: Evidence) -> Decision:
    parts = _kept(evidence).copy()
    parts[["side", "layer"]] = parts["class"].str.extract(r"(source|target) layer (\d+)")
    parts["layer"] = parts["layer"].astype(int)
    highest = parts["layer"].max()
    if highest < 2:
        raise Undecidable("the model has one layer")
    halves = {
        name: of.pivot_table("value", "seed", ["layer", "side", "gate"])
        for name, of in parts.groupby("connection")
    }
    gain = halves["feed-forward"] - halves["recurrent"]
    lowest = Requirement("lowest layers, feed-forward minus recurrent", _over_points(gain[1]))
    return every(
        [lowest, Requirement("highest layers, recurrent minus feed-forward", _over_points(-gain[highest]))]
    )


@claim(
    "see2016/diagonals",
    "we notice several white diagonals emerging within some subsquares of the matrices",
    "section 4.5, figure 8",
    "see2016/figure8",
    note="On average over all square sub-groups, a larger share must be kept on the diagonal than off it.",
)
def diagonals_are_kept(evidence: Evidence) -> Decision:
    shares = _weights(evidence, "see2016/figure8", {"kept_on_diagonal", "kept_off_diagonal"})
    if shares.empty:
        raise Undecidable("the model has no square sub-group")
    by_name = {name: of.pivot_table("value", "seed", "part") for name, of in shares.groupby("name")}
    return every(
        [
            Requirement(
                "kept on the diagonal minus off it",
                _over_points(by_name["kept_on_diagonal"] - by_name["kept_off_diagonal"]),
            )
        ]
    )


@claim(
    "see2016/rare-words",
    "the parameters corresponding to the less common words are more dispensable",
    "section 4.5, figure 8",
    "see2016/words",
    note="In both embeddings, the more frequent half of the words must keep a larger share of its weights.",
)
def rare_words_are_dispensable(evidence: Evidence) -> Decision:
    facts = _weights(
        evidence,
        "see2016/words",
        {
            "kept_of_decile",
            *(f"{side}_{what}_gone" for side in ("source", "target") for what in ("words", "rank")),
        },
    )
    deciles = facts[facts["name"] == "kept_of_decile"]
    requirements = []
    for side in ("source", "target"):
        table = deciles[deciles["class"] == f"{side} embedding"]
        if table.empty:
            continue
        by_decile = table.pivot_table("value", "seed", "decile")
        half = by_decile.shape[1] // 2
        gain = by_decile.iloc[:, :half].mean(axis=1) - by_decile.iloc[:, -half:].mean(axis=1)
        weights = float(table["weights"].mean()) * half
        noise = 2 * 100**2 * 0.25 / weights  # the most that two shares of so many weights vary
        requirements.append(
            Requirement(f"{side} words, frequent minus rare half", over_seeds(list(gain), POINTS, noise))
        )
    if not requirements:
        raise Undecidable("embeddings are not pruned here")
    gone = facts[facts["name"] != "kept_of_decile"].groupby("name")["value"].mean()
    said = []
    for side in ("source", "target"):
        if count := gone.get(f"{side}_words_gone", 0):
            said.append(
                f"{count:g} {side} words vanish, at {gone[f'{side}_rank_gone']:.0f} % of the ranking by "
                "frequency on average"
            )
    decision = every(requirements)
    return decision.but("; ".join([decision.because, *said]))
