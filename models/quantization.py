"""Rounding to int8: weights per column, word embeddings per row, activations by fixed ranges.

Activation ranges are measured once over calibration texts and fixed. Ranges measured while serving
(dynamic quantisation) would be those of a whole batch, so a text's answer would depend on its
batch-mates.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float32]
Int8Array = npt.NDArray[np.int8]


@dataclass(frozen=True, slots=True)
class Range:
    """The smallest and largest value seen at one place of the network; always holds zero."""

    low: float = 0.0
    high: float = 0.0

    def widened(self, values: FloatArray) -> "Range":
        return Range(min(self.low, float(values.min())), max(self.high, float(values.max())))


def quantize_columns(weight: FloatArray) -> tuple[Int8Array, FloatArray]:
    """int8 [rows, columns] and one scale a column, symmetric: weight ≈ ints * scales."""
    scales = _scales(np.abs(weight).max(axis=0))
    return _rounded(weight / scales), scales


def quantize_rows(table: FloatArray) -> tuple[Int8Array, FloatArray]:
    """int8 [rows, columns] and scales [rows, 1], symmetric: table ≈ ints * scales."""
    scales = _scales(np.abs(table).max(axis=1, keepdims=True))
    return _rounded(table / scales), scales


def quantize_activations(measured: Range) -> tuple[np.float32, np.uint8]:
    """Step and zero point of the asymmetric uint8 grid that covers a range."""
    step = np.float32(max(measured.high - measured.low, 1e-6) / 255)
    return step, np.uint8(np.clip(np.rint(-measured.low / step), 0, 255))


def _scales(largest: FloatArray) -> FloatArray:
    return np.maximum(largest / 127, 1e-8).astype(np.float32)


def _rounded(scaled: FloatArray) -> Int8Array:
    return np.clip(np.rint(scaled), -127, 127).astype(np.int8)
