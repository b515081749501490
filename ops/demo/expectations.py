"""What the samples must come to, and whether the servers hold that."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from schemas.alerts import Alert
from schemas.errors import ConfigurationError, Reason

Name = TypeVar("Name", bound=str)


class EventOfRule(BaseModel):
    """An event and a rule; no rule stands for any."""

    model_config = ConfigDict(frozen=True)

    event: str
    rule: str | None = None


class ExpectedAlerts(BaseModel):
    must: tuple[EventOfRule, ...]
    must_not: tuple[EventOfRule, ...]


class Expectations(BaseModel):
    """`expected.json`: documents by stream, dead letters by reason, events behind alerts."""

    documents: dict[str, int]
    dead_letters: dict[Reason, int]
    alerts: ExpectedAlerts


@dataclass(frozen=True, slots=True)
class Holdings:
    """What the servers hold. `alerts` are all there ever were, in every state that was seen;
    `alerts_without_document` are ids that Redis has and Elasticsearch has not."""

    documents: Mapping[str, int]
    dead_letters: Mapping[Reason, int]
    alerts: Sequence[Alert]
    alerts_without_document: Sequence[str] = ()


def read_expectations(file: Path) -> Expectations:
    """Raises ConfigurationError."""
    try:
        return Expectations.model_validate_json(file.read_bytes())
    except OSError as error:
        raise ConfigurationError(f"cannot read {file}: {error.strerror}") from None
    except ValidationError as error:
        raise ConfigurationError(f"{file} is not what the demo expects: {error}") from None


def mismatches(expected: Expectations, held: Holdings) -> list[str]:
    """Each thing that is not as expected, in words; empty when all fits."""
    return [
        *_differences("documents in", expected.documents, held.documents),
        *_differences("dead letters:", expected.dead_letters, held.dead_letters),
        *_wrong_alerts(expected.alerts, held.alerts),
        *(
            f"alert {id} is in Redis, but not in Elasticsearch"
            for id in held.alerts_without_document
        ),
    ]


def _differences(
    what: str, expected: Mapping[Name, int], held: Mapping[Name, int]
) -> Iterable[str]:
    for name in sorted(expected.keys() | held.keys()):
        wanted, found = expected.get(name, 0), held.get(name, 0)
        if wanted != found:
            yield f"{what} {name}: {found} where {wanted} are expected"


def _wrong_alerts(expected: ExpectedAlerts, alerts: Sequence[Alert]) -> Iterable[str]:
    behind = {(alert.rule, event) for alert in alerts for event in _events(alert)}
    rules = {rule for rule, _ in behind}
    for pair in expected.must:
        if not any((rule, pair.event) in behind for rule in _meant(pair, rules)):
            yield f"{pair.event} must be behind an alert of {pair.rule or 'any rule'}, but is not"
    for pair in expected.must_not:
        for rule in sorted(_meant(pair, rules)):
            if (rule, pair.event) in behind:
                yield f"{pair.event} is behind an alert of {rule}, but must not be"


def _meant(pair: EventOfRule, rules: set[str]) -> set[str]:
    return rules if pair.rule is None else {pair.rule}


def _events(alert: Alert) -> set[str]:
    return {alert.event_id, *alert.event_ids}
