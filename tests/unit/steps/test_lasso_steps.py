"""Group lasso, slicing, convergence and 8 bits as steps on micro students.

Tested are the models they begin with, the models they leave, and interruptions.
"""

import json
import shutil

import pytest
import torch
import yaml
from support.micro_models import model_of, pairs
from support.training import (
    SAVED_ALWAYS,
    UPDATE,
    assert_same_training,
    history,
    interrupted,
    manifest,
    same,
    weights,
)
from support.workplace import MICRO

from nmtprune.experiment import chain, paths
from nmtprune.experiment.search import Search
from nmtprune.pruning.dead import rule_of
from nmtprune.pruning.slicing import dead_units, shape_of, zeroed
from nmtprune.store import checkpoints
from nmtprune.training import loop
from nmtprune.training.penalties import GroupLasso
from nmtprune.training.regularised import Regularised
from nmtprune.translation.int8 import rounded
from nmtprune.translation.opening import open_engine

STUDENT = "micro/micro-student/s1"
ATTENTION = "micro/micro-student-attention/s1"
HEAD_DIM = 4
PRETRAINED = "train-pretrain"
LASSO = f"{PRETRAINED}/lasso-ffn+att-both-25"
SLICED = f"{LASSO}/slice"
CONVERGED = f"{SLICED}/converge"
FINETUNED = f"{CONVERGED}/int8-onnx/finetune"


def nll_per_token(model, sources, targets):
    """By fairseq, of a whole set, end of sentence counted."""
    losses = open_engine(model, "fairseq", device="cpu").negative_log_likelihoods(sources, targets)
    return sum(losses) / sum(len(target) + 1 for target in targets)


def widths(row):
    return {key: int(value) for key, value in row.items() if key.count(".") == 2}


def as_columns(shape):
    return {
        f"{side}.{at}.{part}": layer[part]
        for side, layers in shape.items()
        for at, layer in enumerate(layers)
        for part in layer
    }


def test_lambda_0_is_a_plain_training_to_the_last_bit(studio):
    plain = studio.make(f"{STUDENT}/{PRETRAINED}/converge-like-lasso")
    lasso = studio.make(f"{STUDENT}/{PRETRAINED}/lasso-ffn-both-0")
    assert same(weights(lasso / "last.pt"), weights(plain / "last.pt"))
    rows = history(lasso)
    assert rows[0].items() > history(plain)[0].items()
    assert {row["ffn_sparsity"] for row in rows} == {"0.0"}
    # ... and slicing what it leaves takes nothing away
    sliced = studio.make(f"{STUDENT}/{PRETRAINED}/lasso-ffn-both-0/slice")
    assert same(weights(sliced / "model.pt"), weights(lasso / "last.pt"))


@pytest.fixture
def plain(bench):
    """A workplace with an own recipe `plain`: one update of gradient descent at rate 1, without dropout."""

    def make(**changes):
        workplace = bench()
        shutil.copytree(MICRO, workplace / "own")
        schedule = {
            "updates": 1,
            "select": "last",
            "optimizer": {"name": "sgd", "weight_decay": 0},
            "learning_rate": {"phases": [{"updates": 1, "rate": 1.0}]},
        }
        recipe = {
            "extends": "micro-student-attention",
            "title": "Plain",
            "architecture": {"dropout": 0},
            "training": schedule,
        }
        variants = {"lasso-accumulated": {"accumulate": 2}, "lasso-small": {"batch_tokens": 250}}
        recipe |= {"schedules": {name: schedule | keys for name, keys in variants.items()}, **changes}
        (workplace / "own" / "recipes" / "plain.yaml").write_text(yaml.safe_dump(recipe))
        workplace.configure(own="own")
        return workplace

    return make


@pytest.mark.parametrize("reference", [46000, None])
def test_the_penalty_of_an_update_is_lambda_over_the_words_of_its_batch(plain, monkeypatch, reference):
    """Equation 2: one step of gradient descent at rate 1 moves a weight by lambda / |B| dR / dw further.

    Here |B| is the number of words that lambda refers to, whatever the batch and the number of batches
    of an update.
    """
    workplace = plain(lasso={"reference_words": reference, "gamma": "sqrt"})
    words = []
    penalty = Regularised.penalty
    monkeypatch.setattr(
        Regularised, "penalty", lambda self, of_batch: words.append(of_batch) or penalty(self, of_batch)
    )
    begun = "micro/plain/s1/train-pretrain"
    start = weights(workplace.make(begun) / "last.pt")
    parameters = {
        name: tensor.clone().requires_grad_() for name, tensor in start.items() if tensor.is_floating_point()
    }
    GroupLasso(parameters, "ffn+att", "both", HEAD_DIM).value().backward()
    gradients = {name: parameter.grad for name, parameter in parameters.items() if parameter.grad is not None}
    assert len(gradients) == 4 * 3 + 6 * 7  # biases of W2 and O are in no group
    strength = 920 if reference else 4
    for variant, batches in (("-small", 1), ("-accumulated", 2)):
        words.clear()
        without, under = (
            weights(workplace.make(f"{begun}/lasso-ffn+att-both-{each}{variant}") / "last.pt")
            for each in (0, strength)
        )
        assert len(words) == 2 * batches and words[:batches] == words[batches:]
        share = strength / (reference or sum(words[:batches]))
        moved = torch.cat([(without[name] - under[name]).flatten() for name in gradients])
        expected = torch.cat([share * gradient.flatten() for gradient in gradients.values()])
        torch.testing.assert_close(moved, expected, rtol=1e-4, atol=1e-6)
        assert expected.abs().mean() > 1e-3
        assert all(torch.equal(without[name], under[name]) for name in without.keys() - gradients.keys())


INTERRUPTIONS = {
    # the chain, and which update is never made
    "lasso": (LASSO, 8),
    "lasso that seeks its lambda": (f"{PRETRAINED}/lasso-ffn-both-to50", 12),
    "convergence of a sliced model": (CONVERGED, 8),
    "training a shape anew": (f"{SLICED}/restart", 8),
    "fine-tuning in 8 bits": (FINETUNED, 4),
}


@pytest.mark.parametrize("moment", INTERRUPTIONS)
def test_an_interrupted_training_ends_with_the_same_tensors(studio, bench, monkeypatch, moment):
    steps, at = INTERRUPTIONS[moment]
    text = f"{STUDENT}/{steps}"
    reference = studio.make(text)
    workplace = bench(str(chain.parse(text).parent))
    with monkeypatch.context() as patch:
        patch.setattr(loop, "SECONDS_BETWEEN_SAVES", SAVED_ALWAYS)
        with interrupted(patch, *UPDATE, at):
            workplace.make(text)
    assert (workplace.model(text) / "state" / "resume.pt").exists()
    assert_same_training(workplace.make(text), reference)


def test_tensorboard_has_each_validation_once_though_the_training_was_interrupted(studio, bench, monkeypatch):
    accumulators = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    text = f"{STUDENT}/{LASSO}"
    workplace = bench(f"{STUDENT}/{PRETRAINED}")
    workplace.configure(tensorboard=True)
    with monkeypatch.context() as patch:
        patch.setattr(loop, "SECONDS_BETWEEN_SAVES", SAVED_ALWAYS)
        with interrupted(patch, *UPDATE, 8):
            workplace.make(text)
    workplace.make(text)
    rows = history(workplace.model(text))
    with workplace.inside():
        (file,) = paths.events(chain.parse(text)).iterdir()
        events = accumulators.EventAccumulator(str(file))
        events.Reload()
    updates = [int(row["update"]) for row in rows]
    for name in ("dev_nll", "penalty", "encoder.0.ffn"):
        points = events.Scalars(name)
        assert [point.step for point in points] == updates
        assert [point.value for point in points] == pytest.approx([float(row[name]) for row in rows])
    assert "dev_bleu" not in events.Tags()["scalars"]  # this recipe selects by likelihood
    norms = events.Histograms("group_norms/encoder.layers.0.fc1")
    assert norms[-1].step == updates[-1] and norms[-1].histogram_value.num > 0


def test_a_lambda_that_is_sought_moves(studio):
    rows = history(studio.make(f"{STUDENT}/{PRETRAINED}/lasso-ffn-both-to50"))
    with studio.inside():
        start = studio.config.recipe("micro-student").lasso.start
    strengths = [float(row["lambda"]) for row in rows]
    assert strengths[0] == start
    assert strengths[-1] == pytest.approx(
        start * torch.tensor(0.05).exp().item()
    )  # update 10 found fewer units small than sought


def test_regularisation_and_slicing_go_on_from_the_latest_weights_not_from_the_selected_ones(studio, bench):
    pretrained, lasso, sliced = (f"{STUDENT}/{steps}" for steps in (PRETRAINED, LASSO, SLICED))
    reference = studio.make(sliced)
    workplace = bench(lasso)
    shutil.copy(workplace.model(pretrained) / "initial.pt", workplace.model(lasso) / "model.pt")
    assert same(weights(workplace.make(sliced) / "model.pt"), weights(reference / "model.pt"))
    shutil.copy(workplace.model(pretrained) / "initial.pt", workplace.model(pretrained) / "model.pt")
    shutil.rmtree(workplace.model(lasso))
    assert_same_training(workplace.make(lasso), studio.model(lasso))


@pytest.mark.parametrize("root", [STUDENT, ATTENTION])
def test_slicing_takes_what_is_dead_and_the_model_computes_the_same(studio, root):
    text = f"{root}/{SLICED}"
    found = manifest(studio.make(text))
    with studio.inside():
        settings = studio.config.recipe(chain.parse(text).recipe).lasso
    checkpoint = checkpoints.read(studio.model(f"{root}/{LASSO}") / "last.pt")
    before, options = checkpoint["model"], checkpoint["cfg"]["model"]
    removed = dead_units(
        before, "ffn+att", "both", HEAD_DIM, rule_of(settings, before, "ffn+att", "both", HEAD_DIM, "25")
    )
    small = model_of(studio, text)
    assert json.loads(small.options["shape"]) == found["shape"] == shape_of(small.weights, HEAD_DIM)
    gone = {(each.side, each.layer, each.component): int(goes.sum()) for each, goes in removed.items()}
    assert 32 < sum(gone.values()) < 4 * 32
    for place, units in gone.items():
        side, layer, component = place
        assert found["shape"][side][layer][component] == (32 if component == "ffn" else 4) - units
    zeros = model_of(studio, f"{root}/{LASSO}")
    zeros.weights.update(zeroed(before, removed))
    assert not options["shape"] and zeros.options["shape"] == options["shape"]
    sources, targets = pairs(studio, text)
    losses = [
        open_engine(model, "fairseq", device="cpu").negative_log_likelihoods(sources, targets)
        for model in (small, zeros)
    ]
    for ours, theirs, target in zip(*losses, targets, strict=True):
        assert ours / len(target) == pytest.approx(theirs / len(target), abs=1e-5)


def test_the_norms_before_slicing_are_kept(studio):
    directory = studio.make(f"{STUDENT}/{SLICED}")
    import numpy

    with numpy.load(directory / "norms.npz") as found:
        units = 2 * 32 + 32  # the tied decoder's once
        connections = 2 * 16 + 16
        assert {name: len(found[name]) for name in found if not name.endswith("_cut")} == {
            "fc1": units,
            "fc2": units,
            **dict.fromkeys(("q_proj", "k_proj", "v_proj", "out_proj"), connections),
        }


def test_the_history_of_a_lasso_says_what_slicing_leaves(studio):
    """Tied layers are penalised and counted once, by the first; slicing removes units from all."""
    found = manifest(studio.make(f"{STUDENT}/{SLICED}"))
    last = history(studio.model(f"{STUDENT}/{LASSO}"))[-1]
    said, shape = widths(last), as_columns(found["shape"])
    assert shape.keys() == said.keys() and "decoder.0.self" not in said
    assert {key: width for key, width in said.items() if "decoder.1" not in key} == {
        k: w for k, w in shape.items() if "decoder.1" not in k
    }
    assert found["shape"]["decoder"][0] == found["shape"]["decoder"][1]
    assert (
        float(last["ffn_sparsity"])
        == found["ffn_sparsity"]
        == 100 * (1 - sum(shape[f"{at}.ffn"] for at in ("encoder.0", "encoder.1", "decoder.0")) / 96)
    )
    state = weights(studio.model(f"{STUDENT}/{LASSO}") / "last.pt")
    once = {name: tensor for name, tensor in state.items() if not name.startswith("decoder.layers.1")}
    assert float(last["penalty"]) == pytest.approx(
        float(GroupLasso(once, "ffn+att", "both", HEAD_DIM).value()), rel=1e-6
    )


@pytest.mark.parametrize(("percent", "gone"), [("67", 64), ("12.5", 12)])
def test_a_share_of_the_units_is_sliced_to_the_unit(studio, percent, gone):
    found = manifest(studio.make(f"{STUDENT}/{PRETRAINED}/lasso-ffn-both-to{percent}/slice"))
    assert found["ffn_sparsity"] == pytest.approx(100 * gone / 96)
    assert found["attention_sparsity"] == 0
    # a share is what one lasso was to reach: another slice takes what is dead by the recipe's rule
    again = manifest(studio.make(f"{STUDENT}/{PRETRAINED}/lasso-ffn-both-to{percent}/slice/slice"))
    assert again["ffn_sparsity"] < 50


@pytest.mark.parametrize(
    ("text", "engines"),
    [
        (f"{STUDENT}/{CONVERGED}", ("onnx", "fairseq")),
        (f"{ATTENTION}/{PRETRAINED}/lasso-ffn-both-25/slice/converge", ("ctranslate2", "onnx", "fairseq")),
    ],
)
def test_engines_agree_on_a_sliced_model(studio, text, engines):
    studio.make(text)
    model, (sources, targets) = model_of(studio, text), pairs(studio, text)
    opened = [open_engine(model, name, device="cpu") for name in engines]
    assert open_engine(model, "auto").name == engines[0]
    search = Search(beam=2)
    hypotheses = [engine.translate(sources, search, 20) for engine in opened]
    assert all(found == hypotheses[0] for found in hypotheses)
    losses = [engine.negative_log_likelihoods(sources, targets) for engine in opened]
    assert all(found == pytest.approx(losses[0], rel=1e-5) for found in losses)


def test_a_sliced_model_trains_on_in_its_shape(studio):
    sliced = studio.make(f"{STUDENT}/{SLICED}")
    shape, before = manifest(sliced)["shape"], weights(sliced / "model.pt")
    for steps in ("converge", "continue", "prune-global-50/retrain", "restart"):
        directory = studio.make(f"{STUDENT}/{SLICED}/{steps}")
        checkpoint, after = checkpoints.read(directory / "last.pt"), weights(directory / "last.pt")
        assert json.loads(checkpoint["cfg"]["model"]["shape"]) == shape == shape_of(after, HEAD_DIM)
        assert {name: tensor.shape for name, tensor in after.items()} == {
            name: tensor.shape for name, tensor in before.items()
        }
        assert not same(after, before)
    masks = checkpoints.read_masks(studio.model(f"{STUDENT}/{SLICED}/prune-global-50") / "mask.pt")
    after = weights(studio.model(f"{STUDENT}/{SLICED}/prune-global-50/retrain") / "last.pt")
    assert all(
        mask.shape == after[name].shape and not after[name][~mask].any() for name, mask in masks.items()
    )
    pruned = sum(int((~mask).sum()) for mask in masks.values())
    assert pruned == round(sum(mask.numel() for mask in masks.values()) / 2)


def test_restarting_a_shape_draws_weights_that_no_ancestor_had(studio):
    """12 updates at these rates move a weight by a few hundredths; another draw is about 0.2 away."""
    directory = studio.make(f"{STUDENT}/{SLICED}/restart")
    after, before = (
        weights(studio.model(f"{STUDENT}/{steps}") / "model.pt") for steps in (f"{SLICED}/restart", SLICED)
    )
    embeddings = "encoder.embed_tokens.weight"
    initial = weights(studio.model(f"{STUDENT}/{PRETRAINED}") / "initial.pt")[embeddings]
    assert (after[embeddings] - initial).abs().mean() > 0.05 and (
        after[embeddings] - before[embeddings]
    ).abs().mean() > 0.05
    assert history(directory)[0]["update"] != "0"  # there is no parent to compete with


@pytest.mark.parametrize("engine", ["onnx", "ctranslate2"])
def test_an_int8_model_lies_on_its_engines_grid(studio, engine):
    parent = f"{ATTENTION}/{PRETRAINED}"
    directory = studio.make(f"{parent}/int8-{engine}")
    before, after = weights(studio.model(parent) / "model.pt"), weights(directory / "model.pt")
    assert same(rounded(after, engine), after) and same(rounded(before, engine), after)
    matrices = {name for name in before if before[name].dim() == 2}
    assert {name for name in before if not torch.equal(before[name], after[name])} == matrices
    assert manifest(directory)["updates"] == 0
    tied = ("encoder.embed_tokens.weight", "decoder.embed_tokens.weight", "decoder.output_projection.weight")
    state = checkpoints.read(directory / "model.pt")["model"]
    assert len({state[name].data_ptr() for name in tied}) == 1


def test_fine_tuning_moves_the_weights_behind_the_rounded_ones(studio):
    """Scores are those of rounded weights, from the parent's at update 0 on; unrounded weights are stored."""
    text = f"{STUDENT}/{FINETUNED}"
    directory = studio.make(text)
    rows, (sources, targets) = history(directory), pairs(studio, text)
    assert rows[0]["update"] == "0"
    in_8_bits, tuned = model_of(studio, f"{STUDENT}/{CONVERGED}/int8-onnx"), model_of(studio, text)
    assert float(rows[0]["dev_nll"]) == pytest.approx(nll_per_token(in_8_bits, sources, targets), rel=1e-6)
    selected = next(row for row in rows if row["update"] == str(manifest(directory)["selected_update"]))
    seen = model_of(studio, text)
    seen.weights.update(rounded(tuned.weights, "onnx"))
    assert float(selected["dev_nll"]) == pytest.approx(nll_per_token(seen, sources, targets), rel=1e-6)
    assert float(selected["dev_nll"]) != pytest.approx(nll_per_token(tuned, sources, targets), rel=1e-6)

    floats, after = (weights(studio.model(each) / "last.pt") for each in (f"{STUDENT}/{CONVERGED}", text))
    for name, tensor in after.items():
        if tensor.dim() == 2:
            assert not torch.equal(rounded({name: tensor}, "onnx")[name], tensor), name
    # six updates at a tenth of the peak move a weight by 0.003 at most: the rounded ones are further from
    # what was trained
    start = weights(studio.model(f"{STUDENT}/{CONVERGED}") / "model.pt")
    largest = max(
        float((after[name] - start[name]).abs().max()) for name in after if after[name].is_floating_point()
    )
    assert 0 < largest <= 6 * 5e-4 * 1.2
    assert not same(floats, after)


def test_pruned_weights_stay_zero_in_8_bits_and_under_fine_tuning(studio):
    pruned = f"{STUDENT}/{SLICED}/prune-global-50"
    for held in (pruned, f"{pruned}/retrain"):
        text = f"{held}/int8-onnx/finetune"
        studio.make(text)
        masks = checkpoints.read_masks(studio.model(pruned) / "mask.pt")
        for step in (f"{held}/int8-onnx", text):
            after = weights(studio.model(step) / "model.pt")
            assert not any(after[name][~mask].any() for name, mask in masks.items()), step
            assert any(after[name][mask].any() for name, mask in masks.items())
            assert not any(rounded(after, "onnx")[name][~mask].any() for name, mask in masks.items())
        assert {row["sparsity"] for row in history(studio.model(text))} == {
            history(studio.model(text))[0]["sparsity"]
        }
        assert float(history(studio.model(text))[0]["sparsity"]) == pytest.approx(50, abs=0.01)
