"""Labelled texts for a task of one's own. The small encoder knows letters: a label is a choice of
some."""

import json
import random
from collections.abc import Mapping
from pathlib import Path

URGENCY = {"high": "zqx", "low": "uvw"}


def own_texts(letters: str, count: int, seed: int = 0) -> list[str]:
    """Texts of random words of the letters with one of others, so that no two are nearly alike."""
    random_ = random.Random(f"{letters} {seed}")

    def word(from_: str) -> str:
        return "".join(random_.choices(from_, k=random_.randint(4, 7)))

    return [" ".join([*(word(letters) for _ in range(7)), word("abcdefgh")]) for _ in range(count)]


def write_texts(path: Path, labels: Mapping[str, str], counts: Mapping[str, int]) -> Path:
    """Writes `counts` texts of each label, whose letters `labels` gives; returns the file."""
    rows = [
        {"text": text, "label": label}
        for label, count in counts.items()
        for text in own_texts(labels[label], count)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path
