"""What Behnke and Heafield 2021 find, as functions over scores."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable
from dataclasses import replace

import numpy as np

from nmtprune.claims.evidence import Evidence, matching, only, steps
from nmtprune.claims.registry import claim
from nmtprune.claims.verdict import (
    Correlation,
    Estimate,
    Undecidable,
    Verdict,
    above,
    all_of,
    correlation,
    every,
    listed,
    not_worse,
    signed,
    some,
    while_missing,
)
from nmtprune.papers import Row
from nmtprune.reporting.measured import Way

WITHIN = 0.3  # BLEU, section 5.1: "within a small margin of BLEU loss (-0.2 to -0.3)"
TWO_THIRDS = 62.0  # percent of the FFN: the paper says two thirds of 63 % (table 1a) and of 69 % (table 3)
PRUNED = r"train-pretrain/lasso-(?P<groups>[^-]+)-(?P<where>enc|dec|both)-(?P<lambda>[^/]+)/slice/converge"
RANGE = {2: 1.128, 3: 1.693, 4: 2.059, 5: 2.326, 6: 2.534, 7: 2.704, 8: 2.847, 9: 2.970, 10: 3.078}  # of n normal draws, in deviations
MEDIAN = 1.2533  # its standard error over that of the mean
NORMAL = 1.959964
SPEED_UP = "speed_up"


def _baseline(rows: Iterable[Row], of: Row) -> Row:
    """The dense model of a pruned row: the same task and recipe."""
    wanted = (of.chains[0].task, of.chains[0].recipe)
    return only([row for row in rows if (row.chains[0].task, row.chains[0].recipe) == wanted], "train", "the dense model")


def _table(key: str) -> str:
    """`table 3`."""
    name = key.partition("/")[2]
    return f"{name.rstrip('0123456789ab')} {name[len(name.rstrip('0123456789ab')) :]}"


def _different(tables: dict[str, tuple[Row, ...]]) -> dict[str, tuple[Row, ...]]:
    """Tables without those whose rows are all in an earlier one, since stand-ins coincide."""
    found: dict[str, tuple[Row, ...]] = {}
    for key, rows in tables.items():
        seen = {row.chains for rows in found.values() for row in rows}
        if any(row.chains not in seen for row in rows):
            found[key] = rows
    return found


@claim(
    "behnke2021/two-thirds",
    "Two thirds of the feed-forward connections can be removed within a small margin of BLEU loss (0.3)",
    "sections 5.1 and 5.2, tables 1 and 3",
    "behnke2021/table1a",
    "behnke2021/table1b",
    "behnke2021/table3",
)
def two_thirds_of_the_ffn_go(evidence: Evidence) -> tuple[Verdict, str]:
    verdicts, said = [], []
    for key, rows in _different(evidence.some_rows("behnke2021/table1a", "behnke2021/table1b", "behnke2021/table3")).items():
        sparsity = [(evidence.value(row, "ffn_sparsity"), row) for _, row in matching(rows, PRUNED)]
        found = [(share, evidence.difference(row, _baseline(rows, row))) for share, row in sparsity if share >= TWO_THIRDS]
        if not found:
            verdicts.append(Verdict.UNDECIDED)
            said.append(f"{_table(key)}: at most {max((share for share, _ in sparsity), default=0):.0f} % are removed")
            continue
        verdicts.append(some([estimate for _, estimate in found], not_worse(WITHIN)))
        said.append(f"{_table(key)}: {listed(f'{estimate} at {share:.0f} %' for share, estimate in found)}")
    return all_of(verdicts), f"{'; '.join(said)}; {WITHIN:g} BLEU allowed"


@claim(
    "behnke2021/reinitialised",
    "Pruned models translate better than the same architecture trained from scratch",
    "sections 5.1 and 5.2, tables 2 and 4",
    "behnke2021/table2",
    "behnke2021/table4",
)
def pruned_is_better_than_reinitialised(evidence: Evidence) -> tuple[Verdict, str]:
    found: dict[str, Estimate] = {}
    for key, rows in _different(evidence.some_rows("behnke2021/table2", "behnke2021/table4")).items():
        again = {row.chains[0].parent: row for row in rows if row.chains[0].last.family.name == "restart"}
        for match, row in matching(rows, PRUNED):
            if row.chains[0].parent in again:
                found[f"{_table(key)}, λ = {match['lambda']}"] = evidence.difference(row, again[row.chains[0].parent])
    if not found:
        raise Undecidable("no pruned model was also trained from scratch")
    said = "; ".join(f"{name}: {estimate}" for name, estimate in found.items())
    return every(list(found.values())), f"pruned less reinitialised, {said}"


@claim(
    "behnke2021/speed",
    "The stronger the regularisation, the faster the model",
    "section 5, tables 1, 3, 5 and 7",
    "behnke2021/table1a",
    "behnke2021/table1b",
    "behnke2021/table3",
    "behnke2021/table5",
    "behnke2021/table7",
)
def speed_grows_with_lambda(evidence: Evidence) -> tuple[Verdict, str]:
    tables = evidence.some_rows(*(f"behnke2021/{name}" for name in ("table1a", "table1b", "table3", "table5", "table7")))
    verdicts, said, absent = [], [], []
    for key, rows in _different(tables).items():
        way = evidence.measured.way(evidence.items[key])
        pruned = [row for _, row in sorted(matching(rows, PRUNED), key=_strength)]
        if len(pruned) < 2:
            continue  # one λ is no stronger than another
        models = [_baseline(rows, pruned[0]), *pruned]
        try:
            verdicts.append(_grows([_seconds(evidence, row, way) for row in models]))
        except Undecidable as reason:
            absent.append(str(reason))
            continue
        speed_ups = (evidence.measured.value(row.chains[0], SPEED_UP, 1, way) for row in models)
        said.append(f"{_table(key)}: {', '.join(f'{each:.2f}' for each in speed_ups if each is not None)}")
    if not verdicts:
        raise Undecidable(absent[0] if absent else "no table has two λ here")
    verdict = while_missing(all_of(verdicts), absent)
    return verdict, "; ".join([f"speed-up from the dense model to the strongest λ, {'; '.join(said)}", *absent])


def _strength(found: tuple) -> tuple[float, str]:
    """λ, or the sparsity it leads to, as a number."""
    text = found[0]["lambda"].removeprefix("to")
    return (float(text), "") if text.replace(".", "", 1).isdigit() else (math.inf, text)


def _seconds(evidence: Evidence, row: Row, way: Way | None) -> Estimate:
    """Seconds for the test set with the interval of the median of the runs; from their range, all that is kept of them."""
    chain = row.chains[0]
    found = evidence.measured.speed(chain, way)
    if found is None:
        raise Undecidable(evidence.measured.lacks(chain, SPEED_UP, 1, way) or f"the speed of {chain} is not measured yet")
    value, low, high = (float(found[name]) for name in ("seconds", "seconds_low", "seconds_high"))
    runs = max(2, min(int(found["runs"]), max(RANGE)))
    half = NORMAL * MEDIAN * (high - low) / RANGE[runs] / math.sqrt(runs)
    return Estimate(value, value - half, value + half, " s")


def _grows(seconds: list[Estimate]) -> Verdict:
    """Of the dense model and then of ever stronger λ: the last is faster than the first and than the weakest λ, and no step is slower."""
    slower = [after - before for before, after in itertools.pairwise(seconds)]
    if any(above(each.adjusted(len(slower))) is Verdict.HOLDS for each in slower) or above(seconds[-1] - seconds[0]) is Verdict.HOLDS:
        return Verdict.FAILS
    return every([seconds[0] - seconds[-1], seconds[1] - seconds[-1]])


WIDE = ("behnke2021/table3", "behnke2021/table5", "behnke2021/figure4")


def _widths(evidence: Evidence, rows: Iterable[Row], side: str) -> dict[str, np.ndarray]:
    """FFN units left by layer from the bottom up, means over seeds, of every model that is pruned on both sides, by its steps."""
    found = {}
    for match, row in matching(rows, PRUNED):
        if match["where"] != "both":
            continue
        shapes = [w for chain in row.chains if (w := evidence.measured.widths(chain))]
        if not shapes:
            raise Undecidable(evidence.lacks(row, "shape"))
        names = [name for name in shapes[0] if name.startswith(f"ffn_{side}_")]
        found[steps(row)] = np.array([[shape[name] for name in names] for shape in shapes]).mean(0)
    if not found:
        raise Undecidable("no model is pruned in encoder and decoder here")
    return found


@claim(
    "behnke2021/widths",
    "What is left of decoder layers ascends from layer to layer, of encoder layers it ascends or is U-shaped",
    "sections 5.2 and 8, tables 3 and 5 and figure 4",
    *WIDE,
)
def decoder_widths_ascend_and_encoder_widths_ascend_or_are_u_shaped(evidence: Evidence) -> tuple[Verdict, str]:
    verdicts, said, seen = [], [], set()
    for key, rows in evidence.some_rows(*WIDE).items():
        sides = {side: _widths(evidence, rows, side) for side in ("encoder", "decoder")}
        models = frozenset((rows[0].chains[0].task, each) for each in sides["encoder"])
        if models in seen:
            continue
        seen.add(models)
        shown = []
        for side, widths in sides.items():
            values = np.array(list(widths.values()))
            rising = correlation(values, np.arange(values.shape[1]))
            u_shaped = _u_shaped(values) if side == "encoder" else None
            verdict = rising.verdict
            if u_shaped and verdict is not Verdict.HOLDS:
                verdict = Verdict.HOLDS if u_shaped.verdict is Verdict.HOLDS and verdict is not Verdict.FAILS else verdict
            verdicts.append(verdict)
            left = "-".join(f"{width:.0f}" for width in values[-1])
            shape = f", with a U {u_shaped}" if u_shaped else ""
            shown.append(f"{side} {rising}{shape}, last model {left}")
        said.append(f"{_table(key)}: {'; '.join(shown)}")
    return all_of(verdicts), "; ".join(said)


def _u_shaped(widths: np.ndarray) -> Correlation:
    """How far widths [models, layers] go with the distance from the middle layer; p for two shapes being tried."""
    layers = np.arange(widths.shape[1])
    found = correlation(widths, np.abs(layers - layers.mean()))
    return replace(found, p=min(1.0, 2 * found.p))


@claim(
    "behnke2021/patterns",
    "Different language pairs exhibit similar structural sparsity patterns",
    "section 5.2, tables 3 and 5",
    "behnke2021/table3",
    "behnke2021/table5",
)
def patterns_agree_across_tasks(evidence: Evidence) -> tuple[Verdict, str]:
    widths = []
    for key in ("behnke2021/table3", "behnke2021/table5"):
        sides = [_widths(evidence, evidence.rows(key), side) for side in ("encoder", "decoder")]
        widths.append({name: np.concatenate([side[name] for side in sides]) for name in sides[0]})
    common = [name for name in widths[0] if name in widths[1] and widths[0][name].shape == widths[1][name].shape]
    if not common:
        raise Undecidable("the two tasks have no λ in common, or models of unlike depth")
    found = correlation(*(np.array([each[name] for name in common]) for each in widths))
    return found.verdict, f"{found} (layers), on average over {len(common)} λ"


@claim(
    "behnke2021/front",
    "Pruned 12-1 models outperform all others, being a leader in the Pareto frontier",
    "section 6, figure 3",
    "behnke2021/figure3",
)
def pruned_12_1_leads_the_front(evidence: Evidence) -> tuple[Verdict, str]:
    rows = evidence.rows("behnke2021/figure3")
    way = evidence.measured.way(evidence.items["behnke2021/figure3"])
    deep = [row for match, row in matching(rows, PRUNED) if row.paper_recipe == "student-12-1"]
    others = [row for _, row in matching(rows, ".*") if row.paper_recipe != "student-12-1" or not matching([row], PRUNED)]
    if not deep or not others:
        raise Undecidable("there are no pruned 12-1 models, or none beside them")
    seconds = {row.chains: _seconds(evidence, row, way) for row in (*deep, *others)}
    rivals = [
        (ours, theirs)
        for ours, theirs in itertools.product(deep, others)
        if above(seconds[theirs.chains] - seconds[ours.chains]) is not Verdict.HOLDS  # theirs is not slower, as far as can be told
    ]
    if not rivals:
        return Verdict.HOLDS, f"all {len(deep)} pruned 12-1 models are faster than any other"
    found = [evidence.difference(*pair) for pair in rivals]
    lost = [above(each.adjusted(len(found))) is Verdict.FAILS for each in found]
    beaten = {ours.chains for (ours, _), each in zip(rivals, lost, strict=True) if each}
    (ours, theirs), worst = min(zip(rivals, found, strict=True), key=lambda pair: pair[1].value)
    said = f"of {len(deep)} pruned 12-1 models {len(beaten)} are beaten by one that is no slower"
    return every(found), (
        f"{said}; least against such a one: {ours.name} less {theirs.name} {worst} in "
        f"{seconds[ours.chains].value:.2f} and {seconds[theirs.chains].value:.2f} s"
    )


def _int8(evidence: Evidence) -> dict[str, dict[str, tuple[Row, Row]]]:
    """Of table 9, by student and lasso: the pruned row and the same in 8 bits."""
    rows = evidence.rows("behnke2021/table9")
    found: dict[str, dict[str, tuple[Row, Row]]] = {}
    for match, row in matching(rows, rf"{PRUNED}/int8-(?P<engine>\w+)"):
        dense = next((each for each in rows if each.chains[0] == row.chains[0].parent), None)
        if dense:
            found.setdefault(row.paper_recipe, {})[match["groups"]] = (dense, row)
    if not found:
        raise Undecidable("no model is in 8 bits here")
    return found


@claim(
    "behnke2021/int8",
    "The smaller a model is, the larger the quality drop after its quantisation",
    "section 7, table 9",
    "behnke2021/table9",
)
def int8_costs_more_on_smaller_models(evidence: Evidence) -> tuple[Verdict, str]:
    found = _int8(evidence)
    drops = {(recipe, lasso): evidence.difference(dense, int8) for recipe, pairs in found.items() for lasso, (dense, int8) in pairs.items()}
    said = listed(f"{signed(-each.value)} ({recipe.removeprefix('student-')}, {lasso})" for (recipe, lasso), each in drops.items())
    more = [drops["student-12-1-micro", lasso] - drops["student-12-1", lasso] for (r, lasso) in drops if r == "student-12-1-micro"]
    if not more:
        return Verdict.UNDECIDED, f"there is no smaller student here; 8 bits change BLEU by {said}"
    return every(more), f"8 bits change BLEU by {said}"


@claim(
    "behnke2021/finetuning",
    "Finetuning recovers at least partially from the quantisation damage",
    "section 7, table 9",
    "behnke2021/table9",
)
def finetuning_recovers_part(evidence: Evidence) -> tuple[Verdict, str]:
    rows = evidence.rows("behnke2021/table9")
    found = {}
    for recipe, pairs in _int8(evidence).items():
        for lasso, (_, int8) in pairs.items():
            tuned = next((row for row in rows if row.chains[0].parent == int8.chains[0]), None)
            if tuned:
                found[f"{recipe.removeprefix('student-')}, {lasso}"] = evidence.difference(tuned, int8)
    if not found:
        raise Undecidable("no model was fine-tuned in 8 bits here")
    said = "; ".join(f"{name} {estimate}" for name, estimate in found.items())
    return every(list(found.values()), independent=True), f"fine-tuned less rounded: {said}"
