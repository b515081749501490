"""What the report of a trainer's run says of the labels that it read."""

from typing import Any

from models.lessons import Resolution
from stream.labels import Labels


def said_of(labels: Labels, resolution: Resolution) -> dict[str, Any]:
    """As JSON: how many labels there are, what came of them, and each that was set aside with its
    reason; without their texts."""
    return {
        "labels": {
            "standing": len(labels.standing),
            "repeated": labels.repeated,
            "unreadable": labels.unreadable,
        },
        "resolution": _resolution(resolution),
    }


def _resolution(resolution: Resolution) -> dict[str, Any]:
    return {
        "lessons": len(resolution.lessons),
        "corrections": sum(lesson.contradicts for lesson in resolution.lessons),
        "audits": len(resolution.audits),
        "superseded": resolution.superseded,
        "set_aside": resolution.why(),
        "implausible": [
            {
                "task": aside.given.task,
                "event_id": aside.given.event_id,
                "entity": aside.given.entity,
                "annotator": aside.given.annotator,
                "label": aside.given.label,
                "reason": aside.reason,
            }
            for aside in resolution.set_aside
        ],
    }
