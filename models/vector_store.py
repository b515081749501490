"""Vectors that were read already, on disk, so that the next run reads only what is new.

A file belongs to one encoder: its name is the hash of the graphs without their heads, so it holds
good for every bundle that differs from another in heads alone. Vectors are rounded to float16
whether they are read or remembered, so that a run's result does not depend on what was there.
"""

import os
import zipfile
from collections.abc import Callable, Sequence
from hashlib import sha256
from pathlib import Path

import numpy as np

from models.bundle import Bundle
from models.data import Example
from models.engine import FloatArray
from models.onnx_engine import OnnxEngine
from models.vectors import Vectors, read_vectors

# Of one encoder; older ones are forgotten all at once beyond that. 4.6 kB a text in three stages.
MOST_TEXTS = 60_000


def stored_vectors(
    folder: Path | None,
    bundle: Bundle,
    engine: OnnxEngine,
    examples: Sequence[Example],
    report: Callable[[str], None],
) -> Vectors:
    """The vectors of the examples, from the folder (None: nothing is kept) where they stand there.

    A damaged file counts as none.
    """
    file = folder / f"{_encoder_hash(bundle)}.npz" if folder else None
    known = _load(file) if file else {}
    keys = {_key(example): example for example in examples}
    new = [example for key, example in keys.items() if key not in known]
    found = {key: known[key] for key in keys if key in known}
    if new:
        read = read_vectors(engine, new, report)
        found |= {
            _key(example): [
                read.of([example], stage)[0].astype(np.float16)
                for stage in range(len(bundle.manifest.stages))
            ]
            for example in new
        }
    if file and new:
        kept = {**known, **found}
        _save(file, kept if len(kept) <= MOST_TEXTS else found)
    return _as_vectors(list(keys.values()), found, len(bundle.manifest.stages))


def _as_vectors(
    examples: Sequence[Example], found: dict[str, list[FloatArray]], stages: int
) -> Vectors:
    texts = {e.text: _key(e) for e in examples if e.span is None}
    companies = {(e.text, e.span): _key(e) for e in examples if e.span}

    def stacked(keys: Sequence[str], stage: int) -> FloatArray:
        rows = [found[key][stage] for key in keys]
        return np.stack(rows).astype(np.float32) if rows else np.zeros((0, 0), np.float32)

    return Vectors(
        {text: row for row, text in enumerate(texts)},
        {company: row for row, company in enumerate(companies)},
        [stacked([*texts.values()], stage) for stage in range(stages)],
        [stacked([*companies.values()], stage) for stage in range(stages)],
    )


def _key(example: Example) -> str:
    return sha256(f"{example.span}|{example.text}".encode("utf-8", "replace")).hexdigest()[:32]


def _encoder_hash(bundle: Bundle) -> str:
    import onnx

    heads = tuple(f"{name}." for name in bundle.manifest.heads)
    digest = sha256()
    for graph in bundle.graphs:
        for constant in onnx.load(graph).graph.initializer:
            if not constant.name.startswith(heads):
                digest.update(constant.SerializeToString())
    return digest.hexdigest()[:24]


def _load(file: Path) -> dict[str, list[FloatArray]]:
    """Rows by key; texts' and companies' vectors are of different widths."""
    try:
        with np.load(file, allow_pickle=False) as content:
            groups = [str(group) for group in content["groups"]]
            arrays = {name: content[name] for name in content.files}
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        return {}
    return {
        key: [arrays[f"{group}/{stage}"][row] for stage in range(int(arrays["stages"]))]
        for group in groups
        for row, key in enumerate(arrays[f"{group}/keys"].tolist())
    }


def _save(file: Path, vectors: dict[str, list[FloatArray]]) -> None:
    by_width: dict[int, list[str]] = {}
    for key, rows in vectors.items():
        by_width.setdefault(len(rows[-1]), []).append(key)
    stages = len(next(iter(vectors.values())))
    arrays = {
        "groups": np.array([str(width) for width in by_width]),
        "stages": np.array(stages),
    }
    for width, keys in by_width.items():
        arrays[f"{width}/keys"] = np.array(keys)
        for stage in range(stages):
            arrays[f"{width}/{stage}"] = np.stack([vectors[key][stage] for key in keys])
    file.parent.mkdir(parents=True, exist_ok=True)
    unfinished = file.with_suffix(".unfinished")
    with unfinished.open("wb") as stream:
        np.savez(stream, allow_pickle=False, **arrays)
    os.replace(unfinished, file)
