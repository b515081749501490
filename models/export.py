"""From trained weights to the graphs that workers run."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from models.encoder import Encoder
from models.network import Head, NetworkBuilder
from models.onnx_engine import COMPANY_TEXTS, COMPANY_WEIGHTS, IDS, open_session
from models.quantization import Range
from models.recipe import Stage
from models.tokenizer import WindowTokenizer


def whole(encoder: Encoder) -> Stage:
    """All layers as one stage."""
    return Stage(0, encoder.shape.layers, 1)


def measure_ranges(encoder: Encoder, texts: Sequence[str], window_tokens: int) -> dict[str, Range]:
    """The range of values before each dense layer, by the layer's name, over the given texts.

    A few hundred texts of every kind that will be served are enough.
    """
    builder = NetworkBuilder(encoder, whole(encoder), None, window_tokens)
    session = open_session(builder.build().SerializeToString())
    places = list(dict.fromkeys(builder.dense_inputs.values()))
    ranges = dict.fromkeys(places, Range())
    for tokens in WindowTokenizer(encoder.tokenizer, window_tokens).encode(texts):
        values = session.run(places, _alone(tokens.ids))
        for place, value in zip(places, values, strict=True):
            ranges[place] = ranges[place].widened(value)
    return {layer: ranges[place] for layer, place in builder.dense_inputs.items()}


def stage_graphs(
    encoder: Encoder,
    stages: Sequence[Stage],
    ranges: Mapping[str, Range] | None,
    window_tokens: int,
    heads: Sequence[Mapping[str, Head]] = (),
) -> list[bytes]:
    """The serialised ONNX graph of each stage with its heads in float32.

    The encoder is in int8, or in float32 without `ranges`.
    """
    return [
        bytes(
            NetworkBuilder(encoder, stage, ranges, window_tokens, of_stage)
            .build()
            .SerializeToString()
        )
        for stage, of_stage in zip(stages, heads or [{}] * len(stages), strict=True)
    ]


def _alone(ids: Sequence[int]) -> dict[str, npt.NDArray[Any]]:
    """One text without companies."""
    return {
        IDS: np.array([ids], np.int32),
        COMPANY_TEXTS: np.zeros(0, np.int64),
        COMPANY_WEIGHTS: np.zeros((0, len(ids)), np.float32),
    }
