"""From a judged text to facts: its risk, the rules it matches, its document."""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from schemas.documents import Origin, Write, document, index_name, judgement
from schemas.predictions import Classification
from schemas.records import Record
from schemas.taxonomy import Taxonomy
from stream.alerts import Judged
from stream.events import AnalysedEvent, Event
from stream.risk import RiskModel
from stream.rules import RuleBook


@dataclass(frozen=True, slots=True)
class Analysis:
    """Analyses events; pure but for the clock that stamps `classified_at`."""

    risk: RiskModel
    rules: RuleBook
    taxonomy: Taxonomy
    prefix: str
    alert_max_age_seconds: float

    def analysed(self, event: Event, classification: Classification) -> AnalysedEvent:
        """What the sinks are to hold of an event."""
        risk = self.risk.score(event.record, classification)
        return AnalysedEvent(
            event=event,
            write=self._write(event, classification, risk),
            judged=self._judged(event, classification, risk),
        )

    def judgement(self, record: Record, classification: Classification) -> dict[str, Any]:
        """The fields of its document that are the model's, stamped with this moment."""
        return judgement(
            record,
            classification,
            risk=self.risk.score(record, classification),
            classified_at=datetime.now(UTC),
            taxonomy=self.taxonomy,
        )

    def _write(self, event: Event, classification: Classification, risk: float) -> Write:
        record, incoming = event.record, event.incoming
        return Write(
            index=index_name(self.prefix, record.kind.stream, record.event_time),
            id=record.id,
            doc=document(
                record,
                classification,
                risk=risk,
                origin=Origin(incoming.topic, incoming.partition, incoming.offset),
                classified_at=datetime.now(UTC),
                taxonomy=self.taxonomy,
            ),
        )

    def _judged(self, event: Event, classification: Classification, risk: float) -> Judged:
        record = event.record
        return Judged(
            stream=record.kind.stream,
            event_id=record.id,
            event_time=record.event_time,
            risk=risk,
            model_version=classification.model_version,
            matches=() if self._is_old(event) else self.rules.matches(record, classification, risk),
        )

    def _is_old(self, event: Event) -> bool:
        """Old news does not page anybody. Its age is what it was when it reached Kafka."""
        age = event.incoming.received_at - event.record.event_time
        return age.total_seconds() > self.alert_max_age_seconds
