"""From the labels that people gave to the lessons of a run.

Of one annotator's labels for the same question the newest counts. Then come, in this order: floods
and labels that cannot be used are set aside; annotators whose labels contradict the champion
wherever it is sure are distrusted (`plausibility`); of the others the majority decides, of equal
ones the newest, but nobody alone overturns what another said; corrections that only one annotator
stands for, against an answer that the champion is sure of, wait for a second one. Trusted
annotators need none. Whatever is set aside has its reason in words.

The result depends on the labels and the champion alone, not on the order in which labels came.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from hashlib import sha256

from models.answers import Classifies, answers
from models.data import Example, Split
from models.duplicates import cluster_keys, normalized
from models.grouping import joined_keys, weights
from models.opinions import GivenLabel, Lesson, Opinion, SetAside, opinion
from models.plausibility import distrusted, uncorroborated

AUDIT = "audit"
_HOUR = timedelta(hours=1)

# The label of a training text by task and normalised text.
KnownLabels = Mapping[tuple[str, tuple[str, ...]], str]


@dataclass(frozen=True, slots=True)
class LessonSettings:
    """labels_an_hour: an annotator who gives more is a flood, and none of that hour counts.
    trusted: annotators whose word needs no second one, and whose weight is not capped.
    cluster_weight: what a group of nearly equal texts weighs at most; one text alone weighs 1.
    lone_weight: what an annotator weighs at most, if the others do not weigh more together.
    """

    labels_an_hour: int = 100
    trusted: tuple[str, ...] = ()
    cluster_weight: float = 3.0
    lone_weight: float = 20.0


@dataclass(frozen=True, slots=True)
class Resolution:
    """What is to be learnt, what only judges, and what is set aside.

    audits: lessons on texts that were drawn at random. They are never learnt from, so that they
        stay a fair sample to measure on.
    superseded: how many labels were replaced by a newer one of the same annotator.
    """

    lessons: tuple[Lesson, ...]
    audits: tuple[Lesson, ...]
    set_aside: tuple[SetAside, ...]
    superseded: int

    def why(self) -> list[str]:
        """The reasons, most frequent first, with how many labels each is for."""
        counts = Counter(each.reason for each in self.set_aside)
        ordered = sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))
        return [f"{count:,} set aside: {reason}" for reason, count in ordered]

    @property
    def key(self) -> str:
        """Says which lessons these are, whoever taught them."""
        taught = sorted((le.task, le.text, le.span or (0, 0), le.label) for le in self.lessons)
        return sha256(repr(taught).encode("utf-8", "replace")).hexdigest()[:16]


def resolve(
    labels: Iterable[GivenLabel],
    champion: Classifies,
    settings: LessonSettings | None = None,
    known: KnownLabels | None = None,
) -> Resolution:
    """The lessons of all labels that stand; `known` are those of training texts.

    Raises nothing for a bad label: it is set aside.
    """
    resolver = _Resolver(champion, settings or LessonSettings(), known or {})
    return resolver.resolve(list(labels))


def known_labels(examples: Iterable[Example]) -> KnownLabels:
    """The labels of texts by task, where nearly the same words always have the same one."""
    found: defaultdict[tuple[str, tuple[str, ...]], set[str]] = defaultdict(set)
    for example in examples:
        if example.span is None:
            found[example.task, normalized(example.text)].add(example.label)
    return {key: own.pop() for key, own in found.items() if len(own) == 1}


class _Resolver:
    """One resolution; what is set aside gathers on the way."""

    def __init__(self, champion: Classifies, settings: LessonSettings, known: KnownLabels) -> None:
        self.champion = champion
        self.settings = settings
        self.known = known
        self.aside: list[SetAside] = []

    def resolve(self, labels: Sequence[GivenLabel]) -> Resolution:
        usable = self._without_floods(_newest(self._usable(labels)))
        superseded = len(labels) - len(self.aside) - len(usable)
        asked = self._asked(usable)
        trusting = self._without_distrusted(asked)
        lessons = self._corroborated(self._decided(trusting))
        learnt = [lesson for lesson in lessons if lesson.selection != AUDIT]
        return Resolution(
            lessons=tuple(self._weighted(learnt)),
            audits=tuple(self._weighted([le for le in lessons if le.selection == AUDIT])),
            set_aside=tuple(sorted(self.aside, key=lambda each: each.given.order)),
            superseded=superseded,
        )

    def _set_aside(self, given: GivenLabel, reason: str) -> None:
        self.aside.append(SetAside(given, reason))

    def _usable(self, labels: Sequence[GivenLabel]) -> list[Opinion]:
        found = []
        for given in labels:
            made = opinion(given, self.champion.taxonomy)
            if isinstance(made, str):
                self._set_aside(given, made)
            else:
                found.append(made)
        return found

    def _without_floods(self, opinions: Sequence[Opinion]) -> list[Opinion]:
        by_annotator: defaultdict[str, list[Opinion]] = defaultdict(list)
        for each in opinions:
            by_annotator[each.given.annotator].append(each)
        kept = []
        for annotator, own in by_annotator.items():
            flood = _flood(own, self.settings.labels_an_hour)
            kept += [each for place, each in enumerate(own) if place not in flood]
            for place in sorted(flood):
                self._set_aside(
                    own[place].given,
                    f"{annotator} gave more than {self.settings.labels_an_hour} labels an hour",
                )
        return sorted(kept, key=lambda each: each.given.order)

    def _asked(self, opinions: Sequence[Opinion]) -> list[Opinion]:
        """The opinions with what the champion says and how sure it is."""
        examples = {
            each.question: Example(
                each.given.text, each.given.label, each.task, "feedback", Split.TRAIN, each.span
            )
            for each in opinions
        }
        said = dict(zip(examples, answers(self.champion, list(examples.values())), strict=True))
        return [
            replace(each, believed=said[each.question].label, sure=said[each.question].confidence)
            for each in opinions
        ]

    def _without_distrusted(self, opinions: Sequence[Opinion]) -> list[Opinion]:
        whom = distrusted(opinions, self.settings.trusted)
        for each in opinions:
            if (each.task, each.given.annotator) in whom:
                self._set_aside(each.given, whom[each.task, each.given.annotator])
        return [each for each in opinions if (each.task, each.given.annotator) not in whom]

    def _decided(self, opinions: Sequence[Opinion]) -> list[Lesson]:
        questions: defaultdict[object, list[Opinion]] = defaultdict(list)
        for each in opinions:
            questions[each.question].append(each)
        found = (self._decide(own) for own in questions.values())
        return [lesson for lesson in found if lesson]

    def _decide(self, opinions: Sequence[Opinion]) -> Lesson | None:
        """What holds of one question; opinions from the oldest to the newest."""
        newest = list({each.given.annotator: each for each in opinions}.values())
        newest.sort(key=lambda each: each.given.order)
        votes: defaultdict[str, list[Opinion]] = defaultdict(list)
        for each in newest:
            votes[each.given.label].append(each)
        label = max(votes, key=lambda own: (len(votes[own]), votes[own][-1].given.order))
        earlier = newest[0].given.label
        if len(votes[label]) == 1 and label != earlier and not self._trusted(votes[label]):
            label = earlier
        for other in votes.keys() - {label}:
            for each in votes[other]:
                self._set_aside(
                    each.given, "other annotators say otherwise, and were more or first"
                )
        return self._against_training(votes[label])

    def _against_training(self, side: Sequence[Opinion]) -> Lesson | None:
        first, newest = side[0], side[-1]
        trained = self.known.get((first.task, normalized(first.given.text)))
        if trained not in (None, first.given.label) and len(side) == 1 and not self._trusted(side):
            self._set_aside(
                first.given, "a training text has another label, and only one annotator says so"
            )
            return None
        return Lesson(
            text=first.given.text,
            task=first.task,
            label=first.given.label,
            span=first.span,
            selection=AUDIT
            if any(each.given.selection == AUDIT for each in side)
            else newest.given.selection,
            annotators=tuple(sorted({each.given.annotator for each in side})),
            believed=first.believed,
            sure=first.sure,
            given=tuple(each.given for each in side),
        )

    def _trusted(self, side: Iterable[Opinion]) -> bool:
        return any(each.given.annotator in self.settings.trusted for each in side)

    def _corroborated(self, lessons: Sequence[Lesson]) -> list[Lesson]:
        waiting = uncorroborated(lessons, self.settings.trusted)
        for place in sorted(waiting):
            for given in lessons[place].given:
                self._set_aside(given, waiting[place])
        return [lesson for place, lesson in enumerate(lessons) if place not in waiting]

    def _weighted(self, lessons: Sequence[Lesson]) -> list[Lesson]:
        """The lessons with their groups and weights, in an order of their own."""
        if not lessons:
            return []
        clusters = cluster_keys([lesson.text for lesson in lessons])
        groups = joined_keys(clusters, [lesson.conversations for lesson in lessons])
        found = weights(
            lessons,
            clusters,
            self.settings.cluster_weight,
            self.settings.lone_weight,
            self.settings.trusted,
        )
        weighted = [
            replace(lesson, group=group, weight=weight)
            for lesson, group, weight in zip(lessons, groups, found, strict=True)
        ]
        return sorted(weighted, key=lambda lesson: (lesson.task, lesson.text, lesson.span or ()))


def _newest(opinions: Sequence[Opinion]) -> list[Opinion]:
    """Of each annotator's labels for one event and task the newest."""
    ordered = sorted(opinions, key=lambda each: each.given.order)
    return list({each.given.key: each for each in ordered}.values())


def _flood(opinions: Sequence[Opinion], most: int) -> set[int]:
    """The places of labels that lie in some hour with more than `most`."""
    order = sorted(range(len(opinions)), key=lambda place: opinions[place].given.order)
    flood: set[int] = set()
    first = 0
    for last, place in enumerate(order):
        while opinions[place].given.given_at - opinions[order[first]].given.given_at >= _HOUR:
            first += 1
        if last - first + 1 > most:
            flood.update(order[first : last + 1])
    return flood
