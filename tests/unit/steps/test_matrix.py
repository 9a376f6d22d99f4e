"""Every scheme on every architecture: percentages are exact, and zeros stay zero through retraining."""

import re
from fractions import Fraction

import pytest
import torch
from support.micro_models import model_of, pairs
from support.training import SAVED_ALWAYS, UPDATE, assert_same_training, interrupted, manifest, weights

from nmtprune.experiment import chain
from nmtprune.experiment.architecture import EMBEDDINGS
from nmtprune.experiment.checks import check_chain
from nmtprune.experiment.search import Search
from nmtprune.experiment.step_kinds import SCHEMES
from nmtprune.foundation.errors import UserError
from nmtprune.pruning.classes import GATES, class_of, classes, layer_of, prunable, subgroups, untied
from nmtprune.pruning.dead import by_percent
from nmtprune.pruning.schemes import GROUPS
from nmtprune.pruning.selection import masks_of_steps
from nmtprune.pruning.slicing import dead_units, head_size, shape_of, zeroed
from nmtprune.store import checkpoints
from nmtprune.training import loop
from nmtprune.translation.opening import open_engine

ARCHITECTURES = {
    "transformer": "micro-untied",
    "lightconv": "micro-lightconv",
    "lstm_luong": "micro-rnnsearch",
    "nmtprune_lstm": "micro-lstm",
    "nmtprune_transformer": "micro-student",
}
# a percentage that gives no whole number of weights in any group
PERCENT = "61.3"
NEVER = re.compile(r"bias|norm|version|_float_tensor")


@pytest.fixture(params=ARCHITECTURES)
def recipe(request):
    return ARCHITECTURES[request.param]


@pytest.fixture
def trained(studio, recipe):
    """The weights of the architecture's trained model, made once for all tests."""
    return weights(studio.make(f"micro/{recipe}/s1/train") / "model.pt")


def pruned(masks):
    return sum(int((~mask).sum()) for mask in masks.values())


@pytest.mark.parametrize("embeddings", ["in", "out"])
@pytest.mark.parametrize("scheme", SCHEMES)
def test_the_percentage_is_exact_and_nothing_else_is_touched(trained, scheme, embeddings):
    matrices = {name: tensor for name, tensor in untied(trained).items() if not NEVER.search(name)}
    assert all(tensor.dim() >= 2 for tensor in matrices.values())
    counted = {
        name: tensor
        for name, tensor in matrices.items()
        if embeddings == "in" or class_of(name) not in EMBEDDINGS
    }
    made = masks_of_steps(trained, embeddings)(chain.parse_step(f"prune-{scheme}-{PERCENT}"))
    assert made.keys() == counted.keys()
    share = Fraction(PERCENT) / 100
    assert pruned(made) == round(share * sum(tensor.numel() for tensor in counted.values()))
    if scheme != "distribution":  # of each group too, to the weight that rounding moves
        for group in set(map(GROUPS[scheme], counted)):
            members = [name for name in counted if GROUPS[scheme](name) == group]
            exact = share * sum(counted[name].numel() for name in members)
            assert abs(pruned({name: made[name] for name in members}) - exact) <= 1
    after = checkpoints.masked(trained, made)
    for name, tensor in untied(after).items():
        assert torch.equal(tensor, trained[name] if name not in made else trained[name] * made[name])
    assert untied(after).keys() == untied(trained).keys()  # what was tied still is


@pytest.mark.parametrize("scheme", SCHEMES)
def test_zeros_stay_through_retraining_and_resumption(studio, bench, monkeypatch, recipe, scheme):
    pruning = f"micro/{recipe}/s1/train/prune-{scheme}-{PERCENT}"
    text = f"{pruning}/retrain-few"
    reference = studio.make(text)
    masks = checkpoints.read_masks(studio.model(pruning) / "mask.pt")
    found = manifest(studio.model(pruning))
    assert found["pruned"] == pruned(masks) == round(Fraction(PERCENT) / 100 * found["prunable"])
    before = weights(studio.model(f"micro/{recipe}/s1/train") / "model.pt")
    for name in ("model.pt", "last.pt"):
        after = weights(reference / name)
        assert not any(after[name][~mask].any() for name, mask in masks.items())
    for name, changed in ((name, after[name] != before[name]) for name in after if "version" not in name):
        kept = masks.get(name, torch.ones_like(changed))
        if class_of(name) in EMBEDDINGS:  # words that are in no sentence of these few cannot train
            assert changed[kept].any(), name
        elif name.endswith(
            "fc1.bias"
        ):  # nor can a hidden unit that never fires: its bias says which these are
            assert changed.any(), name
        else:
            if name.endswith(("fc1.weight", "fc2.weight")):  # into and out of such a unit
                bias = name.replace("fc2", "fc1").removesuffix("weight") + "bias"
                kept = kept & (after[bias] != before[bias]).unsqueeze(int("fc1" in name))
            assert changed[kept].float().mean() > 0.9, name

    workplace = bench(pruning)
    with monkeypatch.context() as patch:
        patch.setattr(loop, "SECONDS_BETWEEN_SAVES", SAVED_ALWAYS)
        with interrupted(patch, *UPDATE, 4):
            workplace.make(text)
    assert (workplace.model(text) / "state" / "resume.pt").exists()
    assert_same_training(workplace.make(text), reference)


def test_a_transformer_is_regularised_sliced_converged_and_fine_tuned_in_8_bits(
    studio, bench, monkeypatch, recipe
):
    """Half of the hidden units are removed, the function is the same as with zeros, and training continues.

    Other architectures are refused in a sentence.
    """
    lasso = f"micro/{recipe}/s1/train/lasso-ffn-both-to50-few"
    text = f"{lasso}/slice/converge-few/int8-onnx/finetune-few"
    if recipe not in ("micro-untied", "micro-student"):
        with pytest.raises(
            UserError, match=f"`slice` needs a Transformer, and recipe `{recipe}` has architecture"
        ):
            check_chain(studio.config, chain.parse(f"micro/{recipe}/s1/train/slice"))
        workplace = bench(f"micro/{recipe}/s1/train")
        with pytest.raises(
            UserError, match="only a Transformer can be sliced"
        ):  # as an import, of which no recipe says what it is
            workplace.make(f"micro/{recipe}/s1/train/slice")
        return
    reference = studio.make(text)
    found = manifest(studio.model(f"{lasso}/slice"))
    assert found["ffn_sparsity"] == pytest.approx(50) and found["attention_sparsity"] == 0
    before = checkpoints.read(studio.model(lasso) / "last.pt")["model"]
    zeros, small, converged, tuned = (
        model_of(studio, each) for each in (lasso, f"{lasso}/slice", f"{lasso}/slice/converge-few", text)
    )
    zeros.weights.update(
        zeroed(before, dead_units(before, "ffn", "both", head_size(zeros.options), by_percent(50)))
    )
    sources, targets = pairs(studio, text)
    losses = [
        open_engine(model, "fairseq", device="cpu").negative_log_likelihoods(sources, targets)
        for model in (zeros, small)
    ]
    assert losses[1] == pytest.approx(losses[0], rel=1e-6, abs=1e-4)
    for model in (converged, tuned):
        assert shape_of(model.weights, head_size(model.options)) == found["shape"]
        assert {name: tensor.shape for name, tensor in model.weights.items()} == {
            name: tensor.shape for name, tensor in small.weights.items()
        }
    engines = [open_engine(converged, name, device="cpu") for name in ("auto", "onnx", "fairseq")]
    losses = [engine.negative_log_likelihoods(sources, targets) for engine in engines]
    assert losses[0] == pytest.approx(losses[2], rel=1e-4) and losses[1] == pytest.approx(losses[2], rel=1e-4)
    for beam in (1, 2):
        by_engine = [engine.translate(sources, Search(beam=beam), 20) for engine in engines]
        assert by_engine[0] == by_engine[1] == by_engine[2]
    assert not torch.equal(
        tuned.weights["encoder.layers.0.fc1.weight"], converged.weights["encoder.layers.0.fc1.weight"]
    )

    workplace = bench(str(chain.parse(text).parent))
    with monkeypatch.context() as patch:
        patch.setattr(loop, "SECONDS_BETWEEN_SAVES", SAVED_ALWAYS)
        with interrupted(patch, *UPDATE, 4):
            workplace.make(text)
    assert_same_training(workplace.make(text), reference)


def test_no_matrix_is_without_a_class_and_recipes_know_the_classes_they_have(studio, recipe, trained):
    found = prunable(trained, "in")
    assert classes(found) == studio.config.recipe(recipe).architecture.weight_classes
    # a layer's matrices lie together, and apart from other layers'
    for name in found:
        layer = re.search(r"(encoder|decoder)\.(?:layers\.(\d+)|lstm\.\w+_l(\d+))", name)
        if layer and class_of(name) != "attention":
            side = {"encoder": "source", "decoder": "target"}[layer[1]]
            assert class_of(name) == f"{side} layer {int(layer[2] or layer[3]) + 1}"
            assert {class_of(other) for other in found if layer_of(other) == layer_of(name)} <= {
                class_of(name),
                "attention",
            }


def test_the_subgroups_of_an_lstm_are_its_matrices(recipe, trained):
    parts = {}
    for name, tensor in prunable(trained, "in").items():
        views = subgroups(name, tensor)
        if "lstm" in name or re.search(r"layers\.\d\.weight_[ih]h", name):
            assert sum(view.numel() for view in views.values()) == tensor.numel()
            assert all(
                view.untyped_storage().data_ptr() == tensor.untyped_storage().data_ptr()
                for view in views.values()
            )
        else:
            assert views == {}
        parts |= views
    if recipe not in ("micro-lstm", "micro-rnnsearch"):
        assert parts == {}
        return
    layers = [f"{side} layer {number}" for side in ("source", "target") for number in (1, 2)]
    expected = {
        (layer, gate, connection)
        for layer in layers
        for gate in GATES
        for connection in ("feed-forward", "recurrent")
    }
    fed = (
        {("target layer 1", gate, "input feeding") for gate in GATES}
        if recipe == "micro-rnnsearch"
        else set()
    )
    assert set(parts) == expected | fed
    assert {tuple(view.shape) for view in parts.values()} == {(16, 16)}


def test_gates_are_where_pytorch_has_them():
    """A cell put together from its sub-groups (See et al. 2016, eq. 2-4) computes what PyTorch's does."""
    torch.manual_seed(1)
    cell = torch.nn.LSTM(6, 6, bias=False)
    state = torch.randn(1, 1, 6), torch.randn(1, 1, 6)
    with torch.no_grad():
        parts = {}
        for name, tensor in cell.named_parameters():
            parts |= subgroups(f"encoder.lstm.{name}", tensor)
        x, (h, c) = torch.randn(1, 1, 6), state

        def gate(name):
            matrices = [view for part, view in parts.items() if part.gate == name]
            assert [part.connection for part in parts if part.gate == name] == ["feed-forward", "recurrent"]
            return x[0] @ matrices[0].T + h[0] @ matrices[1].T

        new = torch.sigmoid(gate("forget gate")) * c[0] + torch.sigmoid(gate("input gate")) * torch.tanh(
            gate("candidate")
        )
        out = torch.sigmoid(gate("output gate")) * torch.tanh(new)
        torch.testing.assert_close(cell(x, state)[0][0], out)
    assert str(next(iter(parts))) == "source layer 1, input gate, feed-forward"
