"""The network as ONNX graphs, one a stage: BERT-family encoder, mean pooling, linear heads.

The graphs are written down node by node, so that every cycle is accounted for. What was measured on
two AVX-512 cores (see README.md): MatMulIntegerToFloat is the fastest int8 product of ONNX Runtime;
attention from plain products beats QAttention and MultiHeadAttention; Add with LayerNormalization
beats SkipLayerNormalization by a quarter of the whole run.

There is no attention mask and no padding: the engine only batches texts of equal length. So the
answer for a text cannot depend on its batch-mates, and no work is spent on padding.

Inputs of a stage: `ids` int32 [batch, length] for the first, `states` float32 [batch, length,
hidden] for each other; `company_texts` int64 [companies], the row of each company's text, and
`company_weights` float32 [companies, length], which make the mean over its tokens.
Outputs: `next_states` (but for the last stage); `pooled` float32 [batch, width], the mean over the
text's tokens of each of the stage's last layers, one beside the other; `company_pooled` float32
[companies, 2 * width], the same of the company's tokens beside its text's; and logits float32
[batch or companies, labels] of each head, named like it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

from models.encoder import Encoder, FloatArray
from models.onnx_engine import (
    COMPANY_POOLED,
    COMPANY_TEXTS,
    COMPANY_WEIGHTS,
    IDS,
    NEXT_STATES,
    POOLED,
    STATES,
)
from models.quantization import Range, quantize_activations, quantize_columns, quantize_rows
from models.recipe import Stage
from schemas.taxonomy import COMPANY_SENTIMENT

CONTRIB = "com.microsoft"
OPSET = 17
IR_VERSION = 9


@dataclass(frozen=True, slots=True)
class Head:
    """A linear head: logits = vector @ weight + bias, of the pooled vector or the company's.

    weight is float32 [width, labels], bias float32 [labels].
    """

    labels: tuple[str, ...]
    weight: FloatArray
    bias: FloatArray


@dataclass(slots=True)
class _Graph:
    nodes: list[onnx.NodeProto] = field(default_factory=list)
    constants: dict[str, onnx.TensorProto] = field(default_factory=dict)

    def constant(self, name: str, value: npt.ArrayLike, dtype: npt.DTypeLike | None = None) -> str:
        array = np.ascontiguousarray(np.asarray(value, dtype=dtype))
        # ascontiguousarray makes a vector of a scalar; scales must stay scalars.
        array = array.reshape(np.shape(value))
        self.constants[name] = numpy_helper.from_array(array, name)
        return name

    def add(
        self, kind: str, inputs: Sequence[str], name: str, *, domain: str = "", **attributes: Any
    ) -> str:
        self.nodes.append(
            helper.make_node(kind, inputs, [name], name=name, domain=domain, **attributes)
        )
        return name


class NetworkBuilder:
    """Writes the graph of one stage of an encoder with the stage's heads.

    heads: by task; COMPANY_SENTIMENT is the one that reads companies' vectors.
    Without `ranges` the graph is float32 and every input of a dense layer is an output too: that is
    how ranges are measured (`export`). With `ranges` (by layer name) it is int8.
    """

    def __init__(
        self,
        encoder: Encoder,
        stage: Stage,
        ranges: Mapping[str, Range] | None,
        window_tokens: int,
        heads: Mapping[str, Head] | None = None,
    ) -> None:
        self.encoder = encoder
        self.stage = stage
        self.window_tokens = window_tokens
        self.heads = heads or {}
        self.ranges = ranges
        self.graph = _Graph()
        self.dense_inputs: dict[str, str] = {}

    def build(self) -> onnx.ModelProto:
        states = [STATES if self.stage.first else self._embeddings()]
        for layer in range(self.stage.first, self.stage.end):
            states.append(self._layer(layer, states[-1]))
        read = states[-self.stage.pooled :]
        self._pool(read)
        self._pool_companies(read)
        for task, head in self.heads.items():
            self._head(task, head, _rows(task, POOLED, COMPANY_POOLED))
        if not self._is_last:
            self.graph.add("Identity", [states[-1]], NEXT_STATES)
        return self._model()

    @property
    def _is_last(self) -> bool:
        return self.stage.end == self.encoder.shape.layers

    def _embeddings(self) -> str:
        graph, weights = self.graph, self.encoder.weights
        words = self._words(weights["embeddings.word_embeddings.weight"])
        # One segment only, so its vector is added to every position beforehand.
        positions = (
            weights["embeddings.position_embeddings.weight"]
            + weights["embeddings.token_type_embeddings.weight"][0]
        )
        graph.constant("positions", positions[: self.window_tokens])
        graph.constant("zero", [0], np.int64)
        graph.add("Shape", [IDS], "length", start=1, end=2)
        graph.add("Slice", ["positions", "zero", "length", "zero"], "used_positions")
        graph.add("Add", [words, "used_positions"], "embeddings")
        return self._norm("embeddings", "embeddings.LayerNorm")

    def _words(self, table: FloatArray) -> str:
        graph = self.graph
        if self.ranges is None:
            graph.constant("words", table)
            return graph.add("Gather", ["words", IDS], "word_vectors")
        rows, scales = quantize_rows(table)
        graph.constant("words", rows)
        graph.constant("word_scales", scales)
        graph.add("Gather", ["words", IDS], "word_rows")
        graph.add("Gather", ["word_scales", IDS], "row_scales")
        graph.add("Cast", ["word_rows"], "word_floats", to=TensorProto.FLOAT)
        return graph.add("Mul", ["word_floats", "row_scales"], "word_vectors")

    def _layer(self, number: int, hidden: str) -> str:
        at = f"encoder.layer.{number}"
        mixed = self._attention(f"{at}.attention", hidden)
        mixed = self._dense(f"{at}.attention.output.dense", mixed)
        self.graph.add("Add", [mixed, hidden], f"{at}.attended")
        attended = self._norm(f"{at}.attended", f"{at}.attention.output.LayerNorm")
        wide = self._dense(f"{at}.intermediate.dense", attended)
        wide = self._activation(wide)
        narrow = self._dense(f"{at}.output.dense", wide)
        self.graph.add("Add", [narrow, attended], f"{at}.out")
        return self._norm(f"{at}.out", f"{at}.output.LayerNorm")

    def _attention(self, at: str, hidden: str) -> str:
        graph, shape = self.graph, self.encoder.shape
        size = shape.hidden // shape.attention_heads
        graph.constant("split", [0, 0, shape.attention_heads, size], np.int64)
        graph.constant("join", [0, 0, shape.hidden], np.int64)
        parts = {}
        for part in ("query", "key", "value"):
            dense = self._dense(
                f"{at}.self.{part}", hidden, scale=size**-0.5 if part == "query" else 1.0
            )
            rows = graph.add("Reshape", [dense, "split"], f"{at}.{part}.split")
            # [batch, length, head, size] to [batch, head, length, size]; keys end up transposed.
            order = [0, 2, 3, 1] if part == "key" else [0, 2, 1, 3]
            parts[part] = graph.add("Transpose", [rows], f"{at}.{part}", perm=order)
        graph.add("MatMul", [parts["query"], parts["key"]], f"{at}.scores")
        graph.add("Softmax", [f"{at}.scores"], f"{at}.attention", axis=-1)
        graph.add("MatMul", [f"{at}.attention", parts["value"]], f"{at}.mixed")
        graph.add("Transpose", [f"{at}.mixed"], f"{at}.rows", perm=[0, 2, 1, 3])
        return graph.add("Reshape", [f"{at}.rows", "join"], f"{at}.joined")

    def _dense(self, at: str, value: str, *, scale: float = 1.0) -> str:
        graph = self.graph
        factor = np.float32(scale)
        weight = self.encoder.weights[f"{at}.weight"].T * factor
        bias = graph.constant(f"{at}.bias", self.encoder.weights[f"{at}.bias"] * factor)
        self.dense_inputs[at] = value
        if self.ranges is None:
            graph.constant(f"{at}.weight", weight)
            graph.add("MatMul", [value, f"{at}.weight"], f"{at}.product")
            return graph.add("Add", [f"{at}.product", bias], f"{at}.result")
        columns, column_scales = quantize_columns(weight)
        graph.constant(f"{at}.weight", columns)
        graph.constant(f"{at}.column_scales", column_scales)
        quantized, step, zero_point = self._quantized(value, self.ranges[at])
        return graph.add(
            "MatMulIntegerToFloat",
            [quantized, f"{at}.weight", step, f"{at}.column_scales", zero_point, "", bias],
            f"{at}.result",
            domain=CONTRIB,
        )

    def _quantized(self, value: str, measured: Range) -> tuple[str, str, str]:
        """Rounds a value once, however many dense layers (query, key, value) read it."""
        graph, name, step, zero = self.graph, f"{value}.int8", f"{value}.step", f"{value}.zero"
        if name not in {node.name for node in graph.nodes}:
            scale, zero_point = quantize_activations(measured)
            graph.constant(step, scale)
            graph.constant(zero, zero_point)
            graph.add("QuantizeLinear", [value, step, zero], name)
        return name, step, zero

    def _activation(self, value: str) -> str:
        if self.encoder.shape.activation == "relu":
            return self.graph.add("Relu", [value], f"{value}.active")
        return self.graph.add("Gelu", [value], f"{value}.active", domain=CONTRIB)

    def _norm(self, value: str, at: str) -> str:
        graph, weights = self.graph, self.encoder.weights
        gain = graph.constant(f"{at}.weight", weights[f"{at}.weight"])
        bias = graph.constant(f"{at}.bias", weights[f"{at}.bias"])
        epsilon = self.encoder.shape.epsilon
        return graph.add(
            "LayerNormalization", [value, gain, bias], f"{at}.result", axis=-1, epsilon=epsilon
        )

    def _pool(self, states: Sequence[str]) -> None:
        means = [
            self.graph.add("ReduceMean", [state], f"{state}.mean", axes=[1], keepdims=0)
            for state in states
        ]
        self.graph.add("Concat", means, POOLED, axis=1)

    def _pool_companies(self, states: Sequence[str]) -> None:
        graph = self.graph
        graph.constant("one", [1], np.int64)
        graph.add("Unsqueeze", [COMPANY_WEIGHTS, "one"], "company_rows")
        means = []
        for state in states:
            graph.add("Gather", [state, COMPANY_TEXTS], f"{state}.of_companies")
            graph.add("MatMul", ["company_rows", f"{state}.of_companies"], f"{state}.company")
            means.append(graph.add("Squeeze", [f"{state}.company", "one"], f"{state}.company_mean"))
        graph.add("Gather", [POOLED, COMPANY_TEXTS], "pooled_of_companies")
        graph.add("Concat", ["pooled_of_companies", *means], COMPANY_POOLED, axis=1)

    def _head(self, name: str, head: Head, vector: str) -> None:
        weight = self.graph.constant(f"{name}.weight", head.weight)
        bias = self.graph.constant(f"{name}.bias", head.bias)
        self.graph.add("Gemm", [vector, weight, bias], name)

    def _model(self) -> onnx.ModelProto:
        graph = helper.make_graph(
            self.graph.nodes,
            "bellwether",
            self._inputs(),
            self._outputs(),
            list(self.graph.constants.values()),
        )
        opsets = [helper.make_opsetid("", OPSET), helper.make_opsetid(CONTRIB, 1)]
        return helper.make_model(
            graph, opset_imports=opsets, ir_version=IR_VERSION, producer_name="bellwether"
        )

    def _inputs(self) -> list[onnx.ValueInfoProto]:
        hidden = self.encoder.shape.hidden
        read = (
            _tensor(STATES, ["batch", "length", hidden])
            if self.stage.first
            else _tensor(IDS, ["batch", "length"], TensorProto.INT32)
        )
        return [
            read,
            _tensor(COMPANY_TEXTS, ["companies"], TensorProto.INT64),
            _tensor(COMPANY_WEIGHTS, ["companies", "length"]),
        ]

    def _outputs(self) -> list[onnx.ValueInfoProto]:
        hidden = self.encoder.shape.hidden
        width = hidden * self.stage.pooled
        outputs = [
            _tensor(POOLED, ["batch", width]),
            _tensor(COMPANY_POOLED, ["companies", 2 * width]),
        ]
        outputs += [
            _tensor(task, [_rows(task, "batch", "companies"), len(head.labels)])
            for task, head in self.heads.items()
        ]
        if not self._is_last:
            outputs.append(_tensor(NEXT_STATES, ["batch", "length", hidden]))
        if self.ranges is None:
            seen = dict.fromkeys(v for v in self.dense_inputs.values() if v != STATES)
            outputs += [helper.make_tensor_value_info(n, TensorProto.FLOAT, None) for n in seen]
        return outputs


def with_columns(graph: bytes, columns: Mapping[str, Head]) -> bytes:
    """A stage's serialised graph with heads that are new, or with further columns of those it has.

    Known columns keep a product of their own, in front of the new ones': nothing promises that one
    product over all would round them as before, on every processor.
    """
    model = onnx.load_model_from_string(graph)
    for name, head in columns.items():
        _add_columns(model.graph, name, head)
    return bytes(model.SerializeToString())


def _add_columns(graph: onnx.GraphProto, name: str, head: Head) -> None:
    output = next((each for each in graph.output if each.name == name), None)
    if output is None:
        _add_product(graph, name, _rows(name, POOLED, COMPANY_POOLED), head)
        rows = _rows(name, "batch", "companies")
        graph.output.append(_tensor(name, [rows, len(head.labels)]))
        return
    width = output.type.tensor_type.shape.dim[1]
    known, new = f"{name}.to_{width.dim_value}", f"{name}.from_{width.dim_value}"
    (producer,) = (node for node in graph.node if name in node.output)
    producer.name = producer.output[0] = known
    _add_product(graph, new, _rows(name, POOLED, COMPANY_POOLED), head)
    graph.node.append(helper.make_node("Concat", [known, new], [name], name=name, axis=1))
    width.dim_value += len(head.labels)


def _add_product(graph: onnx.GraphProto, name: str, vector: str, head: Head) -> None:
    for part, array in (("weight", head.weight), ("bias", head.bias)):
        graph.initializer.append(numpy_helper.from_array(array, f"{name}.{part}"))
    inputs = [vector, f"{name}.weight", f"{name}.bias"]
    graph.node.append(helper.make_node("Gemm", inputs, [name], name=name))


def with_heads(graph: bytes, heads: Mapping[str, Head]) -> bytes:
    """A stage's serialised graph with other weights in heads that it has; all else is as it was.

    A head with further columns (`with_columns`) keeps a product for each part.
    """
    model = onnx.load_model_from_string(graph)
    for name, head in heads.items():
        _replace_product(model.graph, name, head)
    return bytes(model.SerializeToString())


def _replace_product(graph: onnx.GraphProto, output: str, head: Head) -> None:
    (producer,) = (node for node in graph.node if output in node.output)
    if producer.op_type == "Concat":
        start = 0
        for part in producer.input:
            (own,) = (node for node in graph.node if part in node.output)
            columns = slice(start, start := start + _constant(graph, own.input[2]).dims[0])
            piece = Head(head.labels[columns], head.weight[:, columns], head.bias[columns])
            _replace_product(graph, part, piece)
        return
    for name, array in zip(producer.input[1:], (head.weight, head.bias), strict=True):
        constant = _constant(graph, name)
        if tuple(constant.dims) != array.shape:
            raise ValueError(f"{name} has the shape {tuple(constant.dims)}, not {array.shape}")
        constant.CopyFrom(numpy_helper.from_array(np.ascontiguousarray(array), name))


def _constant(graph: onnx.GraphProto, name: str) -> onnx.TensorProto:
    found: onnx.TensorProto = next(each for each in graph.initializer if each.name == name)
    return found


def _rows(task: str, texts: str, companies: str) -> str:
    return companies if task == COMPANY_SENTIMENT else texts


def _tensor(
    name: str, shape: Sequence[str | int], kind: int = TensorProto.FLOAT
) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, kind, shape)
