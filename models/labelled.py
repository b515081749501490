"""Labelled texts to measure a model on: the test split of the sets, a file of one's own, and the
messages that come with the package; and a file from which a model is to learn.
"""

import codecs
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from models.classification import read_chunks
from models.data import DataError, Example, company_span, divided
from models.reading import Span
from schemas.taxonomy import EMOTION, INTENT, LONGEST_LABEL, SENTIMENT, Task

SHIPPED_MESSAGES = Path(__file__).with_name("checks") / "customer_messages.jsonl"
POST, PROSE = "post", "prose"
MAX_NAME_CHARACTERS = 60
# More labels than these do not fit into an error's sentence.
MAX_LABELS_TOLD = 8

# A link, a cashtag (not an amount), a hashtag (not a number) or a mention (not an e-mail address).
_OF_POSTS = re.compile(
    r"https?://|(?<!\w)www\.|pic\.twitter\.com|(?<!\w)\$[A-Za-z]{1,6}\b|(?<!\w)#\d*[^\W\d]|(?<!\w)@\w",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class Labelled:
    """A text with its true label.

    source: the set it is from.
    style: how it is written, as "post" or "prose".
    span: where the company stands whose sentiment the label is; None for that of the whole text.
    company_missing: a company was named, but is not in the text.
    """

    text: str
    label: str
    source: str
    style: str
    span: Span | None = None
    company_missing: bool = False


def style_of(text: str) -> str:
    """ "post" when the text has a link, cashtag, hashtag or mention, else "prose"."""
    return POST if _OF_POSTS.search(text) else PROSE


def of_examples(examples: Iterable[Example]) -> list[Labelled]:
    return [Labelled(e.text, e.label, e.source, style_of(e.text), e.span) for e in examples]


def read_labelled(file: Path, task: Task) -> list[Labelled]:
    """Every row of a file of JSON lines (also .gz) with `text` and `label`, blank lines aside.

    A row's `source` is else the file's name, its `style` else found in the text. For
    news.sentiment, the label of a row with an `entity` is that of the company of this name.

    Raises DataError with the number of the first line that is wrong, or for a file without rows.
    """
    rows = [_labelled(where, row, file.name, task) for where, row in _rows(file)]
    if not rows:
        raise DataError(f"{file} has no rows: expected JSON lines with text and label.")
    return rows


def read_examples(file: Path, task: str) -> list[Example]:
    """Every row of a file of JSON lines (also .gz) with `text` and `label`, as an example of a task
    of any labels, divided as the sets are; blank lines aside.

    Raises DataError as `read_labelled` does.
    """
    rows = [(_string(where, row, "text"), _new_label(where, row)) for where, row in _rows(file)]
    if not rows:
        raise DataError(f"{file} has no rows: expected JSON lines with text and label.")
    return divided(rows, task, file.name)


def _rows(file: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Each row, and where it stands in words."""
    number = 0
    for chunk in read_chunks(str(file)):
        for line in chunk:
            number += 1
            content = line.removeprefix(codecs.BOM_UTF8) if number == 1 else line
            where = f"{file}, line {number}"
            if content.strip():
                yield where, _object(where, content)


def _object(where: str, line: bytes) -> dict[str, Any]:
    try:
        row = orjson.loads(line)
    except orjson.JSONDecodeError as error:
        raise DataError(f"{where}: not JSON: {error}.") from None
    if not isinstance(row, dict):
        raise DataError(f"{where}: expected a JSON object with text and label.")
    return row


def _labelled(where: str, row: Mapping[str, Any], file: str, task: Task) -> Labelled:
    text = _string(where, row, "text")
    entity = _optional(where, row, "entity") if task.name == SENTIMENT else None
    span = company_span(text, entity) if entity else None
    return Labelled(
        text=text,
        label=_known_label(where, row, task),
        source=_name(where, row, "source") or file,
        style=_name(where, row, "style") or style_of(text),
        span=span,
        company_missing=entity is not None and span is None,
    )


def _known_label(where: str, row: Mapping[str, Any], task: Task) -> str:
    label = _string(where, row, "label")
    if label not in task.labels:
        labels = f": {', '.join(task.labels)}" if len(task.labels) <= MAX_LABELS_TOLD else ""
        raise DataError(f"{where}: {label!r} is none of {task.name}'s labels{labels}.")
    return label


def _new_label(where: str, row: Mapping[str, Any]) -> str:
    label = _string(where, row, "label")
    if len(label) > LONGEST_LABEL:
        raise DataError(f"{where}: the label is longer than {LONGEST_LABEL} characters.")
    return label


def _string(where: str, row: Mapping[str, Any], field: str) -> str:
    value = row.get(field)
    if not isinstance(value, str) or not value.strip():
        found = "absent" if value is None else "empty" if value == "" else "not a text"
        raise DataError(f"{where}: the field {field!r} is {found}.")
    return value


def _optional(where: str, row: Mapping[str, Any], field: str) -> str | None:
    return _string(where, row, field) if row.get(field) not in (None, "") else None


def _name(where: str, row: Mapping[str, Any], field: str) -> str | None:
    """Short and without what could steer a terminal, since it is shown."""
    name = _optional(where, row, field)
    if name and not (name.isprintable() and len(name) <= MAX_NAME_CHARACTERS):
        raise DataError(
            f"{where}: the field {field!r} must be printable and of at most "
            f"{MAX_NAME_CHARACTERS} characters."
        )
    return name


@dataclass(frozen=True, slots=True)
class Message:
    """A customer's message with two labels for each task; the first ones are taken as true."""

    text: str
    first: Mapping[str, str]
    second: Mapping[str, str]


def read_messages(file: Path = SHIPPED_MESSAGES) -> list[Message]:
    """The messages that come with the package."""
    return [
        Message(
            text=row["text"],
            first={INTENT: row["intent"], EMOTION: row["emotion"]},
            second={INTENT: row["second_intent"], EMOTION: row["second_emotion"]},
        )
        for _, row in _rows(file)
    ]
