"""From a judged text to facts: its risk, the rules it matches, its document."""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from schemas.documents import content_digest, document, judgement, record_change
from schemas.predictions import Classification
from schemas.records import Record
from schemas.taxonomy import Taxonomy
from stream.alerts import Judged, RecordVersion
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
        record, origin = event.record, event.incoming.origin
        risk = self.risk.score(record, classification)
        doc = document(
            record,
            classification,
            risk=risk,
            origin=origin,
            classified_at=datetime.now(UTC),
            taxonomy=self.taxonomy,
        )
        return AnalysedEvent(
            event=event,
            change=record_change(record, doc, origin, self.prefix),
            judged=Judged(
                stream=record.kind.stream,
                event_id=record.id,
                event_time=record.event_time,
                risk=risk,
                model_version=classification.model_version,
                matches=self.rules.matches(record, classification, risk),
                version=RecordVersion(content_digest(doc, record.kind), origin),
                old=self._is_old(event),
            ),
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

    def _is_old(self, event: Event) -> bool:
        """Old news does not page anybody. Its age is what it was when it reached Kafka."""
        age = event.incoming.arrival.age(event.record.event_time)
        return age.total_seconds() > self.alert_max_age_seconds
