"""Which lessons stay together, and how much each weighs."""

from collections import defaultdict
from collections.abc import Collection, Sequence
from hashlib import sha256

from models.opinions import Lesson

# With fewer groups than this, lessons are judged by cross-fitting: a quarter of sixty would be too
# few to tell better from chance.
FEW_GROUPS = 100
FOLDS = 4


def joined_keys(clusters: Sequence[str], conversations: Sequence[Collection[str]]) -> list[str]:
    """For each text the key of its group: of its cluster, joined with all that share conversations.

    The smallest cluster's key stands for the group.
    """
    bonds = [
        [("cluster", cluster), *(("conversation", each) for each in own)]
        for cluster, own in zip(clusters, conversations, strict=True)
    ]
    keys = list(clusters)
    while True:
        smallest: dict[tuple[str, str], str] = {}
        for key, own in zip(keys, bonds, strict=True):
            for bond in own:
                smallest[bond] = min(smallest.get(bond, key), key)
        joined = [min(smallest[bond] for bond in own) for own in bonds]
        if joined == keys:
            return keys
        keys = joined


def weights(
    lessons: Sequence[Lesson],
    clusters: Sequence[str],
    cluster_weight: float,
    lone_weight: float,
    trusted: Sequence[str],
) -> list[float]:
    """1 a lesson; clusters and annotators are capped, task by task (see `LessonSettings`).

    A lesson's weight is its annotators' in equal parts.
    """
    sizes: defaultdict[tuple[str, str], int] = defaultdict(int)
    for lesson, cluster in zip(lessons, clusters, strict=True):
        sizes[lesson.task, cluster] += 1
    found = [
        min(1.0, cluster_weight / sizes[lesson.task, cluster])
        for lesson, cluster in zip(lessons, clusters, strict=True)
    ]
    totals: defaultdict[str, float] = defaultdict(float)
    parts: defaultdict[tuple[str, str], float] = defaultdict(float)
    for lesson, weight in zip(lessons, found, strict=True):
        totals[lesson.task] += weight
        for annotator in lesson.annotators:
            parts[lesson.task, annotator] += weight / len(lesson.annotators)

    def factor(task: str, annotator: str) -> float:
        if annotator in trusted:
            return 1.0
        own = parts[task, annotator]
        return min(1.0, max(lone_weight, totals[task] - own) / own)

    return [
        weight
        * sum(factor(lesson.task, each) for each in lesson.annotators)
        / len(lesson.annotators)
        for lesson, weight in zip(lessons, found, strict=True)
    ]


def folds(groups: Sequence[str]) -> list[int]:
    """For each text its fold, 0 to FOLDS - 1; groups stay whole, and folds differ by one group.

    By the groups' hashes: it needs no seed.
    """
    ordered = sorted(set(groups), key=lambda group: sha256(group.encode()).digest())
    number = {group: place % FOLDS for place, group in enumerate(ordered)}
    return [number[group] for group in groups]


def are_few(groups: Sequence[str]) -> bool:
    return len(set(groups)) < FEW_GROUPS
