"""From trained weights to the int8 graph that workers run."""

from collections.abc import Mapping, Sequence

import numpy as np

from models.encoder import Encoder
from models.engine import WindowTokenizer, open_session
from models.network import Head, NetworkBuilder
from models.quantization import Range

WINDOW_TOKENS = 256


def measure_ranges(
    encoder: Encoder, texts: Sequence[str], window_tokens: int = WINDOW_TOKENS
) -> dict[str, Range]:
    """The range of values before each dense layer, by the layer's name, over the given texts.

    A few hundred texts of every kind that will be served are enough.
    """
    builder = NetworkBuilder(encoder, {}, None, window_tokens)
    session = open_session(builder.build().SerializeToString())
    places = list(dict.fromkeys(builder.dense_inputs.values()))
    ranges = dict.fromkeys(places, Range())
    for tokens in WindowTokenizer(encoder.tokenizer, window_tokens).encode(texts):
        values = session.run(places, {"ids": np.array([tokens.ids], np.int32)})
        for place, value in zip(places, values, strict=True):
            ranges[place] = ranges[place].widened(value)
    return {layer: ranges[place] for layer, place in builder.dense_inputs.items()}


def int8_graph(
    encoder: Encoder,
    heads: Mapping[str, Head],
    ranges: Mapping[str, Range],
    window_tokens: int = WINDOW_TOKENS,
    pooled_layers: int = 1,
) -> bytes:
    """The serialised ONNX graph of the encoder in int8 with its heads in float32."""
    model = NetworkBuilder(encoder, heads, ranges, window_tokens, pooled_layers).build()
    return bytes(model.SerializeToString())
