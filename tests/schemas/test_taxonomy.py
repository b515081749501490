from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from schemas.errors import ConfigurationError
from schemas.records import Kind
from schemas.taxonomy import (
    EMOTION,
    INTENT,
    OTHER,
    SENTIMENT,
    TOPIC,
    Taxonomy,
    load_taxonomy,
    own_task,
    own_task_name,
)

SHIPPED = Path(load_taxonomy.__code__.co_filename).with_name("taxonomy.yaml")
TEXT = SHIPPED.read_text(encoding="utf-8")


@pytest.fixture
def changed(tmp_path: Path) -> Callable[[str, str], Path]:
    """Writes the shipped file with one replacement."""

    def write(old: str, new: str) -> Path:
        assert old in TEXT
        path = tmp_path / "mine.yaml"
        path.write_text(TEXT.replace(old, new, 1), encoding="utf-8")
        return path

    return write


def test_the_shipped_tasks() -> None:
    taxonomy = load_taxonomy()
    counts = {name: len(task.labels) for name, task in taxonomy.tasks.items()}
    assert counts == {SENTIMENT: 3, TOPIC: 20, INTENT: 78, EMOTION: 7}
    assert taxonomy.tasks[SENTIMENT].labels == ("negative", "neutral", "positive")
    *intents, last = taxonomy.tasks[INTENT].labels
    assert last == OTHER
    assert intents == sorted(intents)
    assert [task.field for task in taxonomy.for_kind(Kind.NEWS)] == ["sentiment", "topic"]
    assert [task.field for task in taxonomy.for_kind(Kind.MESSAGE)] == ["intent", "emotion"]


def test_emotions_as_sentiments() -> None:
    assert load_taxonomy().emotion_sentiment == {
        "anger": "negative",
        "disgust": "negative",
        "fear": "negative",
        "sadness": "negative",
        "joy": "positive",
        "neutral": "neutral",
        "surprise": "neutral",
    }


def test_the_version_is_of_the_content_and_not_of_the_layout(
    tmp_path: Path, changed: Callable[[str, str], Path]
) -> None:
    shipped = load_taxonomy().version
    assert len(shipped) == 12
    again = tmp_path / "again.yaml"
    again.write_text(yaml.safe_dump(yaml.safe_load(TEXT), sort_keys=False), encoding="utf-8")
    assert load_taxonomy(again).version == shipped
    assert load_taxonomy(changed("- dividend\n", "- dividends\n")).version != shipped


@pytest.mark.parametrize(
    ("old", "new", "line", "said"),
    [
        ("- dividend\n", "- no\n", "      - no", "labels[3]: true or false, expected text"),
        ("- dividend\n", "- ''\n", "      - ''", "labels[3]: empty text"),
        ("- dividend\n", "- macro\n", "      - macro", "'macro' is given twice"),
        ("      - other\n", "", "    labels:", "the label other is missing: message.intent"),
        ("- positive\n", "- good\n", "    labels:", "the label positive is missing"),
        ("kind: news", "kind: tweet", "    kind: tweet", "'tweet', expected news"),
        ("news.topic:", "theme:", "  theme:", "no name for a task: expected news.NAME or messag"),
        ("news.topic:", "news.Topic:", "  news.Topic:", "no name for a task"),
        ("news.topic:", "mail.topic:", "  mail.topic:", "no name for a task"),
        ("news.topic:", "message.topic:", "    kind: news", "'news', expected message"),
        ("news.topic:", "news.theme:", "tasks:", "the task news.topic is missing"),
        ("  anger: negative\n", "", "emotion_sentiment:", "the emotion anger has no sentiment"),
        ("anger: negative", "anger: bad", "  anger: bad", "'bad' is not a label of news.sent"),
        ("  joy: positive", "  joy: positive\n  envy: negative", "  envy: negative", "not a label"),
        ("tasks:", "colour: red\ntasks:", "colour: red", "colour: not a known name"),
    ],
)
def test_what_is_wrong_is_told_with_file_line_and_reason(
    changed: Callable[[str, str], Path], old: str, new: str, line: str, said: str
) -> None:
    path = changed(old, new)
    with pytest.raises(ConfigurationError) as caught:
        load_taxonomy(path)
    where, number, reason = str(caught.value).split(":", 2)
    assert where == str(path)
    assert said in reason
    named = path.read_text(encoding="utf-8").splitlines()[int(number) - 1]
    assert named == line


def test_a_task_that_is_missing(tmp_path: Path) -> None:
    content: dict[str, Any] = yaml.safe_load(TEXT)
    del content["tasks"][INTENT]
    path = tmp_path / "short.yaml"
    path.write_text(yaml.safe_dump(content), encoding="utf-8")
    with pytest.raises(ConfigurationError, match=r"tasks: the task message.intent is missing"):
        load_taxonomy(path)


@pytest.mark.parametrize("text", ["", "[]", "tasks", "tasks: 5\nemotion_sentiment: {}"])
def test_another_kind_of_file(tmp_path: Path, text: str) -> None:
    path = tmp_path / "other.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigurationError, match=r"other\.yaml:1: .*expected names with values"):
        load_taxonomy(path)


# A user's own


def reread(taxonomy: Taxonomy, tmp_path: Path) -> Taxonomy:
    path = tmp_path / "written.yaml"
    path.write_text(taxonomy.as_yaml(), encoding="utf-8")
    return load_taxonomy(path)


def test_what_is_written_is_read_the_same(tmp_path: Path) -> None:
    odd = own_task("message.language_", ["no", "1", "中文", "a: b", "null", " ", "x" * 128])
    taxonomy = load_taxonomy().with_task(odd)
    assert reread(taxonomy, tmp_path) == taxonomy
    assert reread(load_taxonomy(), tmp_path).version == load_taxonomy().version


def test_own_tasks_stand_behind_the_built_in_ones() -> None:
    taxonomy = load_taxonomy().with_task(own_task("news.intent", ["a", "b"]))
    assert [task.name for task in taxonomy.for_kind(Kind.NEWS)] == [SENTIMENT, TOPIC, "news.intent"]
    assert [task.built_in for task in taxonomy.for_kind(Kind.NEWS)] == [True, True, False]
    assert taxonomy.for_kind(Kind.MESSAGE) == load_taxonomy().for_kind(Kind.MESSAGE)
    assert taxonomy.version != load_taxonomy().version


def test_further_labels(tmp_path: Path) -> None:
    shipped = load_taxonomy()
    taxonomy = shipped.with_labels(EMOTION, ["envy", "hope"], "positive")
    assert taxonomy.tasks[EMOTION].labels == (*shipped.tasks[EMOTION].labels, "envy", "hope")
    assert taxonomy.emotion_sentiment["hope"] == "positive"
    assert reread(taxonomy, tmp_path) == taxonomy
    assert shipped.with_labels(TOPIC, ["crypto"]).emotion_sentiment == shipped.emotion_sentiment


@pytest.mark.parametrize(
    ("name", "kind", "full"),
    [
        ("urgency", Kind.MESSAGE, "message.urgency"),
        ("message.urgency", None, "message.urgency"),
        ("news.esg_2", Kind.NEWS, "news.esg_2"),
    ],
)
def test_full_names(name: str, kind: Kind | None, full: str) -> None:
    assert own_task_name(name, kind) == full


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("urgency", None),
        ("news.urgency", Kind.MESSAGE),
        ("Urgency", Kind.NEWS),
        ("", Kind.NEWS),
        ("2nd", Kind.NEWS),
        ("a" * 64, Kind.NEWS),
        ("news.a.b", None),
        ("../etc", Kind.NEWS),
        ("news.topic\n", None),
    ],
)
def test_names_that_no_task_has(name: str, kind: Kind | None) -> None:
    with pytest.raises(ConfigurationError):
        own_task_name(name, kind)
