"""Figure 2 of Wang et al. 2020: one made-up vector for each model, and all of them in two dimensions."""

import json
from dataclasses import replace

import pandas as pd
import pytest

from nmtprune.experiment import chain, config, papers, paths
from nmtprune.foundation.errors import UserError
from nmtprune.measurements.measurements import Measured
from nmtprune.reporting.kinds.trajectory import METHOD, make

PHASES = {
    "Baseline": "train",
    "ConTrain": "train/continue",
    "PruTrain": "train/prune-local-50/retrain",
    "RejTrain": "train/prune-local-50/retrain/rejuvenate-zero",
}
SETTINGS = config.from_settings({"preset": "toy"})
# where the phases' checkpoints lie, in three dimensions
PLACES = {
    "Baseline": [(1, 0, 0), (2, 0, 0), (4, 0, 0)],
    "ConTrain": [(5, 0, 0), (6, 0, 0), (7, 0, 0)],
    "PruTrain": [(4, 1, 0), (4, 2, 0), (4, 3, 0)],
    "RejTrain": [(4, 3, 2), (4, 3, 3), (4, 3, 4)],
}


def trajectory(*seeds):
    rows = []
    for phase, steps in PHASES.items():
        for share, last in (("33 %", "/at-33"), ("67 %", "/at-67"), ("100 %", "")):
            chains = tuple(chain.parse(f"toy/toy/s{seed}/{steps}{last}") for seed in seeds)
            rows.append(papers.Row(share, phase, chains, {}, False, None, {}, "wmt14-en-de", "base"))
    return papers.Item(
        "wang2020", "figure2", "trajectory", "Title", "Caption.", (), {}, (), tuple(rows), (), None, (), {}
    )


def pretend(item, places=PLACES):
    for number, row in enumerate(item.rows):
        for model in row.chains:
            for ancestor in model.ancestors():
                paths.model(ancestor).mkdir(parents=True, exist_ok=True)
                paths.manifest(ancestor).write_text(
                    json.dumps({"updates": 100 if ancestor.last.kind.trains else None})
                )
            value = places[row.group][number % 3]
            pd.DataFrame({"dimension": range(3), "value": value}).to_csv(
                paths.analysis(model, "representations"), index=False
            )


@pytest.fixture
def item(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return trajectory(1)


def test_distances_and_directions_are_those_of_the_whole_space(item):
    pretend(item)
    made = make(item, Measured(SETTINGS))
    ends = made.numbers[made.numbers["label"] == "100 %"].set_index("phase")
    assert ends["distance"].to_dict() == pytest.approx(
        {"Baseline": 0, "ConTrain": 3, "PruTrain": 3, "RejTrain": 5}
    )
    assert ends.loc["ConTrain", "cosine_Baseline"] == pytest.approx(1)
    assert ends.loc["PruTrain", "cosine_Baseline"] == pytest.approx(0)
    assert ends.loc["RejTrain", "cosine_PruTrain"] == pytest.approx(0.6)
    distances, cosines = made.sentences[1:]
    assert (
        "ConTrain 3, PruTrain 3, RejTrain 5; Baseline itself, from its first checkpoint here: 3." in distances
    )
    assert "ConTrain with Baseline 1," in cosines and "RejTrain with PruTrain 0.6." in cosines
    assert not made.footnotes


def test_solid_arrows_lead_through_each_phase_and_dotted_ones_to_its_first_point(item):
    pretend(item)
    made = make(item, Measured(SETTINGS))
    (axes,) = made.figure.axes
    points = made.numbers[["component_1", "component_2"]].to_numpy()
    arrows = {(tuple(arrow.xyann), tuple(arrow.xy)): arrow.arrowprops["linestyle"] for arrow in axes.texts}

    def between(start, end):
        return arrows[tuple(points[start]), tuple(points[end])]

    assert len(arrows) == 4 * 2 + 3
    assert all(between(first + step, first + step + 1) == "-" for first in (0, 3, 6, 9) for step in (0, 1))
    assert all(between(*pair) != "-" for pair in ((2, 3), (2, 6), (8, 9)))
    assert [text.get_text() for text in axes.get_legend().get_texts()] == list(PHASES)
    assert "% of the variance" in axes.get_xlabel()


def test_a_missing_model_is_told_and_the_others_are_drawn(item):
    pretend(item)
    end = item.rows[5].chains[0]
    paths.analysis(end, "representations").unlink()
    made = make(item, Measured(SETTINGS))
    assert made.footnotes == [f"Missing in 1 of 12 rows: {end} has no representations yet."]
    assert made.numbers["component_1"].isna().tolist() == [number == 5 for number in range(12)]
    assert len(made.figure.axes[0].texts) == 4 * 2 + 3 - 1
    assert "ConTrain not known" in made.sentences[1]


def test_nothing_there_is_an_empty_picture(item):
    made = make(item, Measured(SETTINGS))
    assert made.numbers["component_1"].isna().all() and len(made.numbers) == 12
    assert made.numbers["distance"].isna().all() and made.sentences == [METHOD]
    (footnote,) = made.footnotes
    assert footnote == f"Missing in 12 of 12 rows: {item.rows[0].chains[0].root_chain} has not run yet."
    assert made.figure.axes[0].texts[0].get_text() == "no representations yet"
    left_out = make(replace(item, rows=()), Measured(SETTINGS))
    assert left_out.numbers.empty and left_out.figure is not None


def test_every_seed_has_a_panel_of_its_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    item = trajectory(1, 2, 3, 4)
    pretend(item)
    made = make(item, Measured(SETTINGS))
    assert [axes.get_title() for axes in made.figure.axes] == ["seed 1", "seed 2", "seed 3"]
    assert made.numbers["seed"].nunique() == 4
    assert made.footnotes == ["Drawn for the first 3 seeds; the others are in the CSV file."]


def test_a_phase_that_ends_where_it_began_has_no_cosine_and_it_is_said(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    item = trajectory(1, 2)
    pretend(item)
    still = item.rows[5].chains[1]
    pd.DataFrame({"dimension": range(3), "value": PLACES["Baseline"][-1]}).to_csv(
        paths.analysis(still, "representations"), index=False
    )
    distances, cosines, unmoved = make(item, Measured(SETTINGS)).sentences[1:]
    assert "ConTrain 1.5, PruTrain 3," in distances
    assert (
        "ConTrain with Baseline 1 (of 1 of 2 seeds)," in cosines and "RejTrain with PruTrain 0.6." in cosines
    )
    assert (
        unmoved
        == "No direction and no cosine, since the first checkpoint itself was selected: ConTrain of seed 2."
    )


def test_a_snapshot_counts_its_own_updates_and_those_before_its_training(item):
    pretend(item)
    model = item.rows[9].chains[0]
    paths.manifest(model).write_text(json.dumps({"updates": 33}))
    assert Measured(SETTINGS).updates(model) == 100 + 100 + 33
    assert Measured(SETTINGS).updates(model.parent) == 300


def test_the_vector_is_the_mean_over_sentences_of_their_means_over_positions(studio):
    from nmtprune.analysis import representations
    from nmtprune.analysis.encoder import Encoder
    from nmtprune.foundation.files import read_lines

    model = chain.parse("micro/micro/s1/train/at-50")
    studio.make(str(model))
    with studio.inside():
        numbers = representations.analyse(studio.config, model).numbers
        source = studio.config.task("micro").source
        pooled = Encoder(studio.config, model).mean_pooled(read_lines(paths.text("micro") / f"dev.{source}"))
    assert numbers["dimension"].tolist() == list(range(16))
    assert numbers["value"].to_numpy() == pytest.approx(pooled.double().numpy().mean(0))


def test_a_snapshot_later_than_an_early_stop_is_an_error_that_says_so(item):
    from nmtprune.steps import at

    model = item.rows[4].chains[0]
    paths.model(model.parent).mkdir(parents=True)
    paths.manifest(model.parent).write_text(json.dumps({"stopped_early": True, "updates": 120}))
    with pytest.raises(
        UserError,
        match=r"no snapshot at 67 percent of [\d,]+ updates: the training stopped early at update 120",
    ):
        at.make(SETTINGS, model, paths.state(paths.model(model)))
