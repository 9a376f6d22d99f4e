"""The figures of Wang and Tu 2020 from made-up importances and orders; no number here was measured."""

import csv
import json
import math
from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
import yaml
from matplotlib import pyplot
from support.workplace import MICRO

from nmtprune.analysis.importance import contributions
from nmtprune.experiment import chain, config, papers, paths
from nmtprune.experiment.components import KINDS
from nmtprune.experiment.papers import Column, Item, Row
from nmtprune.experiment.run import Run
from nmtprune.measurements import ablations
from nmtprune.measurements.measurements import Measured
from nmtprune.reporting import kinds
from nmtprune.reporting.captions import caption
from nmtprune.scoring.significance import bleu

CONTRIBUTION = Column("contribution", "Contribution")
BY_PERPLEXITY = Column("contribution_perplexity", "Contribution by perplexity")
CRITICALITY, SETTLED = (
    Column("criticality", "Criticality"),
    Column("criticality_settled", "Criticality, settled"),
)
BLEU = Column("bleu", "BLEU", published="bleu")
WHOLE = 30.0
DROPS = (0.0, 0.06, 0.3, 0.6, 0.9, 1.2, 1.5, 3.0, 6.0, -1.0)  # BLEU; two layers of each kind, C is 3
IMPORTANT = (0, 0.02, 0.1, 0.2, 0.3, 0.4, 0.5, 1, 1, 0)


def components(encoder=2, decoder=2):
    return [
        f"{kind}.{layer}"
        for kind in KINDS
        for layer in range(1, (encoder if kind[0] == "E" else decoder) + 1)
    ]


def model(recipe="micro", seed=1, steps="train"):
    return chain.Chain("micro", recipe, seed, chain.parse_steps(steps))


def finished(of):
    """Manifests on the way to a model, and its folder."""
    for ancestor in of.ancestors():
        paths.manifest(ancestor).parent.mkdir(parents=True, exist_ok=True)
        paths.manifest(ancestor).write_text(json.dumps({"updates": 40}))


def places(names):
    return [each.rpartition(".")[0] for each in names], [each.rpartition(".")[2] for each in names]


def contribute(of, drops=DROPS, names=None, statistics=None):
    """The analysis `contribution` of a model, with the statistics of its sentences where they are given."""
    names = names or components()
    of_kind, layers = places(names)
    scores = WHOLE - np.array(drops)
    nll = 2.0 + np.array(drops) / 15  # C is 0.2 nats, which is 3 BLEU
    found = pd.DataFrame(
        {
            "component": ["none", *names],
            "kind": ["", *of_kind],
            "layer": ["", *layers],
            "bleu": [WHOLE, *scores],
            "perplexity": np.exp([2.0, *nll]),
            "nll_per_token": [2.0, *nll],
            "drop": [0, *drops],
            "contribution": [math.nan, *contributions(WHOLE, scores, 10)],
            "drop_nll": [0, *(nll - 2)],
            "contribution_perplexity": [math.nan, *contributions(-2.0, -nll, 10)],
        }
    )
    finished(of)
    found.to_csv(paths.analysis(of, "contribution"), index=False)
    if statistics is not None:
        arrays = {"bleu": statistics, "nll": np.tile(nll[:, None], (1, 5)), "tokens": np.ones(5)}
        np.savez(paths.analysis(of, "contribution").with_suffix(".npz"), **arrays)


def be_critical(of, alphas, names=None):
    """A made-up analysis `criticality`: BLEU of a component for alpha in quarters below 1."""
    rows = [("none", 1.0, WHOLE)]
    rows += [
        (name, place / 4, value)
        for name, values in zip(names or components(), alphas, strict=True)
        for place, value in enumerate(values)
    ]
    finished(of)
    found = pd.DataFrame(rows, columns=["component", "alpha", "bleu"])
    found.assign(kind="", layer="", perplexity=4.0, nll_per_token=1.4).to_csv(
        paths.analysis(of, "criticality"), index=False
    )


def ablate(of, orders):
    """A made-up analysis `order`: components and test BLEU by method; development BLEU is higher by 1."""
    rows = []
    for method, (names, scores) in orders.items():
        rows += [
            (method, number, name, score + 1, 4.0, score)
            for number, (name, score) in enumerate(zip(["none", *names], scores, strict=True))
        ]
    finished(of)
    columns = ["method", "number", "component", "dev_bleu", "dev_perplexity", "test_bleu"]
    pd.DataFrame(rows, columns=columns).to_csv(paths.analysis(of, "order"), index=False)


def score(of, value):
    row = {
        "chain": str(of),
        "set": "test",
        "sentences": 50,
        "bleu": value,
        "bleu_signature": "nrefs:1",
        "engine": "fairseq",
        "beam": 4,
    }
    paths.scores(of).write_text("")
    with paths.scores(of).open("w", newline="") as out:
        writer = csv.DictWriter(out, [*row, "hypotheses"])
        writer.writeheader()
        writer.writerow(row | {"hypotheses": "none.txt"})


def row(label, *chains, **more):
    settings = {"group": "", "published": {}, "baseline": False, "against": None, "values": {}}
    return Row(
        label=label, chains=chains, paper_task="wmt14-en-de", paper_recipe="base-32k", **settings | more
    )


def item(kind, columns, *rows):
    empty = {"notes": (), "headings": {}, "left_out": (), "x": None, "dashed": (), "examples": {}}
    about = papers.paper("wangtu2020")
    return Item(
        "wangtu2020",
        "figure3",
        kind,
        "Made up",
        "Made up.",
        columns=tuple(columns),
        rows=rows,
        about=about,
        **empty,
    )


@pytest.fixture
def run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    yield config.from_settings({"preset": "micro", "own": str(MICRO)})
    pyplot.close("all")


def make(run, made_up):
    return kinds.make(made_up, Measured(run))


def maps(figure):
    """The panels of a figure that hold a map or lack one, without the colour bar."""
    return [axes for axes in figure.axes if axes.get_title(loc="left").startswith("(")]


def darkness(axes):
    """The darkness of each cell (kind's number, layer) from 0 to 1; None for a hatched one."""
    if not axes.collections:
        return {}
    (cells,) = axes.collections
    values = cells.get_array()
    grey = {
        place: 1 - np.dot(cells.to_rgba(values[place])[:3], (0.299, 0.587, 0.114))
        for place in np.ndindex(values.shape)
    }
    assert axes.patch.get_hatch()
    return {(x, y + 1): None if np.ma.is_masked(values[y, x]) else shade for (y, x), shade in grey.items()}


def written(axes):
    """Texts of cells by their place."""
    return {
        (int(text.get_position()[0]), int(text.get_position()[1]) + 1): text.get_text()
        for text in axes.texts
        if text.get_text()
    }


# Heat maps


def test_a_map_is_darker_the_more_important_a_component_is_and_says_how_much(run):
    contribute(model())
    made = make(run, item("heatmaps", [CONTRIBUTION], row("En-De", model())))
    (axes,) = maps(made.figure)
    cells, texts = darkness(axes), written(axes)
    by_place = {(x, layer): IMPORTANT[2 * x + layer - 1] for x in range(5) for layer in (1, 2)}
    assert set(cells) == set(by_place)
    order = sorted(by_place, key=by_place.get)
    assert all(cells[a] < cells[b] for a, b in pairwise(order) if by_place[a] < by_place[b])
    assert cells[(0, 1)] < 0.05 and cells[(4, 1)] > 0.75
    assert texts == {
        **{(0, 1): "0", (0, 2): ".02", (1, 1): ".10", (1, 2): ".20", (2, 1): ".30"},
        **{(2, 2): ".40", (3, 1): ".50", (3, 2): "1", (4, 1): "1", (4, 2): "0"},
    }
    assert [label.get_text() for label in axes.get_xticklabels()] == ["E:SA", "E:FF", "D:SA", "D:EA", "D:FF"]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["1", "2"]
    assert axes.get_ylim() == (0, 2)  # layer 1 at the bottom
    bar = next(each for each in made.figure.axes if each not in maps(made.figure))
    assert "Contribution" in bar.get_ylabel() and bar.get_ylim() == (0, 1)


def test_the_numbers_are_means_over_seeds_with_drops_in_bleu(run):
    contribute(model(seed=1))
    contribute(model(seed=2), [2 * drop for drop in DROPS])
    numbers = make(run, item("heatmaps", [CONTRIBUTION], row("En-De", model(seed=1), model(seed=2)))).numbers
    assert list(numbers["component"]) == components() and list(numbers["layer"]) == 5 * [1, 2]
    third = numbers[numbers["component"] == "E.FF.2"].iloc[0]
    assert third["value"] == pytest.approx((0.2 + 0.4) / 2) and third["sd"] == pytest.approx(
        0.2 / math.sqrt(2)
    )
    assert third["drop"] == pytest.approx(0.9) and third["seeds"] == 2 and third["missing"] == ""


def test_criticality_is_read_off_the_alphas_with_the_recipes_epsilon(run):
    alphas = [[30, 30, 30, 30], [10, 29.6, 20, 29.7], [10, 10, 10, 29.4], *7 * [[29.6, 30, 30, 30]]]
    be_critical(model(), alphas)
    numbers = make(run, item("heatmaps", [CRITICALITY, SETTLED], row("En-De", model()))).numbers
    found = numbers.pivot(index="component", columns="metric", values="value")
    assert list(found.loc["E.SA.1"]) == [0, 0]
    assert list(found.loc["E.SA.2"]) == [0.25, 0.75]
    assert list(found.loc["E.FF.1"]) == [1, 1]


def test_what_is_not_there_is_an_empty_panel_with_its_reason_and_no_zero(run):
    contribute(model())
    made = make(
        run, item("heatmaps", [CONTRIBUTION], row("En-De", model()), row("Wider", model("micro-untied")))
    )
    there, absent = maps(made.figure)
    assert (
        len(darkness(there)) == 10
        and not darkness(absent)
        and [text.get_text() for text in absent.texts] == ["not there yet"]
    )
    wider = made.numbers[made.numbers["row"] == 2]
    assert (
        len(wider) == 1
        and wider["value"].isna().all()
        and wider["missing"].item() == "micro/micro-untied/s1/train has not run yet"
    )
    assert made.footnotes == ["Missing in 1 of 2 rows: micro/micro-untied/s1/train has not run yet."]
    assert not any("Wider" in sentence for sentence in made.sentences)


def test_a_seed_that_is_not_there_is_said_and_the_others_shown(run):
    contribute(model(seed=1))
    made = make(run, item("heatmaps", [CONTRIBUTION], row("En-De", model(seed=1), model(seed=2))))
    assert (made.numbers["seeds"] == 1).all() and made.numbers["value"].tolist() == pytest.approx(IMPORTANT)
    assert made.footnotes == ["Missing in 1 of 1 rows: micro/micro/s2/train has not run yet."]


def test_components_that_a_model_lacks_are_hatched(run):
    names = components(encoder=3, decoder=1)
    contribute(model(), np.linspace(0, 3, len(names)), names)
    made = make(run, item("heatmaps", [CONTRIBUTION], row("3-1", model())))
    hatched = {place for place, value in darkness(maps(made.figure)[0]).items() if value is None}
    assert hatched == {(x, layer) for x in (2, 3, 4) for layer in (2, 3)}
    assert made.sentences[0] == "Hatched: components that a model does not have."


def test_scores_stand_over_the_map_with_the_published_ones(run):
    contribute(model())
    score(model(), 27.318)
    printed = make(
        run, item("heatmaps", [CONTRIBUTION, BLEU], row("Dropout 0.1", model(), published={"bleu": "27.56"}))
    )
    assert maps(printed.figure)[0].get_title(loc="left") == "(a) Dropout 0.1\nBLEU 27.32\n(published 27.56)"
    record = printed.numbers[printed.numbers["metric"] == "bleu"].iloc[0]
    assert (record["value"], record["published"]) == (27.318, 27.56)
    ours = make(run, item("heatmaps", [CONTRIBUTION, BLEU], row("All pairs", model())))
    assert maps(ours.figure)[0].get_title(loc="left") == "(a) All pairs\nBLEU 27.32"


@pytest.mark.parametrize(
    ("rows", "columns", "titles"),
    [
        (2, 2, ["(a) A, contribution", "(b) B, contribution", "(c) A, criticality", "(d) B, criticality"]),
        (
            2,
            3,
            [
                "(a) A, contribution",
                "(b) A, criticality",
                "(c) A, criticality,\nsettled",
                "(d) B, contribution",
            ],
        ),
        (4, 1, ["(a) A", "(b) B", "(c) C", "(d) D"]),
    ],
)
def test_panels_are_in_the_order_of_the_papers_figures(run, rows, columns, titles):
    shown = [CONTRIBUTION, CRITICALITY, SETTLED][:columns]
    made = make(
        run, item("heatmaps", shown, *(row("ABCD"[place], model(seed=place)) for place in range(rows)))
    )
    found = [axes.get_title(loc="left") for axes in maps(made.figure)]
    assert found[: len(titles)] == titles and len(found) == rows * columns


def test_no_row_is_no_error(run):
    made = make(run, item("heatmaps", [CONTRIBUTION]))
    assert made.numbers.empty and "component" in made.numbers and not made.sentences


def test_agreement_is_with_the_first_row_or_the_baseline(run):
    contribute(model(seed=1))
    contribute(model(seed=2), [drop * 0.9 for drop in DROPS])
    contribute(model(seed=3), DROPS[::-1])
    rows = [row(f"Seed {seed}", model(seed=seed)) for seed in (1, 2, 3)]
    (first, *_) = make(run, item("heatmaps", [CONTRIBUTION], *rows)).sentences
    # ranks of IMPORTANT and of their reverse: 1.5 3 4 5 6 7 8 9.5 9.5 1.5
    ranks = pd.Series(IMPORTANT).rank()
    rho = ranks.corr(ranks[::-1].reset_index(drop=True))
    assert first.startswith(
        "Rank agreement with Seed 1, contribution (95 % intervals by bootstrap over components): "
    )
    assert (
        "Seed 2: Spearman rho = 1.00 [" in first
        and f"Seed 3: Spearman rho = {rho:.2f} [".replace("-", "−") in first
    )
    rows[2] = row("Seed 3", model(seed=3), baseline=True)
    (first, *_) = make(run, item("heatmaps", [CONTRIBUTION], *rows)).sentences
    assert (
        first.startswith("Rank agreement with Seed 3, contribution")
        and "Seed 1: " in first
        and "Seed 2: " in first
    )


def test_groups_have_their_own_reference(run):
    for seed in (1, 2, 3, 4):
        contribute(model(seed=seed))
    rows = [
        row(f"Seed {seed}", model(seed=seed), group=group)
        for seed, group in ((1, "A"), (2, "A"), (3, "B"), (4, "B"))
    ]
    sentences = make(run, item("heatmaps", [CONTRIBUTION], *rows)).sentences
    assert [sentence.split(",")[0] for sentence in sentences[:2]] == [
        "Rank agreement with A Seed 1",
        "Rank agreement with B Seed 3",
    ]


def test_metrics_of_one_model_are_compared_over_components(run):
    contribute(model())
    be_critical(model(), [[29.6 if place / 4 >= value else 0 for place in range(4)] for value in IMPORTANT])
    sentences = make(
        run, item("heatmaps", [CONTRIBUTION, BY_PERPLEXITY, CRITICALITY], row("En-De", model()))
    ).sentences
    assert sentences[0] == (
        "Rank agreement of contribution and contribution by perplexity (95 % intervals by bootstrap over "
        "components): "
        "En-De: Spearman rho = 1.00 [1.00, 1.00]."
    )
    steps = pd.Series(np.ceil(np.array(IMPORTANT) * 4) / 4).rank()
    rho = pd.Series(IMPORTANT).rank().corr(steps)
    assert (
        f"En-De: Spearman rho = {rho:.2f} [" in sentences[1]
        and "contribution and criticality" in sentences[1]
    )


def test_intervals_come_from_sentences_where_their_statistics_are_there(run):
    sums = np.zeros((11, 5, 10), int)
    sums[..., :2] = 400
    for order in range(4):
        sums[..., 6 + order] = 400 - order
        sums[:, :, 2 + order] = (
            (400 - order) - np.arange(11)[:, None] - np.arange(5) % 2
        )  # the later, the worse
    drops = bleu(sums.sum(1))[0] - bleu(sums.sum(1))[1:]
    for seed in (1, 2):
        contribute(model(seed=seed), drops, statistics=sums)
    made = make(run, item("heatmaps", [CONTRIBUTION], row("A", model(seed=1)), row("B", model(seed=2))))
    assert (
        "(95 % intervals by bootstrap over sentences): B: Spearman rho = 1.00 [1.00, 1.00]."
        in made.sentences[0]
    )


def test_a_deeper_model_is_compared_by_relative_depth(run):
    contribute(model(seed=1))
    twice = [drop for drop in DROPS for _ in range(2)]
    contribute(model("micro-untied"), twice, components(4, 4))
    sentences = make(
        run, item("heatmaps", [CONTRIBUTION], row("Base", model()), row("Deeper", model("micro-untied")))
    ).sentences
    assert "Deeper: Spearman rho = 1.00" in sentences[0]
    assert any("compared by relative depth" in sentence for sentence in sentences)


def test_unimportant_components_are_counted(run):
    contribute(model(seed=1))
    contribute(model(seed=2), [0, 0, 0, *DROPS[3:]])
    rows = [row("One", model(seed=1)), row("Both", model(seed=1), model(seed=2))]
    *_, last = make(run, item("heatmaps", [CONTRIBUTION], *rows)).sentences
    assert last == "Unimportant components (contribution below 0.05): One: 3 of 10; Both: 3.5 ± 0.7 of 10."


def test_where_nothing_contributes_no_agreement_is_claimed(run):
    contribute(model(seed=1), 10 * [0.0])
    contribute(model(seed=2))
    made = make(
        run,
        item(
            "heatmaps",
            [CONTRIBUTION],
            row("0 % of updates", model(seed=1)),
            row("Trained", model(seed=2), baseline=True),
        ),
    )
    assert "0 % of updates: not defined, since one of the two is constant" in made.sentences[0]
    assert (
        "0 % of updates: 10 of 10, since nothing is lost without any; Trained: 3 of 10." in made.sentences[-1]
    )


# Removal

ITERATIVE = (["D.SA.2", "D.SA.1", "E.FF.2"], [30.0, 29.9, 29.6, 29.0])
ONE_SHOT = (["D.SA.2", "E.FF.2", "D.SA.1"], [30.0, 29.9, 29.2, 28.0])


@pytest.fixture
def two_layers(monkeypatch):
    monkeypatch.setattr(ablations, "components", lambda row, measured: components())


def test_the_lines_are_bleu_by_ablated_components_and_the_map_their_order(run, two_layers):
    ablate(model(), {"iterative": ITERATIVE, "one-shot": ONE_SHOT})
    made = make(run, item("removal", [], row("En-De", model())))
    lines, order = made.figure.axes
    drawn = [list(line.get_ydata()) for line in lines.get_lines() if len(line.get_xdata()) == 4]
    assert ITERATIVE[1] in drawn and ONE_SHOT[1] in drawn and [value + 1 for value in ITERATIVE[1]] in drawn
    dashed = next(line for line in lines.get_lines() if list(line.get_ydata()) == ONE_SHOT[1])
    assert dashed.get_linestyle() == "--" and dashed.get_markerfacecolor() == "white"
    assert any(list(line.get_ydata()) == [30.0, 30.0] for line in lines.get_lines())  # nothing ablated
    assert written(order) == {(2, 2): "1", (2, 1): "2", (1, 2): "3"}
    shades = darkness(order)
    assert {place for place, value in shades.items() if value == pytest.approx(0)} == set(
        written(order)
    ) and len(shades) == 10


def test_lines_are_means_over_seeds_and_the_map_is_the_first_seeds(run, two_layers):
    ablate(model(seed=1), {"iterative": ITERATIVE})
    ablate(model(seed=2), {"iterative": (["E.SA.1", "E.SA.2", "D.SA.1"], [28.0, 27.9, 27.6, 26.0])})
    made = make(run, item("removal", [], row("En-De", model(seed=1), model(seed=2))))
    lines, order = made.figure.axes
    drawn = [list(line.get_ydata()) for line in lines.get_lines()]
    assert any(values == pytest.approx([29.0, 28.9, 28.6, 27.5]) for values in drawn if len(values) == 4)
    assert written(order) == {(2, 2): "1", (2, 1): "2", (1, 2): "3"}
    numbers = made.numbers
    assert len(numbers) == 8 and list(numbers["seed"]) == 4 * [1] + 4 * [2]
    record = numbers[(numbers["seed"] == 2) & (numbers["number"] == 1)].iloc[0]
    assert (
        record["component"],
        record["kind"],
        record["layer"],
        record["test_bleu"],
        record["dev_bleu"],
    ) == (
        "E.SA.1",
        "E.SA",
        1,
        27.9,
        28.9,
    )
    assert numbers["component"].iloc[0] == "" and pd.isna(numbers["layer"].iloc[0])


def test_it_says_how_many_can_go_before_epsilon_is_lost_and_which(run, two_layers):
    ablate(model(), {"iterative": ITERATIVE, "one-shot": ONE_SHOT})
    spared, group = make(run, item("removal", [], row("En-De", model()))).sentences
    assert spared.endswith("En-De before 0.5 is lost: 2 (iterative), 1 (one-shot).")
    assert group.endswith("En-De: D:SA 2, D:SA 1, E:FF 2.")


def test_nothing_is_said_of_what_a_model_that_does_not_translate_can_lose(run, two_layers):
    ablate(model(), {"iterative": (ITERATIVE[0], [0.1, 0.0, 0.0, 0.0])})
    assert not any(
        "before" in sentence for sentence in make(run, item("removal", [], row("En-De", model()))).sentences
    )


def test_all_can_go_where_nothing_is_lost(run, two_layers):
    ablate(model(), {"iterative": (ITERATIVE[0], 4 * [30.0])})
    assert "all 3 (iterative)" in make(run, item("removal", [], row("En-De", model()))).sentences[0]


@pytest.mark.parametrize("several", [1, 2, 3, 6])
def test_an_order_that_is_not_there_is_an_empty_map_with_its_reason(run, two_layers, several):
    ablate(model(), {"iterative": ITERATIVE})
    rows = [
        row("There", model()),
        *(row(f"Absent {seed}", model(seed=seed)) for seed in range(2, several + 1)),
    ]
    made = make(run, item("removal", [], *rows))
    assert len(made.figure.axes) == 1 + several and [
        bool(darkness(axes)) for axes in made.figure.axes[1:]
    ] == [
        True,
        *(several - 1) * [False],
    ]
    assert len(made.footnotes) == (several > 1)


def test_nothing_at_all_is_drawn_too(run):
    for rows in ([], [row("En-De", model())]):
        made = make(run, item("removal", [], *rows))
        assert len(made.numbers) == len(rows) and not made.sentences and made.figure


# Captions


def text(run, made_up):
    return " ".join(caption(made_up, Measured(run)))


def test_the_caption_says_how_importance_was_measured(run):
    maps_of_both = item("heatmaps", [CONTRIBUTION, CRITICALITY], row("En-De", model()))
    assert (
        "Importance on all of the development set, beam 2; contribution: drops clipped at C = 10 % of the "
        "whole model's score, over the "
        "largest; criticality: epsilon 0.5 BLEU, alpha in steps of 0.1." in text(run, maps_of_both)
    )
    assert "criticality" not in text(run, item("heatmaps", [CONTRIBUTION], row("En-De", model())))


def test_the_caption_of_removal_names_the_sets_that_choose_and_report(run):
    said = text(run, item("removal", [], row("En-De", model())))
    assert "Test set: test." in said and "on all of development and test set, beam 2" in said
    assert (
        "iterative: at each step the component without which BLEU on the development set is highest is "
        "ablated too, up to 7" in said
    )


def test_settings_of_a_recipe_reach_the_caption(tmp_path, monkeypatch):
    (tmp_path / "recipes").mkdir()
    settings = {"clip": 5, "steps": 4, "sentences": 500, "beam": 1, "candidates": 3, "group": 2}
    recipe = {"extends": "micro", "title": "Other", "importance": settings}
    (tmp_path / "recipes" / "other.yaml").write_text(yaml.safe_dump(recipe))
    (tmp_path / "recipes" / "micro.yaml").symlink_to(MICRO / "recipes" / "micro.yaml")
    for kind in ("tasks", "presets"):
        (tmp_path / kind).symlink_to(MICRO / kind)
    monkeypatch.chdir(tmp_path)
    run = config.from_settings({"preset": "micro", "own": str(tmp_path)})
    rows = [row("A", model()), row("B", model("other"))]
    said = text(run, item("heatmaps", [CONTRIBUTION], *rows))
    assert (
        "Importance, micro, on all of the development set, beam 2; contribution: drops clipped at C = 10 %"
        in said
    )
    assert (
        "Importance, other, on at most 500 sentences, evenly spaced, of the development set, beam 1; "
        "contribution: drops clipped at C = 5" in said
    )
    assert "the component of the 3 with the best perplexity without which" in text(
        run, item("removal", [], rows[1])
    )


def test_rows_of_other_seeds_are_named(run):
    rows = [
        row("Seed 1", model(seed=1)),
        row("Seed 66", model(seed=66)),
        row("Deeper", model("micro-untied")),
    ]
    assert "Seed 1. Other seeds: Seed 66: 66." in text(run, item("heatmaps", [CONTRIBUTION], *rows))
    several = [
        row("A", model(seed=1), model(seed=2)),
        row("B", model("micro-untied", 1), model("micro-untied", 2)),
    ]
    assert "Means over seeds 1, 2." in text(run, item("heatmaps", [CONTRIBUTION], *several))
    assert "Lines are means over seeds 1, 2, bars standard deviations; maps of seed 1." in text(
        run, item("removal", [], *several)
    )


# The paper's figures as data


STATED = [f"figure{number}" for number in range(3, 10)]


@pytest.mark.parametrize("name", STATED)
def test_the_figures_are_of_known_data_models_and_steps(name):
    stated, about = papers._stated("wangtu2020", name), papers.paper("wangtu2020")
    for each in stated["rows"]:
        assert each["task"] in about["tasks"] and each["recipe"] in about["recipes"]
        for percent in stated.get("grid", {}).get("percent", [50]):
            chain.parse_steps(each["chain"].format(percent=percent))


def test_the_published_bleu_is_the_papers():
    found = {
        name: [each["bleu"] for each in papers._published("wangtu2020", name)]
        for name in ("figure6", "figure7")
    }
    assert found == {
        "figure6": ["25.58", "27.56", "27.43", "25.72"],
        "figure7": ["39.67", "39.94", "40.44", "40.71"],
    }
    for name in found:
        (item,) = Run(config.from_settings({"preset": "paper", "papers": [f"wangtu2020/{name}"]})).items
        labels = [row.label for row in item.rows if row.published]
        assert labels == [each["model"] for each in papers._published("wangtu2020", name)]
