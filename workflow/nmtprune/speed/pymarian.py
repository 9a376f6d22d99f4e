"""Marian as an outside reference for speed: a dense Transformer in Marian's file format, run by pymarian.

pymarian is an optional extra and may live in an environment of its own: NMTPRUNE_PYMARIAN_PYTHON names that
Python. Its process imports this module, which therefore imports neither torch nor numpy at the top.

Two of Marian's conventions cannot be changed in its file: positions count from 0 (fairseq's from 2), and the
decoder begins with a zero embedding (fairseq's with that of </s>). So the amount of work is exactly that of
fairseq, but the hypotheses of a model that fairseq trained are not the same. Tests compare the converted
parameters with CTranslate2 under Marian's two conventions.
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nmtprune.foundation.errors import UserError

if TYPE_CHECKING:
    import numpy

    from nmtprune.store.model import Model

NAME = "pymarian"
PYTHON = "NMTPRUNE_PYMARIAN_PYTHON"
MODEL, VOCABULARY = "model.npz", "vocabulary.txt"

_SPECIAL = ("</s>", "<unk>")  # Marian's first two symbols; it has neither <s> nor <pad>
_SUB_LAYERS = {"encoder": {"self_attn": "self"}, "decoder": {"self_attn": "self", "encoder_attn": "context"}}
_PROJECTIONS = {"q_proj": "q", "k_proj": "k", "v_proj": "v", "out_proj": "o"}
_ACTIVATIONS = ("relu", "swish")
_UNKNOWN_TO_MARIAN = (
    "no_scale_embedding",
    "no_token_positional_embeddings",
    "encoder_normalize_before",
    "decoder_normalize_before",
)


def interpreter() -> str:
    """The Python that has pymarian."""
    return os.environ.get(PYTHON) or sys.executable


def missing() -> str | None:
    """Why pymarian cannot be measured; None if it is installed."""
    python = interpreter()
    if shutil.which(python) is None:
        return f"{PYTHON}: there is no `{python}`"
    importing = subprocess.run([python, "-c", "import pymarian"], capture_output=True, check=False)
    return (
        f"pymarian is not installed: pip install pymarian, or name a Python that has it in {PYTHON}"
        if importing.returncode
        else None
    )


def supports(model: Model) -> str | None:
    """Why Marian cannot run a model; None if it can.

    It can if all layers are alike, post-norm, with relu or swish, and all embeddings are tied.
    """
    if option := next((option for option in _UNKNOWN_TO_MARIAN if model.options.get(option)), None):
        return f"option `{option}` is set"
    if (activation := model.options.get("activation_fn", "relu")) not in _ACTIVATIONS:
        return f"activation `{activation}` is none of {', '.join(_ACTIVATIONS)}"
    if model.source_dictionary != model.target_dictionary:
        return "source and target have dictionaries of their own"
    try:
        parameters(model)
    except KeyError as error:
        return f"parameter `{error.args[0]}` is missing"
    except ValueError as error:
        return str(error)
    return None


def parameters(model: Model) -> dict[str, numpy.ndarray]:
    """The model's parameters by Marian's names.

    Raises KeyError for a missing parameter, and ValueError if layers differ in shape, embeddings are not tied
    or a parameter is left over.
    """
    read = set()

    def get(name: str) -> Any:
        read.add(name)
        return model.weights[name].detach()

    embeddings = get("encoder.embed_tokens.weight")
    for name in ("decoder.embed_tokens.weight", "decoder.output_projection.weight"):
        if not get(name).equal(embeddings):
            raise ValueError(f"`{name}` is not tied to the source embeddings")
    tensors = {"Wemb": embeddings[_rows(model)]}
    for side, attentions in _SUB_LAYERS.items():
        for index in range(_depth(model, side)):
            tensors |= _layer(get, f"{side}.layers.{index}", f"{side}_l{index + 1}", attentions)
    unread = model.weights.keys() - read
    left = sorted(name for name in unread if not name.endswith((".version", "._float_tensor")))
    if left:
        raise ValueError(f"Marian has no parameter for `{left[0]}`")
    _check_uniform(tensors, embeddings.shape[1])
    return {name: tensor.contiguous().numpy() for name, tensor in tensors.items()}


def _layer(
    get: Callable[[str], Any], ours: str, theirs: str, attentions: Mapping[str, str]
) -> dict[str, Any]:
    """The parameters of one layer by Marian's names. `get`: a function from our names to tensors."""

    def affine(name: str, marian: str, suffix: str) -> dict[str, Any]:
        return {
            f"{theirs}_{marian}_W{suffix}": get(f"{ours}.{name}.weight").T,
            f"{theirs}_{marian}_b{suffix}": get(f"{ours}.{name}.bias")[None],
        }

    def layer_norm(name: str, marian: str) -> dict[str, Any]:
        return {
            f"{theirs}_{marian}_ln_scale": get(f"{ours}.{name}.weight")[None],
            f"{theirs}_{marian}_ln_bias": get(f"{ours}.{name}.bias")[None],
        }

    tensors = {}
    for attention, marian in attentions.items():
        for projection, suffix in _PROJECTIONS.items():
            tensors |= affine(f"{attention}.{projection}", marian, suffix)
        tensors |= layer_norm(f"{attention}_layer_norm", f"{marian}_Wo")
    tensors |= affine("fc1", "ffn", "1") | affine("fc2", "ffn", "2")
    return tensors | layer_norm("final_layer_norm", "ffn_ffn")


def _check_uniform(tensors: Mapping[str, Any], width: int) -> None:
    """Raises ValueError if a stack has FFNs of different widths, or attention is narrower than the model.

    Marian's file has one width for all FFNs of a stack.
    """
    for side in _SUB_LAYERS:
        widths = {
            tensor.shape[1]
            for name, tensor in tensors.items()
            if name.startswith(side) and name.endswith("_ffn_W1")
        }
        if len(widths) != 1:
            raise ValueError(f"the {side}'s layers have FFNs of different widths")
    for name, tensor in tensors.items():
        if name.endswith("_Wq") and tensor.shape[1] != width:
            raise ValueError(f"`{name}` has lost heads")


def _rows(model: Model) -> list[int]:
    """The rows of the embedding matrix in the order of Marian's vocabulary."""
    index = {symbol: row for row, symbol in enumerate(model.source_dictionary)}
    return [*(index[symbol] for symbol in _SPECIAL), *range(4, len(model.source_dictionary))]


def _depth(model: Model, side: str) -> int:
    return len({name.split(".")[2] for name in model.weights if name.startswith(f"{side}.layers.")})


def configuration(model: Model, tensors: Mapping[str, numpy.ndarray]) -> dict[str, Any]:
    """Marian's description of a model, which its file holds beside the parameters.

    `tensors`: the model's parameters by Marian's names.
    """
    heads = {int(model.options[f"{side}_attention_heads"]) for side in _SUB_LAYERS}
    if len(heads) > 1:
        raise UserError(
            f"pymarian cannot run this model: encoder and decoder have different numbers of heads ({heads})."
        )
    types, width = tensors["Wemb"].shape
    return {
        "type": "transformer",
        "version": "v1.12.0",
        "dim-vocabs": [types, types],
        "dim-emb": width,
        "enc-depth": _depth(model, "encoder"),
        "dec-depth": _depth(model, "decoder"),
        "tied-embeddings-all": True,
        "output-omit-bias": True,
        "transformer-heads": heads.pop(),
        "transformer-dim-ffn": tensors["encoder_l1_ffn_W1"].shape[1],
        "transformer-decoder-dim-ffn": tensors["decoder_l1_ffn_W1"].shape[1],
        "transformer-ffn-depth": 2,
        "transformer-decoder-ffn-depth": 2,
        "transformer-ffn-activation": model.options.get("activation_fn", "relu"),
        "transformer-preprocess": "",
        "transformer-postprocess": "dan",
        "transformer-postprocess-emb": "d",
        "transformer-postprocess-top": "",
        "transformer-decoder-autoreg": "self-attention",
        "transformer-no-projection": False,
        "transformer-train-position-embeddings": False,
    }


def save(model: Model, folder: Path) -> None:
    """Write `model.npz` and `vocabulary.txt` of a model that Marian `supports`."""
    import numpy
    import yaml

    tensors = parameters(model)
    text = yaml.safe_dump(configuration(model, tensors), sort_keys=True).encode() + b"\0"
    folder.mkdir(parents=True, exist_ok=True)
    arrays: dict[str, Any] = {**tensors, "special:model.yml": numpy.frombuffer(text, dtype=numpy.int8)}
    numpy.savez(folder / MODEL, **arrays)
    vocabulary = [*_SPECIAL, *model.source_dictionary[4:]]
    (folder / VOCABULARY).write_text("".join(f"{symbol}\n" for symbol in vocabulary), encoding="utf-8")


def version() -> str:
    """The name and version of the library, in the Python that has it."""
    return f"pymarian {importlib.metadata.version('pymarian')}"


class Peer:
    """A saved model loaded into pymarian on one CPU thread, in float32; each call translates one batch.

    `search`: the fields of `Search`. Marian limits the length of a hypothesis only as a multiple of the
    source's length: `max_len_a`, or 3 if that is 0.
    """

    def __init__(self, folder: Path, search: Mapping[str, Any]) -> None:
        translator = importlib.import_module("pymarian").Translator
        # pymarian splits its options at spaces, so that the folder's path cannot be among them
        with contextlib.chdir(folder):
            self._translator = translator(
                models=MODEL,
                vocabs=[VOCABULARY] * 2,
                cpu_threads=1,
                beam_size=search["beam"],
                normalize=search["length_penalty"],
                max_length_factor=search["max_len_a"] or 3,
                max_length=1000,
                mini_batch=1000,
                maxi_batch=1,
                maxi_batch_sort="none",
                allow_unk=True,
                quiet=True,
                quiet_translation=True,
            )

    def translate(self, sources: list[list[str]]) -> list[list[str]]:
        """The best hypothesis for each source of a batch, in pieces."""
        return [
            line.split(" ") for line in self._translator.translate([" ".join(pieces) for pieces in sources])
        ]
