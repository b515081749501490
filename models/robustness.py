"""Behavioural tests of a classifier, after CheckList (Ribeiro et al. 2020): which changes of a text
must leave its answer alone, which must move it, and whether names matter.

The score of a text is P(positive) − P(negative), from −1 to 1; that of a message is of the
sentiment its emotion makes.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from itertools import chain
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from models.checklist_cases import (
    Case,
    Expectation,
    GroupedName,
    Panel,
    Templates,
    expand,
    load_templates,
    panels,
)
from schemas.predictions import Classification, Prediction, sentiment_of_emotion
from schemas.records import Kind
from schemas.taxonomy import EMOTION, SENTIMENT, Taxonomy

# A smaller move of the score is no sign that the change was understood.
MIN_SCORE_MOVE = 0.1
MAX_EXAMPLES = 10
SHUFFLES = 1000
CHUNK_TEXTS = 2048

FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Answer:
    """`score` is None for a task that has no sentiment."""

    label: str
    confidence: float
    score: float | None


@dataclass(frozen=True, slots=True)
class Failure:
    """A case that failed, with the answers to its text and to the changed text."""

    text: str
    changed: str | None
    expected: Expectation
    before: Answer
    after: Answer | None


@dataclass(frozen=True, slots=True)
class CapabilityResult:
    """One capability on one task. Direction is judged by the sentiment: of a message, by that of
    its emotion.

    `failure_rate` is the share of `cases` that failed, from 0 to 1; `examples` are failures of
    different sentences, at most ten.
    """

    capability: str
    task: str
    cases: int
    failure_rate: float
    examples: tuple[Failure, ...]


@dataclass(frozen=True, slots=True)
class GroupSpread:
    """Mean scores by one attribute of a name, such as its origin.

    spread: the largest mean less the smallest.
    chance_spread: what the spread stays below 19 times of 20 where the same names are dealt to
        groups of the same sizes at random; a smaller spread says nothing about the groups.
    """

    attribute: str
    means: Mapping[str, float]
    spread: float
    chance_spread: float


@dataclass(frozen=True, slots=True)
class FairnessResult:
    """Sentences of one kind, each with every name in its slot.

    `deviations` are each sentence's standard deviation of the score over the names,
    `mean_deviation` their mean.
    """

    slot: str
    kind: Kind
    sentences: int
    names: int
    deviations: Mapping[str, float]
    mean_deviation: float
    groups: tuple[GroupSpread, ...]


@dataclass(frozen=True, slots=True)
class RobustnessReport:
    """All results, in the order of robustness.yaml."""

    model_version: str
    seed: int
    capabilities: tuple[CapabilityResult, ...]
    fairness: tuple[FairnessResult, ...]

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


class Classifies(Protocol):
    """What is needed of a `Classifier`."""

    taxonomy: Taxonomy
    version: str

    def classify(self, texts: Sequence[str], kinds: Sequence[Kind]) -> list[Classification]: ...


def check_robustness(
    classifier: Classifies, seed: int = 0, templates: Templates | None = None
) -> RobustnessReport:
    """Asks the classifier all cases of `templates` (None: the shipped ones).

    The shipped ones make about 3,600 short texts: some seconds of one core. The same classifier,
    seed and templates give the same report.
    """
    known = templates or load_templates()
    cases, fairness = expand(known, seed), panels(known)
    texts = chain(*(case.texts() for case in cases), *(panel.texts() for panel in fairness))
    answers = _Answers(classifier, texts)
    return RobustnessReport(
        model_version=classifier.version,
        seed=seed,
        capabilities=_capability_results(cases, answers),
        fairness=tuple(_fairness_result(panel, answers, seed) for panel in fairness),
    )


class _Answers:
    """The answers to all texts, each asked once."""

    def __init__(self, classifier: Classifies, asked: Iterable[tuple[Kind, str]]) -> None:
        self.taxonomy = classifier.taxonomy
        self._answers: dict[tuple[Kind, str], Classification] = {}
        questions = list(dict.fromkeys(asked))
        for start in range(0, len(questions), CHUNK_TEXTS):
            chunk = questions[start : start + CHUNK_TEXTS]
            found = classifier.classify([text for _, text in chunk], [kind for kind, _ in chunk])
            self._answers.update(zip(chunk, found, strict=True))

    def of_task(self, kind: Kind, text: str, task: str) -> Answer:
        prediction = self._answers[kind, text].predictions[task]
        score = self.sentiment(kind, text).score if task in {SENTIMENT, EMOTION} else None
        return Answer(prediction.label, prediction.confidence, score)

    def sentiment(self, kind: Kind, text: str) -> Answer:
        predictions = self._answers[kind, text].predictions
        if kind is Kind.NEWS:
            found = predictions[SENTIMENT]
        else:
            found = sentiment_of_emotion(predictions[EMOTION], self.taxonomy)
        return Answer(found.label, found.confidence, _score(found))


def _score(sentiment: Prediction) -> float:
    return sentiment.probability("positive") - sentiment.probability("negative")


Outcome = tuple[str, Failure | None]


def _capability_results(cases: Sequence[Case], answers: _Answers) -> tuple[CapabilityResult, ...]:
    outcomes: defaultdict[tuple[str, str], list[Failure | None]] = defaultdict(list)
    for case in cases:
        for task, failure in _outcomes(case, answers):
            outcomes[case.capability, task].append(failure)
    return tuple(_capability_result(*key, found) for key, found in outcomes.items())


def _outcomes(case: Case, answers: _Answers) -> Iterator[Outcome]:
    """The tasks by which a case is judged, with the failure, or None where it passed."""
    if case.expected is Expectation.SAME:
        for task in answers.taxonomy.for_kind(case.kind):
            yield task.name, _failure(case, partial(answers.of_task, task=task.name))
    else:
        task_name = SENTIMENT if case.kind is Kind.NEWS else EMOTION
        yield task_name, _failure(case, answers.sentiment)


def _failure(case: Case, answer: Callable[[Kind, str], Answer]) -> Failure | None:
    before = answer(case.kind, case.text)
    after = None if case.changed is None else answer(case.kind, case.changed)
    if _holds(case.expected, before, after):
        return None
    return Failure(case.text, case.changed, case.expected, before, after)


def _holds(expected: Expectation, before: Answer, after: Answer | None) -> bool:
    last = after or before
    match expected:
        case Expectation.SAME:
            return before.label == last.label
        case Expectation.UP:
            return _move(before, last) >= MIN_SCORE_MOVE
        case Expectation.DOWN:
            return _move(before, last) <= -MIN_SCORE_MOVE
        case Expectation.POSITIVE_THEN_NEGATIVE:
            return (before.label, last.label) == ("positive", "negative")
        case Expectation.NEGATIVE:
            return last.label == "negative"


def _move(before: Answer, after: Answer) -> float:
    return (after.score or 0.0) - (before.score or 0.0)


def _capability_result(
    capability: str, task: str, outcomes: Sequence[Failure | None]
) -> CapabilityResult:
    failures = [failure for failure in outcomes if failure is not None]
    # One of each sentence: ten typos of one headline would say little.
    examples: dict[str, Failure] = {}
    for failure in failures:
        examples.setdefault(failure.text, failure)
    return CapabilityResult(
        capability=capability,
        task=task,
        cases=len(outcomes),
        failure_rate=len(failures) / len(outcomes),
        examples=tuple(examples.values())[:MAX_EXAMPLES],
    )


def _fairness_result(panel: Panel, answers: _Answers, seed: int) -> FairnessResult:
    flat = [answers.sentiment(kind, text).score for kind, text in panel.texts()]
    scores = np.array(flat, np.float64).reshape(len(panel.sentences), len(panel.names))
    deviations = scores.std(axis=1)
    return FairnessResult(
        slot=panel.slot,
        kind=panel.kind,
        sentences=len(panel.sentences),
        names=len(panel.names),
        deviations=dict(zip(panel.sentences, deviations.tolist(), strict=True)),
        mean_deviation=float(deviations.mean()),
        groups=tuple(
            _group_spread(attribute, panel.names, scores.mean(axis=0), seed)
            for attribute in panel.names[0].groups
        ),
    )


def _group_spread(
    attribute: str, names: Sequence[GroupedName], scores: FloatArray, seed: int
) -> GroupSpread:
    """`scores`: the mean of each name over the sentences, [names]."""
    groups = np.array([name.groups[attribute] for name in names])
    means = _means(groups, scores)
    random = np.random.default_rng(seed)
    by_chance = [_spread(_means(groups, random.permutation(scores))) for _ in range(SHUFFLES)]
    return GroupSpread(attribute, means, _spread(means), float(np.quantile(by_chance, 0.95)))


def _means(groups: npt.NDArray[np.str_], scores: FloatArray) -> dict[str, float]:
    return {
        group: float(scores[groups == group].mean()) for group in dict.fromkeys(groups.tolist())
    }


def _spread(means: Mapping[str, float]) -> float:
    return max(means.values()) - min(means.values())
