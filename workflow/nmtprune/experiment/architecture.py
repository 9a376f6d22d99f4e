"""Architectures of recipes: what is known of a model before it is built. Needs no PyTorch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from nmtprune.experiment import subwords
from nmtprune.experiment.shapes import Shape
from nmtprune.experiment.views import View
from nmtprune.foundation.errors import UserError

TRANSFORMERS = ("transformer", "nmtprune_transformer")
LIGHT_CONVOLUTION = 3  # matrices d x d in the place of attention's four: two before the gate, one after
EMBEDDINGS = frozenset({"source embedding", "target embedding", "softmax"})  # weight classes
OWNERS = {"layer_drop": "transformer", "sub_layer_drop": "nmtprune_transformer"}  # of keys


@dataclass(frozen=True, kw_only=True)
class Architecture(View):
    """fairseq's architecture and its options; None stands for fairseq's own default."""

    SCHEMA: ClassVar[str] = "recipe#/properties/architecture"

    name: str
    encoder_layers: int
    decoder_layers: int
    embed_dim: int | None
    ffn_dim: int | None
    heads: int | None
    head_dim: int | None
    decoder_self: str
    tied_decoder_layers: bool
    norm: str
    share_embeddings: str
    dropout: float | None
    attention_dropout: float | None
    activation_dropout: float | None
    layer_drop: float | None
    sub_layer_drop: float | None
    conv_type: str | None
    attention: str | None
    init_scale: float | None

    @property
    def is_transformer(self) -> bool:
        """Whether it is a Transformer, fairseq's own or a student."""
        return self.name in TRANSFORMERS

    @property
    def is_lstm(self) -> bool:
        """Whether it is an LSTM, fairseq's or ours."""
        return "lstm" in self.name

    @property
    def has_ssru(self) -> bool:
        """Whether an SSRU takes the place of the decoder's self-attention."""
        return self.decoder_self == "ssru"

    @property
    def shape(self) -> Shape | None:
        """The shape that a Transformer begins with; None for other models, or if fairseq sets the widths."""
        if not (self.is_transformer and self.ffn_dim and self.heads):
            return None
        layer = {"ffn": self.ffn_dim, "self": self.heads}
        decoder = {**layer, "cross": self.heads}
        if self.has_ssru:
            decoder.pop("self")
        return {"encoder": [layer] * self.encoder_layers, "decoder": [decoder] * self.decoder_layers}

    @property
    def weight_classes(self) -> list[str]:
        """The weight classes of See et al. 2016 (3.2) in the order of their figure 4.

        Tied embeddings are one class, by the first of their names, and so are tied decoder layers.
        """
        decoder_layers = min(self.decoder_layers, 1) if self.tied_decoder_layers else self.decoder_layers
        layers = [
            f"{side} layer {number}"
            for side, count in (("source", self.encoder_layers), ("target", decoder_layers))
            for number in range(1, count + 1)
        ]
        attention = [] if self.attention == "none" else ["attention"]
        tables = {
            "none": ["softmax", "source embedding", "target embedding"],
            "target": ["source embedding", "target embedding"],
            "all": ["source embedding"],
        }
        return [*layers, *attention, *tables[self.share_embeddings]]

    def parameter_count(self, types: tuple[int, int]) -> int | None:
        """About how many parameters a model has with dictionaries of so many `types`, source and target.

        Matrices and embeddings, tied ones once, and no biases, which are 2 % of a narrow model and nothing of
        a wide one. None if fairseq sets a width.
        """
        width = self.embed_dim
        if not width:
            return None
        tables = {"none": types[0] + 2 * types[1], "target": sum(types), "all": max(types)}
        layers = self._lstm_layers(width) if self.is_lstm else self._attention_layers(width)
        return None if layers is None else width * tables[self.share_embeddings] + layers

    def _lstm_layers(self, width: int) -> int:
        """Parameters of an LSTM's layers and its attention.

        A layer is two matrices 4d x d; the decoder is fed its last attention output, and its attention is a
        matrix 2d x d or 3d x d.
        """
        attention = 3 if self.attention is None else {"dot": 2, "none": 0}[self.attention]
        fed = 0 if self.name == "nmtprune_lstm" else 4
        return width**2 * (8 * (self.encoder_layers + self.decoder_layers) + attention + fed)

    def _attention_layers(self, width: int) -> int | None:
        """Parameters of the layers of a Transformer or a LightConv; None if fairseq sets a width."""
        if not (self.heads and self.ffn_dim):
            return None
        feed_forward = 2 * width * self.ffn_dim
        attention = 4 * width * self.heads * (self.head_dim or width // self.heads)
        over_own = LIGHT_CONVOLUTION * width**2 if self.name.startswith("lightconv") else attention
        in_decoder = 2 * width**2 if self.has_ssru else over_own
        decoders = 1 if self.tied_decoder_layers else self.decoder_layers
        encoder = self.encoder_layers * (over_own + feed_forward)
        return encoder + decoders * (in_decoder + attention + feed_forward)


def spelt(weight_class: str) -> str:
    """A weight class as a step spells it: `source_layer_1`."""
    return weight_class.replace(" ", "_")


def check(stated: Mapping[str, Any], of_subwords: Mapping[str, Any], where: str) -> None:
    """What the schema cannot say of a recipe's architecture and its subwords. Raises UserError."""
    for key in ("name", "encoder_layers", "decoder_layers"):
        if key not in stated:
            raise UserError(f"{where}: architecture: the key `{key}` is missing, also from what it extends")
    architecture = Architecture.over(stated)
    width, heads = architecture.embed_dim, architecture.heads
    if width and heads and not architecture.head_dim and width % heads:
        raise UserError(f"{where}: architecture: embed_dim {width} is not a multiple of heads {heads}")
    for key, owner in OWNERS.items():
        if key in stated and architecture.name != owner:
            raise UserError(
                f"{where}: architecture: {key} is for `{owner}`, and the name is `{architecture.name}`"
            )
    layers = architecture.encoder_layers, architecture.decoder_layers
    if architecture.is_lstm and layers[0] != layers[1]:
        raise UserError(
            f"{where}: architecture: encoder_layers {layers[0]} and decoder_layers {layers[1]} must be "
            "equal: "
            "each layer of an LSTM decoder begins with the final state of an encoder layer"
        )
    if architecture.share_embeddings == "all" and not subwords.with_defaults(of_subwords)["joint_dictionary"]:
        raise UserError(
            f"{where}: architecture: share_embeddings `all` needs one dictionary for both languages "
            "(subwords: joint: true)"
        )
