"""Old texts that a run repeats beside its lessons, against forgetting, and is measured on.

Of the training sets where their folder is there: training texts are repeated, development and
calibration texts choose and calibrate, test texts are the gate's. Else recent events, to which the
champion's own answers are what must not change; and the bundle's class statistics.
"""

import random
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from models.data import Example, Split, load_examples, of_task
from schemas.records import Kind
from schemas.taxonomy import Taxonomy

RECENT = "recent"
MOST_REPEATED = 4_000
MOST_JUDGED = 4_000


@dataclass(frozen=True, slots=True)
class RecentText:
    """An event without a label."""

    text: str
    kind: Kind


@dataclass(frozen=True, slots=True)
class Rehearsal:
    """labelled: examples of the training sets, of every split. recent: events without labels."""

    labelled: tuple[Example, ...] = ()
    recent: tuple[RecentText, ...] = ()

    def repeated(self, task: str, taxonomy: Taxonomy) -> list[Example]:
        """Texts on which a head is to stay as it is; recent ones have an empty label."""
        found = of_task(self.labelled, task, Split.TRAIN)
        if task in taxonomy.tasks:
            kind = taxonomy.tasks[task].kind
            found += [
                Example(each.text, "", task, RECENT, Split.TRAIN)
                for each in self.recent
                if each.kind is kind
            ]
        return found

    def kept_back(self, task: str) -> list[Example]:
        """Labelled texts by which a run chooses and calibrates."""
        return of_task(self.labelled, task, Split.DEVELOPMENT, Split.CALIBRATION)

    def test(self, task: str) -> list[Example]:
        """Labelled texts that only the gate reads."""
        return of_task(self.labelled, task, Split.TEST)


def rehearsal_of_sets(
    folder: Path,
    *,
    repeated: int = MOST_REPEATED,
    judged: int = MOST_JUDGED,
    recent: Sequence[RecentText] = (),
    seed: int = 0,
) -> Rehearsal:
    """Of every head at most `repeated` training texts, as many kept back, and `judged` test texts.

    Drawn evenly from all sets of a task, by the seed. Raises DataError like `load_examples`.
    """
    most = {Split.TRAIN: repeated, Split.TEST: judged}
    parts: defaultdict[tuple[str, Split], list[Example]] = defaultdict(list)
    for example in load_examples(folder):
        parts[example.task, example.split].append(example)
    picked: list[Example] = []
    for (task, split), own in sorted(parts.items()):
        picker = random.Random(f"{seed} {task} {split}")
        picked += picker.sample(own, min(most.get(split, repeated), len(own)))
    return Rehearsal(tuple(picked), tuple(recent))
