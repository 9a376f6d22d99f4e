"""Kinds of figures from made-up scores and histories; no number in this file was measured."""

import csv
import json
import math

import numpy as np
import pandas as pd
import pytest
import yaml
from matplotlib import pyplot
from matplotlib.collections import PathCollection
from support.workplace import MICRO

from nmtprune.experiment import chain, config, papers, paths
from nmtprune.experiment.run import Run
from nmtprune.measurements.measurements import Measured
from nmtprune.reporting import figures, kinds
from nmtprune.reporting.kinds import changes, losses
from nmtprune.reporting.render import render

CLASSES = [
    "source_layer_1",
    "source_layer_2",
    "target_layer_1",
    "target_layer_2",
    "attention",
    "softmax",
    "source_embedding",
    "target_embedding",
]
DENSE_PERPLEXITY = 6.0


def rise(steps: str) -> float:
    """Made-up damage by class: the later in CLASSES, the more."""
    only = steps.rsplit("-", 1)[-1]
    return 0.5 * 2 ** CLASSES.index(only) if only in CLASSES else 1.0 if "prune" in steps else 0.0


def pretend(model: chain.Chain) -> None:
    """Write the scores of a model, and the histories of all trainings on the way to it."""
    steps = "/".join(map(str, model.steps))
    only = model.last.get("class")
    perplexity = DENSE_PERPLEXITY + rise(steps) + 0.1 * model.seed
    row = {
        "chain": str(model),
        "sentences": 50,
        "bleu": "" if only else 30 - rise(steps) + model.seed,
        "bleu_signature": "" if only else "nrefs:1",
        "chrf": "" if only else 50,
        "chrf_signature": "" if only else "nrefs:1",
        "perplexity": perplexity,
        "sparsity": 0,
        "prunable": 1000,
        "largest_pruned": 0.1 * (1 + CLASSES.index(only)) if only else "",
        "engine": "fairseq",
        "beam": "" if only else 5,
        "hypotheses": "none.txt",
    }
    sets = {
        name: {**row, "set": name, "nll_per_token": nll}
        for name, nll in (("train", 1.5), ("dev", 1.75), ("test", 1.7))
    }
    file = paths.scores(model)
    file.parent.mkdir(parents=True, exist_ok=True)
    rows = list(csv.DictReader(file.open())) if file.exists() else []
    with file.open("w", newline="") as out:
        writer = csv.DictWriter(out, sets["test"])
        writer.writeheader()
        writer.writerows([*rows, *sets.values()])
    for ancestor in model.ancestors():
        made = paths.manifest(ancestor)
        made.parent.mkdir(parents=True, exist_ok=True)
        trains = ancestor.last.kind.trains
        made.write_text(json.dumps({"updates": 40, "selected_update": 30} if trains else {}))
        if trains:
            history(ancestor)


def history(model: chain.Chain) -> None:
    """Validations at 10, 20, 30 (the best) and 40 updates, and at 0 where the parent competes."""
    goes_on = model.parent is not None
    developed = (
        {0: 4.0, 10: 2.5, 20: 2.0, 30: 1.5, 40: 1.6} if goes_on else {10: 4.0, 20: 2.5, 30: 2.0, 40: 2.2}
    )
    rows = [
        {
            "update": update,
            "epoch": 1,
            "learning_rate": 0.1,
            "train_nll": nll - 0.2 if update else "",
            "dev_nll": nll,
            "dev_perplexity": math.exp(nll),
        }
        for update, nll in developed.items()
    ]
    pd.DataFrame(rows).to_csv(paths.history(model), index=False)


@pytest.fixture
def see(tmp_path, monkeypatch):
    """Settings of a preset in which the micro task and LSTM stand in for all, with pretended models."""

    def settings(pretended=True, seeds=(1,), task="micro", **preset):
        about = [papers.paper(name) for name in papers.names()]
        (tmp_path / "presets").mkdir()
        for kind in ("recipes", "tasks"):
            (tmp_path / kind).symlink_to(MICRO / kind)
        whole = {
            "title": "Made up",
            "seeds": list(seeds),
            "papers": [
                "see2016/figure3",
                "see2016/figure4",
                "see2016/figure5",
                "see2016/figure6",
                "see2016/figure7",
                "see2016/gap",
            ],
            "tasks": {name: task for each in about for name in each["tasks"]},
            "recipes": {name: "micro-lstm" for each in about for name in each["recipes"]},
            "grids": {
                "see2016/figure6": {"percent": [50, 80, 90], "retrained": [50, 80, 90], "sparse": [80]},
                "see2016/figure3": {"percent": [50, 80]},
            },
        }
        (tmp_path / "presets" / "made.yaml").write_text(yaml.safe_dump(whole | preset))
        monkeypatch.chdir(tmp_path)
        run = config.from_settings({"preset": "made", "own": str(tmp_path)})
        if pretended:
            for model in Run(run).chains:
                pretend(model)
        return run

    yield settings
    pyplot.close("all")


def item(run: config.Config, name: str) -> papers.Item:
    return next(each for each in Run(run).items if each.key == f"see2016/{name}")


def made(run: config.Config, name: str):
    return kinds.make(item(run, name), Measured(run))


def test_every_file_of_every_kind_is_written(see):
    run = see()
    written = render(Run(run))
    assert sorted(written) == sorted(Run(run).outputs)
    assert all(file.stat().st_size > 0 for file in written)
    assert {file.suffix for file in written if "figure7" in file.name} == {".csv", ".png", ".svg", ".rst"}


def test_rendering_twice_gives_the_same_bytes(see):
    run = see(papers=["see2016/figure4", "see2016/figure5", "see2016/figure7"])
    first = {file: file.read_bytes() for file in render(Run(run))}
    assert {file: file.read_bytes() for file in render(Run(run))} == first


def test_nothing_measured_still_renders_and_is_told(see):
    run = see(pretended=False)
    render(Run(run))
    for name in ("figure3", "figure4", "figure5", "figure6", "figure7"):
        found = made(run, name)
        assert found.footnotes == [
            f"Missing in {len(found.numbers)} of {len(found.numbers)} rows: micro/micro-lstm/s1/train has "
            "not run yet."
        ]
        assert "no scores yet" in " ".join(
            text.get_text() for axes in found.figure.axes for text in axes.texts
        )


def test_items_without_rows_render(see):
    run = see(
        pretended=False,
        recipes={name: None for each in papers.names() for name in papers.paper(each)["recipes"]},
    )
    assert all(not each.rows for each in Run(run).items)
    assert all(file.exists() for file in render(Run(run)))


def test_a_grid_of_classes_is_a_row_for_each_class_of_the_rows_model(see):
    rows = item(see(pretended=False), "figure4").rows
    assert [row.values["class"] for row in rows if row.group == "Class-uniform"] == CLASSES
    assert str(rows[1].chains[0].last) == "prune-global-90-source_layer_1"
    assert len(rows) == 1 + 3 * len(CLASSES)


def test_bars_are_the_rise_over_the_baseline_by_class_in_a_panel_for_each_scheme(see):
    found = made(see(), "figure4")
    assert [axes.get_title() for axes in found.figure.axes] == [
        "Class-blind",
        "Class-uniform",
        "Class-distribution",
    ]
    expected = [0.5 * 2**place for place in range(len(CLASSES))]
    for axes in found.figure.axes:
        assert [bar.get_width() for bar in axes.patches] == pytest.approx(expected)
    assert [label.get_text() for label in found.figure.axes[0].get_yticklabels()] == [
        name.replace("_", " ") for name in CLASSES
    ]
    assert found.numbers["perplexity_delta"].iloc[1:].tolist() == pytest.approx(3 * expected)
    assert found.numbers["prunable"].eq(1000).all() and found.footnotes == []


def test_a_bar_that_is_missing_is_told_and_is_no_zero(see):
    run = see()
    file = paths.scores(chain.parse("micro/micro-lstm/s1/train/prune-uniform-90-attention"))
    kept = [line for line in file.read_text().splitlines() if "prune-uniform-90-attention" not in line]
    file.write_text("\n".join(kept) + "\n")
    found = made(run, "figure4")
    panel = found.figure.axes[1]
    drawn = {round(bar.get_y() + bar.get_height() / 2) for bar in panel.patches}
    assert drawn == {*range(len(CLASSES))} - {CLASSES.index("attention")}
    assert panel.texts[CLASSES.index("attention")].get_text() == "not there"
    assert found.footnotes == [
        "Missing in 1 of 25 rows: micro/micro-lstm/s1/train/prune-uniform-90-attention is not scored yet."
    ]


def test_the_scatter_tells_spearmans_correlation(see):
    found = made(see(), "figure5")
    assert found.sentences == ["Spearman's rank correlation over 8 points: 1.00, p < 0.001."]


def test_spearmans_correlation_of_known_ranks(see, monkeypatch):
    order = [
        2,
        1,
        4,
        3,
        6,
        5,
        8,
        7,
    ]  # rho = 1 - 6 * 8 / (8 * 63) = 0.905, p = 0.002 by Student's t with 6 degrees of freedom
    monkeypatch.setattr(
        f"{__name__}.rise",
        lambda steps: next((order[CLASSES.index(c)] for c in CLASSES if steps.endswith(c)), 0),
    )
    assert made(see(), "figure5").sentences == ["Spearman's rank correlation over 8 points: 0.90, p = 0.002."]


def test_no_correlation_of_too_few_points_or_of_equal_ones(see, monkeypatch):
    monkeypatch.setattr(f"{__name__}.rise", lambda steps: 1.0)
    assert made(see(), "figure5").sentences == []


def test_every_point_has_its_label_and_no_two_labels_meet(see):
    axes = made(see(), "figure5").figure.axes[0]
    renderer = axes.figure.canvas.get_renderer()
    boxes = [text.get_window_extent(renderer) for text in axes.texts]
    assert sorted(text.get_text() for text in axes.texts) == sorted(
        name.replace("_", " ") for name in CLASSES
    )
    assert not any(one.overlaps(other) for place, one in enumerate(boxes) for other in boxes[:place])


def test_losses_follow_the_weights_through_training_pruning_and_retraining(see):
    run = see()
    found = made(run, "figure7")
    numbers = found.numbers
    # trained to 40, pruned as it was at 30; retrained from there
    assert numbers["update"].tolist() == [10, 20, 30, 30, 40, 50, 60, 70]
    assert numbers["update_of_step"].tolist() == [10, 20, 30, 0, 10, 20, 30, 40]
    assert numbers["dev_nll"].tolist() == [4.0, 2.5, 2.0, 4.0, 2.5, 2.0, 1.5, 1.6]
    assert numbers["train_nll"].isna().tolist() == [False] * 3 + [True] + [False] * 4
    assert set(numbers["chain"]) == {"train", "train/prune-global-80/retrain"}
    assert losses._breaks(numbers) == [(30, "prune-global-80")]
    training, development = found.figure.axes[0].lines[:2]
    assert len(training.get_xdata()) == 7 and len(development.get_xdata()) == 8


def test_losses_of_several_seeds_and_rows(see, monkeypatch):
    stated = papers._stated("see2016", "figure7")
    rows = [*stated["rows"], {**stated["rows"][0], "label": "Continued", "chain": "train/continue"}]
    monkeypatch.setattr(papers, "_stated", lambda *_: {**stated, "rows": rows})
    run = see(seeds=(1, 2), papers=["see2016/figure7"], grids={})
    found = made(run, "figure7")
    assert found.numbers.groupby(["row", "seed"]).size().tolist() == [8, 8, 8, 8]
    assert losses._breaks(found.numbers) == [(30, "continue"), (30, "prune-global-80")]
    labels = [text.get_text() for text in found.figure.axes[0].get_legend().get_texts()]
    assert labels == [
        "Class-blind 80 %, training",
        "Class-blind 80 %, development",
        "Continued, training",
        "Continued, development",
    ]


def test_losses_of_a_training_that_is_missing_are_told(see):
    run = see()
    paths.manifest(chain.parse("micro/micro-lstm/s1/train/prune-global-80/retrain")).unlink()
    found = made(run, "figure7")
    assert found.footnotes == [
        "Missing in 1 of 1 rows: micro/micro-lstm/s1/train/prune-global-80/retrain has not run yet."
    ]
    assert found.numbers["dev_nll"].isna().all()


def test_lines_of_one_model_differ_by_label(see):
    found = made(see(), "figure6")
    drawn = drawn_lines(found.figure.axes[0])
    assert list(drawn) == ["Pruned", "Pruned and retrained", "Trained on", "Sparse from the beginning"]
    assert (
        len({line.get_color() for line in drawn.values()})
        == len({line.get_marker() for line in drawn.values()})
        == 4
    )
    # what is retrained or sparse from the beginning has a grid of its own and does not begin at the baseline
    assert [drawn[name].get_xdata().tolist() for name in drawn] == [[0, 50, 80, 90], [50, 80, 90], [0], [80]]
    assert drawn["Pruned"].get_linestyle() == "--"


def drawn_lines(axes):
    """For each name in the legend, the line with its colour and marker, without the baseline."""
    lines = {(line.get_color(), line.get_marker()): line for line in axes.lines if len(line.get_xdata())}
    named = [handle for handle in axes.get_legend().legend_handles if handle.get_marker() != "None"]
    return {handle.get_label(): lines[handle.get_color(), handle.get_marker()] for handle in named}


def test_published_values_are_by_grid_value_and_drawn_on_the_papers_own_data_alone(see):
    found = made(see(), "figure6")
    printed = found.numbers.dropna(subset="bleu_published").set_index("chain")["bleu_published"]
    assert printed.to_dict() == {
        "train": 20.48,
        "train/prune-global-80/retrain": 20.91,
        "train/prune-global-90/retrain": 20.13,
    }
    assert found.sentences == [
        "Published BLEU (not drawn, since its data are others): "
        "Baseline 20.48, Pruned and retrained (80) 20.91, Pruned and retrained (90) 20.13."
    ]
    assert stars(found.figure) == []


def test_published_values_on_the_papers_own_data(see):
    found = made(see(pretended=False, task="wmt14-2737-en-de"), "figure6")
    assert "(hollow stars)" in found.sentences[0]
    assert stars(found.figure) == [(0, 20.48), (80, 20.91), (90, 20.13)]


def stars(figure):
    drawn = [each for each in figure.axes[0].collections if isinstance(each, PathCollection)]
    return sorted(
        (x, y) for each in drawn for x, y in each.get_offsets().tolist() if y is not None and not pd.isna(y)
    )


def test_lines_over_two_seeds_are_means_with_deviations(see):
    found = made(see(seeds=(1, 2)), "figure3")
    first = found.numbers.iloc[1]
    assert first["bleu"] == pytest.approx(30.5) and first["bleu_sd"] == pytest.approx(0.5**0.5)
    whiskers = [
        whisker for container in found.figure.axes[0].containers for whisker in container[2][0].get_segments()
    ]
    assert len(whiskers) == 3 * 3 and np.ptp(whiskers, axis=1)[:, 1] == pytest.approx(2 * 0.5**0.5)


def test_the_gap_is_development_less_training_loss(see):
    numbers = made(see(), "gap").numbers
    assert numbers["gap"].tolist() == pytest.approx([0.25] * len(numbers)) and len(numbers) == 10


def test_captions_of_figures_name_what_they_show_and_nothing_else(see):
    run = see(seeds=(1, 2))
    render(Run(run))
    text = {
        name: paths.item("made", "see2016", name, "rst").read_text() for name in ("figure4", "figure7", "gap")
    }
    assert (
        "error bars: standard deviation over seeds" in text["figure4"]
        and "Likelihoods by fairseq." in text["figure4"]
    )
    assert "Search:" not in text["figure4"] and "Test set: test (50 sentences)." in text["figure4"]
    assert "A line for each of the seeds 1, 2." in text["figure7"]
    assert not any("Test set:" in text[name] for name in ("figure7", "gap"))


def test_whiskers_span_a_deviation_to_either_side_and_are_none_where_there_is_none():
    points = pd.DataFrame(
        {"y": [10.0, 20.0, math.nan], "deviation": [0.5, math.nan, math.nan]}, index=[0, 0, 1]
    )
    ends = figures.ends(points, "y", "deviation")
    assert sorted(ends["y"].dropna()) == [9.5, 10.5, 20.0] and ends.index.is_unique
    assert figures.ends(points, "y", "no such column")["y"].dropna().tolist() == [10.0, 20.0]


def test_changes_of_a_model_that_is_missing_leave_the_others_bars():
    record = {"change_published": math.nan, "half_width": math.nan, "missing": ""}
    values = {
        ("syntactic", "absent"): math.nan,
        ("semantic", "absent"): math.nan,
        ("syntactic", "there"): 2.0,
        ("semantic", "there"): -1.0,
    }
    numbers = pd.DataFrame(
        [
            {"category": category, "label": label, "change": each, **record}
            for (category, label), each in values.items()
        ]
    )
    numbers.loc[2, "half_width"] = 0.5
    axes = changes.bars(numbers).axes[0]
    bars = {container.get_label(): [bar.get_height() for bar in container] for container in axes.containers}
    assert bars == {"absent": [], "there": [2.0, -1.0]}
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["absent", "there"]


@pytest.mark.parametrize(
    ("values", "wide"),
    [([1, 2, 3], False), ([1, 1, 1, 100], True), ([], False), ([0.001, 0.1], False), ([-1, 2, -90], True)],
)
def test_values_are_wide_where_a_few_are_far_beyond_the_others(values, wide):
    assert figures.is_wide(pd.Series(values, dtype=float)) == wide
