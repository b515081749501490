"""The lines of `bellwether classify`."""

import gzip
import os
import sys
from collections.abc import Iterable
from itertools import islice
from pathlib import Path
from typing import Any

import orjson
import pytest

from models.classification import classify_chunks, read_chunks
from models.classifier import Classifier
from schemas.errors import BellwetherError, ConfigurationError
from schemas.records import Kind

UP = "Harborline lifts forecast after record sales, shares soar"


def answers(
    lines: Iterable[bytes], classifier: Classifier, **options: Any
) -> tuple[list[dict[str, Any]], list[str]]:
    """Parsed output lines, and the errors that were told; the lines come in chunks of eight."""
    errors: list[str] = []
    rest = iter(lines)
    chunks = iter(lambda: list(islice(rest, 8)), [])
    out = classify_chunks(chunks, classifier, on_error=errors.append, **options)
    return [orjson.loads(line) for line in out], errors


def test_news_is_the_default(classifier: Classifier) -> None:
    (answer,), errors = answers([orjson.dumps({"text": UP})], classifier)
    assert errors == []
    assert list(answer) == ["id", "text", "predictions", "flags", "model_version"]
    assert (answer["id"], answer["text"]) == (1, UP)
    assert (answer["model_version"], answer["flags"]) == (classifier.version, [])
    assert set(answer["predictions"]) == {"news.sentiment", "news.topic"}
    sentiment = answer["predictions"]["news.sentiment"]
    assert sentiment["label"] == "positive"
    assert set(sentiment["probabilities"]) == {"negative", "neutral", "positive"}
    assert sentiment["confidence"] == max(sentiment["probabilities"].values())
    assert sum(sentiment["probabilities"].values()) == pytest.approx(1, abs=1e-4)


def test_the_kind_comes_from_the_task_or_is_given(classifier: Classifier) -> None:
    line = orjson.dumps({"text": "I lost my card"})
    (by_task,), _ = answers([line], classifier, task="message.intent")
    assert set(by_task["predictions"]) == {"message.intent"}
    probabilities = by_task["predictions"]["message.intent"]["probabilities"]
    assert len(probabilities) == 78
    assert "other" in probabilities
    (by_kind,), _ = answers([line], classifier, kind=Kind.MESSAGE)
    assert set(by_kind["predictions"]) == {"message.intent", "message.emotion"}


def test_a_record_may_tell_its_kind(classifier: Classifier) -> None:
    message = {"customer_id": "c1", "channel": "chat", "sent_at": "2026-11-22T06:10:00Z"}
    lines = [
        orjson.dumps({"text": "I lost my card"} | own)
        for own in (message, {"source": "wire"}, {**message, "source": "app"}, {"channel": None})
    ]
    found, _ = answers(lines, classifier)
    about = [{task.partition(".")[0] for task in answer["predictions"]} for answer in found]
    assert about == [{"message"}, {"news"}, {"message"}, {"news"}]
    found, _ = answers(lines, classifier, kind=Kind.NEWS)
    assert all("news.topic" in answer["predictions"] for answer in found)


def test_flags_are_those_of_documents(classifier: Classifier) -> None:
    texts = [
        "Der Gewinn stieg im dritten Quartal deutlich, der Umsatz aber ging zurück",
        "up " * 999,
    ]
    found, _ = answers([orjson.dumps({"text": text}) for text in texts], classifier)
    assert [answer["flags"] for answer in found] == [["language:de"], ["truncated"]]


def test_where_the_text_stands(classifier: Classifier) -> None:
    records = [
        {"headline": "Oil slips", "body": "Stocks grew."},
        {"headline": "Oil slips", "body": None},
        {"headline": "Oil slips", "text": "Gold climbs"},
        {"id": "n-7", "text": "Gold climbs"},
        {"id": 0, "text": "Gold climbs"},
    ]
    found, _ = answers(map(orjson.dumps, records), classifier)
    assert [a["text"] for a in found[:3]] == [
        "Oil slips\n\nStocks grew.",
        "Oil slips",
        "Gold climbs",
    ]
    assert [a["id"] for a in found] == [1, 2, 3, "n-7", 0]
    (named,), _ = answers(
        [orjson.dumps({"title": UP, "text": "no"})], classifier, text_field="title"
    )
    assert named["text"] == UP


def test_a_bad_line_is_told_and_its_neighbours_pass(classifier: Classifier) -> None:
    lines = [
        b'\xef\xbb\xbf{"text": "first"}\n',
        b"{broken\n",
        b"\n",
        b"[1, 2]\n",
        b'{"id": "x", "text": 5}\n',
        b'{"id": "y"}\n',
        b'{"text": " \\n"}\n',
        b'{"text": "\xff"}\n',
        b'{"text": "\\ud800"}\n',
        b'{"headline": null}\n',
        b'{"text": "last"}',
    ]
    found, errors = answers(lines, classifier)
    assert [a["id"] for a in found] == [1, 2, 4, "x", "y", 7, 8, 9, 10, 11]
    assert [a["id"] for a in found if "predictions" in a] == [1, 11]
    bad = {a["id"]: a["error"] for a in found if "error" in a}
    assert len(errors) == 8
    assert bad[2].startswith("line 2 is not JSON: ")
    assert bad[2].count("line") == 1
    assert bad[2].endswith("in column 2")
    assert "not a JSON object" in bad[4]
    assert "'text' is not a string" in bad["x"]
    assert "'text' is absent" in bad["y"]
    assert "'text' is empty" in bad[7]


def test_order_is_kept_over_chunks(classifier: Classifier) -> None:
    texts = [f"{'profit ' * (n % 7 + 1)}{n}" for n in range(50)]
    lines = [orjson.dumps({"id": n, "text": text}) for n, text in enumerate(texts)]
    found, _ = answers(lines, classifier)
    assert [(a["id"], a["text"]) for a in found] == list(enumerate(texts))


def test_a_chunk_is_answered_before_the_next_is_read(classifier: Classifier) -> None:
    read = 0

    def chunks() -> Iterable[list[bytes]]:
        nonlocal read
        for _ in range(10):
            read += 1
            yield [b'{"text": "Gold climbs"}'] * 2

    out = iter(classify_chunks(chunks(), classifier))
    assert [orjson.loads(next(out))["id"] for _ in range(2)] == [1, 2]
    assert read == 1
    assert orjson.loads(next(out))["id"] == 3


def test_an_entity_gets_a_sentiment(classifier: Classifier) -> None:
    line = orjson.dumps({"text": UP, "entity": "Harborline"})
    (answer,), _ = answers([line], classifier, task="news.sentiment")
    assert answer["predictions"]["news.sentiment"]["label"] == "positive"


def test_wrong_tasks_are_told_before_anything_is_read(classifier: Classifier) -> None:
    with pytest.raises(ConfigurationError, match=r"no task 'news\.mood'.*news\.sentiment"):
        classify_chunks([], classifier, task="news.mood")
    with pytest.raises(ConfigurationError, match="is for message, not for news"):
        classify_chunks([], classifier, task="message.intent", kind=Kind.NEWS)


def test_lines_of_files(tmp_path: Path) -> None:
    plain, packed = tmp_path / "a.jsonl", tmp_path / "a.jsonl.gz"
    plain.write_bytes(b"1\n2\n")
    packed.write_bytes(gzip.compress(b"1\n2\n"))
    for source in (str(plain), str(packed)):
        assert list(read_chunks(source)) == [[b"1\n", b"2\n"]]


def test_standard_input_gives_what_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    out_of, into = os.pipe()
    with open(out_of) as source, open(into, "wb", buffering=0) as sender:
        monkeypatch.setattr(sys, "stdin", source)
        chunks = read_chunks("-")
        sender.write(b"1\n")
        assert next(chunks) == [b"1"]
        sender.write(b"2\n3\nfo")
        assert next(chunks) == [b"2", b"3"]
        sender.write(b"u")
        sender.write(b"r\n5")
        assert next(chunks) == [b"four"]
        sender.close()
        assert list(chunks) == [[b"5"]]


def test_a_closed_standard_input_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", None)
    with pytest.raises(BellwetherError, match="no standard input"):
        list(read_chunks("-"))


def test_a_file_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    with pytest.raises(BellwetherError, match=r"Cannot read .*No such file"):
        list(read_chunks(str(tmp_path / "nothing.jsonl")))
    (tmp_path / "wrong.gz").write_bytes(b"not packed")
    with pytest.raises(BellwetherError, match="Cannot read"):
        list(read_chunks(str(tmp_path / "wrong.gz")))
    (tmp_path / "cut.gz").write_bytes(gzip.compress(b"1\n2\n")[:-4])
    with pytest.raises(BellwetherError, match="Cannot read"):
        list(read_chunks(str(tmp_path / "cut.gz")))
