"""Sources: which topic holds which kind of record, and how its fields become ours."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    PrivateAttr,
    StringConstraints,
    TypeAdapter,
    ValidationError,
)

from schemas.errors import ConfigurationError
from schemas.fields import wrong
from schemas.records import RECORD_TYPES, Kind
from schemas.yaml_files import YamlDocument, load_yaml

_SHIPPED = Path(__file__).with_name("sources.yaml")
# Topics with a meaning of their own: to read them as news would go round in circles.
_RESERVED = frozenset({"feedback", "labels", "dead-letters"})
_LIST_FIELDS = frozenset({"symbols"})
_ABSENT = object()
_TOPIC_NAME = re.compile(r"[a-zA-Z0-9._-]{1,249}")


def _topic_name(name: str) -> str:
    if not _TOPIC_NAME.fullmatch(name):
        raise ValueError(f"'{name}' is no topic name: letters, digits, '.', '_' and '-' only")
    return name


_FieldName = Annotated[str, StringConstraints(min_length=1)]
_TopicName = Annotated[str, AfterValidator(_topic_name)]


class Source(BaseModel):
    """One topic of records.

    `fields` names, for fields of ours, the field of theirs that is read instead (a dotted path
    goes into objects); `values` gives what a field is where it is absent or null.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    topic: _TopicName
    kind: Kind
    fields: dict[str, _FieldName] = Field(default_factory=dict)
    values: dict[str, Any] = Field(default_factory=dict)

    _known: frozenset[str] = PrivateAttr()

    def model_post_init(self, context: Any, /) -> None:
        theirs = self.fields.values()
        tops = {path.partition(".")[0] for path in theirs}
        self._known = frozenset({*RECORD_TYPES[self.kind].model_fields, *theirs, *tops})

    def apply(self, raw: dict[str, Any]) -> tuple[dict[str, Any], int]:
        """The record under our names, and how many of its top-level fields nobody knows.

        Where a mapped field holds a text and ours is a list, it becomes a list of one.
        """
        unknown = len(raw.keys() - self._known)
        if not self.fields and not self.values:
            return raw, unknown
        return self._mapped(raw), unknown

    def _mapped(self, raw: dict[str, Any]) -> dict[str, Any]:
        mapped = {}
        for name in RECORD_TYPES[self.kind].model_fields:
            path = self.fields.get(name)
            value = raw.get(name, _ABSENT) if path is None else _listed(name, _look_up(raw, path))
            if value is None or value is _ABSENT:
                value = self.values.get(name, value)
            if value is not _ABSENT:
                mapped[name] = value
        return mapped


def _look_up(raw: dict[str, Any], path: str) -> Any:
    if path in raw:
        return raw[path]
    value: Any = raw
    for name in path.split("."):
        if not isinstance(value, dict) or name not in value:
            return _ABSENT
        value = value[name]
    return value


def _listed(name: str, value: Any) -> Any:
    return [value] if name in _LIST_FIELDS and isinstance(value, str) else value


def load_sources(path: Path | None = None) -> tuple[Source, ...]:
    """The shipped sources, or those in the file at `path`.

    Raises ConfigurationError with file, line and reason.
    """
    document = load_yaml(path or _SHIPPED)
    entries = document.entries()
    if not entries:
        raise document.error("no source is given, expected at least one")
    sources = tuple(_source(document, number) for number in range(len(entries)))
    _check_topics(document, sources)
    return sources


def _source(document: YamlDocument, number: int) -> Source:
    document.section([number])
    try:
        source = Source.model_validate(document.data[number])
    except ValidationError as error:
        raise document.invalid(error, [number]) from None
    for part, names in (("fields", source.fields), ("values", source.values)):
        for name in names:
            if name not in RECORD_TYPES[source.kind].model_fields:
                reason = f"not a field of {source.kind} records: {_names(source.kind)}"
                raise document.error(reason, [number, part, name])
    _check_values(document, number, source)
    return source


def _names(kind: Kind) -> str:
    return "they have " + ", ".join(RECORD_TYPES[kind].model_fields)


def _check_values(document: YamlDocument, number: int, source: Source) -> None:
    """A constant that its field refuses would make a dead letter of every record."""
    for name, value in source.values.items():
        field = RECORD_TYPES[source.kind].model_fields[name]
        strict = ConfigDict(strict=True)
        adapter: TypeAdapter[Any] = TypeAdapter(Annotated[field.annotation, field], config=strict)
        try:
            adapter.validate_python(value)
        except ValidationError as error:
            reason = wrong(error.errors()[0])
            reason = f"{reason}, expected {field.description}" if field.description else reason
            raise document.error(reason, [number, "values", name]) from None


def _check_topics(document: YamlDocument, sources: Sequence[Source]) -> None:
    seen: dict[str, int] = {}
    for number, source in enumerate(sources):
        at = (number, "topic")
        if source.topic in _RESERVED:
            raise document.error(f"{source.topic} is a topic of the service itself", at)
        if source.topic in seen:
            first = document.line([seen[source.topic], "topic"])
            raise document.error(f"{source.topic} is already on line {first}", at)
        seen[source.topic] = number


def parse_map(pairs: Sequence[str]) -> dict[str, str]:
    """["headline=text"] as {"headline": "text"}: ours = theirs. Raises ConfigurationError."""
    fields: dict[str, str] = {}
    for pair in pairs:
        ours, equals, theirs = (part.strip() for part in pair.partition("="))
        if not (ours and equals and theirs):
            raise ConfigurationError(f"the mapping '{pair}' must be OURS=THEIRS, as headline=text")
        if ours in fields:
            raise ConfigurationError(f"the mapping gives {ours} twice")
        fields[ours] = theirs
    return fields


def with_fields(source: Source, fields: Mapping[str, str]) -> Source:
    """The same source with `fields` on top of its own. Raises ConfigurationError."""
    for name in fields:
        if name not in RECORD_TYPES[source.kind].model_fields:
            reason = f"{name} is not a field of {source.kind} records: {_names(source.kind)}"
            raise ConfigurationError(reason)
    merged = {**source.fields, **fields}
    return Source(topic=source.topic, kind=source.kind, fields=merged, values=source.values)
