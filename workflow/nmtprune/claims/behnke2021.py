"""The claims of Behnke and Heafield 2021, as functions of scores."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Mapping

import numpy as np
import pandas as pd

from nmtprune.analysis.importance import spearman
from nmtprune.claims.evidence import BLEU, Evidence, matching, over_cases, steps
from nmtprune.claims.registry import claim
from nmtprune.claims.verdict import (
    AGREEMENT,
    FEWEST_SEEDS,
    MARGIN,
    Decision,
    Estimate,
    Requirement,
    Undecidable,
    Verdict,
    agreement,
    agrees,
    alike,
    all_of,
    every,
    not_worse,
    over_points,
    over_seeds,
    together,
)
from nmtprune.experiment.papers import Row
from nmtprune.experiment.step_kinds import SOUGHT
from nmtprune.foundation.known import known
from nmtprune.measurements.histories import removed_by_half
from nmtprune.measurements.measurements import Way

WITHIN = 0.3  # BLEU, section 5.1: "within a small margin of BLEU loss (-0.2 to -0.3)"
TWO_THIRDS = (
    62.0  # percent of feed-forward units; the paper calls 63 % (table 1a) and 69 % (table 3) two thirds
)
PRUNED = r"train-pretrain/lasso-(?P<groups>[^-]+)-(?P<where>enc|dec|both)-(?P<lambda>[^/]+)/slice/converge"
SHARE = 0.5  # share of a printed gain in speed that must be reached: "about as much" rather than "hardly any"
COST_OF_INT8 = 1.7  # BLEU: the largest loss that section 7 reports
TABLES = tuple(f"behnke2021/table{name}" for name in ("1a", "1b", "3", "5", "7"))


def _baseline(pruned: Row) -> Row:
    """The dense model that the table compares a pruned row with.

    Its recipe may train for another number of updates, as in table 9.
    """
    if pruned.against is None:
        raise Undecidable("there is no row of the dense model here")
    return pruned.against


def _table(key: str) -> str:
    """`table 3`."""
    name = key.partition("/")[2]
    return f"{name.rstrip('0123456789ab')} {name[len(name.rstrip('0123456789ab')) :]}"


def _different(tables: dict[str, tuple[Row, ...]]) -> dict[str, tuple[Row, ...]]:
    """Tables without those whose rows are all in earlier ones, as when one model stands in for several."""
    different: dict[str, tuple[Row, ...]] = {}
    for key, rows in tables.items():
        seen = {row.chains for rows in different.values() for row in rows}
        if any(row.chains not in seen for row in rows):
            different[key] = rows
    return different


@claim(
    "behnke2021/two-thirds",
    "only one-third of feedforward parameters is required to perform within a small margin of BLEU loss "
    "(-0.2 to -0.3)",
    "section 5.1, table 1; section 5.2, table 3",
    "behnke2021/table1a",
    "behnke2021/table1b",
    "behnke2021/table3",
    note=f"In each table, the least pruned model that lacks at least {TWO_THIRDS:g} % of the feed-forward "
    "units is compared with the dense "
    f"model; {WITHIN:g} BLEU allowed.",
    headline=True,
)
def two_thirds_of_the_ffn_go(evidence: Evidence) -> Decision:
    pairs, short = {}, []
    for key, rows in _different(
        evidence.some_rows("behnke2021/table1a", "behnke2021/table1b", "behnke2021/table3")
    ).items():
        sparsity = [(evidence.value(row, "ffn_sparsity"), row) for _, row in matching(rows, PRUNED)]
        enough = [(share, row) for share, row in sparsity if share >= TWO_THIRDS]
        if not enough:
            short.append(
                f"{_table(key)}: at most {max((share for share, _ in sparsity), default=0):.0f} % are removed"
            )
            continue
        share, row = min(enough, key=lambda each: each[0])
        pairs[f"{_table(key)} at {share:.0f} %"] = (row, _baseline(row))
    if not pairs:
        raise Undecidable("; ".join(short))
    return evidence.in_all(pairs, WITHIN).while_missing(short)


@claim(
    "behnke2021/reinitialised",
    "The regularised models are of a better translation quality than the same architectures trained from "
    "scratch",
    "section 5.1, table 2; section 5.2, table 4",
    "behnke2021/table2",
    "behnke2021/table4",
    note="The mean difference in BLEU over λ and students must lie above 0, and no single one significantly "
    "below. Most of the paper's own "
    "BLEU is lost in the text of it that we read.",
    headline=True,
)
def pruned_is_better_than_reinitialised(evidence: Evidence) -> Decision:
    pairs = {}
    for key, rows in _different(evidence.some_rows("behnke2021/table2", "behnke2021/table4")).items():
        pairs |= {f"{_table(key)}, λ = {strength}": pair for strength, pair in _reinitialised(rows).items()}
    if not pairs:
        raise Undecidable("no pruned model was also trained from scratch")
    decision = evidence.in_all(pairs)
    return decision.but(f"pruned minus reinitialised, {decision.because}")


def _reinitialised(rows: Iterable[Row]) -> dict[str, tuple[Row, Row]]:
    """Pairs by λ: the pruned row, and the row of the same shape trained from scratch."""
    rows = list(rows)
    scratch = {row.first.parent: row for row in rows if row.first.last.kind.redraws}
    return {
        m["lambda"]: (row, scratch[row.first.parent])
        for m, row in matching(rows, PRUNED)
        if row.first.parent in scratch
    }


@claim(
    "behnke2021/large-data",
    "The reinitialised models (Tab. 6) on full dataset achieve comparable quality to their pruned "
    "counterparts",
    "section 5.2, table 6",
    "behnke2021/table6",
    note=f"Read as a mean difference of at most {MARGIN:g} BLEU to either side.",
)
def on_much_data_reinitialised_models_are_as_good(evidence: Evidence) -> Decision:
    rows = [row for row in evidence.rows("behnke2021/table6") if row.paper_task == "wmt-es-en-distilled"]
    pairs = _reinitialised(rows)
    if not pairs:
        raise Undecidable("no pruned model was also trained from scratch")
    mean = evidence.mean_difference(list(pairs.values()))
    return every(alike("", mean)).but(f"pruned minus reinitialised, mean over λ {mean}")


def _strength(matched: tuple) -> tuple[float, str]:
    """By what matched rows are sorted: λ, or the sparsity that λ was sought for, as a number."""
    text = matched[0]["lambda"].removeprefix(SOUGHT)
    return (float(text), "") if text.replace(".", "", 1).isdigit() else (math.inf, text)


def _way(evidence: Evidence, key: str) -> Way | None:
    return evidence.measured.way(evidence.items[key])


@claim(
    "behnke2021/speed",
    "Speed-up 1.00 1.12 1.26 1.34 1.42 1.49 1.52 1.61",
    "table 3, λ from none to 1.0; so in tables 1, 5 and 7",
    *TABLES,
    note="Speed must grow with the strength of regularisation: the model of the strongest λ must be faster "
    "than the dense model and than "
    "the model of the weakest λ, and no step up in λ may make models significantly slower.",
    headline=True,
)
def speed_grows_with_lambda(evidence: Evidence) -> Decision:
    tables = {
        _table(key): (rows, _way(evidence, key))
        for key, rows in _different(evidence.some_rows(*TABLES)).items()
    }

    def of_table(name: str) -> Decision:
        rows, way = tables[name]
        pruned = [row for _, row in sorted(matching(rows, PRUNED), key=_strength)]
        if len(pruned) < 2:
            raise Undecidable(f"{name} has fewer than two λ here")
        models = [_baseline(pruned[0]), *pruned]
        steps_up = [Requirement(b.label, evidence.faster(b, a, way)) for a, b in itertools.pairwise(models)]
        ends = [
            Requirement(f"{models[-1].label} against {row.label}", evidence.faster(models[-1], row, way))
            for row in models[:2]
        ]
        return together(steps_up, ends).but("; ".join(map(str, ends)))

    return all_of(over_cases(tables, of_table))


def _faster_at_a_cost(
    evidence: Evidence,
    key: str,
    gain: float,
    lowest: float,
    margin: float = MARGIN,
    sparsity: str = "ffn_sparsity",
) -> Decision:
    """Whether the least pruned model without `lowest` percent of its units or more is fast and good.

    It must reach SHARE of the printed gain in speed, and lose at most `margin` BLEU.
    """
    rows = evidence.rows(key)
    enough = [
        (share, row)
        for _, row in matching(rows, PRUNED)
        if (share := evidence.value(row, sparsity)) >= lowest
    ]
    if not enough:
        raise Undecidable(f"no model of {_table(key)} lacks {lowest:g} % of its feed-forward units")
    share, row = min(enough, key=lambda each: each[0])
    dense = _baseline(row)
    speed = Requirement(
        f"at {share:.0f} %", evidence.faster(row, dense, _way(evidence, key)), math.log(1 + SHARE * gain)
    )
    cost = not_worse("at", evidence.difference(row, dense), margin)
    return every([speed, cost]).but(
        f"{speed} ({1 + SHARE * gain:.2f}x asked), {cost.estimate} ({margin:g} BLEU allowed)"
    )


def _claim_of_speed(name: str, text: str, where: str, key: str, gain: float, lowest: float) -> None:
    """Enter a claim that a student is faster by the share `gain` at a small cost in BLEU."""
    note = (
        f"Read as at least {SHARE:g} of the printed gain in speed ({1 + SHARE * gain:.2f}x), at most "
        f"{MARGIN:g} BLEU lost."
    )

    @claim(f"behnke2021/{name}", text, where, key, note=note, headline=name == "faster-34")
    def faster_at_a_small_cost(evidence: Evidence) -> Decision:
        return _faster_at_a_cost(evidence, key, gain, lowest)


_claim_of_speed(
    "faster-34",
    "a model with a 6-layered decoder being 34% faster at the cost of 0.2 BLEU",
    "abstract; section 1 (4); section 5.2, table 3",
    "behnke2021/table3",
    0.34,
    TWO_THIRDS,
)
_claim_of_speed(
    "faster-14",
    "with 2 tied decoder layers, the pruned model is 14% faster",
    "abstract; section 5.1, table 1a",
    "behnke2021/table1a",
    0.14,
    TWO_THIRDS,
)
_claim_of_speed(
    "faster-51",
    "At the small cost of 0.3 BLEU, the model is 51% faster than the baseline",
    "abstract; section 5.3, table 7",
    "behnke2021/table7",
    0.51,
    TWO_THIRDS,
)


def _shares(evidence: Evidence, row: Row, part: str, side: str) -> pd.DataFrame:
    """Shares of units or heads left in each layer of one side, in percent of the dense model's.

    Layers are counted from the bottom up; one row per seed.
    """
    widths = pd.DataFrame(evidence.widths(row)).T
    names = [name for name in widths if name.startswith(f"{part}_{side}_")]
    if not names:
        raise Undecidable(f"{row.name} has no {part} layers in the {side}")
    architecture = evidence.config.recipe(row.first.recipe).architecture
    return 100 * widths[names] / known(architecture.ffn_dim if part == "ffn" else architecture.heads)


def _of_all_layers(evidence: Evidence, row: Row) -> pd.DataFrame:
    return pd.concat([_shares(evidence, row, "ffn", side) for side in ("encoder", "decoder")], axis=1)


def _of_both_sides(rows: Iterable[Row]) -> list[Row]:
    pruned = [row for match, row in matching(rows, PRUNED) if match["where"] == "both"]
    if not pruned:
        raise Undecidable("no model is pruned in encoder and decoder here")
    return pruned


def _halves(evidence: Evidence, rows: list[Row], part: str, side: str) -> Estimate:
    """The share left in the upper half of the layers minus that in the lower half, in percentage points.

    It is the mean over models.
    """
    gains = []
    for row in rows:
        shares = _shares(evidence, row, part, side)
        layers = shares.shape[1]
        if layers < 2:
            raise Undecidable(f"the {side} has one layer")
        gains.append(
            shares.iloc[:, -(layers // 2) :].mean(axis=1) - shares.iloc[:, : layers // 2].mean(axis=1)
        )
    return _over_models(gains)


def _over_models(values: list[pd.Series]) -> Estimate:
    """The mean over models (points) of values by seed."""
    table = pd.concat(values, axis=1, join="inner")
    if table.empty:
        raise Undecidable("the models have no seed in common")
    return over_points(table.to_numpy(float), " percentage points")


@claim(
    "behnke2021/widths",
    "The sparsity pattern follows an ascending trend in both encoder and decoder layers",
    "section 5.2, table 3",
    "behnke2021/table3",
    note=(
        "More feed-forward units must be left in the upper half of the layers than in the lower half, on "
        "both sides, mean over λ."
    ),
    headline=True,
)
def widths_ascend(evidence: Evidence) -> Decision:
    rows = _of_both_sides(evidence.rows("behnke2021/table3"))
    return every(
        [
            Requirement(f"{side}, upper minus lower half", _halves(evidence, rows, "ffn", side))
            for side in ("encoder", "decoder")
        ]
    )


@claim(
    "behnke2021/u-shape",
    "Both encoder layer types follow a similar sparsity pattern making a “U-shape” … the decoder parameters "
    "are pruned less and less with "
    "each subsequent layer",
    "section 8, figure 4",
    "behnke2021/figure4",
    note="In the encoder, the first and last layer must keep larger shares of their units and heads than the "
    "other layers on average; in "
    "the decoder, the upper half of the layers must keep larger shares than the lower half.",
)
def the_encoder_is_u_shaped_and_the_decoder_ascends(evidence: Evidence) -> Decision:
    rows = _of_both_sides(evidence.rows("behnke2021/figure4"))
    requirements = []
    for part, side in (("ffn", "encoder"), ("self", "encoder")):
        gains = []
        for row in rows:
            shares = _shares(evidence, row, part, side)
            if shares.shape[1] < 3:
                raise Undecidable("an encoder of fewer than three layers has no middle")
            gains.append(shares.iloc[:, [0, -1]].mean(axis=1) - shares.iloc[:, 1:-1].mean(axis=1))
        requirements.append(Requirement(f"{side} {part}, ends minus middle", _over_models(gains)))
    ascending = {part: _halves(evidence, rows, part, "decoder") for part in ("ffn", "cross")}
    return every(
        [
            *requirements,
            *(
                Requirement(f"decoder {part}, upper minus lower half", each)
                for part, each in ascending.items()
            ),
        ]
    )


@claim(
    "behnke2021/patterns",
    "Different language pairs exhibit similar structural sparsity patterns",
    "section 1 (2); section 5.2, tables 3 and 5",
    "behnke2021/table3",
    "behnke2021/table5",
    note=f"“Similar” is read as a rank correlation above {AGREEMENT:g} between the shares that are left of "
    "the layers, mean over the λ "
    "that both tables have.",
)
def patterns_agree_across_tasks(evidence: Evidence) -> Decision:
    sides = [
        {steps(row): row for row in _of_both_sides(evidence.rows(key))}
        for key in ("behnke2021/table3", "behnke2021/table5")
    ]
    common = [name for name in sides[0] if name in sides[1]]
    if not common:
        raise Undecidable("the two tasks have no λ in common")
    ours, theirs = sides
    if ours[common[0]].chains == theirs[common[0]].chains:
        raise Undecidable("both tables are one and the same run here")
    by_seed: dict[int, list[float]] = {}
    layers = 0
    for name in common:
        pair = [_of_all_layers(evidence, row) for row in (ours[name], theirs[name])]
        if pair[0].shape[1] != pair[1].shape[1]:
            raise Undecidable("the models of the two tasks differ in depth")
        layers = pair[0].shape[1]
        for seed in pair[0].index.intersection(pair[1].index):
            by_seed.setdefault(seed, []).append(
                float(spearman(*(each.loc[seed].to_numpy(float) for each in pair)))
            )
    if not by_seed:
        raise Undecidable("the two tasks have no seed in common")
    estimate = agreement([float(np.nanmean(each)) for each in by_seed.values()], layers)
    return every([agrees(f"rank correlation over {layers} layers, mean over {len(common)} λ,", estimate)])


@claim(
    "behnke2021/first-half",
    "most of the parameters are already pruned in the first half of the training",
    "section 4.2, figure 2",
    "behnke2021/figure2",
    note=(
        "Of the feed-forward units that are removed by the end, more than half must be removed after half "
        "of the regularised updates."
    ),
)
def most_is_pruned_in_the_first_half(evidence: Evidence) -> Decision:
    row = evidence.rows("behnke2021/figure2")[0]
    shares = []
    for chain in row.chains:
        history = evidence.measured.history(chain)
        share = None if history is None else removed_by_half(history)
        if share is not None:
            shares.append(share - 50)
    if not shares:
        raise Undecidable(
            evidence.measured.missing(row.first, {"history"})
            or "nothing was pruned in the regularised training"
        )
    beyond_half = over_seeds(shares, " percentage points")
    return every([Requirement("share pruned at half of the updates, minus 50 %:", beyond_half)])


def _heads(evidence: Evidence, row: Row) -> pd.Series:
    """The share of all heads that is left, in percent, by seed."""
    parts = [pd.DataFrame(evidence.widths(row)).T.filter(regex=f"^{part}_") for part in ("self", "cross")]
    left = pd.concat(parts, axis=1)
    heads = known(evidence.config.recipe(row.first.recipe).architecture.heads)
    return 100 * left.sum(axis=1) / (left.shape[1] * heads)


def _by_groups(rows: Iterable[Row]) -> dict[tuple[str, str], Row]:
    """Pruned rows by student and by the groups of the lasso."""
    return {(row.paper_recipe, match["groups"]): row for match, row in matching(rows, PRUNED)}


def _with_both_lassos(rows: Mapping[tuple[str, str], Row]) -> list[str]:
    """The students that were pruned both by whole heads and by rows and columns."""
    students = [student for student, groups in rows if groups == "ffn+heads" and (student, "ffn+att") in rows]
    if not students:
        raise Undecidable("no student is regularised both by whole heads and by rows and columns here")
    return students


@claim(
    "behnke2021/whole-heads",
    "the regularisation of entire heads is much more aggressive towards them, removing some layers entirely",
    "section 5.4, table 8",
    "behnke2021/table8",
    note="Fewer heads must be left than if rows and columns are regularised. Section 7 finds the opposite on "
    "its own task: see the next "
    "claim.",
)
def lasso_of_heads_removes_more_heads(evidence: Evidence) -> Decision:
    rows = _by_groups(evidence.rows("behnke2021/table8"))
    students = _with_both_lassos(rows)
    left = [
        _heads(evidence, rows[student, "ffn+att"]) - _heads(evidence, rows[student, "ffn+heads"])
        for student in students
    ]
    return every([Requirement("heads left, rows and columns minus whole heads", _over_models(left))])


@claim(
    "behnke2021/rowcol-aggressive",
    "head-lasso left attention layers almost completely unpruned … rowcol-lasso was much more aggressive in "
    "both layers at the cost of "
    "quality",
    "section 7, table 9",
    "behnke2021/table9",
    note="More heads must be left by the lasso of whole heads, mean over students.",
)
def lasso_of_rows_and_columns_removes_more_heads(evidence: Evidence) -> Decision:
    rows = _by_groups(evidence.rows("behnke2021/table9"))
    students = _with_both_lassos(rows)
    left = [
        _heads(evidence, rows[student, "ffn+heads"]) - _heads(evidence, rows[student, "ffn+att"])
        for student in students
    ]
    return every([Requirement("heads left, whole heads minus rows and columns", _over_models(left))])


@claim(
    "behnke2021/context-attention",
    "some of them, such as the last context attention layer, distinctively avoid being pruned",
    "section 9; figure 4 and table 8",
    "behnke2021/figure4",
    "behnke2021/table8",
    note=(
        "The last layer's context attention must keep a larger share of its heads than the other attention "
        "layers do on average."
    ),
)
def the_last_context_attention_is_spared(evidence: Evidence) -> Decision:
    tables = evidence.some_rows("behnke2021/figure4", "behnke2021/table8")
    gains = []
    for row in (
        row for rows in tables.values() for match, row in matching(rows, PRUNED) if match["where"] == "both"
    ):
        encoder, decoder = (
            _shares(evidence, row, part, side) for part, side in (("self", "encoder"), ("cross", "decoder"))
        )
        others = pd.concat([encoder, decoder.iloc[:, :-1]], axis=1)
        gains.append(decoder.iloc[:, -1] - others.mean(axis=1))
    if not gains:
        raise Undecidable("no model's attention is pruned in encoder and decoder here")
    return every([Requirement("last context attention minus the other layers", _over_models(gains))])


@claim(
    "behnke2021/front",
    "its pruned models outperform all others (including all simpler baselines), being a leader in the Pareto "
    "frontier",
    "section 6, figure 3",
    "behnke2021/figure3",
    note="The mean difference in BLEU from all other models that are at least as fast must lie above 0, and "
    "no single difference "
    "significantly below.",
    headline=True,
)
def pruned_12_1_leads_the_front(evidence: Evidence) -> Decision:
    rows = evidence.rows("behnke2021/figure3")
    way = _way(evidence, "behnke2021/figure3")
    deep = [row for _, row in matching(rows, PRUNED) if row.paper_recipe == "student-12-1"]
    others = [
        row
        for _, row in matching(rows, ".*")
        if row.paper_recipe != "student-12-1" or not matching([row], PRUNED)
    ]
    if not deep or not others:
        raise Undecidable("there are no pruned 12-1 models, or none beside them")
    rivals = {
        f"{ours.name} minus {theirs.name}": (ours, theirs)
        for ours, theirs in itertools.product(deep, others)
        if evidence.faster(ours, theirs, way).low <= 0  # the other model is not significantly slower
    }
    if not rivals:
        of_method = min(len(row.chains) for row in deep) >= FEWEST_SEEDS
        return Decision(
            Verdict.HOLDS,
            f"all {len(deep)} pruned 12-1 models are faster than any other model",
            None,
            of_method,
        )
    decision = evidence.in_all(rivals)
    return decision.but(
        f"{len(rivals)} pairs in which the other model is at least as fast: "
        f"{decision.because.partition(';')[0]}"
    )


def _int8(evidence: Evidence) -> dict[tuple[str, str], tuple[Row, Row]]:
    """Pairs of rows of table 9, by student and lasso: the pruned model, and the same model in 8 bits."""
    rows = evidence.rows("behnke2021/table9")
    pairs: dict[tuple[str, str], tuple[Row, Row]] = {}
    for match, row in matching(rows, rf"{PRUNED}/int8-(?P<engine>\w+)"):
        dense = next((each for each in rows if each.first == row.first.parent), None)
        if dense:
            pairs[row.paper_recipe, match["groups"]] = (dense, row)
    if not pairs:
        raise Undecidable("no model is in 8 bits here")
    return pairs


def _named(pairs: Mapping[tuple[str, str], tuple[Row, Row]]) -> dict[str, tuple[Row, Row]]:
    return {f"{recipe.removeprefix('student-')}, {lasso}": pair for (recipe, lasso), pair in pairs.items()}


@claim(
    "behnke2021/int8",
    "the smaller a model is, the larger the quality drop after its quantisation",
    "section 7, table 9",
    "behnke2021/table9",
    note=(
        "The smaller half of the pruned models (by number of parameters) must lose more BLEU than the "
        "larger half."
    ),
)
def int8_costs_more_on_smaller_models(evidence: Evidence) -> Decision:
    pairs = sorted(_int8(evidence).values(), key=lambda pair: evidence.value(pair[0], "parameters"))
    if len(pairs) < 2:
        raise Undecidable("only one model is in 8 bits here")
    half = len(pairs) // 2
    smaller, larger = pairs[:half], pairs[-half:]
    weights = [(1 / half, smaller), (-1 / half, larger)]
    terms = [
        term
        for weight, group in weights
        for dense, int8 in group
        for term in ((weight, dense), (-weight, int8))
    ]
    drop = evidence.contrast(terms, BLEU)
    shown = "; ".join(
        f"{name} {evidence.difference(int8, dense)}"
        for name, (dense, int8) in _named(_int8(evidence)).items()
    )
    decision = every([Requirement("drop of the smaller minus drop of the larger", drop)])
    return decision.but(f"{decision.because}; 8 bits change BLEU by {shown}")


def _tuned(evidence: Evidence) -> dict[str, Row]:
    """The models of table 9 that were fine-tuned in 8 bits."""
    rows = evidence.rows("behnke2021/table9")
    tuned = {}
    for name, (_, int8) in _named(_int8(evidence)).items():
        tuned[name] = next((row for row in rows if row.first.parent == int8.first), None)
    if not any(tuned.values()):
        raise Undecidable("no model was fine-tuned in 8 bits here")
    return {name: row for name, row in tuned.items() if row}


@claim(
    "behnke2021/finetuning",
    "Additional finetuning allows us to recover at least partially from the quantisation damage",
    "section 7, table 9",
    "behnke2021/table9",
    headline=True,
)
def finetuning_recovers_part(evidence: Evidence) -> Decision:
    int8 = _named(_int8(evidence))
    pairs = {name: (tuned, int8[name][1]) for name, tuned in _tuned(evidence).items()}
    decision = evidence.in_all(pairs)
    return decision.but(f"fine-tuned minus rounded: {decision.because}")


@claim(
    "behnke2021/int8-speed",
    "With quantisation, those models are 1.9–2.7x faster losing 0.9–1.7 BLEU in comparison to the unpruned "
    "and unquantised baselines",
    "abstract; section 7, table 9",
    "behnke2021/table9",
    note=f"Each fine-tuned model must be at least {1 + SHARE * 0.9:.2f}x as fast ({SHARE:g} of the smallest "
    "printed gain), and at most "
    f"{COST_OF_INT8:g} BLEU may be lost on average on the task's last test set, the one that the paper "
    "reports.",
)
def pruned_and_quantised_models_are_faster(evidence: Evidence) -> Decision:
    rows = evidence.rows("behnke2021/table9")
    pairs = {name: (row, _baseline(row)) for name, row in _tuned(evidence).items()}
    way = _way(evidence, "behnke2021/table9")
    sets = evidence.measured.pooled_sets(rows[0].first.task)[-1:]
    speeds = [
        Requirement(name, evidence.faster(*pair, way), math.log(1 + SHARE * 0.9))
        for name, pair in pairs.items()
    ]
    return all_of([every(speeds), evidence.in_all(pairs, COST_OF_INT8, sets=tuple(sets))])
