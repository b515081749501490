"""What feedback must be to become a label.

The sentences name what was expected and never quote: an annotator may have put anything anywhere.
"""

from difflib import get_close_matches

from models.data import company_span
from schemas.errors import Reason, RecordRejected
from schemas.records import FeedbackRecord
from schemas.taxonomy import SENTIMENT, Task, Taxonomy

# Of a task with more labels only the nearest to what was given are named.
_NAMED_LABELS = 20
_NEAREST = 3


def check(feedback: FeedbackRecord, taxonomy: Taxonomy) -> Task:
    """The task of the feedback. Raises RecordRejected where task, label and company do not fit the
    stream and each other."""
    tasks = {name: t for name, t in taxonomy.tasks.items() if t.kind.stream == feedback.stream}
    task = tasks.get(feedback.task)
    if task is None:
        expected = f"a task of {feedback.stream}: {', '.join(tasks)}"
        raise _invalid(f"task: not one that is known, expected {expected}")
    if feedback.label is not None and feedback.label not in task.labels:
        raise _invalid(f"label: none of {task.name}, expected {_named(task, feedback.label)}")
    if feedback.entity and task.name != SENTIMENT:
        raise _invalid(f"entity: given with {task.name}, expected with {SENTIMENT} only")
    return task


def check_company(feedback: FeedbackRecord, text: str) -> None:
    """Raises RecordRejected where the company that a label is for is not in the text."""
    if feedback.entity and company_span(text, feedback.entity) is None:
        raise _invalid("entity: not in the event's text, expected a company as the text names it")


def no_such_event(feedback: FeedbackRecord) -> RecordRejected:
    """For feedback whose event is not there, and that has no text of its own."""
    return _invalid(
        f"event_id: no such event in {feedback.stream}, expected one that is indexed, or its text"
    )


def _named(task: Task, given: str) -> str:
    if len(task.labels) <= _NAMED_LABELS:
        return f"one of {', '.join(task.labels)}"
    nearest = get_close_matches(given.lower(), task.labels, n=_NEAREST, cutoff=0)
    return (
        f"one of its {len(task.labels)} labels, of which the nearest are {', '.join(nearest)} "
        f"(`bellwether label --task {task.name}` lists all when you type ?)"
    )


def _invalid(message: str) -> RecordRejected:
    return RecordRejected(Reason.INVALID, message)
