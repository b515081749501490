"""Field types that records share, and the plain words for a field that is wrong.

Each field's `description` says what is expected of it: it goes both into the JSON Schema and into
the message of a rejection.
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Annotated

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    Field,
    PlainSerializer,
    Strict,
    StringConstraints,
    ValidationError,
    WithJsonSchema,
)
from pydantic_core import ErrorDetails, PydanticCustomError

from schemas.times import format_rfc3339, parse_rfc3339

MAX_ID_BYTES = 256
MAX_HEADLINE_CHARACTERS = 2_000
MAX_TEXT_CHARACTERS = 100_000
# A headline, a blank line and a body: the longest text that a record can have.
MAX_RECORD_TEXT_CHARACTERS = MAX_HEADLINE_CHARACTERS + 2 + MAX_TEXT_CHARACTERS
_QUOTED_CHARACTERS = 40
_LISTED_ERRORS = 3


def _id(value: str) -> str:
    size = len(value.encode())
    if not 1 <= size <= MAX_ID_BYTES:
        raise PydanticCustomError("id_size", "{size} bytes", {"size": f"{size:,}"})
    return value


def _not_blank(value: str) -> str:
    if not value:
        raise PydanticCustomError("blank", "empty text")
    if value.isspace():
        raise PydanticCustomError("blank", "only white space")
    return value


def _absent(value: object) -> object:
    return None if isinstance(value, str) and (not value or value.isspace()) else value


def _named(value: object) -> object:
    """A list without its empty texts and repetitions; nothing where none is left."""
    if not isinstance(value, list | tuple):
        return value
    stripped = [item.strip() if isinstance(item, str) else item for item in value]
    if not all(isinstance(item, str) for item in stripped):
        return stripped  # what is wrong is said where it stands
    return [*dict.fromkeys(filter(None, stripped))] or None


def _instant(value: object) -> datetime:
    if isinstance(value, datetime) and value.tzinfo is not None:
        return value.astimezone(UTC)
    if not isinstance(value, str):
        raise PydanticCustomError("instant", "{got}", {"got": kind_of_value(value)})
    try:
        return parse_rfc3339(value)
    except ValueError as error:
        raise PydanticCustomError("instant", "{got}", {"got": str(error)}) from None


Id = Annotated[
    str,
    AfterValidator(_id),
    Field(
        description="text of 1 to 256 bytes in UTF-8",
        json_schema_extra={"minLength": 1, "maxLength": MAX_ID_BYTES},
    ),
]
Instant = Annotated[
    datetime,
    BeforeValidator(_instant),
    PlainSerializer(format_rfc3339, return_type=str),
    WithJsonSchema({"type": "string", "format": "date-time"}),
    Field(description="a time by RFC 3339 with zone, such as 2026-11-22T06:10:00Z"),
]
Headline = Annotated[
    str,
    StringConstraints(max_length=MAX_HEADLINE_CHARACTERS),
    AfterValidator(_not_blank),
    Field(
        description="text of 1 to 2,000 characters, not only white space",
        json_schema_extra={"minLength": 1, "pattern": r"\S"},
    ),
]
MessageText = Annotated[
    str,
    StringConstraints(max_length=MAX_TEXT_CHARACTERS),
    AfterValidator(_not_blank),
    Field(
        description="text of 1 to 100,000 characters, not only white space",
        json_schema_extra={"minLength": 1, "pattern": r"\S"},
    ),
]
Name = Annotated[
    str,
    StringConstraints(min_length=1, max_length=256),
    Field(description="text of 1 to 256 characters"),
]

# Fields that may be absent, null or empty, which all means that nobody knows.
_Optional = BeforeValidator(_absent)
Body = Annotated[
    Annotated[str, StringConstraints(max_length=MAX_TEXT_CHARACTERS)] | None,
    _Optional,
    Field(description="text of at most 100,000 characters"),
]
RecordText = Annotated[
    Annotated[str, StringConstraints(max_length=MAX_RECORD_TEXT_CHARACTERS)] | None,
    _Optional,
    Field(description="text of at most 102,002 characters"),
]
ShortText = Annotated[
    Annotated[str, StringConstraints(max_length=256)] | None,
    _Optional,
    Field(description="text of at most 256 characters"),
]
SourceName = Annotated[
    Annotated[str, StringConstraints(max_length=256)] | None,
    _Optional,
    Field(description="text of at most 256 characters, empty where nobody knows"),
]
Url = Annotated[
    Annotated[str, StringConstraints(max_length=2_048)] | None,
    _Optional,
    Field(description="text of at most 2,048 characters"),
]
Language = Annotated[
    Annotated[str, StringConstraints(max_length=35)] | None,  # RFC 5646, section 4.4.1
    _Optional,
    Field(description="a language tag of at most 35 characters, such as en or pt-BR"),
]
_Symbol = Annotated[str, StringConstraints(max_length=64)]
Symbols = Annotated[
    # JSON knows lists only, and a frozen record wants a tuple: the outer type alone is not strict.
    Annotated[tuple[_Symbol, ...], Strict(False)] | None,
    BeforeValidator(_named),
    Field(description="a list of texts of at most 64 characters each"),
]


def explain(error: ValidationError, model: type[BaseModel]) -> str:
    """Field, what was wrong, what was expected: for the first three errors, in one line.

    Values are described, not quoted; only a short one where few words are allowed is repeated.
    """
    details = error.errors(include_url=False)
    said = [_explain_one(detail, model) for detail in details[:_LISTED_ERRORS]]
    if len(details) > _LISTED_ERRORS:
        said.append(f"and {len(details) - _LISTED_ERRORS} more")
    return "; ".join(said)


def _explain_one(detail: ErrorDetails, model: type[BaseModel]) -> str:
    field = model.model_fields.get(str(detail["loc"][0])) if detail["loc"] else None
    expected = field.description if field is not None else None
    said = f"{path_of(detail['loc'])}: {wrong(detail)}"
    return f"{said}, expected {expected}" if expected else said


def path_of(keys: tuple[str | int, ...]) -> str:
    """symbols[3], fields.headline"""
    text = ""
    for key in keys:
        text += f"[{key}]" if isinstance(key, int) else f".{key}"
    return text.removeprefix(".")


def wrong(detail: ErrorDetails) -> str:
    """What was found, in a few plain words, such as `missing` or `a number`."""
    found = detail["input"]
    match detail["type"]:
        case "missing":
            return "missing"
        case "extra_forbidden":
            return "not a known name"
        case "enum" | "literal_error" if isinstance(found, str):
            return _quoted(found)
        case "string_too_long" | "string_too_short" if isinstance(found, str):
            return f"{len(found):,} characters" if found else "empty text"
        case "too_long" if isinstance(found, list | tuple):
            return f"{len(found):,} items"
        case "blank" | "id_size" | "instant":
            return detail["msg"]
        case "value_error" | "assertion_error":
            return detail["msg"].partition(", ")[2]
    return kind_of_value(found)


def _quoted(text: str) -> str:
    if len(text) > _QUOTED_CHARACTERS:
        return f"a text of {len(text):,} characters"
    return repr(text)


def kind_of_value(value: object) -> str:
    """What a JSON or YAML value is, without its content."""
    match value:
        case None:
            return "null"
        case bool():
            return "true or false"
        case int() | float():
            return "a number"
        case str():
            return "a text"
        case Mapping():
            return "an object"
        case list() | tuple():
            return "a list"
        case datetime():
            return "a time without a zone"
    return f"a {type(value).__name__}"
