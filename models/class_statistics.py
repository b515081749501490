"""What a bundle remembers of the vectors that its heads were fitted on, without their texts.

For each head and stage: the mean vector of every label, how the vectors of one label scatter (the
same for all labels: RANK directions and a spread of each coordinate beside them), and how frequent
the labels are. Vectors drawn from it stand in for old texts where the labelled sets are not at hand
(pseudo-rehearsal: Robins 1995).
"""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from models.bundle import STATISTICS, Bundle
from models.heads import FloatArray, HeadData

RANK = 16
DRAWN = 4_000


def class_statistics(data: HeadData, labels: int) -> dict[str, FloatArray]:
    """means [labels, width], directions [RANK, width], spread [width], shares [labels]; float16.

    A label without a text has the mean of all and a share of 0.
    """
    counts = np.bincount(data.targets, minlength=labels)
    means = np.repeat(data.vectors.mean(axis=0, keepdims=True), labels, axis=0)
    for label in np.flatnonzero(counts):
        means[label] = data.vectors[data.targets == label].mean(axis=0)
    scatter = data.vectors - means[data.targets]
    values, vectors = np.linalg.eigh(scatter.T @ scatter / len(scatter))
    directions = (vectors[:, -RANK:] * np.sqrt(np.maximum(values[-RANK:], 0))).T
    rest = scatter.var(axis=0) - (directions**2).sum(axis=0)
    found = {
        "means": means,
        "directions": directions,
        "spread": np.sqrt(np.maximum(rest, 0)),
        "shares": counts / counts.sum(),
    }
    return {name: np.ascontiguousarray(array, np.float16) for name, array in found.items()}


def write_statistics(
    folder: Path, by_head: Mapping[tuple[int, str], Mapping[str, FloatArray]]
) -> None:
    """Writes those of each stage, counted from 1, and head into the bundle's folder."""
    from safetensors.numpy import save_file

    arrays = {
        f"{stage}/{name}.{part}": array
        for (stage, name), parts in by_head.items()
        for part, array in parts.items()
    }
    save_file(arrays, folder / STATISTICS)
    (folder / STATISTICS).chmod(0o644)  # safetensors gives it to its owner alone


def drawn_vectors(bundle: Bundle, name: str, seed: int, count: int = DRAWN) -> list[FloatArray]:
    """Vectors [count, width] of a head, a stage each; none where the bundle has no statistics."""
    from safetensors.numpy import load_file

    file = bundle.folder / STATISTICS
    if STATISTICS not in bundle.manifest.files:
        return []
    arrays = load_file(file)
    stages = range(1, len(bundle.manifest.stages) + 1)
    if f"1/{name}.means" not in arrays:
        return []
    return [_drawn(arrays, f"{stage}/{name}", seed, count) for stage in stages]


def _drawn(arrays: Mapping[str, FloatArray], at: str, seed: int, count: int) -> FloatArray:
    means, directions, spread, shares = (
        arrays[f"{at}.{part}"].astype(np.float64)
        for part in ("means", "directions", "spread", "shares")
    )
    draw = np.random.default_rng(seed)
    labels = draw.choice(len(shares), count, p=shares / shares.sum())
    found = means[labels]
    found += draw.standard_normal((count, len(directions))) @ directions
    found += draw.standard_normal(found.shape) * spread
    vectors: FloatArray = found.astype(np.float32)
    return vectors
