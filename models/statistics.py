"""What a bundle remembers of its training texts, so that it can learn on where they are not.

For each stage and head: the mean vector of each label, and how vectors are spread around it, alike
for all labels: along the few directions of greatest spread together, and in each dimension by what
is left. Vectors drawn from these normal distributions stand in for texts when a head is fitted anew
(as in Hayes and Kanan, "Lifelong Machine Learning with Deep Streaming Linear Discriminant
Analysis", 2020).

A label's mean is over at least LEAST_TEXTS texts, and of a label with fewer nothing is kept: the
mean of one text would be its vector, from which much of a text can be guessed. So what is kept
tells what texts of a label have in common. It is no guarantee against somebody who knows all of a
label's texts but one (that would be differential privacy).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float32]
IntArray = npt.NDArray[np.int64]

# Directions of greatest spread that are kept: of more a bundle grows by 12 kB each.
DIRECTIONS = 8
LEAST_TEXTS = 5
_PARTS = ("means", "shares", "directions", "deviations")


@dataclass(frozen=True, slots=True)
class ClassStatistics:
    """The vectors of one head's training texts.

    means: [labels, width]. shares: of each label among the texts, [labels]; 0 for a label of which
        nothing is known.
    directions: of greatest spread, as long as the standard deviation along them, [few, width].
    deviations: standard deviation of what is left in each dimension, [width].
    """

    means: FloatArray
    shares: FloatArray
    directions: FloatArray
    deviations: FloatArray

    @classmethod
    def of(cls, vectors: FloatArray, targets: IntArray, labels: int) -> "ClassStatistics":
        """vectors [texts, width]; targets [texts], positions of the labels."""
        counts = np.bincount(targets, minlength=labels)
        counts[counts < LEAST_TEXTS] = 0
        known = counts[targets] > 0
        vectors, targets = vectors[known], targets[known]
        sums = np.zeros((labels, vectors.shape[1]), np.float64)
        np.add.at(sums, targets, vectors)
        means = (sums / np.maximum(counts, 1)[:, None]).astype(np.float32)
        around = vectors - means[targets]
        texts = max(len(vectors), 1)
        values, axes = np.linalg.eigh(around.T.astype(np.float64) @ around / texts)
        largest = slice(-min(DIRECTIONS, len(values)), None)
        directions = np.sqrt(np.maximum(values[largest], 0))[:, None] * axes.T[largest]
        left = (around**2).sum(axis=0) / texts - (directions**2).sum(axis=0)
        return cls(
            means=means,
            shares=(counts / texts).astype(np.float32),
            directions=directions.astype(np.float32),
            deviations=np.sqrt(np.maximum(left, 0)).astype(np.float32),
        )

    def draw(self, texts: int, seed: int) -> tuple[FloatArray, IntArray]:
        """Vectors [texts, width] as of so many texts, and the positions of their labels; none where
        no label is known."""
        if not self.shares.any():
            return np.zeros((0, self.means.shape[1]), np.float32), np.zeros(0, np.int64)
        random = np.random.default_rng(seed)
        shares = self.shares.astype(np.float64)
        targets = random.choice(len(shares), texts, p=shares / shares.sum())
        along = random.standard_normal((texts, len(self.directions)), np.float32)
        apart = random.standard_normal((texts, len(self.deviations)), np.float32)
        vectors: FloatArray = (
            self.means[targets] + along @ self.directions + apart * self.deviations
        )
        return vectors, targets.astype(np.int64)


def write_statistics(file: Path, heads: Mapping[str, Sequence[ClassStatistics]]) -> None:
    """By the head's name, one a stage; kept in 16 bits."""
    from safetensors.numpy import save_file

    arrays = {
        f"{stage}/{name}.{part}": getattr(own, part).astype(np.float16)
        for name, of_stages in heads.items()
        for stage, own in enumerate(of_stages, start=1)
        for part in _PARTS
    }
    save_file(arrays, file)
    file.chmod(0o644)  # safetensors gives it to its owner alone


def read_statistics(file: Path) -> dict[str, list[ClassStatistics]]:
    """By the head's name, one a stage."""
    from safetensors.numpy import load_file

    arrays = load_file(file)
    found: dict[str, list[ClassStatistics]] = {}
    for key in sorted(name.removesuffix(".means") for name in arrays if name.endswith(".means")):
        parts = [arrays[f"{key}.{part}"].astype(np.float32) for part in _PARTS]
        found.setdefault(key.partition("/")[2], []).append(ClassStatistics(*parts))
    return found
