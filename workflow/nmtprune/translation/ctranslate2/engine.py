"""The engine CTranslate2 for Transformers, in float32 or int8, built from fairseq's parameters."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from ctranslate2.specs import common_spec, transformer_spec

from nmtprune.experiment.search import Search
from nmtprune.store.model import PADDING, Model, sinusoids
from nmtprune.translation.ctranslate2 import runtime
from nmtprune.translation.ctranslate2.runtime import LONGEST, Translator
from nmtprune.translation.parameters import NotATransformer, Parameters
from nmtprune.translation.shortlist import Shortlist

PACKAGES = ("ctranslate2",)
RUNTIME = runtime

_ACTIVATIONS = {
    "relu": common_spec.Activation.RELU,
    "gelu": common_spec.Activation.GELU,
    "gelu_accurate": common_spec.Activation.GELUTanh,
    "gelu_fast": common_spec.Activation.GELUTanh,
    "swish": common_spec.Activation.SWISH,
}


class CTranslate2Engine:
    """A Transformer loaded into CTranslate2."""

    name = "ctranslate2"

    def __init__(
        self,
        model: Model,
        threads: int = 1,
        precision: str = "float32",
        shortlist: Shortlist | None = None,
        device: str = "cpu",
    ) -> None:
        """Convert and load a model that CTranslate2 `supports`."""
        with tempfile.TemporaryDirectory(prefix="nmtprune-") as folder:
            save(model, folder, precision)
            self.translator = _translator(Path(folder), threads, shortlist, device)

    @classmethod
    def load(
        cls, folder: str | Path, threads: int = 1, shortlist: Shortlist | None = None, device: str = "cpu"
    ) -> CTranslate2Engine:
        """The engine for a folder that `save` has written, in the folder's precision."""
        engine = cls.__new__(cls)
        engine.translator = _translator(Path(folder), threads, shortlist, device)
        return engine

    def translate(self, sources: list[list[str]], search: Search, max_length: int) -> list[list[str]]:
        """See the interface."""
        return self.translator.translate(
            sources, search.beam, search.length_penalty, max_length, search.replace_unknowns
        )

    def negative_log_likelihoods(self, sources: list[list[str]], targets: list[list[str]]) -> list[float]:
        """See the interface."""
        return self.translator.negative_log_likelihoods(sources, targets)


ENGINE = CTranslate2Engine


def _translator(folder: Path, threads: int, shortlist: Shortlist | None, device: str) -> Translator:
    # CTranslate2 reads a shortlist only from the model's folder, so it gets a copy made of links
    with tempfile.TemporaryDirectory(prefix="nmtprune-") as view:
        for file in folder.iterdir():
            (Path(view) / file.name).symlink_to(file.resolve())
        if shortlist is not None:
            shortlist.as_vmap(Path(view) / "vmap.txt")
        return Translator(view, threads, shortlist is not None, device)


def save(model: Model, folder: str | Path, precision: str = "float32") -> None:
    """Write a model that CTranslate2 `supports` in its format.

    With int8, each weight of a matrix takes one byte.
    """
    if precision == "int8":  # CTranslate2 scales weights in place
        model = replace(model, weights={name: tensor.clone() for name, tensor in model.weights.items()})
    spec = build_spec(model)
    spec.validate()
    spec.optimize(quantization="int8" if precision == "int8" else None)
    Path(folder).mkdir(parents=True, exist_ok=True)
    spec.save(str(folder))


def supports(model: Model) -> str | None:
    """The reason why CTranslate2 cannot run `model` as fairseq would; None if it can."""
    activation = model.options.get("activation_fn", "relu")
    if activation not in _ACTIVATIONS:
        return f"activation `{activation}` is none of {', '.join(_ACTIVATIONS)}"
    for option in ("no_token_positional_embeddings", "no_cross_attention", "cross_self_attention"):
        if model.options.get(option):
            return f"option `{option}` is set"
    parameters = _Parameters(model)
    try:
        _fill(model, parameters)
        parameters.check_all_read()
    except NotATransformer as reason:
        return str(reason)
    return None


def build_spec(model: Model) -> transformer_spec.TransformerSpec:
    """CTranslate2's specification of a model that it `supports`."""
    spec = _fill(model, _Parameters(model))
    spec.register_source_vocabulary(model.source_dictionary)
    spec.register_target_vocabulary(model.target_dictionary)
    spec.config.decoder_start_token = model.start
    spec.config.add_source_eos = True
    spec.config.add_attribute(LONGEST, model.max_target_length)
    return spec


class _Parameters(Parameters):
    def layers(self, side: str) -> Iterator[str]:
        index = 0
        while any(name.startswith(f"{side}.layers.{index}.") for name in self._state):
            yield f"{side}.layers.{index}"
            index += 1


def _fill(model: Model, parameters: _Parameters) -> transformer_spec.TransformerSpec:
    decoder = _shape(model, parameters, "decoder")
    spec = transformer_spec.TransformerSpec(
        transformer_spec.TransformerEncoderSpec(**_shape(model, parameters, "encoder")),
        # unknowns are replaced by the mean attention of all heads of the last layer, as in fairseq
        transformer_spec.TransformerDecoderSpec(**decoder, alignment_heads=decoder["num_heads"]),
    )
    _fill_stack(spec.encoder, model, parameters, "encoder")
    _fill_stack(spec.decoder, model, parameters, "decoder")
    _fill_embeddings(spec.encoder.embeddings[0], parameters, "encoder.embed_tokens", model.source_dictionary)
    _fill_embeddings(spec.decoder.embeddings, parameters, "decoder.embed_tokens", model.target_dictionary)
    spec.decoder.projection.weight = parameters["decoder.output_projection.weight"]
    if "decoder.output_projection.bias" in parameters:
        spec.decoder.projection.bias = parameters["decoder.output_projection.bias"]
    for layer, name in zip(spec.encoder.layer, parameters.layers("encoder"), strict=True):
        _fill_self_attention(layer.self_attention, parameters, name)
        _fill_feed_forward(layer.ffn, parameters, name)
    for layer, name in zip(spec.decoder.layer, parameters.layers("decoder"), strict=True):
        _fill_self_attention(layer.self_attention, parameters, name)
        _fill_cross_attention(layer.attention, parameters, name)
        _fill_feed_forward(layer.ffn, parameters, name)
    return spec


def _shape(model: Model, parameters: _Parameters, side: str) -> dict[str, Any]:
    """Constructor arguments for the specification of the encoder or decoder.

    Layers are counted in the parameters, since a model may have lost some.
    """
    if f"{side}_attention_heads" not in model.options:
        raise NotATransformer(f"option `{side}_attention_heads` is missing")
    shape = {
        "num_layers": len(list(parameters.layers(side))),
        "num_heads": int(model.options[f"{side}_attention_heads"]),
        "pre_norm": f"{side}.layer_norm.weight" in parameters,
        "activation": _ACTIVATIONS[model.options.get("activation_fn", "relu")],
        "layernorm_embedding": f"{side}.layernorm_embedding.weight" in parameters,
    }
    head_dim = model.options.get("head_dim")
    if head_dim and int(head_dim) * shape["num_heads"] != int(model.options[f"{side}_embed_dim"]):
        raise NotATransformer(
            f"the {side}'s {shape['num_heads']} heads of width {head_dim} do not make its width"
        )
    if shape["pre_norm"] != bool(model.options.get(f"{side}_normalize_before")):
        raise NotATransformer(f"option `{side}_normalize_before` does not fit `{side}.layer_norm`")
    return shape


def _fill_stack(stack: Any, model: Model, parameters: _Parameters, side: str) -> None:
    embeddings = parameters[f"{side}.embed_tokens.weight"]
    stack.scale_embeddings = (
        1.0 if model.options.get("no_scale_embedding") else math.sqrt(embeddings.shape[1])
    )
    positions = f"{side}.embed_positions.weight"
    if positions in parameters:
        stack.position_encodings.encodings = parameters[positions][PADDING + 1 :]
    else:
        length = (model.max_source_length if side == "encoder" else model.max_target_length) + 1
        stack.position_encodings.encodings = sinusoidal_positions(model, length, embeddings.shape[1])
    if f"{side}.layer_norm.weight" in parameters:
        _fill_layer_norm(stack.layer_norm, parameters, f"{side}.layer_norm")
    if f"{side}.layernorm_embedding.weight" in parameters:
        _fill_layer_norm(stack.layernorm_embedding, parameters, f"{side}.layernorm_embedding")


def sinusoidal_positions(model: Model, length: int, width: int) -> torch.Tensor:
    """The sinusoidal position embeddings of a model [length, width]."""
    first, frequencies = sinusoids(model.options, width)
    angles = torch.arange(first, first + length, dtype=torch.float)[:, None] * frequencies
    return torch.nn.functional.pad(torch.cat([angles.sin(), angles.cos()], dim=1), (0, width % 2))


def _fill_embeddings(spec: Any, parameters: _Parameters, name: str, dictionary: list[str]) -> None:
    spec.weight = parameters[f"{name}.weight"]
    if len(spec.weight) != len(dictionary):
        raise NotATransformer(
            f"`{name}` has {len(spec.weight)} rows and the dictionary {len(dictionary)} symbols"
        )


def _fill_layer_norm(spec: Any, parameters: _Parameters, name: str) -> None:
    spec.gamma, spec.beta = parameters[f"{name}.weight"], parameters[f"{name}.bias"]


def _fill_linear(spec: Any, parameters: _Parameters, *names: str) -> None:
    """Fill one linear layer from one or several that are fused."""
    spec.weight = torch.cat([parameters[f"{name}.weight"] for name in names])
    spec.bias = torch.cat([parameters[f"{name}.bias"] for name in names])


def _fill_feed_forward(spec: Any, parameters: _Parameters, layer: str) -> None:
    if f"{layer}.fc1.weight" in parameters:
        _fill_linear(spec.linear_0, parameters, f"{layer}.fc1")
        _fill_linear(spec.linear_1, parameters, f"{layer}.fc2")
    else:  # no unit is left, but CTranslate2 needs at least one: a unit that is always zero
        spec.linear_1.bias = parameters[f"{layer}.fc2.bias"]
        width = len(spec.linear_1.bias)
        spec.linear_0.weight, spec.linear_0.bias = torch.zeros(1, width), torch.zeros(1)
        spec.linear_1.weight = torch.zeros(width, 1)
    _fill_layer_norm(spec.layer_norm, parameters, f"{layer}.final_layer_norm")


def _fill_self_attention(spec: Any, parameters: _Parameters, layer: str) -> None:
    if f"{layer}.ssru.forget_proj.weight" in parameters:
        raise NotATransformer(f"layer `{layer}` has an SSRU, which CTranslate2 does not know")
    name = f"{layer}.self_attn"
    _check_heads(parameters, name)
    _fill_linear(spec.linear[0], parameters, f"{name}.q_proj", f"{name}.k_proj", f"{name}.v_proj")
    _fill_linear(spec.linear[1], parameters, f"{name}.out_proj")
    _fill_layer_norm(spec.layer_norm, parameters, f"{name}_layer_norm")


def _fill_cross_attention(spec: Any, parameters: _Parameters, layer: str) -> None:
    name = f"{layer}.encoder_attn"
    _check_heads(parameters, name)
    _fill_linear(spec.linear[0], parameters, f"{name}.q_proj")
    _fill_linear(spec.linear[1], parameters, f"{name}.k_proj", f"{name}.v_proj")
    _fill_linear(spec.linear[2], parameters, f"{name}.out_proj")
    _fill_layer_norm(spec.layer_norm, parameters, f"{name}_layer_norm")


def _check_heads(parameters: _Parameters, attention: str) -> None:
    """Raise NotATransformer if an attention has lost heads.

    CTranslate2 has one number of heads for all layers, and would translate wrongly.
    """
    if f"{attention}.q_proj.weight" not in parameters and f"{attention}.out_proj.bias" in parameters:
        raise NotATransformer(f"`{attention}` has no heads left")
    rows, width = parameters[f"{attention}.q_proj.weight"].shape
    if rows != width:
        raise NotATransformer(f"`{attention}` has lost heads ({rows} of {width} rows left)")
