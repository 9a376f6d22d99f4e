"""Facts about a model's masks: shares, vanished words, pictures."""

import json

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from nmtprune.analysis import weights
from nmtprune.analysis.run import run as analyse
from nmtprune.analysis.weights import CELLS, are_words, facts, picture, pictures
from nmtprune.experiment import chain, config, papers, paths
from nmtprune.measurements.measurements import Measured
from nmtprune.reporting import figures, kinds
from nmtprune.store import checkpoints

N, TYPES = 4, 24
WORDS = are_words(["<s>", "<pad>", "</s>", "<unk>", *(f"w{number}" for number in range(TYPES - 4))])


def lstm():
    """An LSTM without attention that keeps everything: the tests prune what they speak of."""
    shapes = {
        f"{side}.lstm.weight_{kind}_l0": (4 * N, N)
        for side in ("encoder", "decoder")
        for kind in ("ih", "hh")
    }
    shapes |= dict.fromkeys(
        ("encoder.embed_tokens.weight", "decoder.embed_tokens.weight", "decoder.output_projection.weight"),
        (TYPES, N),
    )
    return {name: torch.ones(shape, dtype=torch.bool) for name, shape in shapes.items()}


def found(masks):
    return facts(masks, {"source": WORDS, "target": WORDS})


def value(numbers, name, **keys):
    for key, wanted in keys.items():
        numbers = numbers[numbers[key] == wanted]
    return numbers.set_index("name")["value"].get(name)


def test_special_symbols_and_fillers_are_no_words():
    assert are_words(["<s>", "<pad>", "</s>", "<unk>", "a", "madeupword", "madeupword0003"]).tolist() == [
        False
    ] * 4 + [True, True, False]


def test_shares_of_classes_and_sub_groups_in_pytorchs_order_of_gates():
    masks = lstm()
    masks["encoder.lstm.weight_ih_l0"][N : 2 * N] = False  # forget gate
    masks["encoder.lstm.weight_hh_l0"][2 * N : 3 * N, :2] = False  # candidate
    numbers = found(masks)
    part = {"class": "source layer 1"}
    assert value(numbers, "kept_of_class", **part) == 100 * (8 - 1 - 0.5) / 8
    assert value(numbers, "kept_of_part", **part, gate="forget gate", connection="feed-forward") == 0
    assert value(numbers, "kept_of_part", **part, gate="candidate", connection="recurrent") == 50
    of_parts = numbers[(numbers["name"] == "kept_of_part") & (numbers["class"] == "source layer 1")]
    assert (
        len(of_parts) == 8 and (of_parts["weights"] == N * N).all() and (of_parts["value"] == 100).sum() == 6
    )
    everything = sum(mask.numel() for mask in masks.values())
    assert value(numbers, "kept") == pytest.approx(100 * (1 - 1.5 * N * N / everything))
    assert numbers["class"].dropna().unique().tolist() == [
        *("source layer 1", "target layer 1", "softmax", "source embedding", "target embedding")
    ]


def test_the_diagonal_against_the_rest():
    masks = lstm()
    masks["decoder.lstm.weight_hh_l0"][:N] = torch.eye(N, dtype=torch.bool)
    masks["decoder.lstm.weight_hh_l0"][0, 1] = True
    numbers, part = found(masks), {"part": "target layer 1, input gate, recurrent"}
    assert value(numbers, "kept_on_diagonal", **part) == 100
    assert value(numbers, "kept_off_diagonal", **part) == pytest.approx(100 / (N * N - N))
    assert set(numbers.loc[numbers["name"] == "kept_on_diagonal", "class"]) == {
        "source layer 1",
        "target layer 1",
    }


def test_words_that_vanish_and_their_ranks():
    masks = lstm()
    masks["encoder.embed_tokens.weight"][[1, 3, 4 + 9, 4 + 19]] = (
        False  # two special symbols, the 10th and the 20th of 20 words
    )
    masks["encoder.embed_tokens.weight"][4 + 5, 1:] = False  # one weight is left
    numbers = found(masks)
    assert value(numbers, "source_words_gone") == 2 and value(numbers, "source_rank_gone") == pytest.approx(
        75
    )
    assert value(numbers, "target_words_gone") == 0 and value(numbers, "target_rank_gone") is None


def test_tied_embeddings_speak_for_both_sides_and_embeddings_that_are_not_pruned_lose_none():
    shared = torch.ones(TYPES, N, dtype=torch.bool)
    shared[-1] = False
    numbers = found({"encoder.embed_tokens.weight": shared})
    assert [value(numbers, f"{side}_words_gone") for side in ("source", "target")] == [1, 1]
    assert [value(numbers, f"{side}_rank_gone") for side in ("source", "target")] == [100, 100]
    numbers = found({"encoder.layers.0.fc1.weight": ~shared})
    assert [value(numbers, f"{side}_words_gone") for side in ("source", "target")] == [0, 0]


def test_shares_by_frequency_leave_special_symbols_out():
    masks = lstm()
    masks["decoder.output_projection.weight"][:4] = False
    masks["decoder.output_projection.weight"][-3:] = (
        False  # the last tenth of 20 words and half of the one before
    )
    numbers = found(masks)
    tenths = numbers[(numbers["name"] == "kept_of_decile") & (numbers["class"] == "softmax")]
    assert tenths["decile"].tolist() == list(range(1, 11)) and (tenths["weights"] == 2 * N).all()
    assert tenths["value"].tolist() == [100] * 8 + [50, 0]


def test_a_picture_has_a_cell_a_weight_where_it_can():
    masks = lstm()
    masks["encoder.lstm.weight_ih_l0"][3 * N, 1] = False
    drawn = pictures(masks)
    output = drawn["source layer 1, output gate, feed-forward"]
    assert output.dtype == np.uint8 and output.shape == (N, N)
    assert output[0, 1] == 0 and (output == 255).sum() == N * N - 1
    assert drawn["decoder.output_projection.weight"].shape == (TYPES, N)


def test_a_cell_is_the_share_of_its_weights():
    mask = torch.zeros(2 * CELLS + 2, 3, dtype=torch.bool)
    mask[:2, 0], mask[2, 0], mask[-1] = True, True, True
    cells = picture(mask)
    assert cells.shape == (171 + 1, 3)  # of three rows each
    assert (
        cells[0].tolist() == [255, 0, 0] and cells[-1].tolist() == [255, 255, 255] and not cells[1:-1].any()
    )
    mask[1, 0] = False
    assert picture(mask)[0, 0] == 170


@given(st.integers(1, 3000), st.integers(1, 40))
def test_pictures_are_never_larger_than_promised(height, width):
    rows, columns = picture(torch.ones((), dtype=torch.bool).expand(height, width)).shape
    assert rows <= CELLS and columns == width and rows >= min(height, CELLS / 2)


def test_a_convolution_is_pictured_as_a_matrix():
    assert picture(torch.ones(8, 1, 31, dtype=torch.bool)).shape == (8, 31)


@pytest.fixture
def pruned(tmp_path, monkeypatch):
    """The mask of a pruned model of the toy preset, and its dictionaries; the model itself is not there."""
    monkeypatch.chdir(tmp_path)
    settings = config.from_settings({"preset": "toy"})
    model = chain.parse("toy/toy/s1/train/prune-global-80")
    masks = lstm()
    masks["encoder.embed_tokens.weight"][-5:] = False
    masks["encoder.lstm.weight_ih_l0"][:N] = torch.eye(N, dtype=torch.bool)
    paths.model(model).mkdir(parents=True)
    checkpoints.save_masks(masks, paths.model(model) / paths.MASK)
    folder = paths.binarised(settings.data_folder(model))
    folder.mkdir(parents=True)
    for side in ("source", "target"):
        (folder / f"dict.{settings.task('toy').language(side)}.txt").write_text(
            "".join(f"w{number} 1\n" for number in range(TYPES - 4))
        )
    return settings, model


def items_of(*chains):
    rows = tuple(
        papers.Row(str(each), "", (each,), {}, False, None, {}, "wmt14-2737-en-de", "see2016")
        for each in chains
    )
    about = dict.fromkeys(papers.Item.__dataclass_fields__)
    stated = {
        "paper": "see2016",
        "name": "figure8",
        "kind": "pictures",
        "title": "",
        "caption": "",
        "rows": rows,
        "columns": (),
    }
    return papers.Item(**about | stated)


def test_an_analysis_needs_no_weights_of_a_sparse_model_and_single_facts_are_read_by_name(pruned):
    settings, model = pruned
    analyse("weights", settings, model)
    measured = Measured(settings)
    assert measured.value(model, "source_words_gone") == 5 and measured.value(
        model, "source_rank_gone"
    ) == pytest.approx(90)
    assert (
        measured.value(model, "target_words_gone") == 0 and measured.value(model, "target_rank_gone") is None
    )


def test_of_a_dense_model_everything_is_kept(pruned):
    settings, model = pruned
    state = {name: torch.randn(mask.shape) for name, mask in lstm().items()}
    checkpoints.save({"model": state}, paths.model(model.parent) / paths.MODEL)
    (paths.model(model.parent) / paths.MANIFEST).write_text(json.dumps({}))
    numbers = weights.analyse(settings, model.parent).numbers
    assert value(numbers, "kept") == 100 and value(numbers, "source_words_gone") == 0


def test_a_figure_of_pictures_with_its_table(pruned, tmp_path):
    settings, model = pruned
    analyse("weights", settings, model)
    missing = chain.parse("toy/toy/s1/train/prune-uniform-80")
    made = kinds.make(items_of(model, missing), Measured(settings))
    figures.save(made.figure, tmp_path / "figure.svg", tmp_path / "figure.png")
    line = made.table.cells[0]
    assert line[1:4] == ["source layer 1", "0.000M", "90.6"]
    assert line[made.table.headings.index("input gate, feed-forward (%)")] == "25.0"
    assert made.footnotes == ["toy/toy/s1/train has not run yet."]
    assert made.table.cells[-1][1:] == ["–"] * (len(made.table.headings) - 1)
    gate = made.numbers[
        (made.numbers["gate"] == "input gate") & (made.numbers["class"] == "source layer 1")
    ].iloc[0]
    assert (gate["kept"], gate["kept_on_diagonal"], gate["kept_off_diagonal"]) == (25, 100, 0)
    assert pd.isna(made.numbers.iloc[-1]["kept"])


def test_an_item_without_rows_still_has_its_files(pruned, tmp_path):
    made = kinds.make(items_of(), Measured(pruned[0]))
    figures.save(made.figure, tmp_path / "figure.svg")
    assert made.numbers.empty and not made.table.cells and not made.footnotes
