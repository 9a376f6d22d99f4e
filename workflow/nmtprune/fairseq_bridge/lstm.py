"""The recurrent model of See et al. 2016 (section 3.2), a plug-in model of fairseq.

One LSTM reads the source. Another one writes the target; each of its layers starts with the final state
of the same layer of the first. Global attention with the *dot* score (Luong et al. 2015, 3.1) attends
from the target's top states to the source's. According to the printed sizes of the weight classes
(figure 4: 4n x 2n for every layer, 2n x n for attention), there is no input feeding and no bias. Without
input feeding, the LSTM reads a whole target sequence at once wherever the target is known.
"""

from dataclasses import dataclass, field
from typing import Any

import nmtprune.fairseq_bridge.shim  # noqa: F401  (before fairseq)

# isort: split
import torch
from fairseq.dataclass import ChoiceEnum, FairseqDataclass
from fairseq.models import (
    FairseqEncoder,
    FairseqEncoderDecoderModel,
    FairseqIncrementalDecoder,
    register_model,
)
from fairseq.modules import FairseqDropout
from torch import Tensor, nn
from torch.nn import functional

from nmtprune.fairseq_bridge.recurrence import StackedLstm
from nmtprune.foundation.errors import UserError

ATTENTION = ChoiceEnum(["dot", "none"])
NO_LIMIT = 100_000  # longest sentence in pieces: an LSTM has no position embeddings


@dataclass
class LstmConfig(FairseqDataclass):
    """Options of the recurrent model."""

    embed_dim: int = field(default=1000, metadata={"help": "width n of embeddings and hidden states"})
    encoder_layers: int = field(default=4, metadata={"help": "layers that read the source"})
    decoder_layers: int = field(
        default=4, metadata={"help": "layers that write the target; as many as encoder_layers"}
    )
    attention: ATTENTION = field(  # pyright: ignore[reportInvalidTypeForm]
        default="dot", metadata={"help": "score of the global attention, or no attention"}
    )
    dropout: float = field(
        default=0.2, metadata={"help": "dropout of embeddings, between layers and before the softmax"}
    )
    init_scale: float = field(
        default=0.1, metadata={"help": "first weights are uniform between minus and plus this value"}
    )
    share_decoder_input_output_embed: bool = field(
        default=False, metadata={"help": "tie target embedding and output projection"}
    )
    share_all_embeddings: bool = field(default=False, metadata={"help": "tie the source embedding as well"})


@register_model("nmtprune_lstm", dataclass=LstmConfig)
class Lstm(FairseqEncoderDecoderModel):
    """The whole model: encoder, attention and decoder.

    Raises UserError for sides with different numbers of layers, and for one embedding over two
    dictionaries.
    """

    @classmethod
    def build_model(cls, cfg: LstmConfig, task: Any) -> "Lstm":
        """Build the model, as fairseq asks."""
        source, target = task.source_dictionary, task.target_dictionary
        if cfg.encoder_layers != cfg.decoder_layers:
            raise UserError(
                f"decoder_layers: {cfg.decoder_layers} is not encoder_layers ({cfg.encoder_layers}): "
                "each layer of an LSTM decoder begins with the final state of an encoder layer"
            )
        if cfg.share_all_embeddings and source != target:
            raise UserError(
                "share_embeddings: `all` needs one dictionary for both languages (subwords: joint: true)"
            )
        encoder, decoder = LstmEncoder(cfg, source), LstmDecoder(cfg, target)
        if cfg.share_all_embeddings:
            encoder.embed_tokens.weight = decoder.embed_tokens.weight
        return cls(encoder, decoder)


class LstmEncoder(FairseqEncoder):
    """The stacked LSTM that reads the source."""

    def __init__(self, cfg: LstmConfig, dictionary: Any) -> None:
        super().__init__(dictionary)
        self.padding_idx = dictionary.pad()
        self.embed_tokens = _embedding(cfg, dictionary)
        self.dropout = FairseqDropout(cfg.dropout, module_name=type(self).__name__)
        self.lstm = _lstm(cfg, cfg.encoder_layers)

    def forward(self, src_tokens: Tensor, src_lengths: Tensor | None = None) -> dict[str, list[Tensor]]:
        """Read sources [sentences, length], padded on the left.

        Padding needs no special treatment: its embedding is zero, and without biases an LSTM in state
        zero stays in state zero. Returns the top states [sentences, length, n], the padding mask
        [sentences, length], and the final `hidden` and `cell` [layers, sentences, n].
        """
        padded = src_tokens.eq(self.padding_idx)
        # if the embedding is tied to the output projection, the row of the padding symbol does not stay zero
        embedded = self.embed_tokens(src_tokens).masked_fill(padded.unsqueeze(-1), 0)
        states, (hidden, cell) = self.lstm(self.dropout(embedded))
        return {"encoder_out": [states], "encoder_padding_mask": [padded], "hidden": [hidden], "cell": [cell]}

    def reorder_encoder_out(
        self, encoder_out: dict[str, list[Tensor]], new_order: Tensor
    ) -> dict[str, list[Tensor]]:
        """Select sentences of the encoder's output, as beam search asks."""
        sentences = {"encoder_out": 0, "encoder_padding_mask": 0, "hidden": 1, "cell": 1}
        return {
            name: [value.index_select(sentences[name], new_order) for value in values]
            for name, values in encoder_out.items()
        }

    def max_positions(self) -> int:
        """The longest source in pieces."""
        return NO_LIMIT


class DotAttention(nn.Module):
    """Global attention with the dot score (Luong et al. 2015, section 3.1, equations 5, 7 and 8)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.output = nn.Linear(2 * width, width, bias=False)

    def forward(self, states: Tensor, memory: Tensor, padded: Tensor) -> tuple[Tensor, Tensor]:
        """tanh(W [context; state]) [sentences, target length, n], and the attention weights.

        `states`: [sentences, target length, n]; `memory`: [sentences, source length, n]; `padded`:
        [sentences, source length]. Attention weights are [sentences, target length, source length].
        """
        scores = torch.bmm(states, memory.transpose(1, 2)).masked_fill(padded.unsqueeze(1), float("-inf"))
        weights = functional.softmax(scores, dim=-1, dtype=torch.float32).type_as(scores)
        context = torch.bmm(weights, memory)
        return torch.tanh(self.output(torch.cat([context, states], dim=-1))), weights


class LstmDecoder(FairseqIncrementalDecoder):
    """The stacked LSTM that writes the target, with attention and output projection."""

    def __init__(self, cfg: LstmConfig, dictionary: Any) -> None:
        super().__init__(dictionary)
        self.padding_idx = dictionary.pad()
        self.embed_tokens = _embedding(cfg, dictionary)
        self.dropout = FairseqDropout(cfg.dropout, module_name=type(self).__name__)
        self.lstm = _lstm(cfg, cfg.decoder_layers)
        self.attention = DotAttention(cfg.embed_dim) if str(cfg.attention) == "dot" else None
        self.output_projection = nn.Linear(cfg.embed_dim, len(dictionary), bias=False)
        for module in (self.attention and self.attention.output, self.output_projection):
            if module is not None:
                nn.init.uniform_(module.weight, -cfg.init_scale, cfg.init_scale)
        if cfg.share_decoder_input_output_embed or cfg.share_all_embeddings:
            self.output_projection.weight = self.embed_tokens.weight

    def forward(
        self,
        prev_output_tokens: Tensor,
        encoder_out: dict[str, list[Tensor]],
        incremental_state: dict[str, dict[str, Tensor | None]] | None = None,
        features_only: bool = False,
        **_: Any,
    ) -> tuple[Tensor, dict[str, Any]]:
        """Logits [sentences, length, types] of targets [sentences, length], padded on the right.

        With `incremental_state`, the logits of the last position only, computed from the state of the
        previous call.
        """
        features, extra = self.extract_features(prev_output_tokens, encoder_out, incremental_state)
        return (features if features_only else self.output_layer(features)), extra

    def extract_features(
        self,
        prev_output_tokens: Tensor,
        encoder_out: dict[str, list[Tensor]],
        incremental_state: dict[str, dict[str, Tensor | None]] | None = None,
        **_: Any,
    ) -> tuple[Tensor, dict[str, Any]]:
        """The input of the output projection, and the attention weights under `attn`."""
        before = {"hidden": encoder_out["hidden"][0], "cell": encoder_out["cell"][0]}
        if incremental_state is not None:
            prev_output_tokens = prev_output_tokens[:, -1:]
            before = self.get_incremental_state(incremental_state, "state") or before
        embedded = self.dropout(self.embed_tokens(prev_output_tokens))
        if self.training and not embedded.is_cuda and incremental_state is None:
            lengths = prev_output_tokens.ne(self.padding_idx).sum(1)
            states = self.lstm.without_padding(embedded, (before["hidden"], before["cell"]), lengths)
        else:
            states, (hidden, cell) = self.lstm(embedded, (before["hidden"], before["cell"]))
            if incremental_state is not None:
                self.set_incremental_state(incremental_state, "state", {"hidden": hidden, "cell": cell})
        weights = None
        if self.attention is not None:
            states, weights = self.attention(
                states, encoder_out["encoder_out"][0], encoder_out["encoder_padding_mask"][0]
            )
        return self.dropout(states), {"attn": [weights]}

    def output_layer(self, features: Tensor) -> Tensor:
        """Logits of features."""
        return self.output_projection(features)

    def reorder_incremental_state(
        self, incremental_state: dict[str, dict[str, Tensor | None]], new_order: Tensor
    ) -> None:
        """Select hypotheses of the decoder's state, as beam search asks."""
        state = self.get_incremental_state(incremental_state, "state")
        if state is not None:
            reordered = {name: value.index_select(1, new_order) for name, value in state.items()}
            self.set_incremental_state(incremental_state, "state", reordered)

    def max_positions(self) -> int:
        """The longest target in pieces."""
        return NO_LIMIT


def _embedding(cfg: LstmConfig, dictionary: Any) -> nn.Embedding:
    embedding = nn.Embedding(len(dictionary), cfg.embed_dim, dictionary.pad())
    nn.init.uniform_(embedding.weight, -cfg.init_scale, cfg.init_scale)
    nn.init.zeros_(embedding.weight[dictionary.pad()])
    return embedding


def _lstm(cfg: LstmConfig, layers: int) -> StackedLstm:
    lstm = StackedLstm(cfg.embed_dim, layers, cfg.dropout)
    for weight in lstm.parameters():
        nn.init.uniform_(weight, -cfg.init_scale, cfg.init_scale)
    return lstm
