"""Build ONNX graphs of Transformers from fairseq's parameters, for ONNX Runtime.

Every layer has its own shape, which is read off its tensors; a sub-layer without units or heads consists
of its output bias. Five graphs share one file of weights:

- encoder: from source pieces to keys and values of the decoder's cross-attention, once for each sentence;
- decoder: one step for all hypotheses of a batch, from the last piece and the layers' states to features and
  new states;
- output: from features to log-probabilities over the vocabulary: the best ones, and those of given pieces;
- rows: the rows of the output matrix, and of its bias if it has one, for given pieces;
- shortlist: like `output`, for these rows only.
"""

from __future__ import annotations

import hashlib
import math
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper

from nmtprune.store.model import PADDING, Model, sinusoids
from nmtprune.translation import int8
from nmtprune.translation.parameters import NotATransformer, Parameters

WEIGHTS = "weights.bin"
_ACTIVATIONS = ("relu", "gelu", "gelu_accurate", "gelu_fast", "swish")
_UNSUPPORTED = ("no_token_positional_embeddings", "no_cross_attention", "cross_self_attention")
_MICROSOFT = "com.microsoft"  # domain of ONNX Runtime's own operators
_BIAS = "decoder.output_projection.bias"
_BIAS_TYPE: tuple[str, int, list[str | int]] = ("bias", TensorProto.FLOAT, ["pieces"])
_ALIGNMENT = 64  # bytes: the kernels read whole vector registers of memory-mapped weights


def quantised(weight: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A matrix [rows, columns] in 8 bits on the grid of `int8`, and its scales [rows]."""
    weight = int8.on_grid(torch.from_numpy(weight)).numpy()
    scales = np.abs(weight).max(axis=1) / np.float32(int8.LEVELS)
    scales[scales == 0] = 1
    return np.rint(weight / scales[:, None]).astype(np.int8), scales


def build(model: Model, precision: str = "float32") -> tuple[dict[str, onnx.ModelProto], Weights]:
    """The graphs by name, and the weights, which they read from a file called WEIGHTS beside them.

    `precision`: float32 or int8 (for every matrix except learned positions; activations are quantised
    dynamically, with one scale for each tensor). Raises NotATransformer for an unsupported model.
    """
    for option in _UNSUPPORTED:
        if model.options.get(option):
            raise NotATransformer(f"option `{option}` is set")
    activation = model.options.get("activation_fn", "relu")
    if activation not in _ACTIVATIONS:
        raise NotATransformer(f"activation `{activation}` is none of {', '.join(_ACTIVATIONS)}")
    weights, parameters = Weights(), _Parameters(model)
    graphs = {
        name: make(_Graph(name, weights, precision), parameters)
        for name, make in {
            "encoder": _encoder,
            "decoder": _decoder,
            "output": _output,
            "rows": _rows,
            "shortlist": _shortlist,
        }.items()
    }
    parameters.check_all_read()
    return graphs, weights


class Weights:
    """The tensors of all graphs in one file; equal tensors are stored once."""

    def __init__(self) -> None:
        self._offsets: dict[tuple[Any, ...], int] = {}
        self._arrays: list[np.ndarray] = []
        self._size = 0

    def refer(self, name: str, array: np.ndarray) -> TensorProto:
        """A tensor called `name` with its values in the file."""
        array = np.ascontiguousarray(array)
        key = (array.dtype.str, array.shape, hashlib.sha256(array.data).digest())
        if key not in self._offsets:
            self._offsets[key] = self._size
            self._arrays.append(array)
            self._size += -(-array.nbytes // _ALIGNMENT) * _ALIGNMENT
        tensor = TensorProto(
            name=name, data_type=helper.np_dtype_to_tensor_dtype(array.dtype), dims=array.shape
        )
        tensor.data_location = TensorProto.EXTERNAL
        for field, value in {
            "location": WEIGHTS,
            "offset": self._offsets[key],
            "length": array.nbytes,
        }.items():
            tensor.external_data.add(key=field, value=str(value))
        return tensor

    def write(self, path: Path) -> None:
        """Write the file."""
        with open(path, "wb") as file:
            for array in self._arrays:
                file.write(array.data)
                file.write(bytes(-array.nbytes % _ALIGNMENT))


class _Parameters(Parameters):
    def __getitem__(self, name: str) -> np.ndarray:
        return super().__getitem__(name).numpy()

    def joined(self, kind: str, *names: str) -> np.ndarray:
        """The weights (or biases) of several linear layers with the same input, concatenated."""
        return np.concatenate([self[f"{name}.{kind}"] for name in names])

    def layers(self, side: str) -> list[str]:
        """Prefixes of the layers, counted in the parameters, since a model may have lost some."""
        prefix = f"{side}.layers."
        indices = {
            int(name.removeprefix(prefix).split(".", 1)[0]) for name in self._state if name.startswith(prefix)
        }
        return [f"{prefix}{index}" for index in sorted(indices)]

    def head_dim(self, side: str) -> int:
        if self.options.get("head_dim"):
            return int(self.options["head_dim"])
        if not self.options.get(f"{side}_attention_heads"):
            raise NotATransformer(f"option `{side}_attention_heads` is missing")
        return self[f"{side}.embed_tokens.weight"].shape[1] // int(self.options[f"{side}_attention_heads"])

    def heads(self, attention: str) -> int:
        """The number of heads that remain in an attention."""
        if f"{attention}.q_proj.weight" not in self:
            return 0
        width = self.head_dim(attention.split(".", 1)[0])
        rows = len(self[f"{attention}.q_proj.weight"])
        if rows % width:
            raise NotATransformer(
                f"`{attention}` has {rows} rows, which is not a multiple of the {width} of a head"
            )
        return rows // width


class _Graph:
    """A graph under construction.

    Tensors are identified by name; each method that adds an operator returns the names of its results.
    """

    def __init__(self, name: str, weights: Weights, precision: str) -> None:
        self.precision = precision
        self._name, self._weights = name, weights
        self._nodes: list[onnx.NodeProto] = []
        self._constants: dict[str, TensorProto] = {}
        self._inputs: list[onnx.ValueInfoProto] = []
        self._outputs: list[onnx.ValueInfoProto] = []
        self._quantised: dict[str, list[str]] = {}
        self._tensors = 0

    def input(self, name: str, dtype: int, shape: list[str | int]) -> str:
        self._inputs.append(helper.make_tensor_value_info(name, dtype, shape))
        return name

    def output(self, name: str, tensor: str, dtype: int, shape: list[str | int]) -> None:
        self._nodes.append(helper.make_node("Identity", [tensor], [name]))
        self._outputs.append(helper.make_tensor_value_info(name, dtype, shape))

    def add(self, operator: str, *inputs: str, outputs: int = 1, **attributes: Any) -> Any:
        names = [f"t{self._tensors + index}" for index in range(outputs)]
        self._tensors += outputs
        self._nodes.append(helper.make_node(operator, list(inputs), names, **attributes))
        return names[0] if outputs == 1 else names

    def integers(self, *values: int) -> str:
        name = "i" + "_".join(map(str, values))
        self._constants[name] = numpy_helper.from_array(np.array(values, dtype=np.int64), name)
        return name

    def number(self, value: float) -> str:
        name = f"f{value}"
        self._constants[name] = numpy_helper.from_array(np.array(value, dtype=np.float32), name)
        return name

    def weight(self, name: str, array: np.ndarray) -> str:
        if name not in self._constants:
            self._constants[name] = self._weights.refer(name, array)
        return name

    def finish(self) -> onnx.ModelProto:
        graph = helper.make_graph(
            self._nodes, self._name, self._inputs, self._outputs, list(self._constants.values())
        )
        return helper.make_model(
            graph,
            opset_imports=[helper.make_opsetid("", 20), helper.make_opsetid(_MICROSOFT, 1)],
            ir_version=9,
            producer_name="nmtprune",
        )

    def matrix(self, name: str, weight: np.ndarray) -> list[str]:
        """A matrix [out, in] as a constant; in int8 followed by the scales [out] of its rows."""
        if self.precision == "float32":
            return [self.weight(name, weight)]
        values, scales = quantised(weight)
        return [self.weight(f"{name}.int8", values), self.weight(f"{name}.scales", scales)]

    def factor(self, matrix: list[str]) -> list[str]:
        """A matrix in the form that `multiply` takes: in int8, transposed to [in, out].

        ONNX Runtime transposes a constant once, when it loads the graph.
        """
        values, *scales = matrix
        return [self.add("Transpose", values), *scales] if scales else matrix

    def multiply(self, x: str, factor: list[str], bias: str = "") -> str:
        """The product [rows, out] of `x` [rows, in] and a matrix from `factor`, plus a bias [out]."""
        if self.precision == "float32":
            return self.add("Gemm", x, *factor, *filter(None, [bias]), transB=1)
        if x not in self._quantised:
            self._quantised[x] = self.add("DynamicQuantizeLinear", x, outputs=3)
        values, scale, zero = self._quantised[x]
        product = self.add("Cast", self.add("MatMulInteger", values, factor[0], zero), to=TensorProto.FLOAT)
        product = self.add("Mul", product, self.add("Mul", scale, factor[1]))
        return self.add("Add", product, bias) if bias else product

    def linear(self, x: str, parameters: _Parameters, *names: str) -> str:
        """One linear layer, or several with the same input side by side."""
        factor = self.factor(self.matrix(names[0], parameters.joined("weight", *names)))
        return self.multiply(x, factor, self.weight(f"{names[0]}.bias", parameters.joined("bias", *names)))

    def look_up(self, tokens: str, name: str, embeddings: np.ndarray) -> str:
        """The rows [tokens, d] of an embedding matrix."""
        rows, *scales = (self.add("Gather", part, tokens) for part in self.matrix(name, embeddings))
        if not scales:
            return rows
        return self.add(
            "Mul",
            self.add("Cast", rows, to=TensorProto.FLOAT),
            self.add("Unsqueeze", *scales, self.integers(1)),
        )

    def layer_norm(self, x: str, parameters: _Parameters, name: str) -> str:
        scale, shift = (
            self.weight(f"{name}.{kind}", parameters[f"{name}.{kind}"]) for kind in ("weight", "bias")
        )
        return self.add("LayerNormalization", x, scale, shift, epsilon=1e-5)

    def activate(self, x: str, function: str) -> str:
        if function == "relu":
            return self.add("Relu", x)
        if function == "swish":
            return self.add("Mul", x, self.add("Sigmoid", x))
        return self.add("Gelu", x, approximate="none" if function == "gelu" else "tanh")

    def attend(self, heads: int, inputs: list[str], outputs: int = 1) -> Any:
        """Multi-head attention by ONNX Runtime's operator.

        `inputs`: query [batch, length, heads * head_dim], key, value, bias, key lengths, unused, past
        key, past value.
        """
        return self.add("MultiHeadAttention", *inputs, outputs=outputs, domain=_MICROSOFT, num_heads=heads)


class _Stack:
    """Common parts of encoder and decoder: embeddings, sub-layers, residuals and layer normalisation.

    States are [rows, d], where rows are all pieces of a batch.
    """

    def __init__(self, graph: _Graph, parameters: _Parameters, side: str) -> None:
        self.graph, self.parameters, self.side = graph, parameters, side
        self.pre_norm = bool(parameters.options.get(f"{side}_normalize_before"))
        self.activation = parameters.options.get("activation_fn", "relu")

    def embed(self, tokens: str, positions: str) -> str:
        """Embeddings [rows, d] of `tokens` [...] at `positions` [last dimension], counted from 0."""
        graph, parameters = self.graph, self.parameters
        name = f"{self.side}.embed_tokens"
        embeddings = parameters[f"{name}.weight"]
        width = embeddings.shape[1]
        x = graph.look_up(graph.add("Reshape", tokens, graph.integers(-1)), name, embeddings)
        if not parameters.options.get("no_scale_embedding"):
            x = graph.add("Mul", x, graph.number(math.sqrt(width)))
        shape = graph.add("Concat", graph.add("Shape", tokens), graph.integers(width), axis=0)
        x = graph.add("Add", graph.add("Reshape", x, shape), self._positions(positions, width))
        x = graph.add("Reshape", x, graph.integers(-1, width))
        if f"{self.side}.layernorm_embedding.weight" in parameters:
            x = graph.layer_norm(x, parameters, f"{self.side}.layernorm_embedding")
        return x

    def _positions(self, positions: str, width: int) -> str:
        """Learned or sinusoidal embeddings [positions, d].

        fairseq's learned embeddings are numbered from the padding index on.
        """
        graph, name = self.graph, f"{self.side}.embed_positions.weight"
        if name in self.parameters:
            positions = graph.add("Add", positions, graph.integers(PADDING + 1))
            return graph.add("Gather", graph.weight(name, self.parameters[name]), positions)
        first, frequencies = sinusoids(self.parameters.options, width)
        positions = graph.add("Add", positions, graph.integers(first))
        column = graph.add("Unsqueeze", graph.add("Cast", positions, to=TensorProto.FLOAT), graph.integers(1))
        angles = graph.add("Mul", column, graph.weight("frequencies", frequencies.numpy()))
        waves = graph.add("Concat", graph.add("Sin", angles), graph.add("Cos", angles), axis=1)
        return graph.add("Pad", waves, graph.integers(0, 0, 0, width % 2)) if width % 2 else waves

    def before(self, x: str, norm: str) -> str:
        return self.graph.layer_norm(x, self.parameters, norm) if self.pre_norm else x

    def after(self, x: str, residual: str, norm: str) -> str:
        x = self.graph.add("Add", x, residual)
        return x if self.pre_norm else self.graph.layer_norm(x, self.parameters, norm)

    def absent(self, norm: str) -> bool:
        """Whether a layer lacks a sub-layer together with its layer norm."""
        return f"{norm}.weight" not in self.parameters

    def only_bias(self, x: str, norm: str, bias: str) -> str:
        """A sub-layer that has lost all its units or heads.

        With pre-norm, the layer norm of its input has no effect.
        """
        if self.pre_norm:
            self.parameters.pass_over(f"{norm}.weight", f"{norm}.bias")
        return self.after(self.graph.weight(bias, self.parameters[bias]), x, norm)

    def feed_forward(self, x: str, layer: str) -> str:
        norm = f"{layer}.final_layer_norm"
        if self.absent(norm):
            return x
        if f"{layer}.fc1.weight" not in self.parameters:
            return self.only_bias(x, norm, f"{layer}.fc2.bias")
        hidden = self.graph.linear(self.before(x, norm), self.parameters, f"{layer}.fc1")
        return self.after(
            self.graph.linear(self.graph.activate(hidden, self.activation), self.parameters, f"{layer}.fc2"),
            x,
            norm,
        )

    def self_attention(
        self, x: str, layer: str, shape: str, rest: list[str], outputs: int = 1
    ) -> tuple[str, list[str]]:
        """The output of self-attention; with `outputs` 3 also its keys and values.

        `shape`: batch and length; `rest`: the inputs of `attend` after the value.
        """
        graph, name, norm = self.graph, f"{layer}.self_attn", f"{layer}.self_attn_layer_norm"
        if self.absent(norm):
            return x, []
        heads = self.parameters.heads(name)
        if not heads:
            return self.only_bias(x, norm, f"{name}.out_proj.bias"), []
        projected = graph.linear(
            self.before(x, norm), self.parameters, *(f"{name}.{part}_proj" for part in "qkv")
        )
        shape = graph.add("Concat", shape, graph.integers(-1), axis=0)
        query = [
            graph.add("Reshape", part, shape)
            for part in graph.add("Split", projected, outputs=3, axis=1, num_outputs=3)
        ]
        attended = graph.attend(heads, [*query, *rest], outputs)
        attended, *states = [attended] if outputs == 1 else attended
        return self.project(attended, name, x, norm), states

    def project(self, attended: str, attention: str, residual: str, norm: str) -> str:
        """The last part of an attention sub-layer: output projection and residual sum."""
        rows = self.graph.integers(-1, self.parameters[f"{attention}.out_proj.weight"].shape[1])
        x = self.graph.linear(
            self.graph.add("Reshape", attended, rows), self.parameters, f"{attention}.out_proj"
        )
        return self.after(x, residual, norm)

    def end(self, x: str) -> str:
        name = f"{self.side}.layer_norm"
        return self.graph.layer_norm(x, self.parameters, name) if f"{name}.weight" in self.parameters else x


def _encoder(graph: _Graph, parameters: _Parameters) -> onnx.ModelProto:
    tokens = graph.input("source", TensorProto.INT64, ["sentences", "length"])
    lengths = graph.input("source_lengths", TensorProto.INT32, ["sentences"])
    shape = graph.add("Shape", tokens)
    length = graph.add("Squeeze", graph.add("Shape", tokens, start=1, end=2))
    zero, one = (graph.add("Squeeze", graph.integers(value)) for value in (0, 1))
    stack = _Stack(graph, parameters, "encoder")
    x = stack.embed(tokens, graph.add("Range", zero, length, one))
    for layer in parameters.layers("encoder"):
        x, _ = stack.self_attention(x, layer, shape, ["", lengths])
        x = stack.feed_forward(x, layer)
    x = stack.end(x)
    # passed on, so that the decoder needs nothing but the encoder's outputs
    graph.output("lengths", lengths, TensorProto.INT32, ["sentences"])
    for index, layer in enumerate(parameters.layers("decoder")):
        name = f"{layer}.encoder_attn"
        heads = parameters.heads(name)
        if not heads:
            continue
        projected = graph.linear(x, parameters, f"{name}.k_proj", f"{name}.v_proj")
        for kind, part in zip(
            ("keys", "values"), graph.add("Split", projected, outputs=2, axis=1, num_outputs=2), strict=True
        ):
            split = graph.add("Reshape", part, graph.add("Concat", shape, graph.integers(heads, -1), axis=0))
            output = graph.add("Transpose", split, perm=[0, 2, 1, 3])
            graph.output(
                f"{kind}.{index}",
                output,
                TensorProto.FLOAT,
                ["sentences", heads, "length", parameters.head_dim("decoder")],
            )
    return graph.finish()


def _decoder(graph: _Graph, parameters: _Parameters) -> onnx.ModelProto:
    """One step of the decoder.

    Rows are hypotheses, equally many for each sentence; new states have the names of the old ones after
    `new.`.
    """
    tokens = graph.input("tokens", TensorProto.INT64, ["rows"])
    position = graph.input("position", TensorProto.INT64, [1])
    lengths = graph.input("lengths", TensorProto.INT32, ["sentences"])
    stack = _Stack(graph, parameters, "decoder")
    one_each = graph.add("Concat", graph.add("Shape", tokens), graph.integers(1), axis=0)
    by_sentence = graph.add("Concat", graph.add("Shape", lengths), graph.integers(-1), axis=0)
    x = stack.embed(graph.add("Unsqueeze", tokens, graph.integers(1)), position)
    for index, layer in enumerate(parameters.layers("decoder")):
        if f"{layer}.ssru.forget_proj.weight" in parameters:
            x = _ssru(stack, x, layer, index)
        else:
            x = _cached_self_attention(stack, x, layer, index, one_each)
        x = _cross_attention(stack, x, layer, index, by_sentence, lengths)
        x = stack.feed_forward(x, layer)
    x = stack.end(x)
    graph.output("features", x, TensorProto.FLOAT, ["rows", "width"])
    return graph.finish()


def _cached_self_attention(stack: _Stack, x: str, layer: str, index: int, one_each: str) -> str:
    graph = stack.graph
    heads, head_dim = stack.parameters.heads(f"{layer}.self_attn"), stack.parameters.head_dim("decoder")
    names = (f"self_keys.{index}", f"self_values.{index}") if heads else ()
    past = [graph.input(name, TensorProto.FLOAT, ["rows", heads, "past", head_dim]) for name in names]
    x, states = stack.self_attention(x, layer, one_each, ["", "", "", *past], outputs=3)
    for name, state in zip(names, states, strict=True):
        graph.output(f"new.{name}", state, TensorProto.FLOAT, ["rows", heads, "present", head_dim])
    return x


def _cross_attention(stack: _Stack, x: str, layer: str, index: int, by_sentence: str, lengths: str) -> str:
    """Attention to the source; all hypotheses of a sentence are queries for the same keys and values."""
    graph, parameters, name, norm = (
        stack.graph,
        stack.parameters,
        f"{layer}.encoder_attn",
        f"{layer}.encoder_attn_layer_norm",
    )
    if stack.absent(norm):
        return x
    heads = parameters.heads(name)
    if not heads:
        return stack.only_bias(x, norm, f"{name}.out_proj.bias")
    shape: list[str | int] = ["sentences", heads, "length", parameters.head_dim("decoder")]
    source = [graph.input(f"{kind}.{index}", TensorProto.FLOAT, shape) for kind in ("keys", "values")]
    query = graph.linear(stack.before(x, norm), parameters, f"{name}.q_proj")
    rows = len(parameters[f"{name}.q_proj.weight"])
    query = graph.add("Reshape", query, graph.add("Concat", by_sentence, graph.integers(rows), axis=0))
    return stack.project(graph.attend(heads, [query, *source, "", lengths]), name, x, norm)


def _ssru(stack: _Stack, x: str, layer: str, index: int) -> str:
    """The simpler simple recurrent unit (Kim et al. 2019) in place of self-attention.

    It is a gated mean of its previous inputs.
    """
    graph, parameters, name, norm = (
        stack.graph,
        stack.parameters,
        f"{layer}.ssru",
        f"{layer}.self_attn_layer_norm",
    )
    weight = parameters[f"{name}.candidate_proj.weight"]
    width = len(weight)
    past = graph.input(f"state.{index}", TensorProto.FLOAT, ["rows", width])
    bias = np.concatenate([parameters[f"{name}.forget_proj.bias"], np.zeros(width, np.float32)])
    factor = graph.factor(
        graph.matrix(name, np.concatenate([parameters[f"{name}.forget_proj.weight"], weight]))
    )
    projected = graph.multiply(stack.before(x, norm), factor, graph.weight(f"{name}.bias", bias))
    gate, candidate = graph.add("Split", projected, outputs=2, axis=1, num_outputs=2)
    kept = graph.add("Mul", graph.add("Sigmoid", gate), graph.add("Sub", past, candidate))
    state = graph.add("Add", candidate, kept)
    graph.output(f"new.state.{index}", state, TensorProto.FLOAT, ["rows", width])
    return stack.after(graph.add("Relu", state), x, norm)


def _output(graph: _Graph, parameters: _Parameters) -> onnx.ModelProto:
    bias = graph.weight(_BIAS, parameters[_BIAS]) if _BIAS in parameters else ""
    return _best(graph, parameters, graph.factor(graph.matrix(*_projection(parameters))), bias)


def _shortlist(graph: _Graph, parameters: _Parameters) -> onnx.ModelProto:
    factor = [graph.input(*described) for described in _rows_types(graph, parameters)]
    bias = graph.input(*_BIAS_TYPE) if _BIAS in parameters else ""
    return _best(graph, parameters, factor, bias)


def _rows(graph: _Graph, parameters: _Parameters) -> onnx.ModelProto:
    pieces = graph.input("pieces", TensorProto.INT64, ["pieces"])
    rows = [graph.add("Gather", part, pieces) for part in graph.matrix(*_projection(parameters))]
    for tensor, (name, dtype, shape) in zip(graph.factor(rows), _rows_types(graph, parameters), strict=True):
        graph.output(name, tensor, dtype, shape)
    if _BIAS in parameters:
        chosen = graph.add("Gather", graph.weight(_BIAS, parameters[_BIAS]), pieces)
        name, dtype, shape = _BIAS_TYPE
        graph.output(name, chosen, dtype, shape)
    return graph.finish()


def _projection(parameters: _Parameters) -> tuple[str, np.ndarray]:
    return "decoder.output_projection", parameters["decoder.output_projection.weight"]


def _rows_types(graph: _Graph, parameters: _Parameters) -> list[tuple[str, int, list[str | int]]]:
    width = _projection(parameters)[1].shape[1]
    if graph.precision == "float32":
        return [("matrix", TensorProto.FLOAT, ["pieces", width])]
    return [("matrix", TensorProto.INT8, [width, "pieces"]), ("scales", TensorProto.FLOAT, ["pieces"])]


def _best(graph: _Graph, parameters: _Parameters, factor: list[str], bias: str) -> onnx.ModelProto:
    """The `count` best log-probabilities of each row with their pieces, and that of the row's `target`."""
    width = _projection(parameters)[1].shape[1]
    features = graph.input("features", TensorProto.FLOAT, ["rows", width])
    targets = graph.input("targets", TensorProto.INT64, ["rows", 1])
    count = graph.input("count", TensorProto.INT64, [1])
    scores = graph.add("LogSoftmax", graph.multiply(features, factor, bias), axis=-1)
    best, pieces = graph.add("TopK", scores, count, outputs=2, axis=-1)
    graph.output("scores", best, TensorProto.FLOAT, ["rows", "count"])
    graph.output("pieces", pieces, TensorProto.INT64, ["rows", "count"])
    graph.output(
        "target_scores", graph.add("GatherElements", scores, targets, axis=1), TensorProto.FLOAT, ["rows", 1]
    )
    return graph.finish()
