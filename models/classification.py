"""`bellwether classify`: JSON lines in, JSON lines with predictions out, in order."""

import gzip
import sys
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import orjson

from models.classifier import Classifier
from schemas.documents import flags
from schemas.errors import BellwetherError, ConfigurationError
from schemas.file_formats import not_json_lines
from schemas.predictions import Classification
from schemas.records import Kind, evident_kind
from schemas.taxonomy import SENTIMENT, Taxonomy

CHUNK_LINES = 1024
ARRIVAL_BYTES = 1024 * 1024
# From a record's fields, its text and kind and the answer to what is printed beside it.
Beside = Callable[[Mapping[str, Any], str, Kind, Classification], Mapping[str, Any]]
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


@dataclass(frozen=True, slots=True)
class _Line:
    """A line as read: its id, and its text or what is wrong with it, and all its fields."""

    id: Any
    text: str
    fields: Mapping[str, Any] = field(default_factory=dict)
    kind: Kind = Kind.NEWS
    entity: str | None = None
    language: str | None = None
    error: str | None = None


def read_chunks(source: str, *, forced: bool = False) -> Iterator[list[bytes]]:
    """The lines of a file, unpacked if its name ends in .gz, or of standard input for '-'.

    Standard input gives what is there, so that a line that comes alone is answered at once.
    Raises BellwetherError when the file cannot be read, and ConfigurationError where it is no file
    of lines and is not `forced`.
    """
    for number, chunk in enumerate(_chunks(source)):
        problem = None if forced or number else not_json_lines(b"\n".join(chunk))
        if problem:
            raise ConfigurationError(problem)
        yield chunk


def _chunks(source: str) -> Iterator[list[bytes]]:
    if source == "-" and sys.stdin is None:
        raise BellwetherError("There is no standard input.")
    try:
        if source == "-":
            yield from _arrivals(sys.stdin.buffer)
            return
        with gzip.open(source) if source.endswith(".gz") else Path(source).open("rb") as file:
            while chunk := list(islice(file, CHUNK_LINES)):
                yield chunk
    except OSError as error:
        raise BellwetherError(f"Cannot read {source}: {error.strerror or error}.") from None
    except (EOFError, zlib.error) as error:
        raise BellwetherError(f"Cannot read {source}: {error}.") from None


def _arrivals(stream: Any) -> Iterator[list[bytes]]:
    pieces: list[bytes] = []  # of a line whose end is not there yet
    while data := stream.read1(ARRIVAL_BYTES):
        head, newline, tail = data.rpartition(b"\n")
        if newline:
            yield b"".join([*pieces, head]).split(b"\n")
            pieces = []
        pieces.append(tail)
    yield [b"".join(pieces)]


def classify_chunks(
    chunks: Iterable[Sequence[bytes]],
    classifier: Classifier,
    *,
    task: str | None = None,
    text_field: str | None = None,
    kind: Kind | None = None,
    on_error: Callable[[str], None] | None = None,
    beside: Beside | None = None,
) -> Iterator[bytes]:
    """One JSON line (with its newline) for each line that is not blank, in order, chunk by chunk.

    The text is the field `text_field`; without it `text`, else headline and body. With a `task`
    only that one is answered, and the kind is the task's. Without task and kind a record's own
    fields tell its kind, and where they do not it is news. With a record's own `entity`, a
    company's name, its `news.sentiment` is that for the company; a record's own `language` counts
    as in a worker. What `beside` says of a record is printed with it. A bad line becomes
    {"id", "error"} and `on_error` hears why.

    Raises ConfigurationError at once when the task is unknown or is of the other kind.
    """
    chosen = kind_of(classifier.taxonomy, task, kind) if task or kind else None
    said = beside or (lambda *_: {})
    return _classified(chunks, classifier, task, text_field, chosen, on_error, said)


def _classified(
    chunks: Iterable[Sequence[bytes]],
    classifier: Classifier,
    task: str | None,
    text_field: str | None,
    kind: Kind | None,
    on_error: Callable[[str], None] | None,
    beside: Beside,
) -> Iterator[bytes]:
    seen = 0
    for lines in chunks:
        numbered = enumerate(lines, seen + 1)
        seen += len(lines)
        chunk = [
            _parse(number, line, text_field, kind) for number, line in numbered if line.strip()
        ]
        good = [line for line in chunk if line.error is None]
        answers = iter(
            classifier.classify(
                [line.text for line in good],
                [line.kind for line in good],
                [[line.entity] if line.entity and line.kind is Kind.NEWS else [] for line in good],
                [line.language for line in good],
            )
        )
        for line in chunk:
            if line.error is None:
                answer = next(answers)
                said = beside(line.fields, line.text, line.kind, answer)
                yield _answer(line, answer, task, said)
                continue
            if on_error:
                on_error(line.error)
            yield orjson.dumps({"id": line.id, "error": line.error}) + b"\n"


def kind_of(taxonomy: Taxonomy, task: str | None, kind: Kind | None) -> Kind:
    """The task's kind, else the one that was asked for, else news.

    Raises ConfigurationError for an unknown task, or when the task is for the other kind.
    """
    if task is None:
        return kind or Kind.NEWS
    if task not in taxonomy.tasks:
        raise ConfigurationError(
            f"There is no task {task!r}. The tasks are {', '.join(taxonomy.tasks)}."
        )
    of_task = taxonomy.tasks[task].kind
    if kind not in {None, of_task}:
        raise ConfigurationError(f"The task {task} is for {of_task}, not for {kind}.")
    return of_task


def _parse(number: int, line: bytes, text_field: str | None, kind: Kind | None) -> _Line:
    try:
        record = orjson.loads(line.removeprefix(_BYTE_ORDER_MARK) if number == 1 else line)
    except orjson.JSONDecodeError as error:
        why = f"{error.msg} in column {error.colno}"
        return _Line(number, "", error=f"line {number} is not JSON: {why}")
    if not isinstance(record, dict):
        return _Line(number, "", error=f"line {number} is not a JSON object")
    identity = record.get("id")
    identity = number if identity is None else identity
    try:
        text = _text(record, text_field)
    except ValueError as error:
        return _Line(identity, "", error=f"line {number}: {error}")
    entity, language = (
        value if isinstance(value := record.get(field), str) else None
        for field in ("entity", "language")
    )
    kind = kind or evident_kind(record) or Kind.NEWS
    return _Line(identity, text, record, kind, entity, language)


def _text(record: dict[str, Any], text_field: str | None) -> str:
    """Raises ValueError with the reason when there is no text."""
    if text_field is None and "text" not in record and "headline" in record:
        headline = _string(record, "headline")
        return f"{headline}\n\n{record['body']}" if record.get("body") else headline
    return _string(record, text_field or "text")


def _string(record: dict[str, Any], field: str) -> str:
    value = record.get(field)
    if not isinstance(value, str):
        raise ValueError(f"the field {field!r} is {'absent' if value is None else 'not a string'}")
    if not value.strip():
        raise ValueError(f"the field {field!r} is empty")
    return value


def _answer(
    line: _Line, classification: Classification, task: str | None, said: Mapping[str, Any]
) -> bytes:
    answers = dict(classification.predictions)
    if classification.companies:
        answers[SENTIMENT] = classification.companies[0]
    predictions = {
        name: prediction.as_dict() for name, prediction in answers.items() if task in {None, name}
    }
    return orjson.dumps(
        {
            "id": line.id,
            "text": line.text,
            "predictions": predictions,
            **said,
            "flags": list(flags(classification)),
            "model_version": classification.model_version,
        },
        option=orjson.OPT_APPEND_NEWLINE,
    )
