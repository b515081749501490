import gzip
import json
from pathlib import Path

import pytest

from models.data import DataError, Example, Split
from models.labelled import Labelled, of_examples, read_labelled, read_messages, style_of
from schemas.taxonomy import COMPANY_SENTIMENT, load_taxonomy

TASKS = load_taxonomy().tasks
SENTIMENT, INTENT = TASKS["news.sentiment"], TASKS["message.intent"]


def write(file: Path, *rows: object) -> Path:
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return file


@pytest.mark.parametrize(
    ("text", "style"),
    [
        ("Acme falls https://t.co/x", "post"),
        ("see www.acme.com", "post"),
        ("$ACME falls", "post"),
        ("($BRK.B)", "post"),
        ("a good day #stocks", "post"),
        ("#2026outlook is out", "post"),
        ("@acme where is my card", "post"),
        ("Acme raises $5 million", "prose"),
        ("$5M round", "prose"),
        ("We are the #1 bank", "prose"),
        ("write to help@acme.com", "prose"),
        ("Acme falls", "prose"),
    ],
)
def test_the_style_of_a_text(text: str, style: str) -> None:
    assert style_of(text) == style


def test_an_example_keeps_its_company_s_place() -> None:
    example = Example("Ant up", "positive", COMPANY_SENTIMENT, "sentfin", Split.TEST, (0, 3))
    assert of_examples([example]) == [Labelled("Ant up", "positive", "sentfin", "prose", (0, 3))]


def test_rows_of_a_file(tmp_path: Path) -> None:
    file = write(
        tmp_path / "ours.jsonl",
        {"text": "Ant up, Bee down", "label": "negative", "entity": "Bee", "source": "wire"},
        {"text": "$CAT up", "label": "positive", "entity": None, "more": 1},
        {"text": "Dog up", "label": "positive", "entity": "Elk", "style": "post"},
    )
    assert read_labelled(file, SENTIMENT) == [
        Labelled("Ant up, Bee down", "negative", "wire", "prose", (8, 11)),
        Labelled("$CAT up", "positive", "ours.jsonl", "post"),
        Labelled("Dog up", "positive", "ours.jsonl", "post", None, company_missing=True),
    ]


def test_only_sentiment_is_of_companies(tmp_path: Path) -> None:
    file = write(tmp_path / "a", {"text": "Ant up", "label": "other", "entity": "Ant"})
    assert read_labelled(file, INTENT) == [Labelled("Ant up", "other", "a", "prose")]


def test_packed_files_blank_lines_and_byte_order_marks(tmp_path: Path) -> None:
    line = b'{"text": "up", "label": "positive"}'
    file = tmp_path / "ours.jsonl.gz"
    file.write_bytes(gzip.compress(b"\xef\xbb\xbf" + line + b"\r\n\n  \n" + line))
    assert len(read_labelled(file, SENTIMENT)) == 2


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", "has no rows"),
        ("\n \n", "has no rows"),
        ("{}\nnot JSON", r"line 1: the field 'text' is absent"),
        ('{"text": "up", "label": "positive"}\n\n{', "line 3: not JSON"),
        ("[1]", "line 1: expected a JSON object with text and label"),
        ('{"text": "up"}', "line 1: the field 'label' is absent"),
        ('{"text": "", "label": "positive"}', "line 1: the field 'text' is empty"),
        ('{"text": 5, "label": "positive"}', "line 1: the field 'text' is not a text"),
        (
            '{"text": "up", "label": "good"}',
            "line 1: 'good' is none of news.sentiment's labels: negative, neutral, positive",
        ),
        ('{"text": "up", "label": "positive", "entity": 5}', "line 1: the field 'entity'"),
        ('{"text": "up", "label": "positive", "source": "a\\u001b[31m"}', "line 1.*printable"),
        ('{"text": "up", "label": "positive", "style": "' + "x" * 61 + '"}', "at most 60"),
    ],
)
def test_what_is_wrong_is_told_with_its_line(tmp_path: Path, content: str, said: str) -> None:
    file = tmp_path / "ours.jsonl"
    file.write_text(content)
    with pytest.raises(DataError, match=said):
        read_labelled(file, SENTIMENT)


def test_many_labels_are_not_all_told(tmp_path: Path) -> None:
    file = write(tmp_path / "a", {"text": "up", "label": "positive"})
    with pytest.raises(DataError, match=r"'positive' is none of message.intent's labels\.$"):
        read_labelled(file, INTENT)


def test_the_messages_of_the_package_have_labels_of_the_taxonomy() -> None:
    messages = read_messages()
    assert len(messages) == 300
    for message in messages:
        assert message.text.strip()
        for labels in (message.first, message.second):
            assert labels.keys() == {"message.intent", "message.emotion"}
            assert all(label in TASKS[task].labels for task, label in labels.items())
