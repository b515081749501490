"""The golden set: hand-written texts that are plain, and each task's labels are all asked for."""

from collections import Counter
from pathlib import Path

import orjson
import pytest

from models.data import company_span
from models.duplicates import cluster_keys
from schemas.taxonomy import BUILT_IN_TASKS, EMOTION, INTENT, SENTIMENT, TOPIC, load_taxonomy

GOLDEN = Path(__file__).parents[2] / "models" / "checks" / "golden.jsonl"
ROWS: list[dict[str, str]] = [orjson.loads(line) for line in GOLDEN.read_bytes().splitlines()]
TASKS = load_taxonomy().tasks
# Each label of a task at least so often.
LEAST = {SENTIMENT: 30, TOPIC: 5, INTENT: 1, EMOTION: 15}


def labels(task: str) -> Counter[str]:
    return Counter(row["label"] for row in ROWS if row["task"] == task)


def test_a_row_has_the_fields_and_no_others() -> None:
    needed = {"id", "task", "text", "label"}
    assert all(needed <= row.keys() <= needed | {"entity"} for row in ROWS)
    assert all(value.strip() == value != "" for row in ROWS for value in row.values())


@pytest.mark.parametrize("task", BUILT_IN_TASKS)
def test_every_task_has_a_hundred_texts_and_every_label(task: str) -> None:
    found = labels(task)
    assert found.total() >= 100
    assert set(found) == set(TASKS[task].labels)
    assert min(found.values()) >= LEAST[task]


def test_there_are_questions_of_no_intent() -> None:
    assert labels(INTENT)["other"] >= 12


@pytest.mark.parametrize("field", ["id", "text"])
def test_nothing_is_there_twice(field: str) -> None:
    values = [row[field].lower() for row in ROWS]
    assert len(values) == len(set(values)) >= 400


def test_no_text_is_nearly_another() -> None:
    keys = cluster_keys([row["text"] for row in ROWS])
    assert [key for key, count in Counter(keys).items() if count > 1] == []


def test_a_company_is_in_its_headline() -> None:
    of_companies = [row for row in ROWS if "entity" in row]
    assert {row["task"] for row in of_companies} == {SENTIMENT}
    assert all(company_span(row["text"], row["entity"]) for row in of_companies)
    assert len(of_companies) >= 25
