"""The tables and figures of Behnke and Heafield 2021 from made-up scores, shapes and speeds.

No number in this file was measured.
"""

import csv
import json
import re

import numpy as np
import pytest
import torch
import yaml
from matplotlib import pyplot
from matplotlib.collections import PathCollection

from nmtprune.analysis import matrices
from nmtprune.experiment import chain, config, papers, paths, shapes
from nmtprune.experiment.run import Run
from nmtprune.measurements.measurements import Measured
from nmtprune.pruning.groups import by_threshold
from nmtprune.reporting import kinds
from nmtprune.reporting.render import render
from nmtprune.store.units import Kept

TASKS = {"wmt-es-en-distilled": "multi30k-de-en", "wmt-es-en-distilled-13m": None}
STUDENTS = {name for name in config.from_settings({}).library.names("recipes") if name.startswith("student-")}
TABLES = (
    "table1a",
    "table1b",
    "table2",
    "table3",
    "table4",
    "table5",
    "table6",
    "table7",
    "figure1",
    "figure2",
    "figure4",
    "norms",
)
FEW = {f"behnke2021/{name}": {"lambda": [0.5]} for name in TABLES} | {
    "behnke2021/figure3": {"lambda_deep": [0.5], "lambda_tied": [0.5], "lambda_encoder": [0.5]},
    "behnke2021/front": {
        name: [0.5] for name in ("lambda_deep", "lambda_shallow", "lambda_tied", "lambda_encoder")
    },
}
PUBLISHED = papers.FOLDER / "behnke2021" / "published"


def strength(model: chain.Chain) -> float:
    """The lambda of a chain; 0 where it has none."""
    return next((float(step["lambda"]) for step in model.steps if step.kind.name == "lasso"), 0.0)


def shape_of(run: config.Config, model: chain.Chain) -> dict:
    """A made-up shape: the stronger the lasso, the fewer units; more are left higher up."""
    dense = run.recipe(model.recipe).architecture.shape
    lasso = next((step for step in model.steps if step.kind.name == "lasso"), None)
    if lasso is None or model.last.kind.name == "lasso":
        return dense
    left = {}
    for side, layers in dense.items():
        shrinks = lasso["where"] in ("both", side[:3])
        left[side] = []
        for place, layer in enumerate(layers):
            share = 1 / (1 + 6 * strength(model) * (1 - 0.6 * place / len(layers))) if shrinks else 1
            heads = lasso["groups"] != "ffn" and shrinks
            left[side].append(
                {
                    part: round(width * share) if part == "ffn" or heads else width
                    for part, width in layer.items()
                }
            )
    return left


def units(run: config.Config, model: chain.Chain) -> float:
    shape = shape_of(run, model)
    return sum(width for layers in shape.values() for layer in layers for width in layer.values()) / 10_000


def bleu(run: config.Config, model: chain.Chain) -> float:
    worse = 1.0 if model.last.kind.name == "restart" else 0.4 if model.last.kind.name == "int8" else 0
    return 30 + 2 * np.tanh(3 * units(run, model)) - worse - 0.1 * strength(model)


def pretend(run: config.Config, model: chain.Chain) -> None:
    """Write what a made and scored model leaves."""
    for ancestor in model.ancestors():
        made = paths.manifest(ancestor)
        made.parent.mkdir(parents=True, exist_ok=True)
        made.write_text(json.dumps({"updates": 40, "selected_update": 30}))
    parameters = int(8.2e6 + 5e6 * units(run, model))
    row = {
        "chain": str(model),
        "sentences": 1000,
        "bleu_signature": "nrefs:1",
        "chrf": 55.0,
        "chrf_signature": "nrefs:1",
        "comet": "",
        "perplexity": 5,
        "parameters": parameters,
        "size_dense": 4 * parameters,
        "size_stored": parameters if model.form == "sparse" else "",
        "shape": json.dumps(shape_of(run, model)),
        "macs_per_word": 4e6 + 6e6 * units(run, model),
        "engine": "onnx",
        "beam": 4,
        "hypotheses": "none.txt",
    }
    rows = [
        {**row, "set": name, "bleu": bleu(run, model) - place}
        for place, name in enumerate(run.task(model.task).tests)
    ]
    write(paths.scores(model), rows)
    if model.last.kind.name == "slice":
        pretend_norms(model)
    if "blocks8" in str(model.last):
        pretend_blocks(model)
    if model.last.get("variant") == "long":
        pretend_history(run, model)


def pretend_norms(model: chain.Chain) -> None:
    draws = np.random.default_rng(0)
    matrices_of = ("fc1", "fc2") + (("q_proj", "k_proj", "v_proj", "out_proj") if "att" in str(model) else ())
    found = {}
    for name in matrices_of:
        alive, dead = draws.lognormal(-3, 0.4, 600), draws.lognormal(-11, 0.5, 900)
        found |= {name: np.concatenate([alive, dead]).astype(np.float32), f"{name}_cut": np.array(1e-3)}
    np.savez(paths.norms(model), **found)


def pretend_blocks(model: chain.Chain) -> None:
    state = {}
    for place, name in enumerate(matrices.MATRICES):
        weight = torch.randn(256, 64, generator=torch.Generator().manual_seed(place)) * 0.1
        weight[: 64 * (1 + place)] = 0
        weight[:, :8] = 0
        state[name] = weight
        state[name.replace("fc1.weight", "fc2.bias")] = torch.zeros(64)
        state[name.replace("fc1", "fc2")] = weight.T
    matrices.facts(state, by_threshold).to_csv(paths.analysis(model, "matrices"), index=False)
    arrays = {name: state[name].abs().numpy().astype(np.float16) for name in matrices.MATRICES}
    np.savez(paths.analysis(model, "matrices").with_suffix(".npz"), **arrays)


def pretend_history(run: config.Config, model: chain.Chain) -> None:
    final, rows = shape_of(run, chain.parse(f"{model}/slice")), []
    for update in range(0, 1001, 50):
        share = np.exp(-update / 250)
        widths = {
            f"{side}.{place}.ffn": round(layer["ffn"] + (1536 - layer["ffn"]) * share)
            for side, layers in final.items()
            for place, layer in enumerate(layers)
        }
        rows.append(
            {"update": update, "dev_nll": 2, "dev_perplexity": 7, "lambda": 0.5, "ffn_sparsity": 10, **widths}
        )
    write(paths.history(model), rows)


def write(file, rows) -> None:
    """Add rows to a CSV file."""
    file.parent.mkdir(parents=True, exist_ok=True)
    before = list(csv.DictReader(file.open())) if file.exists() else []
    with file.open("w", newline="") as out:
        writer = csv.DictWriter(out, rows[0])
        writer.writeheader()
        writer.writerows([*before, *rows])


def pretend_speed(run: config.Config, engines=("onnx",)) -> None:
    for task, models in Run(run).speed_groups.items():
        rows = []
        for model in models:
            for engine in engines:
                for batch_size in (32, 1):
                    seconds = (
                        (0.3 + units(run, model))
                        * (5 if batch_size == 1 else 1)
                        * (0.6 if model.quantised_for else 1)
                    )
                    rows.append(
                        {
                            "chain": str(model),
                            "engine": engine,
                            "precision": "int8" if model.quantised_for else "float32",
                            "shortlist": 1,
                            "batch_size": batch_size,
                            "beam": 4,
                            "threads": 1,
                            "runs": 5,
                            "seconds": seconds,
                            "seconds_low": 0.99 * seconds,
                            "seconds_high": 1.03 * seconds,
                            "others_cpu": 0.02,
                            "engine_version": "made up",
                            "words_per_second": 12000 / seconds,
                            "speed_up": 1 / seconds,
                            "load_seconds": 0.1,
                            "peak_memory": 5e7,
                            "size_on_disk": 9e6 if model.quantised_for else 3e7,
                            "size_int8": 9e6,
                            "cpu": "A processor",
                        }
                    )
        write(paths.speed("made", task), rows)


@pytest.fixture
def behnke(tmp_path, monkeypatch):
    """Settings of a preset in which students stand for themselves, with Multi30k and made-up results."""

    def settings(pretended=True, speed=True, engines=("onnx",), **preset):
        whole = {
            "title": "Made up",
            "seeds": [1],
            "papers": ["behnke2021"],
            "tasks": {
                name: "multi30k-en-de" for each in papers.names() for name in papers.paper(each)["tasks"]
            }
            | TASKS,
            "recipes": {
                name: name if name in STUDENTS else None
                for each in papers.names()
                for name in papers.paper(each)["recipes"]
            },
        }
        (tmp_path / "presets").mkdir()
        (tmp_path / "presets" / "made.yaml").write_text(yaml.safe_dump(whole | preset))
        monkeypatch.chdir(tmp_path)
        run = config.from_settings({"preset": "made", "own": str(tmp_path)})
        if pretended:
            for model in Run(run).chains:
                pretend(run, model)
            if speed:
                pretend_speed(run, engines)
        return run

    yield settings
    pyplot.close("all")


def item(run: config.Config, name: str) -> papers.Item:
    return next(each for each in Run(run).items if each.key == f"behnke2021/{name}")


def made(run: config.Config, name: str):
    return kinds.make(item(run, name), Measured(run))


def published(name: str) -> list[dict[str, str]]:
    with open(PUBLISHED / f"{name}.csv") as lines:
        return list(csv.DictReader(lines))


def test_everything_renders(behnke):
    run = behnke(grids=FEW)
    written = render(Run(run))
    assert sorted(written) == sorted(Run(run).outputs)
    assert all(file.stat().st_size > 0 for file in written)


def test_nothing_measured_still_renders(behnke):
    run = behnke(pretended=False, grids=FEW)
    assert sorted(render(Run(run))) == sorted(Run(run).outputs)
    table = made(run, "table1a")
    assert table.numbers["bleu"].isna().all() and table.widths is None
    assert table.table.footnotes[0] == "(a) multi30k-en-de/student-6-2tied/s1/train has not run yet."


def published_shape(row: dict[str, str]) -> dict:
    """A printed row's widths as a shape, in which layers without printed heads have none."""
    shape = {"encoder": [], "decoder": []}
    for name, width in row.items():
        if found := re.fullmatch(r"(ffn|self|cross)_(encoder|decoder)_(\d+)", name):
            part, side, layer = found.groups()
            layers = shape[side]
            layers += [{} for _ in range(int(layer) - len(layers))]
            layers[int(layer) - 1][part] = int(width)
    return shape


@pytest.mark.parametrize(
    ("table", "column", "parts", "odd"),
    [
        ("table1a", "ffn_sparsity", shapes.FFN, {}),
        ("table1b", "ffn_sparsity", shapes.FFN, {}),
        (
            "table3",
            "ffn_sparsity",
            shapes.FFN,
            {"0.1": 32.5, "0.15": 56.6, "0.2": 69.5},
        ),  # the layer copied from table 5
        ("table5", "ffn_sparsity", shapes.FFN, {}),
        ("table7", "ffn_sparsity", shapes.FFN, {}),
        ("table7", "att_sparsity", shapes.ATTENTION, {}),
    ],
)
def test_the_sparsity_of_the_printed_widths_is_the_printed_one(table, column, parts, odd):
    rows = published(table)
    dense = published_shape(rows[0])
    for row in rows:
        found = shapes.sparsity(published_shape(row), dense, parts)
        if row["lambda"] in odd:
            assert (
                found == pytest.approx(odd[row["lambda"]], abs=0.05) and abs(found - float(row[column])) > 0.4
            )
        else:
            assert abs(found - float(row[column])) <= 0.65, row["lambda"]


def test_tied_layers_count_once_and_an_ssru_has_no_heads(behnke):
    run = behnke(pretended=False)
    dense = run.recipe("student-6-2tied").architecture.shape
    assert dense["decoder"] == 2 * [{"ffn": 1536, "cross": 8}]
    half = {"encoder": dense["encoder"], "decoder": 2 * [{"ffn": 0, "cross": 4}]}
    assert shapes.sparsity(half, dense, shapes.FFN, tied_decoder=True) == pytest.approx(100 / 7)
    assert shapes.sparsity(half, dense, shapes.FFN) == pytest.approx(200 / 8)
    assert shapes.sparsity(half, dense, shapes.ATTENTION, tied_decoder=True) == pytest.approx(100 * 4 / 56)
    assert list(shapes.widths(half, tied_decoder=True))[5:8] == [
        "ffn_encoder_6",
        "ffn_decoder_1",
        "self_encoder_1",
    ]
    assert (
        run.recipe("lstm").architecture.shape is None
        and shapes.read("") is None
        and shapes.read("{}") is None
    )


CONTROL = "No lasso, same phases"  # which the paper does not have


def test_every_pruned_model_has_its_reinitialised_twin(behnke):
    run = behnke(pretended=False)
    for name in ("table2", "table4", "table6"):
        steps = ["/".join(map(str, row.chains[0].steps)) for row in item(run, name).rows]
        converged = [each.removesuffix("/converge") for each in steps if each.endswith("/slice/converge")]
        assert converged and [f"{each}/restart" for each in converged] == [
            each for each in steps if each.endswith("/restart")
        ]


def test_the_grid_of_every_table_is_the_papers(behnke):
    run = behnke(pretended=False)
    for name in ("table1a", "table1b", "table3", "table5", "table7"):
        rows = [row for row in item(run, name).rows if row.label != CONTROL]
        assert [str(row.values.get("lambda", "")) for row in rows] == [
            line["lambda"] for line in published(name)
        ]
        assert all(row.published["lambda"] == str(row.values["lambda"]) for row in rows[1:])
    assert all(row.published for row in item(run, "table9").rows) and len(item(run, "table9").rows) == 14


def test_another_lambda_than_the_papers_has_no_published_value(behnke):
    rows = item(
        behnke(pretended=False, grids={"behnke2021/table3": {"lambda": [0.3, 2, "to67"]}}), "table3"
    ).rows
    assert [bool(row.published) for row in rows] == [True, False, True, False, False]
    assert str(rows[4].chains[0].steps[1]) == "lasso-ffn-both-to67"


def test_speed_is_measured_once_a_model_with_a_baseline_as_the_anchor(behnke):
    run = behnke(pretended=False, seeds=[1, 2])
    groups = Run(run).speed_groups
    assert str(groups["multi30k-en-de"][0]) == "multi30k-en-de/student-6-2tied/s1/train"
    assert list(groups) == ["multi30k-en-de", "multi30k-de-en"]
    for chains in groups.values():
        assert len(chains) == len(set(chains)) and {each.seed for each in chains} == {1}
    assert {paths.speed("made", task) for task in groups} <= set(Kept(run).targets(Run(run)))
    assert Run(behnke_of(run, ["behnke2021/table2"])).speed_groups == {}


def behnke_of(run: config.Config, asked: list[str]) -> config.Config:
    return config.from_settings({**run.settings, "papers": asked})


def test_a_table_holds_measures_shapes_and_the_print(behnke):
    found = made(behnke(), "table1a")
    record = found.numbers.iloc[2]
    assert record["ffn_sparsity"] == pytest.approx(
        100
        * (1 - sum(record[f"ffn_encoder_{n}"] for n in range(1, 7)) / 10752 - record["ffn_decoder_1"] / 10752)
    )
    assert record["ffn_sparsity_published"] == 45 and record["ffn_encoder_1_published"] == 330
    assert record["size_stored_published"] == 51 * 2**20 and record["words_per_second_published"] == 2613
    assert record["speed_up"] == pytest.approx(
        record["words_per_second"] / found.numbers.iloc[0]["words_per_second"]
    )
    assert found.numbers.iloc[0]["speed_up"] == 1
    block = found.widths
    assert block.headings == ["", "Baseline", CONTROL, "λ = 0.3", "λ = 0.4", "λ = 0.5", "λ = 0.7", "λ = 1"]
    assert [line[0] for line in block.cells] == [
        *(f"Encoder {n}, FFN" for n in range(1, 7)),
        "Decoder 1, FFN",
    ]
    assert block.cells[0][3] == f"{record['ffn_encoder_1']:.0f} (330)" and block.ruled == {6}


def test_a_second_block_is_in_every_form_of_a_table(behnke):
    run = behnke_of(behnke(), ["behnke2021/table7"])
    render(Run(run))
    for extension in ("md", "tex"):
        text = paths.item("made", "behnke2021", "table7", extension).read_text()
        assert "Encoder 12, self-attention" in text and "in brackets the published ones" in text
    assert (paths.page("made") / "index.html").read_text().count("Decoder 1, context attention") == 1


def test_missing_speed_empties_the_cells_of_speed_alone(behnke):
    found = made(behnke(speed=False), "table3")
    headings = found.table.headings
    for line in found.table.cells:
        assert line[headings.index("Words/s")] == "– (b)" and line[headings.index("chrF")] == "55.00"
    assert found.table.footnotes[1] == "(b) speed on multi30k-en-de is not measured yet."
    assert found.numbers["words_per_second"].isna().all() and (found.numbers["missing"] == "").all()


def test_speed_is_that_of_one_engine_for_all_rows(behnke):
    run = behnke(engines=("ctranslate2", "onnx"))
    assert Measured(run).way(item(run, "table3")).engine == "ctranslate2"
    file = paths.speed("made", "multi30k-en-de")
    rows = [
        row
        for row in csv.DictReader(file.open())
        if row["engine"] == "onnx" or ("heads" not in row["chain"] and "att" not in row["chain"])
    ]
    file.unlink()
    write(file, rows)
    write(
        file.with_suffix(".left_out.csv"),
        [{"chain": "none", "engine": "ctranslate2", "reason": "heads of its own"}],
    )
    measured = Measured(run)
    assert measured.way(item(run, "table9")).engine == "onnx"  # which alone runs unequal heads
    assert measured.way(item(run, "table3")).engine == "ctranslate2"
    unequal = item(run, "table7").rows[1].chains[0]
    assert measured.lacks(unequal, "seconds", 1, measured.way(item(run, "table3"))).endswith(
        "it was not asked for"
    )
    file.with_suffix(".left_out.csv").unlink()
    write(
        file.with_suffix(".left_out.csv"),
        [{"chain": str(unequal), "engine": "ctranslate2", "reason": "heads of its own"}],
    )
    assert (
        Measured(run)
        .lacks(unequal, "seconds", 1, measured.way(item(run, "table3")))
        .endswith("as other rows are: heads of its own")
    )


def test_models_in_eight_bits_are_timed_in_eight_bits(behnke):
    run = behnke()
    measured, rows = Measured(run), item(run, "table9").rows
    way = measured.way(item(run, "table9"))
    assert [measured.speed(row.chains[0], way)["precision"] for row in rows[:4]] == [
        "float32",
        "float32",
        "int8",
        "int8",
    ]
    assert [measured.value(row.chains[0], "size_stored") for row in rows[2:4]] == [9e6, 9e6]


def test_two_test_sets_are_two_columns_or_their_mean(behnke):
    run = behnke()
    numbers = made(run, "table9").numbers
    assert (numbers["bleu"] - numbers["bleu_2"]).tolist() == pytest.approx(14 * [1.0])
    assert numbers["bleu_2_published"].iloc[0] == 27.6
    chain_of_row = item(run, "table5").rows[0].chains[0]
    assert made(run, "table5").numbers["bleu"].iloc[0] == pytest.approx(bleu(run, chain_of_row) - 0.5)


def test_a_test_set_that_the_data_lack_is_said(behnke):
    run = behnke(
        tasks={name: "multi30k-en-fr" for each in papers.names() for name in papers.paper(each)["tasks"]}
    )
    for name in run.task("multi30k-en-fr").tests[1:]:
        del run.task("multi30k-en-fr").test[name]
    table = made(run, "table9").table
    assert table.cells[0][table.headings.index("BLEU, second")].startswith("– (")
    assert any(re.search(r"has 1 test set\(s\)", note) for note in table.footnotes)


def test_comet_is_empty_with_its_reason(behnke):
    table = made(behnke(), "table1a").table
    assert (
        table.cells[0][table.headings.index("COMET")] == "– (a)"
        and table.footnotes[0] == "(a) COMET: no comet_model is set."
    )


def test_the_front_is_drawn_through_its_models_and_the_dominated_are_hollow(behnke):
    found = made(behnke(), "figure3")
    axes = found.figure.axes[0]
    numbers = found.numbers
    leading = numbers[numbers["front_seconds"]].sort_values("seconds")
    assert axes.lines[0].get_xdata().tolist() == leading["seconds"].tolist()
    (points,) = (each for each in axes.collections if isinstance(each, PathCollection))
    hollow = points.get_offsets()[(points.get_facecolor() == 1).all(axis=1)]
    dominated = numbers[~numbers["front_seconds"]]
    assert (
        sorted(hollow.tolist()) == sorted(dominated[["seconds", "bleu"]].to_numpy().tolist())
        and len(hollow) > 0
    )
    assert found.sentences[0].startswith(
        f"On the front by time for the test set (s): {len(leading)} of {len(numbers)} models; 6-6 "
    )
    assert "Reinit 0 of 17" in found.sentences[0]


def test_the_front_of_all_methods_has_three_panels(behnke):
    found = made(behnke(grids=FEW), "front")
    assert [axes.get_xlabel() for axes in found.figure.axes if axes.get_xlabel()] == [
        "Source words per second",
        "Size (MB)",
        "Multiply-adds per source word (millions)",
    ]
    assert {"front_words_per_second", "front_size_stored", "front_macs_per_word"} < set(found.numbers)
    assert set(found.numbers["group"]) == {
        "Trained from scratch",
        "Magnitude",
        "Group lasso",
        "Lasso with heads",
        "8 bits",
        "Combinations",
    }


def drawn(axes):
    """The lines of a panel without those of its legend."""
    return [line for line in axes.lines if len(line.get_xdata())]


def test_figure_2_has_a_line_for_every_layer_and_one_for_the_tied_ones(behnke):
    found = made(behnke(grids=FEW), "figure2")
    assert [len(drawn(axes)) for axes in found.figure.axes] == [6, 1]
    assert found.figure.axes[0].lines[0].get_ydata()[0] == 1536 and len(found.numbers) == 21


def test_figure_4_draws_attention_above_feed_forward(behnke):
    found = made(behnke(), "figure4")
    titles = [axes.get_title() for axes in found.figure.axes]
    assert titles == ["Encoder self-attention", "Decoder context attention", "Encoder FFN", "Decoder FFN"]
    assert [axes.get_ylabel() for axes in found.figure.axes] == [
        "Attention heads left",
        "",
        "FFN units left",
        "",
    ]
    assert all([len(line.get_xdata()) for line in drawn(axes)] == 5 * [6] for axes in found.figure.axes)
    assert found.figure.axes[2].lines[0].get_ydata().tolist() == 6 * [1536]


def test_figure_1_counts_dead_blocks_and_units(behnke):
    numbers = made(behnke(grids=FEW), "figure1").numbers.set_index("matrix")
    decoder, encoder = (numbers.loc[f"{side}.layers.0.fc1.weight"] for side in ("decoder", "encoder"))
    assert (encoder["units"], encoder["inputs"], encoder["blocks"]) == (256, 64, 256)
    assert (encoder["dead_units"], decoder["dead_units"]) == (64, 128) and encoder["dead_inputs"] == decoder[
        "dead_inputs"
    ] == 8
    assert (encoder["dead_blocks"], decoder["dead_blocks"]) == (8 * 8 + 24, 16 * 8 + 16)


def test_norms_are_counted_below_their_cut(behnke):
    found = made(behnke(grids=FEW), "norms")
    assert set(found.numbers["matrix"]) == {"fc1", "fc2", "q_proj", "k_proj", "v_proj", "out_proj"}
    assert (found.numbers["below"] == 900).all() and (found.numbers["groups"] == 1500).all()
    assert [axes.get_title() for axes in found.figure.axes[:2]] == [
        "6-2tied, λ = 0.5: FFN",
        "6-2tied, λ = 0.5: Attention",
    ]


def test_captions_tell_how_speed_was_taken_and_what_lambda_is_of(behnke):
    render(Run(behnke_of(behnke(), ["behnke2021/table9", "behnke2021/table5"])))
    text = {name: paths.item("made", "behnke2021", name, "rst").read_text() for name in ("table5", "table9")}
    assert (
        "Speed: onnx (float32 or int8), with a shortlist, 1 thread, 32 sentences a batch, beam 4, medians of "
        "5 runs" in text["table9"]
    )
    assert "runs within ±2% of their median at most, machine otherwise idle" in text["table9"]
    assert "Lasso: λ per 46,000 target words, each group times the root of its size" in text["table5"]
    assert "Test sets, means over them: test" in text["table5"] and " and test" in text["table9"]
