"""What people say of an event, on the event's own document.

`human_labels` lists the newest label of each annotator for each task and company, also the
withdrawn ones (their `label` is null), so that a label that comes again or late changes nothing.
`human` is made of that list: for each built-in task the newest label of the whole text.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from schemas.taxonomy import BUILT_IN_TASKS
from schemas.times import format_rfc3339, parse_rfc3339

HUMAN, HUMAN_LABELS = "human", "human_labels"
# Of a document, so that a flood of annotators cannot swell it; the oldest labels go first.
MAX_HUMAN_LABELS = 200

Document = Mapping[str, Any]
_FIELDS = {task: task.rpartition(".")[2] for task in BUILT_IN_TASKS}
_AUTHORSHIP = ("task", "entity", "annotator")


@dataclass(frozen=True, slots=True)
class HumanLabel:
    """One annotator's label for one task; a `label` of None withdraws, an `entity` of None is the
    whole text."""

    task: str
    entity: str | None
    annotator: str
    label: str | None
    given_at: datetime

    def is_stale(self, document: Document) -> bool:
        """Whether the document has a newer label of the same annotator for the same thing."""
        return any(_given_at(entry) > self.given_at for entry in self._same(document))

    def on(self, document: Document) -> dict[str, Any]:
        """The document with this label; equal to what it was if the label is stale or known.

        Of equally old labels of one annotator the later in coming stands; so it does among those
        of several.
        """
        entry = self._entry()
        same = self._same(document)
        if entry in same or self.is_stale(document):
            return dict(document)
        others = [each for each in document.get(HUMAN_LABELS, ()) if each not in same]
        return _with_labels(document, [*others, entry])

    def _same(self, document: Document) -> list[dict[str, Any]]:
        entry = self._entry()
        return [
            each
            for each in document.get(HUMAN_LABELS, ())
            if all(each.get(name) == entry.get(name) for name in _AUTHORSHIP)
        ]

    def _entry(self) -> dict[str, Any]:
        entity = {"entity": self.entity} if self.entity else {}
        return {
            "task": self.task,
            **entity,
            "annotator": self.annotator,
            "label": self.label,
            "given_at": format_rfc3339(self.given_at),
        }


def _given_at(entry: Mapping[str, Any]) -> datetime:
    return parse_rfc3339(entry["given_at"])


def _with_labels(document: Document, entries: list[dict[str, Any]]) -> dict[str, Any]:
    """The document with another list of labels, and with `human` made of it."""
    if len(entries) > MAX_HUMAN_LABELS:
        entries.remove(min(entries, key=_given_at))
    rest = {name: value for name, value in document.items() if name != HUMAN}
    human = _human(entries)
    return {**rest, HUMAN_LABELS: entries, **({HUMAN: human} if human else {})}


def _human(entries: list[dict[str, Any]]) -> dict[str, str]:
    """Field to label. Sorting keeps the order of equally old labels: the later in coming wins."""
    return {
        _FIELDS[entry["task"]]: entry["label"]
        for entry in sorted(entries, key=_given_at)
        if entry["task"] in _FIELDS and not entry.get("entity") and entry["label"] is not None
    }
