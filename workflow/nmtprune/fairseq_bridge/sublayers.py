"""Observe what passes through a Transformer's components (residual sub-layers).

This works for fairseq's own Transformer and for students. A component reads the residual stream and adds
to it. With post-norm it reads the stream itself, and the layer norm follows the sum; with pre-norm the
layer norm is the first part of the component.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple

import nmtprune.fairseq_bridge.shim  # noqa: F401  (before fairseq)

import torch
from torch import Tensor, nn

from nmtprune.experiment.components import Component
from nmtprune.fairseq_bridge.generation import FairseqEngine
from nmtprune.foundation.errors import UserError
from nmtprune.foundation.known import known
from nmtprune.pruning.components import components_of, sub_layer_of
from nmtprune.store.checkpoints import is_transformer
from nmtprune.store.model import Model

# For each part of a layer its first module, its last module, and the layer norm before or after it.
_MODULES = {
    "self": ("self_attn", "self_attn", "self_attn_layer_norm"),
    "cross": ("encoder_attn", "encoder_attn", "encoder_attn_layer_norm"),
    "ffn": ("fc1", "fc2", "final_layer_norm"),
}


class Passed(NamedTuple):
    """The input of a component and what it adds to the residual stream, both [length, sentences, d].

    Time is the first dimension, as in fairseq.
    """

    input: Tensor
    output: Tensor


@dataclass(frozen=True)
class Pass:
    """One forward pass of a batch with given targets (teacher forcing).

    `encoder_output` [source length, sentences, d] and `decoder_output` [target length, sentences, d] are
    the outputs of the last layers, before the output projection. `source_real` [source length,
    sentences] and `target_real` [target length, sentences] are False at padding. The end of sentence is
    the last position of a source and the first position of a target.
    """

    components: dict[Component, Passed]
    encoder_output: Tensor
    decoder_output: Tensor
    source_real: Tensor
    target_real: Tensor

    def real(self, component: Component) -> Tensor:
        """The positions of a component's side that are not padding, bool [length, sentences]."""
        return self.source_real if sub_layer_of(component).side == "encoder" else self.target_real

    def final(self, component: Component) -> Tensor:
        """The output of a component's side [length, sentences, d]."""
        return self.encoder_output if sub_layer_of(component).side == "encoder" else self.decoder_output


class ObservedEngine(FairseqEngine):
    """A Transformer whose components can be observed; raises UserError for another architecture."""

    def __init__(self, model: Model, device: str = "auto") -> None:
        if not is_transformer(model.options):
            architecture = model.options.get("arch") or model.options.get("_name")
            raise UserError(
                "components are sub-layers of a Transformer, and this model is of architecture "
                f"`{architecture}`"
            )
        super().__init__(model, device)
        self._model.requires_grad_(False)
        self.components = [each for each in components_of(model.weights) if self._modules(each)]

    @torch.no_grad()
    def observe(self, sources: list[list[str]], targets: list[list[str]]) -> Pass:
        """What passes through every component for pairs of sentences in pieces, which may be in any order."""
        batch = self._batch(sources, targets)["net_input"]
        with ExitStack() as watched:
            seen = {
                each: watched.enter_context(_watch(*known(self._modules(each)))) for each in self.components
            }
            encoded = self._model.encoder(batch["src_tokens"], src_lengths=batch["src_lengths"])
            decoded, _ = self._model.decoder(
                batch["prev_output_tokens"], encoder_out=encoded, features_only=True
            )
        return Pass(
            {each: Passed(**parts) for each, parts in seen.items()},
            encoded["encoder_out"][0],
            decoded.transpose(0, 1),
            (batch["src_tokens"] != self._source.pad()).T,
            (batch["prev_output_tokens"] != self._target.pad()).T,
        )

    def at_position(self, component: Component, passed: Pass, position: int) -> Callable[[Tensor], Tensor]:
        """A component as a function [d] -> [d] of its input at one position, in a pass of a single sentence.

        All other inputs and the encoder's output keep the values of the pass. In self-attention the
        position is query, key and value at once. Raises UserError if the function does not reproduce the
        model's output, which means that the model uses an option of fairseq that is not supported here.
        """
        function, (stream, output) = self._function(component, passed, position), passed.components[component]
        if not torch.allclose(function(stream[position, 0]), output[position, 0], rtol=1e-3, atol=1e-4):
            raise UserError(
                f"{component} is not the plain sub-layer of a Transformer, so that it is not known how to "
                "differentiate it"
            )
        return function

    def at_all_positions(self, component: Component, passed: Pass) -> Callable[[Tensor], Tensor]:
        """Self-attention as a function [length, d] -> [length, d], in a pass of a single sentence.

        Raises UserError like `at_position`.
        """
        (_, norm, _, last), (stream, output) = known(self._parts(component)), passed.components[component]
        function = _self_attention(last, norm or nn.Identity(), hidden_later=component.kind == "D.SA")
        if not torch.allclose(function(stream[:, 0]), output[:, 0], rtol=1e-3, atol=1e-4):
            raise UserError(
                f"{component} is not the plain sub-layer of a Transformer, so that it is not known how to "
                "differentiate it"
            )
        return function

    def _function(self, component: Component, passed: Pass, position: int) -> Callable[[Tensor], Tensor]:
        layer, norm, first, last = known(self._parts(component))
        stream = passed.components[component].input[:, 0]
        normed = norm or nn.Identity()
        if sub_layer_of(component).component == "ffn":
            return lambda x: last(layer.activation_fn(first(normed(x))))
        if component.kind == "D.EA":
            memory = passed.encoder_output[:, 0]
        else:
            seen = stream[: position + 1] if component.kind == "D.SA" else stream
            memory = normed(torch.cat([seen[:position], seen[position + 1 :]]))
        return _attention(last, normed, memory, with_itself=component.kind != "D.EA")

    def _modules(self, component: Component) -> tuple[nn.Module, nn.Module] | None:
        """The modules that a component's input enters and its output leaves; None if the layer lacks it."""
        parts = self._parts(component)
        return parts and (parts[1] or parts[2], parts[3])

    def _parts(self, component: Component) -> tuple[Any, Any, Any, Any] | None:
        """A component's layer, its layer norm with pre-norm, its first module and its last one."""
        sub_layer = sub_layer_of(component)
        layer = getattr(self._model, sub_layer.side).layers[sub_layer.layer]
        first, last, norm = (getattr(layer, name, None) for name in _MODULES[sub_layer.component])
        if last is None:
            return None
        return layer, norm if layer.normalize_before else None, first, last


@contextmanager
def _watch(entry: nn.Module, last: nn.Module) -> Iterator[dict[str, Tensor]]:
    """Context that fills `input` and `output` when the modules are called."""
    seen: dict[str, Tensor] = {}

    def before(_: nn.Module, arguments: tuple[Any, ...], named: dict[str, Any]) -> None:
        seen["input"] = arguments[0] if arguments else named["query"]

    def after(_: nn.Module, __: Any, output: Any) -> None:
        seen["output"] = output[0] if isinstance(output, tuple) else output

    with entry.register_forward_pre_hook(before, with_kwargs=True), last.register_forward_hook(after):
        yield seen


def _attention(
    module: Any, normed: nn.Module, memory: Tensor, with_itself: bool
) -> Callable[[Tensor], Tensor]:
    """Attention of one position to `memory` [positions, d], and to itself if `with_itself`.

    Keys and values of the other positions are computed once.
    """
    heads = module.num_heads
    keys, values = (project(memory).unflatten(-1, (heads, -1)) for project in (module.k_proj, module.v_proj))

    def gathered(x: Tensor) -> Tensor:
        x = normed(x)
        query, key, value = (
            project(x).unflatten(-1, (heads, -1)) for project in (module.q_proj, module.k_proj, module.v_proj)
        )
        all_keys = torch.cat([keys, key.unsqueeze(0)]) if with_itself else keys
        all_values = torch.cat([values, value.unsqueeze(0)]) if with_itself else values
        weights = torch.softmax((all_keys * query).sum(-1) / query.shape[-1] ** 0.5, 0)
        return module.out_proj((weights.unsqueeze(-1) * all_values).sum(0).flatten())

    return gathered


def _self_attention(module: Any, normed: nn.Module, hidden_later: bool) -> Callable[[Tensor], Tensor]:
    """Self-attention [length, d] -> [length, d]; with `hidden_later`, no position sees later ones."""
    heads = module.heads if hasattr(module, "heads") else module.num_heads

    def gathered(x: Tensor) -> Tensor:
        x = normed(x)
        query, key, value = (
            project(x).unflatten(-1, (heads, -1)) for project in (module.q_proj, module.k_proj, module.v_proj)
        )
        scores = torch.einsum("qhe,khe->hqk", query, key) / query.shape[-1] ** 0.5
        if hidden_later:
            scores = scores + torch.full(scores.shape[1:], -torch.inf, dtype=x.dtype).triu(1)
        return module.out_proj(torch.einsum("hqk,khe->qhe", scores.softmax(-1), value).flatten(1))

    return gathered
