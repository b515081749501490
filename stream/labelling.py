"""Which text a person labels next, what is offered for it, and what a typed line means. No I/O.

Of most texts those are asked that teach the most: of which the model is least sure (the margin
between its two likeliest labels is small), and that are unlike what was asked before. A part, drawn
evenly at random before anything is chosen, is kept for audits: how often the model is right among
them is how often it is right in the stream. An annotator who saw the model's answer would tend to
confirm it, so for an audit nothing is shown that depends on it, not even afterwards: an audit may
be taken back and answered again. Texts in a language that the model does not know are audits only.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from math import ceil
from random import Random
from typing import Literal

from models.duplicates import cluster_keys, normalized
from models.probes import margin
from schemas.errors import ConfigurationError
from schemas.predictions import Prediction
from schemas.records import Kind
from schemas.taxonomy import SENTIMENT, Task, Taxonomy

AUDIT: Literal["audit"] = "audit"
ACTIVE: Literal["active"] = "active"
Selection = Literal["audit", "active"]

# Of a text that is no audit so many labels are offered, the likeliest first.
MOST_RANKED = 5
# Of an audit all labels are offered at once if there are so few.
MOST_LISTED = 20


@dataclass(frozen=True, slots=True)
class Candidate:
    """A text that may be asked, with the model's answer to the session's task.

    foreign: it is in a language that the model does not know, which makes it unsure of anything.
    """

    event_id: str
    text: str
    prediction: Prediction
    foreign: bool = False


@dataclass(frozen=True, slots=True)
class Choice:
    """A text that is asked, and why."""

    candidate: Candidate
    selection: Selection


class TextChoice:
    """Chooses the texts of a session. `audit_share` is that of the texts, and of the questions."""

    def __init__(self, candidates: Sequence[Candidate], audit_share: float, random: Random) -> None:
        shuffled = random.sample(candidates, len(candidates))
        kept = ceil(len(shuffled) * audit_share)
        self._audits = shuffled[:kept]
        # Answers to foreign texts are doubted, all of them: these would come before any other.
        self._active = [c for c in shuffled[kept:] if not c.foreign]
        self._share = audit_share
        self._random = random
        keys = cluster_keys([c.text for c in shuffled]) if shuffled else []
        self._keys = {c.event_id: key for c, key in zip(shuffled, keys, strict=True)}
        self._words = {c.event_id: frozenset(normalized(c.text)) for c in shuffled}
        self._likeness = dict.fromkeys(self._words, 0.0)

    def next(self) -> Choice | None:
        """The next text; None when all were asked."""
        if self._audits and (not self._active or self._random.random() < self._share):
            choice = Choice(self._audits.pop(), AUDIT)
        elif self._active:
            choice = Choice(max(self._active, key=self._informativeness), ACTIVE)
        else:
            return None
        self._remember(choice.candidate)
        return choice

    def _informativeness(self, candidate: Candidate) -> float:
        return (1 - margin(candidate.prediction)) * (1 - self._likeness[candidate.event_id])

    def _remember(self, asked: Candidate) -> None:
        """What is nearly the same is not asked again, but as an audit: those stand for how often
        a text comes, too. Of the others it is known how like what was asked they are (the Jaccard
        index of the words)."""
        key, words = self._keys[asked.event_id], self._words[asked.event_id]
        self._active = [c for c in self._active if self._keys[c.event_id] != key]
        for candidate in self._active:
            theirs = self._words[candidate.event_id]
            alike = len(words & theirs) / len(words | theirs)
            self._likeness[candidate.event_id] = max(self._likeness[candidate.event_id], alike)


class Command(StrEnum):
    """What else than a label may be typed."""

    SKIP = "s"
    UNDO = "u"
    QUIT = "q"


ALL_LABELS = "?"


class Question:
    """The labels that are offered for a text, and what a typed line means.

    `complaint` says why the last line was no answer; it is empty where the line asked for labels.
    """

    def __init__(self, choice: Choice) -> None:
        prediction = choice.candidate.prediction
        self.choice = choice
        self._labels = list(prediction.labels)
        if choice.selection == ACTIVE:
            self._labels.sort(key=prediction.probability, reverse=True)
            self._first = self._labels[:MOST_RANKED]
        else:
            self._first = self._labels if len(self._labels) <= MOST_LISTED else []
        self.offered = self._first
        self.complaint = ""

    def read(self, typed: str) -> Command | str | None:
        """A command; or a label, by its number among those offered or by its whole name; or None.

        Any other words offer the labels that have them all in their names. An empty line, which a
        finger types by itself, is no answer: it offers the first labels again. A question mark
        offers all.
        """
        self.complaint = ""
        words = typed.lower().split()
        if len(words) == 1 and words[0] in list(Command):
            return Command(words[0])
        if len(words) == 1 and words[0].isdecimal():
            return self._numbered(int(words[0]))
        if typed.strip() in self._labels:
            return typed.strip()
        self._offer(words)
        return None

    def _numbered(self, number: int) -> str | None:
        if 1 <= number <= len(self.offered):
            return self.offered[number - 1]
        if self.offered:
            self.complaint = f"{number} is none of 1 to {len(self.offered)}."
        else:
            self.complaint = f"No label has a number yet: {ALL_LABELS} lists all."
        return None

    def _offer(self, words: Sequence[str]) -> None:
        if not words:
            self.offered = self._first
        elif words == [ALL_LABELS]:
            self.offered = self._labels
        else:
            self.offered = [
                label for label in self._labels if all(w in label.lower() for w in words)
            ]
            self.complaint = "" if self.offered else "No label is named so."


def chosen_task(taxonomy: Taxonomy, task: str | None, stream: str | None) -> Task:
    """The task by its name; without one the first of the stream, or the sentiment of news.

    Raises ConfigurationError: no such task or stream, or they do not belong together.
    """
    streams = {kind.stream: kind for kind in Kind}
    if stream is not None and stream not in streams:
        raise ConfigurationError(f"there is no stream {stream!r}: they are {', '.join(streams)}")
    if task is None:
        return taxonomy.for_kind(streams[stream])[0] if stream else taxonomy.tasks[SENTIMENT]
    if task not in taxonomy.tasks:
        known = ", ".join(taxonomy.tasks)
        raise ConfigurationError(f"there is no task {task!r}: they are {known}")
    found = taxonomy.tasks[task]
    if stream not in {None, found.kind.stream}:
        raise ConfigurationError(f"the task {task} is of {found.kind.stream}, not of {stream}")
    return found
