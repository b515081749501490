"""The concepts that the model is taught: sentences to teach, to ask afterwards, and to leave alone.

They were written before any model learnt from them; `concepts/` has one file for each.
"""

from collections import Counter
from pathlib import Path

import orjson
import pytest

from models.duplicates import cluster_keys
from schemas.taxonomy import load_taxonomy

CONCEPTS = sorted((Path(__file__).parent / "concepts").glob("*.jsonl"), key=lambda file: file.stem)
PARTS = {"teach": 20, "held_out": 45, "neighbour": 40}
TASKS = load_taxonomy().tasks

Row = dict[str, str]


@pytest.fixture(params=CONCEPTS, ids=lambda file: file.stem)
def rows(request: pytest.FixtureRequest) -> list[Row]:
    return [orjson.loads(line) for line in request.param.read_bytes().splitlines()]


def test_a_concept_is_of_one_task_and_one_label(rows: list[Row]) -> None:
    (task,) = {row["task"] for row in rows}
    assert len({row["label"] for row in rows if row["part"] != "neighbour"}) == 1
    assert {row["label"] for row in rows} <= set(TASKS[task].labels)


def test_a_concept_has_all_parts(rows: list[Row]) -> None:
    assert Counter(row["part"] for row in rows) == PARTS


def test_neighbours_have_other_labels_too(rows: list[Row]) -> None:
    (taught,) = {row["label"] for row in rows if row["part"] == "teach"}
    neighbours = [row["label"] for row in rows if row["part"] == "neighbour"]
    assert sum(label != taught for label in neighbours) >= len(neighbours) / 2


def test_what_is_asked_was_not_taught() -> None:
    """No sentence is nearly another, of any concept."""
    written = [orjson.loads(line) for file in CONCEPTS for line in file.read_bytes().splitlines()]
    keys = cluster_keys([row["text"] for row in written])
    assert len(written) == len(CONCEPTS) * sum(PARTS.values()) > 0
    assert [key for key, count in Counter(keys).items() if count > 1] == []
