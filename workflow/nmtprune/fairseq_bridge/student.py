"""The student models of Behnke & Heafield 2021 (section 4.1), a plug-in model of fairseq.

A student is fairseq's Transformer, under fairseq's parameter names, with more freedom: its decoder may
have simpler simple recurrent units (SSRU, Kim et al. 2019) in place of self-attention, its decoder
layers may share their parameters, and each layer may have its own number of heads and feed-forward
width, as slicing leaves them, or lack a sub-layer. Time is the first dimension, as in fairseq.
"""

import json
from argparse import Namespace
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import nmtprune.fairseq_bridge.shim  # noqa: F401  (before fairseq)

# isort: split
import torch
from fairseq import utils
from fairseq.dataclass import ChoiceEnum, FairseqDataclass
from fairseq.dataclass.utils import gen_parser_from_dataclass
from fairseq.incremental_decoding_utils import FairseqIncrementalState
from fairseq.models import register_model
from fairseq.models.transformer import (
    TransformerConfig,
    TransformerDecoderBase,
    TransformerEncoderBase,
    TransformerModelBase,
)
from fairseq.modules import FairseqDropout, LayerNorm
from torch import Tensor, nn
from torch.nn import functional

from nmtprune.experiment.imports import MARIAN
from nmtprune.experiment.shapes import Shape
from nmtprune.foundation.errors import UserError
from nmtprune.foundation.known import known
from nmtprune.store.model import sinusoids

Incremental = dict[str, dict[str, Tensor | None]]


@dataclass
class StudentConfig(FairseqDataclass):
    """Options of the student model."""

    encoder_layers: int = field(default=6, metadata={"help": "layers of the encoder"})
    decoder_layers: int = field(default=6, metadata={"help": "layers of the decoder"})
    encoder_embed_dim: int = field(default=512, metadata={"help": "width d of the encoder"})
    decoder_embed_dim: int = field(
        default=512, metadata={"help": "width d of the decoder; must equal the encoder's"}
    )
    encoder_ffn_embed_dim: int = field(
        default=2048, metadata={"help": "width of the encoder's feed-forward layers"}
    )
    decoder_ffn_embed_dim: int = field(
        default=2048, metadata={"help": "width of the decoder's feed-forward layers"}
    )
    encoder_attention_heads: int = field(
        default=8, metadata={"help": "heads of every attention of the encoder"}
    )
    decoder_attention_heads: int = field(
        default=8, metadata={"help": "heads of every attention of the decoder"}
    )
    head_dim: int = field(default=0, metadata={"help": "width of an attention head; 0: width d over heads"})
    encoder_normalize_before: bool = field(
        default=False, metadata={"help": "layer norms before the encoder's sub-layers"}
    )
    decoder_normalize_before: bool = field(
        default=False, metadata={"help": "layer norms before the decoder's sub-layers"}
    )
    decoder_self: ChoiceEnum(["attention", "ssru"]) = field(  # pyright: ignore[reportInvalidTypeForm]
        default="attention", metadata={"help": "how a target position sees earlier ones"}
    )
    tied_decoder_layers: bool = field(
        default=False, metadata={"help": "all decoder layers share their parameters"}
    )
    shape: str = field(
        default="",
        metadata={
            "help": "JSON: heads and feed-forward width of each layer; if empty, given by the other options"
        },
    )
    share_decoder_input_output_embed: bool = field(
        default=False, metadata={"help": "tie target embedding and output projection"}
    )
    share_all_embeddings: bool = field(default=False, metadata={"help": "tie the source embedding as well"})
    activation_fn: ChoiceEnum([*utils.get_available_activation_fns(), "swish"]) = field(  # pyright: ignore[reportInvalidTypeForm]
        default="relu", metadata={"help": "activation of the feed-forward layers"}
    )
    dropout: float = field(default=0.1, metadata={"help": "dropout of sub-layer outputs and embeddings"})
    attention_dropout: float = field(default=0.0, metadata={"help": "dropout of attention weights"})
    activation_dropout: float = field(
        default=0.0, metadata={"help": "dropout inside the feed-forward layers"}
    )
    sub_layer_drop: float = field(
        default=0.0,
        metadata={"help": "LayerDrop of single sub-layers: probability of leaving one out in training"},
    )
    max_source_positions: int = field(
        default=1024, metadata={"help": "longest source in pieces, end of sentence included"}
    )
    max_target_positions: int = field(
        default=1024, metadata={"help": "longest target in pieces, end of sentence included"}
    )
    positions: ChoiceEnum(["fairseq", MARIAN]) = field(  # pyright: ignore[reportInvalidTypeForm]
        default="fairseq", metadata={"help": "whose sinusoidal position embeddings"}
    )
    no_scale_embedding: bool = field(
        default=False, metadata={"help": "embeddings are not multiplied by the root of the width"}
    )
    start_with_padding: bool = field(
        default=False,
        metadata={"help": "the decoder starts with the embedding of padding in place of the end of sentence"},
    )
    output_bias: bool = field(
        default=False, metadata={"help": "the output projection has a bias, which is not trained"}
    )


def uniform_shape(cfg: Any) -> Shape:
    """The shape in which all layers of a side have the same heads and feed-forward width."""
    encoder = {"ffn": cfg.encoder_ffn_embed_dim, "self": cfg.encoder_attention_heads}
    decoder = {"ffn": cfg.decoder_ffn_embed_dim, "cross": cfg.decoder_attention_heads}
    if str(cfg.decoder_self) == "attention":
        decoder["self"] = cfg.decoder_attention_heads
    return {
        "encoder": [dict(encoder) for _ in range(cfg.encoder_layers)],
        "decoder": [dict(decoder) for _ in range(cfg.decoder_layers)],
    }


def with_shape(options: Mapping[str, Any], shape: Shape) -> dict[str, Any]:
    """Options of a student of this shape, from the options in a checkpoint.

    The checkpoint is that of a student or of fairseq's own Transformer.
    """
    known = {
        name: options[name]
        for name in StudentConfig.__dataclass_fields__
        if name != "_name" and name in options
    }
    layers = {f"{side}_layers": len(shape[side]) for side in shape}
    return {"_name": "nmtprune_transformer", **known, **layers, "shape": json.dumps(shape)}


@register_model("nmtprune_transformer", dataclass=StudentConfig)
class Student(TransformerModelBase):
    """The whole model; raises UserError for widths, layers or dictionaries that do not match."""

    @classmethod
    def add_args(cls, parser: Any) -> None:
        """Add the options to an argument parser, as fairseq asks."""
        gen_parser_from_dataclass(parser, StudentConfig())

    @classmethod
    def build_model(cls, cfg: Any, task: Any) -> "Student":
        """Build the model, as fairseq asks."""
        width, heads = cfg.encoder_embed_dim, cfg.encoder_attention_heads
        if cfg.decoder_embed_dim != width:
            raise UserError(
                f"decoder_embed_dim: {cfg.decoder_embed_dim} is not encoder_embed_dim ({width}): sub-layers "
                "have one width"
            )
        if not cfg.head_dim and (width % heads or heads != cfg.decoder_attention_heads):
            raise UserError(
                f"head_dim: set it, since the width {width} is not a multiple of one number of heads "
                f"({heads}) for both sides"
            )
        if cfg.share_all_embeddings and task.source_dictionary != task.target_dictionary:
            raise UserError(
                "share_embeddings: `all` needs one dictionary for both languages (subwords: joint: true)"
            )
        shape = json.loads(cfg.shape) if cfg.shape else uniform_shape(cfg)
        layers = len(shape["encoder"]), len(shape["decoder"])
        if layers != (cfg.encoder_layers, cfg.decoder_layers):
            raise UserError(
                f"shape: it has {layers} layers, and encoder and decoder have "
                f"{cfg.encoder_layers, cfg.decoder_layers}"
            )
        if cfg.tied_decoder_layers and any(layer != shape["decoder"][0] for layer in shape["decoder"]):
            raise UserError("shape: tied decoder layers have one shape; repeat it for each of them")
        options = {name: getattr(cfg, name) for name in StudentConfig.__dataclass_fields__ if name != "_name"}
        options |= {"head_dim": cfg.head_dim or width // heads, "shape": shape}
        options |= {"decoder_input_dim": width, "decoder_output_dim": width}
        return super().build_model(TransformerConfig.from_namespace(Namespace(**options)), task)

    @classmethod
    def build_encoder(cls, cfg: Any, src_dict: Any, embed_tokens: nn.Embedding) -> "Encoder":
        """Build the encoder, as fairseq asks."""
        return Encoder(cfg, src_dict, embed_tokens)

    @classmethod
    def build_decoder(cls, cfg: Any, tgt_dict: Any, embed_tokens: nn.Embedding) -> "Decoder":
        """Build the decoder, as fairseq asks."""
        return Decoder(cfg, tgt_dict, embed_tokens)


class Encoder(TransformerEncoderBase):
    """The encoder of a student, whose layers have their own shapes."""

    def __init__(self, cfg: Any, dictionary: Any, embed_tokens: nn.Embedding) -> None:
        self._shapes = iter(cfg.shape["encoder"])  # the base class builds one layer after the other
        super().__init__(cfg, dictionary, embed_tokens)
        if str(cfg.positions) == MARIAN:
            self.embed_positions = Positions(
                cfg.max_source_positions, cfg.encoder.embed_dim, dictionary.pad()
            )

    def build_encoder_layer(self, cfg: Any) -> nn.Module:
        """Build the next layer from the bottom up."""
        return EncoderLayer(cfg, cfg.encoder.normalize_before, next(self._shapes))


class Decoder(TransformerDecoderBase):
    """The decoder of a student, whose layers have their own shapes or share their parameters."""

    def __init__(self, cfg: Any, dictionary: Any, embed_tokens: nn.Embedding) -> None:
        self._shapes = iter(cfg.shape["decoder"])
        super().__init__(cfg, dictionary, embed_tokens)
        if cfg.tied_decoder_layers:
            for layer in self.layers[1:]:
                _tie(layer, self.layers[0])
        if str(cfg.positions) == MARIAN:
            self.embed_positions = Positions(cfg.max_target_positions, self.embed_dim, dictionary.pad())
        if cfg.start_with_padding:
            self.embed_tokens = EmbeddingsThatStartWithPadding(embed_tokens, dictionary.eos())
        if cfg.output_bias:
            del self.output_projection.bias
            self.output_projection.register_buffer("bias", torch.zeros(len(dictionary)))

    def build_decoder_layer(self, cfg: Any, no_encoder_attn: bool = False) -> nn.Module:
        """Build the next layer from the bottom up."""
        return DecoderLayer(cfg, cfg.decoder.normalize_before, next(self._shapes))


class Positions(nn.Module):
    """The sinusoidal position embeddings of Marian, numbered from 0 at the first token of a sentence."""

    table: Tensor

    def __init__(self, max_positions: int, width: int, padding: int) -> None:
        super().__init__()
        self.max_positions, self.padding = max_positions, padding
        first, frequencies = sinusoids({"positions": MARIAN}, width)
        angles = torch.arange(first, first + max_positions)[:, None] * frequencies
        self.register_buffer("table", torch.cat([angles.sin(), angles.cos()], dim=1), persistent=False)

    def forward(self, types: Tensor, **_: Any) -> Tensor:
        """The embeddings [sentences, length, d] of the positions of `types` [sentences, length]."""
        return self.table[(types.ne(self.padding).cumsum(1) - 1).clamp_(0, self.max_positions - 1)]


class EmbeddingsThatStartWithPadding(nn.Embedding):
    """Target embeddings in which the end of sentence, which starts a target, has the row of padding.

    The weight is that of `embeddings`.
    """

    def __init__(self, embeddings: nn.Embedding, start: int) -> None:
        types, width = embeddings.weight.shape
        super().__init__(types, width, embeddings.padding_idx, _weight=embeddings.weight)
        self.weight, self.start = embeddings.weight, start

    def forward(self, types: Tensor) -> Tensor:
        """The embeddings [..., d] of `types` [...]."""
        return super().forward(types.masked_fill(types == self.start, known(self.padding_idx)))


class Layer(nn.Module):
    """Common parts of encoder and decoder layers: residual connections and the feed-forward sub-layer.

    The feed-forward sub-layer is the last one. A sub-layer that the shape does not name is absent,
    together with its layer norm.
    """

    def __init__(self, cfg: Any, normalize_before: bool) -> None:
        super().__init__()
        self.normalize_before = normalize_before
        self.dropout_module = FairseqDropout(cfg.dropout, module_name=type(self).__name__)
        self.activation_dropout_module = FairseqDropout(
            cfg.activation_dropout, module_name=type(self).__name__
        )
        self.activation_fn = _activation(str(cfg.activation_fn))
        self.sub_layer_drop = cfg.sub_layer_drop

    def add_feed_forward(self, width: int, ffn: int | None) -> None:
        """Add a sub-layer of `ffn` hidden units; 0 leaves only its output's bias, None leaves nothing."""
        if ffn is None:
            self.fc1 = self.fc2 = self.final_layer_norm = None
            return
        self.fc1 = nn.Linear(width, ffn) if ffn else None
        self.fc2 = nn.Linear(ffn, width) if ffn else Bias(width)
        self.final_layer_norm = LayerNorm(width)

    def feed_forward(self, x: Tensor) -> Tensor:
        """The feed-forward network of `x` [length, sentences, d]."""
        if self.fc1 is None:
            return known(self.fc2)(x)
        return known(self.fc2)(self.activation_dropout_module(self.activation_fn(self.fc1(x))))

    def upgrade_state_dict_named(self, state_dict: dict[str, Any], name: str) -> None:
        """Do nothing; fairseq's encoder calls this to rename the parameters of older checkpoints."""

    def residual(self, x: Tensor, norm: nn.Module | None, sub_layer: Callable[[Tensor], Tensor]) -> Tensor:
        """`x` plus the sub-layer's output, with the layer norm before (pre-norm) or after (post-norm).

        In training, LayerDrop may leave the sub-layer out (Fan et al. 2020; for sub-layers Wang and Tu
        2020, 3.1), with the same result as ablating it.
        """
        if norm is None:
            return x
        if self.training and left_out(self.sub_layer_drop):
            return x if self.normalize_before else norm(x)
        if self.normalize_before:
            return x + self.dropout_module(sub_layer(norm(x)))
        return norm(x + self.dropout_module(sub_layer(x)))


def _activation(name: str) -> Callable[[Tensor], Tensor]:
    # fairseq gives the class of a module for swish
    return functional.silu if name == "swish" else utils.get_activation_fn(activation=name)


def left_out(sub_layer_drop: float) -> bool:
    """Whether LayerDrop leaves a sub-layer out this time."""
    return bool(sub_layer_drop) and float(torch.rand(())) < sub_layer_drop


class EncoderLayer(Layer):
    """A layer of the encoder: self-attention and feed-forward network."""

    load_to_BT = False  # noqa: N815 - fairseq's encoder reads this: no fast path

    def __init__(self, cfg: Any, normalize_before: bool, shape: dict[str, int]) -> None:
        super().__init__(cfg, normalize_before)
        width = cfg.encoder.embed_dim
        self.self_attn = (
            Attention(width, shape["self"], cfg.head_dim, cfg.attention_dropout) if "self" in shape else None
        )
        self.self_attn_layer_norm = LayerNorm(width) if "self" in shape else None
        self.add_feed_forward(width, shape.get("ffn"))

    def forward(self, x: Tensor, encoder_padding_mask: Tensor | None) -> Tensor:
        """The layer's output for `x` [length, sentences, d].

        `encoder_padding_mask`: [sentences, length], true at padding.
        """
        x = self.residual(
            x,
            self.self_attn_layer_norm,
            lambda y: known(self.self_attn)(y, y, padded=encoder_padding_mask)[0],
        )
        return self.residual(x, self.final_layer_norm, self.feed_forward)


class DecoderLayer(Layer):
    """A layer of the decoder: self-attention or SSRU, cross-attention and feed-forward network."""

    def __init__(self, cfg: Any, normalize_before: bool, shape: dict[str, int]) -> None:
        super().__init__(cfg, normalize_before)
        width = cfg.decoder.embed_dim
        self.ssru = Ssru(width) if str(cfg.decoder_self) == "ssru" else None
        self.self_attn = (
            Attention(width, shape["self"], cfg.head_dim, cfg.attention_dropout) if "self" in shape else None
        )
        self.self_attn_layer_norm = LayerNorm(width) if self.ssru or self.self_attn else None
        cross = "cross" in shape
        self.encoder_attn = (
            Attention(width, shape["cross"], cfg.head_dim, cfg.attention_dropout, cross=True)
            if cross
            else None
        )
        self.encoder_attn_layer_norm = LayerNorm(width) if cross else None
        self.add_feed_forward(width, shape.get("ffn"))

    def forward(
        self,
        x: Tensor,
        encoder_out: Tensor,
        encoder_padding_mask: Tensor | None = None,
        incremental_state: Incremental | None = None,
        self_attn_mask: Tensor | None = None,
        need_attn: bool = False,
        **_: Any,
    ) -> tuple[Tensor, Tensor | None, None]:
        """The layer's output for `x` [target length, sentences, d], and attention weights if `need_attn`.

        `encoder_out`: [source length, sentences, d]; `self_attn_mask`: [target length, target length],
        minus infinity where later positions are hidden. Targets are padded on the right, where no real
        position looks. The weights are those of every head of the cross-attention [heads, sentences,
        target length, source length].
        """
        weights = None

        def look_back(y: Tensor) -> Tensor:
            if self.ssru is not None:
                return self.ssru(y, incremental_state)
            return known(self.self_attn)(y, y, hidden=self_attn_mask, incremental_state=incremental_state)[0]

        def look_at_source(y: Tensor) -> Tensor:
            nonlocal weights
            y, weights = known(self.encoder_attn)(
                y, encoder_out, padded=encoder_padding_mask, incremental_state=incremental_state
            )
            return y

        x = self.residual(x, self.self_attn_layer_norm, look_back)
        x = self.residual(x, self.encoder_attn_layer_norm, look_at_source)
        return (
            self.residual(x, self.final_layer_norm, self.feed_forward),
            weights if need_attn else None,
            None,
        )


class Bias(nn.Module):
    """The bias that remains of a linear layer without inputs."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(width))

    def forward(self, x: Tensor) -> Tensor:
        """The bias, repeated for each position of `x` [..., width]."""
        return self.bias.expand_as(x)


class Attention(FairseqIncrementalState, nn.Module):
    """Attention with `heads` heads of width `head_dim`, at any width of the model.

    Without heads the output is the bias of the output projection. First weights are drawn as in fairseq.
    In beam search, `cross` attention keeps one copy of keys and values for all hypotheses of a sentence.
    """

    def __init__(self, width: int, heads: int, head_dim: int, dropout: float, cross: bool = False) -> None:
        super().__init__()
        self.num_heads, self.head_dim, self.cross, self.beam = heads, head_dim, cross, 1
        self.dropout_module = FairseqDropout(dropout, module_name=type(self).__name__)
        if not heads:
            self.out_proj = Bias(width)
            return
        self.k_proj, self.v_proj, self.q_proj = (nn.Linear(width, heads * head_dim) for _ in range(3))
        self.out_proj = nn.Linear(heads * head_dim, width)
        for projection in (self.k_proj, self.v_proj, self.q_proj):
            nn.init.xavier_uniform_(projection.weight, gain=2**-0.5)
        nn.init.xavier_uniform_(self.out_proj.weight)
        nn.init.zeros_(self.out_proj.bias)

    def forward(
        self,
        x: Tensor,
        memory: Tensor,
        padded: Tensor | None = None,
        hidden: Tensor | None = None,
        incremental_state: Incremental | None = None,
    ) -> tuple[Tensor, Tensor | None]:
        """Attention of positions `x` [length, sentences, d] to `memory` [memory length, sentences, d].

        `padded`: [sentences, memory length], true at positions to hide; `hidden`: [length, memory
        length], added to the scores. Returns the output [length, sentences, d] and the attention weights
        [heads, sentences, length, memory length], which are None in training or without heads.
        """
        if not self.num_heads:
            return self.out_proj(x), None
        length, sentences, _ = x.shape
        keys, values = self._memory(memory, incremental_state)
        beam = sentences // (len(keys) // self.num_heads)
        # hypotheses of a sentence are treated like positions: [sentences * heads, length * beam, head_dim]
        queries = (self.q_proj(x) * self.head_dim**-0.5).view(length, -1, beam, self.num_heads, self.head_dim)
        queries = queries.permute(1, 3, 0, 2, 4).reshape(len(keys), length * beam, self.head_dim)
        scores = torch.bmm(queries, keys.transpose(1, 2))
        if hidden is not None:
            scores += hidden
        if padded is not None:
            scores.view(-1, self.num_heads, *scores.shape[1:]).masked_fill_(
                padded[::beam, None, None], float("-inf")
            )
        weights = utils.softmax(scores, dim=-1).type_as(scores)
        gathered = torch.bmm(self.dropout_module(weights), values).view(
            -1, self.num_heads, length, beam, self.head_dim
        )
        output = self.out_proj(gathered.permute(2, 0, 3, 1, 4).reshape(length, sentences, -1))
        if self.training:
            return output, None
        weights = weights.view(-1, self.num_heads, length, beam, weights.shape[-1])
        return output, weights.permute(1, 0, 3, 2, 4).reshape(self.num_heads, sentences, length, -1)

    def _memory(self, memory: Tensor, incremental_state: Incremental | None) -> tuple[Tensor, Tensor]:
        """Keys and values [sentences * heads, memory length, head_dim], cached in incremental decoding."""
        before = self.get_incremental_state(incremental_state, "memory")
        if before is None or not self.cross:
            if self.cross and incremental_state is not None:
                memory = memory[:, :: self.beam]
            now = {"keys": self.k_proj(memory), "values": self.v_proj(memory)}
            now = {
                name: part.reshape(len(part), -1, self.head_dim).transpose(0, 1) for name, part in now.items()
            }
            if incremental_state is None:
                return now["keys"], now["values"]
            now = {
                name: part.reshape(memory.shape[1], self.num_heads, -1, self.head_dim)
                for name, part in now.items()
            }
            before = {
                name: part if before is None else torch.cat([before[name], part], dim=2)
                for name, part in now.items()
            }
            self.set_incremental_state(incremental_state, "memory", before)
        return before["keys"].flatten(0, 1), before["values"].flatten(0, 1)

    def reorder_incremental_state(self, incremental_state: Incremental, new_order: Tensor) -> None:
        """Select hypotheses of the cached keys and values, as beam search asks."""
        if self.cross:  # hypotheses never change their sentence
            new_order = new_order.view(-1, self.beam)[:, 0] // self.beam
        _reorder(self, incremental_state, "memory", new_order)

    def set_beam_size(self, beam_size: int) -> None:
        """Set the number of hypotheses for each sentence."""
        self.beam = beam_size


class Ssru(FairseqIncrementalState, nn.Module):
    """The simpler simple recurrent unit (Kim et al. 2019, section 3).

    Its cell is c_t = f_t * c_(t-1) + (1 - f_t) * W x_t, its output is relu(c_t).
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.forget_proj = nn.Linear(width, width)
        self.candidate_proj = nn.Linear(width, width, bias=False)
        nn.init.xavier_uniform_(self.forget_proj.weight)
        nn.init.xavier_uniform_(self.candidate_proj.weight)
        nn.init.zeros_(self.forget_proj.bias)

    def forward(self, x: Tensor, incremental_state: Incremental | None = None) -> Tensor:
        """Outputs for `x` [length, sentences, d]; with `incremental_state`, `x` is the last position only."""
        forget, candidate = torch.sigmoid(self.forget_proj(x)), self.candidate_proj(x)
        update = candidate - forget * candidate
        if incremental_state is None:
            return torch.relu(recurrence(forget, update))
        before = self.get_incremental_state(incremental_state, "cell")
        cell = update if before is None else update + forget * before["cell"]
        self.set_incremental_state(incremental_state, "cell", {"cell": cell})
        return torch.relu(cell)

    def reorder_incremental_state(self, incremental_state: Incremental, new_order: Tensor) -> None:
        """Select hypotheses of the cell, as beam search asks."""
        _reorder(self, incremental_state, "cell", new_order, dim=1)


class _Recurrence(torch.autograd.Function):
    """The recurrence with its gradient, which is the same recurrence from the last position to the first."""

    @staticmethod
    def forward(ctx: Any, forget: Tensor, update: Tensor) -> Tensor:
        cells = _scan(forget, update)
        ctx.save_for_backward(forget, cells)
        return cells

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor]:
        forget, cells = ctx.saved_tensors
        later = torch.cat([torch.zeros_like(forget[:1]), forget[1:].flip(0)])
        update = _scan(later, gradient.flip(0)).flip(0)
        before = torch.cat([torch.zeros_like(cells[:1]), cells[:-1]])
        return update * before, update


def recurrence(forget: Tensor, update: Tensor) -> Tensor:
    """c_t = f_t * c_(t-1) + u_t with c_(-1) = 0 for all t at once; all tensors are [length, ...].

    f are the forget gates and u the updates.
    """
    return _Recurrence.apply(forget, update)


def _scan(forget: Tensor, update: Tensor) -> Tensor:
    """The recurrence by parallel scan (Hillis & Steele 1986).

    Step k extends the reach of every position by 2^k positions. Gates are only multiplied, never
    divided.
    """
    cells, reach = update.clone(), 1
    while reach < len(cells):
        cells[reach:] += forget[reach:] * cells[:-reach]
        forget = torch.cat([forget[:reach], forget[reach:] * forget[:-reach]])
        reach *= 2
    return cells


def _reorder(
    module: FairseqIncrementalState, incremental_state: Incremental, key: str, order: Tensor, dim: int = 0
) -> None:
    state = module.get_incremental_state(incremental_state, key)
    if state is None:
        return
    now = torch.arange(next(iter(state.values())).shape[dim], device=order.device)
    if not torch.equal(order, now):
        reordered = {name: value.index_select(dim, order) for name, value in state.items()}
        module.set_incremental_state(incremental_state, key, reordered)


def _tie(module: nn.Module, to: nn.Module) -> None:
    """Give a module the Parameters of another one of its kind; its cache in decoding stays its own."""
    for name, part in module.named_modules():
        for key, parameter in to.get_submodule(name).named_parameters(recurse=False):
            setattr(part, key, parameter)
