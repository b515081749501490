"""Which texts are of the concept that corrections teach, though nobody has labelled them.

On such texts the champion is likely to be as wrong as on the corrected ones, so its answers there
are neither what a candidate is held to nor what it is judged by.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from models.heads import FloatArray

# A text is near if it is as near to a correction as all but this share of the corrections are to
# another one. On four concepts of twenty corrections each it finds 49 to 78 % of other wordings,
# and takes 1 to 7 % of the texts of the labelled sets for one.
STRAY = 0.1
# Fewer do not tell how wide a concept is.
LEAST_GROUPS = 5


def of_concept(
    corrections: FloatArray, groups: Sequence[str], texts: FloatArray
) -> npt.NDArray[np.bool_]:
    """For each text [texts, width] whether it is near one of the corrections [corrections, width].

    Nearness is the cosine. Corrections of one group are nearly equal and tell nothing of the width.
    """
    if len(set(groups)) < LEAST_GROUPS or not len(texts):
        return np.zeros(len(texts), bool)
    own, others = _unit(corrections), _unit(texts)
    between = own @ own.T
    between[np.equal.outer(np.array(groups), np.array(groups))] = -1.0
    least = np.quantile(between.max(axis=1), STRAY)
    near: npt.NDArray[np.bool_] = (others @ own.T).max(axis=1) >= least
    return near


def _unit(vectors: FloatArray) -> FloatArray:
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    unit: FloatArray = vectors / np.maximum(lengths, 1e-9)
    return unit
