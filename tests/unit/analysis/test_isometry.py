"""Singular values of components' Jacobians: known ones, and those of analyses of micro models."""

import math

import pandas as pd
import pytest
import torch
from support.observed import ARCHITECTURES, SOURCES, TARGETS, model

from nmtprune.analysis import isometry, similarity
from nmtprune.analysis.development import Pair, development
from nmtprune.analysis.isometry import jacobian, mean_singular_value
from nmtprune.analysis.run import run as analyse
from nmtprune.experiment import chain, paths
from nmtprune.fairseq_bridge import student
from nmtprune.fairseq_bridge.sublayers import ObservedEngine
from nmtprune.foundation.errors import UserError
from nmtprune.store.model import of_chain

TRAINED = "micro/micro/s1/train"


def rotation(d):
    return torch.linalg.qr(
        torch.randn(d, d, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    )[0]


def test_a_linear_component_has_the_singular_values_of_its_matrix():
    matrix = rotation(4) @ torch.diag(torch.tensor([4.0, 2, 1, 0], dtype=torch.float64)) @ rotation(4)
    own = jacobian(lambda x: matrix @ x + 3, torch.ones(4, dtype=torch.float64))
    torch.testing.assert_close(own, matrix)
    assert mean_singular_value(own) == pytest.approx(7 / 4)


def test_the_residual_adds_the_identity():
    assert mean_singular_value(torch.diag(torch.tensor([0.5, 1.0, -3.0])), residual=True) == pytest.approx(
        (1.5 + 2 + 2) / 3
    )
    assert mean_singular_value(torch.zeros(5, 5), residual=True) == 1
    assert mean_singular_value(torch.zeros(5, 5)) == 0


@pytest.fixture(params=["fairseq's, post-norm", "fairseq's, pre-norm", "SSRU", "wide heads", "sliced"])
def engine(request):
    return ObservedEngine(model(ARCHITECTURES[request.param]), "cpu")


def test_it_is_the_slope_of_the_models_own_modules(engine):
    """Each Jacobian equals central differences of the component's modules.

    The input is moved at one position. Differences are computed in double precision (except a student's
    softmax), so that the step is too small to cross the kink of a ReLU.
    """
    engine._model.double()
    passed, step = engine.observe(SOURCES[:1], TARGETS[:1]), 1e-4
    for component in engine.components:
        read = passed.components[component].input
        position = len(read) - 2
        own = jacobian(engine.at_position(component, passed, position), read[position, 0])
        for dimension in (0, 7):
            moved = [
                _again(engine, component, passed, _moved(read, position, dimension, sign * step))[position, 0]
                for sign in (1, -1)
            ]
            torch.testing.assert_close(
                own[:, dimension],
                (moved[0] - moved[1]) / (2 * step),
                atol=3e-3,
                rtol=1e-3,
                msg=str(component),
            )


def _moved(read, position, dimension, by):
    moved = read.clone()
    moved[position, 0, dimension] += by
    return moved


def _again(engine, component, passed, read):
    """A component's output [length, 1, d] for another input, by its own modules."""
    layer, norm, first, last = engine._parts(component)
    x = norm(read) if norm else read
    length = len(x)
    hidden = torch.triu(torch.full((length, length), -math.inf, dtype=x.dtype), 1)
    students = isinstance(last, student.Attention)
    match component.kind:
        case "D.EA":
            memory = passed.encoder_output
            return (last(x, memory) if students else last(query=x, key=memory, value=memory))[0]
        case "D.SA":
            return (
                last(x, x, hidden=hidden) if students else last(query=x, key=x, value=x, attn_mask=hidden)
            )[0]
        case "E.SA":
            return (last(x, x) if students else last(query=x, key=x, value=x))[0]
    return last(layer.activation_fn(first(x))) if first is not last else last(x)


def test_positions_cover_sentences_evenly():
    found = [isometry.positions(16, number, 8) for number in range(8)]
    assert all(len(each) == isometry.POSITIONS for each in found)
    assert sorted(place for each in found for place in each) == list(range(16))
    assert isometry.positions(1, 3, 8) == [0]


def test_analyses_of_a_trained_model(bench):
    """Both analyses have a row for each component.

    `initial` is the root's initialisation, at which attention has little meaning.
    """
    workplace = bench(TRAINED)
    with workplace.inside():
        trained = chain.parse(TRAINED)
        for name in ("similarity", "isometry"):
            analyse(name, workplace.config, trained)
        similar, values = (pd.read_csv(paths.analysis(trained, name)) for name in ("similarity", "isometry"))
        known = {
            kind: similar["pwcca"][similar["kind"] == kind].item()
            for kind in ("E.SA", "E.FF", "D.SA", "D.EA", "D.FF")
        }
    assert similar["component"].tolist() == ["E.SA.1", "E.FF.1", "D.SA.1", "D.EA.1", "D.FF.1"]
    assert all(0 < value <= 1 for value in known.values())
    assert (similar["positions"] > 100).all()
    assert (
        values.groupby(["at", "reach", "residual"])["component"].apply(list).tolist()
        == [similar["component"].tolist()] * 8
    )
    assert (values["mean_singular_value"] > 0).all() and (values["sd"] >= 0).all()
    assert values.groupby("reach")["positions"].unique().apply(list).to_dict() == {
        "position": [16],
        "sentence": [isometry.SHORT],
    }
    by = values[values["reach"] == "position"].set_index(["at", "residual", "component"])[
        "mean_singular_value"
    ]
    assert by["initial", 1, "D.EA.1"] == pytest.approx(1, abs=0.05)
    assert not by["initial"].equals(by["trained"])


def test_an_imported_model_has_no_initialisation(bench, monkeypatch):
    workplace = bench(TRAINED)
    with workplace.inside():
        trained = chain.parse(TRAINED)
        monkeypatch.setattr(isometry, "initial", lambda config, of: None)
        found = isometry.analyse(workplace.config, trained).numbers
        assert set(found["at"]) == {"trained"}
        monkeypatch.undo()
        assert (
            isometry.initial(workplace.config, chain.parse("micro/micro/s1/import-mine/prune-local-50"))
            is None
        )


def test_development_pairs_are_evenly_spaced(bench):
    workplace = bench(TRAINED)
    with workplace.inside():
        trained = chain.parse(TRAINED)
        whole = of_chain(workplace.config, trained)
        everything = development(workplace.config, trained, whole, 1000)
        assert len(everything) == 40
        assert development(workplace.config, trained, whole, 4) == everything[::10]


@pytest.mark.parametrize("name", ["similarity", "isometry"])
def test_only_a_transformer_is_analysed(bench, name):
    workplace = bench("micro/micro-lstm/s1/train")
    with (
        workplace.inside(),
        pytest.raises(UserError, match="components are sub-layers of a Transformer, and this model is of"),
    ):
        analyse(name, workplace.config, chain.parse("micro/micro-lstm/s1/train"))


def test_too_small_a_development_set_is_told(bench, monkeypatch):
    workplace = bench(TRAINED)
    monkeypatch.setattr(similarity, "SENTENCES", 1)
    with (
        workplace.inside(),
        pytest.raises(UserError, match="development set of micro is too small to compare representations"),
    ):
        similarity.analyse(workplace.config, chain.parse(TRAINED))


def test_batches_hold_every_pair_once_and_are_bounded():
    pairs = [Pair(["w"] * (1 + number % 7), ["w"] * (1 + number % 11)) for number in range(100)]
    found = list(similarity.batches(pairs))
    assert sorted(pair for batch in found for pair in batch) == sorted(pairs)
    assert all(
        len(batch) * (max(len(p.source) for p in batch) + max(len(p.target) for p in batch) + 2)
        <= similarity.BATCH_PIECES
        for batch in found
    )


def test_across_positions_self_attention_has_one_jacobian_of_the_whole_sentence(engine):
    """Its diagonal blocks are those of single positions; in the decoder, later positions have no effect."""
    passed = engine.observe(SOURCES[:1], TARGETS[:1])
    for component in engine.components:
        stream = passed.components[component].input[:, 0]
        length, width = stream.shape
        blocks = isometry.whole_jacobian(engine, component, passed, stream)
        alone = [
            jacobian(engine.at_position(component, passed, position), stream[position])
            for position in range(length)
        ]
        if component.kind not in ("E.SA", "D.SA"):
            torch.testing.assert_close(torch.stack(blocks), torch.stack(alone))
            continue
        whole = blocks[0].view(length, width, length, width)
        for position in range(length):
            torch.testing.assert_close(whole[position, :, position], alone[position], atol=1e-5, rtol=1e-4)
        if not whole.any():  # no head is left
            continue
        later = torch.stack(
            [
                whole[earlier, :, position].abs().max()
                for position in range(length)
                for earlier in range(position)
            ]
        )
        assert (later == 0).all() if component.kind == "D.SA" else (later > 0).all()
