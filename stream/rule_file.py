"""The file of alert rules as people write it, checked when it is read.

stream/rules.yaml is the default and explains the format. What is wrong is a ConfigurationError with
file, line and reason.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from string import Formatter
from typing import Annotated, Self

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    Strict,
    StringConstraints,
    ValidationError,
    model_validator,
)

from models.reading import folded
from schemas.alerts import Severity
from schemas.records import Channel, Kind
from schemas.taxonomy import Taxonomy
from schemas.yaml_files import Key, YamlDocument, load_yaml

SHIPPED = Path(__file__).with_name("rules.yaml")
LONGEST_DURATION_MS = 7 * 86_400_000  # outcomes are remembered for as long

# Keys, conditions and fields of a reason, beside those of the kind's tasks.
KEYS: Mapping[Kind, tuple[str, ...]] = {
    Kind.NEWS: ("event_id", "symbol", "topic", "source"),
    Kind.MESSAGE: ("event_id", "customer_id", "conversation_id", "intent", "emotion", "channel"),
}
LABELS: Mapping[Kind, tuple[str, ...]] = {
    Kind.NEWS: ("sentiment", "topic"),
    Kind.MESSAGE: ("sentiment", "intent", "emotion"),
}
_CONDITIONS: Mapping[Kind, tuple[str, ...]] = {
    Kind.NEWS: (*LABELS[Kind.NEWS], "tasks", "min_risk", "symbols", "sources", "words"),
    Kind.MESSAGE: (*LABELS[Kind.MESSAGE], "tasks", "min_risk", "channels", "words"),
}
_FIELDS: Mapping[Kind, tuple[str, ...]] = {
    Kind.NEWS: ("key", "risk", "headline", "source"),
    Kind.MESSAGE: ("key", "risk", "channel"),
}
_UNITS_MS = {"s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}
_DURATION = re.compile(r"([0-9]{1,6})([smhd])")


def _duration(value: object) -> int:
    match = _DURATION.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        raise ValueError("expected a duration such as 30s, 10m, 1h or 2d")
    milliseconds = int(match[1]) * _UNITS_MS[match[2]]
    if milliseconds > LONGEST_DURATION_MS:
        raise ValueError("longer than 7d")
    return milliseconds


def _labels(value: object) -> object:
    """A label, or a list of them, is short for {labels: …}."""
    if isinstance(value, str):
        return {"labels": [value]}
    return {"labels": value} if isinstance(value, list) else value


def _one_or_more(value: object) -> object:
    return [value] if isinstance(value, str) else value


_Share = Annotated[float, Field(ge=0, le=1)]
_Text = Annotated[str, StringConstraints(min_length=1)]
_Texts = Annotated[list[_Text], Field(min_length=1), BeforeValidator(_one_or_more)]
_Channel = Annotated[Channel, Strict(False)]
_Channels = Annotated[list[_Channel], Field(min_length=1), BeforeValidator(_one_or_more)]
_Milliseconds = Annotated[int, BeforeValidator(_duration)]


class _Strict(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)


class Labels(_Strict):
    """The model's answer is one of `labels`, with `min_confidence`; or, where `min_probability` is
    given, their probabilities together reach it, whichever label is the likeliest."""

    labels: Annotated[list[str], Field(min_length=1)]
    min_confidence: _Share = 0.0
    min_probability: _Share | None = None

    @model_validator(mode="after")
    def _one_threshold(self) -> Self:
        if self.min_probability is not None and self.min_confidence:
            raise ValueError("min_confidence and min_probability: give one of the two")
        return self


_Labels = Annotated[Labels, BeforeValidator(_labels)]


class Conditions(_Strict):
    """What must be true of one event, all of it."""

    sentiment: _Labels | None = None
    topic: _Labels | None = None
    intent: _Labels | None = None
    emotion: _Labels | None = None
    tasks: dict[str, _Labels] = {}
    min_risk: _Share = 0.0
    symbols: _Texts | None = None
    sources: _Texts | None = None
    channels: _Channels | None = None
    words: _Texts | None = None


class Rule(_Strict):
    """One rule of the file; durations are in milliseconds."""

    name: Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9-]{0,63}$")]
    kind: Annotated[Kind, Strict(False)]
    when: Conditions = Conditions()
    key: str
    count: Annotated[int, Field(ge=2, le=1_000)] | None = None
    window: _Milliseconds | None = None
    cool_down: _Milliseconds | None = None
    severity: Annotated[Severity, Strict(False)]
    reason: _Text

    @property
    def cool_down_ms(self) -> int:
        """By default a window's length, so that one burst is one alert; else none."""
        return (self.window or 0) if self.cool_down is None else self.cool_down

    @property
    def label_conditions(self) -> Iterator[tuple[str, Labels]]:
        """The conditions on answers of the model, by the document's field; those of the user's own
        tasks by the task's name."""
        for field in LABELS[self.kind]:
            condition = getattr(self.when, field)
            if condition is not None:
                yield field, condition
        yield from self.when.tasks.items()


@dataclass(frozen=True, slots=True)
class _Place:
    """A rule of a file, to say what is wrong with it."""

    document: YamlDocument
    number: int

    def check(self, fine: bool, reason: str, *keys: Key) -> None:
        if not fine:
            raise self.document.error(reason, (self.number, *keys))

    def check_known(self, name: str, known: Sequence[str], what: str, *keys: Key) -> None:
        self.check(name in known, f"{name!r} is no {what}; there are {', '.join(known)}", *keys)


def read_rules(path: Path | None, taxonomy: Taxonomy) -> tuple[Rule, ...]:
    """The shipped rules, or those of the file at `path`.

    Raises ConfigurationError. Of the shipped rules those are left out whose labels the taxonomy
    does not have, so that they fit any.
    """
    document = load_yaml(path or SHIPPED)
    rules = [_rule(document, number) for number in range(len(document.entries()))]
    for number, rule in enumerate(rules):
        _check(_Place(document, number), rule, {earlier.name for earlier in rules[:number]})
    if path is None:
        return tuple(rule for rule in rules if not list(_unknown_labels(rule, taxonomy)))
    for number, rule in enumerate(rules):
        _check_labels(_Place(document, number), rule, taxonomy)
    return tuple(rules)


def _rule(document: YamlDocument, number: int) -> Rule:
    document.section([number])
    try:
        return Rule.model_validate(document.data[number])
    except ValidationError as error:
        raise document.invalid(error, [number]) from None


def _check(place: _Place, rule: Rule, earlier: set[str]) -> None:
    place.check(rule.name not in earlier, "the name is given twice", "name")
    place.check_known(rule.key, KEYS[rule.kind], f"key of {rule.kind}", "key")
    for condition in rule.when.model_fields_set:
        known = _CONDITIONS[rule.kind]
        place.check_known(condition, known, f"condition on {rule.kind}", "when", condition)
    words = rule.when.words or ()
    place.check(all(map(folded, words)), "a word of which nothing is seen", "when", "words")
    _check_window(place, rule)
    _check_reason(place, rule)


def _check_window(place: _Place, rule: Rule) -> None:
    place.check(rule.count is None or rule.window is not None, "a count needs a window", "count")
    if rule.window is not None:
        place.check(rule.count is not None, "a window needs a count", "window")
        place.check(rule.window > 0, "a window is longer than nothing", "window")
        shared = rule.key != "event_id"
        place.check(shared, "no two events share it: a window needs another key", "key")


def _check_reason(place: _Place, rule: Rule) -> None:
    try:
        parts = list(Formatter().parse(rule.reason))
    except ValueError:
        reason = "a brace stands alone: write a field as {risk}, a brace itself as {{"
        raise place.document.error(reason, (place.number, "reason")) from None
    for _, field, layout, conversion in parts:
        if field is not None:
            place.check_known(field, _fields(rule), "field of this reason", "reason")
            place.check(not layout and not conversion, f"expected only {{{field}}}", "reason")


def _fields(rule: Rule) -> list[str]:
    """What the rule's reason may name."""
    labels = [name for task in LABELS[rule.kind] for name in (task, f"{task}_confidence")]
    window = ["count", "window"] if rule.count else []
    symbol = ["symbol"] if rule.key == "symbol" else []
    return [*_FIELDS[rule.kind], *labels, *symbol, *window]


def _check_labels(place: _Place, rule: Rule, taxonomy: Taxonomy) -> None:
    own = [task.name for task in taxonomy.for_kind(rule.kind) if not task.built_in]
    for name in rule.when.tasks:
        there = f"the model has {', '.join(own)}" if own else "the model has none of your own"
        known = f"{name!r} is no task of your own on {rule.kind}; {there}"
        place.check(name in own, known, "when", "tasks", name)
    for task, at, label in _unknown_labels(rule, taxonomy):
        place.check(False, f"{label!r} is not a label of {task}", "when", *at, "labels")


def _unknown_labels(rule: Rule, taxonomy: Taxonomy) -> Iterator[tuple[str, tuple[str, ...], str]]:
    """The task, where it stands, and the label of each that the taxonomy does not have."""
    tasks = {task.field if task.built_in else task.name: task for task in taxonomy.tasks.values()}
    for name, condition in rule.label_conditions:
        task = tasks[name]
        at = (name,) if task.built_in else ("tasks", name)
        yield from (
            (task.name, at, label) for label in condition.labels if label not in task.labels
        )
