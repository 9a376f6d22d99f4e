"""Which parameters are prunable, and the classes and layers they belong to."""

import pytest
import torch

from nmtprune.pruning.classes import class_of, layer_of, prunable, untied


@pytest.mark.parametrize(
    ("name", "weight_class", "layer"),
    [
        ("encoder.embed_tokens.weight", "source embedding", "encoder.embed_tokens"),
        ("decoder.embed_tokens.weight", "target embedding", "decoder.embed_tokens"),
        ("decoder.output_projection.weight", "softmax", "decoder.output_projection"),
        ("decoder.fc_out.weight", "softmax", "decoder.fc_out"),
        ("encoder.layers.0.self_attn.q_proj.weight", "source layer 1", "encoder.layers.0"),
        ("encoder.layers.11.fc2.weight", "source layer 12", "encoder.layers.11"),
        ("decoder.layers.2.fc1.weight", "target layer 3", "decoder.layers.2"),
        ("decoder.layers.2.encoder_attn.k_proj.weight", "attention", "decoder.layers.2"),
        ("encoder.lstm.weight_ih_l0", "source layer 1", "encoder.lstm"),
        ("encoder.lstm.weight_hh_l3", "source layer 4", "encoder.lstm"),
        ("decoder.layers.0.weight_ih", "target layer 1", "decoder.layers.0"),
        ("decoder.attention.input_proj.weight", "attention", "decoder.attention"),
    ],
)
def test_classes_and_layers_by_fairseqs_names(name, weight_class, layer):
    assert class_of(name) == weight_class
    if not name.startswith("encoder.lstm"):
        assert layer_of(name) == layer


def test_the_layers_of_an_lstm_encoder_are_told_apart():
    assert layer_of("encoder.lstm.weight_ih_l0") == layer_of("encoder.lstm.weight_hh_l0")
    assert layer_of("encoder.lstm.weight_ih_l0") != layer_of("encoder.lstm.weight_ih_l1")


def test_tied_tensors_are_counted_once_and_equal_ones_are_not_tied():
    shared = torch.ones(4, 3)
    state = {
        "encoder.embed_tokens.weight": shared,
        "decoder.embed_tokens.weight": shared,
        "decoder.output_projection.weight": shared.clone(),
    }
    assert list(untied(state)) == ["encoder.embed_tokens.weight", "decoder.output_projection.weight"]


def test_biases_layer_norms_and_counters_are_never_prunable():
    state = {
        "encoder.layers.0.fc1.weight": torch.ones(4, 3),
        "encoder.layers.0.fc1.bias": torch.ones(4),
        "encoder.layers.0.final_layer_norm.weight": torch.ones(3),
        "decoder.version": torch.tensor([3.0]),
        "decoder.positions": torch.ones(2, 2, dtype=torch.long),
        "empty": torch.empty(0),
    }
    assert list(prunable(state, "in")) == ["encoder.layers.0.fc1.weight"]


def architecture(name, **options):
    return {
        "name": name,
        "encoder_layers": 2,
        "decoder_layers": 2,
        "embed_dim": 16,
        "dropout": 0.1,
        **options,
    }


@pytest.fixture(scope="module")
def build(studio):
    """State dicts of real fairseq models on the micro task, by architecture."""
    from nmtprune.experiment import chain
    from nmtprune.experiment.architecture import Architecture
    from nmtprune.fairseq_bridge import arguments, session

    with studio.inside():
        run = studio.config
        schedule = run.schedule("micro", "train")
        folder = run.data_folder(chain.parse("micro/micro/s1/train")) / "bin"

        def state_of(architecture):
            with studio.inside():
                data = arguments.of_data(folder, "src", "tgt")
                options = arguments.of_architecture(Architecture.over(architecture))
                cfg = session.configuration(options, schedule, data, 1, "cpu")
                return session.weights(session.start(cfg, 1))

        yield state_of


def size(weights):
    return sum(tensor.numel() for tensor in weights.values())


@pytest.mark.parametrize("shared", ["none", "target", "all"])
def test_the_weights_of_a_transformer_by_arithmetic(build, shared):
    d, ffn, layers = 16, 24, 2
    state = build(architecture("transformer", ffn_dim=ffn, heads=2, share_embeddings=shared, norm="post"))
    types = len(state["encoder.embed_tokens.weight"])
    attentions, feed_forwards = 3 * layers * 4 * d * d, 2 * layers * 2 * d * ffn
    assert size(prunable(state, "out")) == attentions + feed_forwards
    assert (
        size(prunable(state, "in"))
        == attentions + feed_forwards + {"none": 3, "target": 2, "all": 1}[shared] * types * d
    )
    assert all(name.endswith("weight") and "layer_norm" not in name for name in prunable(state, "in"))


def test_the_weights_of_an_lstm_by_arithmetic(build):
    d, layers = 16, 2
    state = build(architecture("lstm_luong_wmt_en_de"))
    types = len(state["encoder.embed_tokens.weight"])
    gates = 4 * d * 2 * d
    found = prunable(state, "in")
    by_class = {}
    for name, tensor in found.items():
        by_class[class_of(name)] = by_class.get(class_of(name), 0) + tensor.numel()
    assert by_class["source embedding"] == by_class["target embedding"] == types * d
    assert by_class["softmax"] == types * d
    assert [by_class[f"source layer {n}"] for n in (1, 2)] == [gates] * layers
    assert not any("bias" in name for name in found)
    assert set(by_class) == {
        *("source embedding", "target embedding", "softmax", "attention"),
        *(f"{side} layer {n}" for side in ("source", "target") for n in (1, 2)),
    }  # fmt: skip
    assert not {"source embedding", "target embedding", "softmax"} & {
        class_of(name) for name in prunable(state, "out")
    }


@pytest.mark.parametrize("scheme", ["global", "uniform", "distribution", "local", "layer"])
def test_schemes_on_real_models(build, scheme):
    from nmtprune.pruning.schemes import masks

    for options in (
        architecture("transformer", ffn_dim=24, heads=2, share_embeddings="all"),
        architecture("lstm_luong_wmt_en_de"),
    ):
        weights = prunable(build(options), "in")
        made = masks(weights, scheme, "80")
        assert sum(int((~mask).sum()) for mask in made.values()) == round(0.8 * size(weights))
