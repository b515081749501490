"""What is known of a model's answers to labelled texts: the report's content, without its form.

Everything here is made of plain values, so that orjson writes it as it stands.
"""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise

import numpy as np

from models.labelled import Labelled
from models.measures import (
    BoolArray,
    ClassScore,
    CoveragePoint,
    FloatArray,
    IntArray,
    Interval,
    ReliabilityBin,
    accuracy,
    area_under_coverage,
    auroc,
    bootstrap_intervals,
    calibration_error_by_chance,
    class_scores,
    confusion,
    coverage_curve,
    expected_calibration_error,
    macro_f1,
    reliability,
)
from models.robustness import RobustnessReport
from schemas.predictions import Prediction
from schemas.taxonomy import OTHER

ALL_SETS = "all sets"
# By tokens as the model reads them, special ones included: up to each of these, and beyond.
LENGTH_ENDS = (12, 24, 48)
MAX_SLICES = 20
OTHER_SOURCES = "other sources"

# The sets that tell whether `other` works, in the words of `data`.
IN_SCOPE, FAR, NEAR, MAPPED = "banking77", "oos", "clinc", "clinc_mapped"


@dataclass(frozen=True, slots=True)
class Score:
    """How often the answers are right; intervals are of 95 %.

    labels_occurring: how many labels are the true one of some text; of a single one macro-F1 says
        nothing that accuracy does not.
    """

    texts: int
    labels_occurring: int
    accuracy: float
    accuracy_interval: Interval
    macro_f1: float
    macro_f1_interval: Interval


@dataclass(frozen=True, slots=True)
class SetResult(Score):
    """Everything about one task on one set of texts.

    calibration_error: expected, over 15 bins of equal width.
    calibration_error_by_chance: what that of a perfectly calibrated model stays below 19 times of
        20 on texts of these confidences.
    coverage: accuracy on the surest texts; `area_under_coverage` is its mean over all coverages.
    classes: by label, in the taxonomy's order; `confusion` counts [true, predicted] in this order.
    baseline_*: what word n-grams reach; None where they were not asked.
    """

    source: str
    mean_confidence: float
    calibration_error: float
    calibration_error_by_chance: float
    reliability: tuple[ReliabilityBin, ...]
    area_under_coverage: float
    coverage: tuple[CoveragePoint, ...]
    classes: Mapping[str, ClassScore]
    confusion: tuple[tuple[int, ...], ...]
    baseline_accuracy: float | None
    baseline_macro_f1: float | None


@dataclass(frozen=True, slots=True)
class Slice(Score):
    """The texts that are alike in one respect: `by` length, source or style."""

    by: str
    name: str
    mean_confidence: float


@dataclass(frozen=True, slots=True)
class ScopeResult:
    """Whether P(other) tells messages that no intent fits from those of the intents.

    far_auroc, near_auroc: the probability that a message that is about anything (`far`), or about
        a bank but of no intent (`near`), has a greater P(other) than one of an intent.
    mapped_as_other: share of questions of CLINC that mean one of the intents and got `other`.
    Each is None where a set it needs has no texts.
    """

    in_scope: int
    far: int
    far_auroc: float | None
    near: int
    near_auroc: float | None
    mapped: int
    mapped_as_other: float | None


@dataclass(frozen=True, slots=True)
class CompanyResult:
    """What asking for a company gains over the text's own sentiment, on the same rows.

    differing: the rows of texts whose companies have different labels; None without such.
    not_found: rows whose company is not in the text, which get the text's own sentiment.
    """

    by_text: Score
    differing: Score | None
    differing_by_text: Score | None
    not_found: int


@dataclass(frozen=True, slots=True)
class TaskResult:
    """One task: on all its texts together, on each set, and by slices of all of them.

    `scope` is there for message.intent, `company` where companies were asked for.
    """

    task: str
    labels: tuple[str, ...]
    whole: SetResult
    sets: tuple[SetResult, ...]
    slices: tuple[Slice, ...]
    scope: ScopeResult | None
    company: CompanyResult | None


@dataclass(frozen=True, slots=True)
class MessagesResult:
    """One task on the messages of the package, whose first labels are taken as true.

    agreement: share of messages whose second label is the first one; kappa is Cohen's.
    """

    task: str
    result: SetResult
    agreement: float
    kappa: float | None

    @property
    def never_differ(self) -> bool:
        """Two people who judge by themselves differ somewhere: then the second labels are copies,
        or only messages on which they agreed were kept. Agreement says nothing in either case."""
        return self.agreement == 1


@dataclass(frozen=True, slots=True)
class Evaluation:
    """A whole report.

    data: the folder or the file that was measured on.
    trained_on_data: whether the model was trained on just these sets, so that the test split is
        of texts that it never saw; None for a file, of which nobody knows.
    """

    model_version: str
    data: str
    trained_on_data: bool | None
    seed: int
    tasks: tuple[TaskResult, ...]
    messages: tuple[MessagesResult, ...]
    robustness: RobustnessReport | None


@dataclass(frozen=True, slots=True)
class Answered:
    """Answers as arrays [texts]: positions of true and predicted labels, and confidences."""

    labels: tuple[str, ...]
    targets: IntArray
    predicted: IntArray
    confidence: FloatArray

    @classmethod
    def of(
        cls, labels: tuple[str, ...], true: Sequence[str], predictions: Sequence[Prediction]
    ) -> "Answered":
        places = {label: place for place, label in enumerate(labels)}
        return cls(
            labels,
            np.array([places[label] for label in true], np.int64),
            np.array([places[prediction.label] for prediction in predictions], np.int64),
            np.array([prediction.confidence for prediction in predictions], np.float64),
        )

    def where(self, mask: BoolArray) -> "Answered":
        return Answered(
            self.labels, self.targets[mask], self.predicted[mask], self.confidence[mask]
        )

    @property
    def right(self) -> BoolArray:
        right: BoolArray = self.targets == self.predicted
        return right

    @property
    def confusion(self) -> IntArray:
        return confusion(self.targets, self.predicted, len(self.labels))


def score(answered: Answered, seed: int) -> Score:
    intervals = bootstrap_intervals(answered.confusion, seed=seed)
    return Score(
        texts=len(answered.targets),
        labels_occurring=len(set(answered.targets.tolist())),
        accuracy=accuracy(answered.targets, answered.predicted),
        accuracy_interval=intervals.accuracy,
        macro_f1=macro_f1(answered.targets, answered.predicted),
        macro_f1_interval=intervals.macro_f1,
    )


def set_result(
    source: str, answered: Answered, seed: int, baseline: IntArray | None = None
) -> SetResult:
    """`baseline`: what word n-grams predict for the same texts."""
    own = score(answered, seed)
    confidence, right, matrix = answered.confidence, answered.right, answered.confusion
    bins = reliability(confidence, right)
    return SetResult(
        texts=own.texts,
        labels_occurring=own.labels_occurring,
        accuracy=own.accuracy,
        accuracy_interval=own.accuracy_interval,
        macro_f1=own.macro_f1,
        macro_f1_interval=own.macro_f1_interval,
        source=source,
        mean_confidence=float(confidence.mean()),
        calibration_error=expected_calibration_error(bins),
        calibration_error_by_chance=calibration_error_by_chance(confidence, seed=seed),
        reliability=bins,
        area_under_coverage=area_under_coverage(confidence, right),
        coverage=coverage_curve(confidence, right),
        classes=dict(zip(answered.labels, class_scores(matrix), strict=True)),
        confusion=tuple(tuple(counts) for counts in matrix.tolist()),
        baseline_accuracy=None if baseline is None else accuracy(answered.targets, baseline),
        baseline_macro_f1=None if baseline is None else macro_f1(answered.targets, baseline),
    )


def set_results(
    rows: Sequence[Labelled], answered: Answered, seed: int, baseline: IntArray | None
) -> tuple[SetResult, ...]:
    """One a source, in the order of the rows."""
    sources = np.array([row.source for row in rows])
    found = []
    for source in dict.fromkeys(sources.tolist()):
        mask = sources == source
        rival = None if baseline is None else baseline[mask]
        found.append(set_result(source, answered.where(mask), seed, rival))
    return tuple(found)


def slices(
    rows: Sequence[Labelled], tokens: Sequence[int], answered: Answered, seed: int
) -> tuple[Slice, ...]:
    """By length, by source and by style; of many sources the small ones are taken together."""
    common = [name for name, _ in Counter(row.source for row in rows).most_common(MAX_SLICES)]
    respects = (
        ("length", [_length(count) for count in tokens], _LENGTHS),
        (
            "source",
            [row.source if row.source in common else OTHER_SOURCES for row in rows],
            (*common, OTHER_SOURCES),
        ),
        ("style", [row.style for row in rows], tuple(sorted({row.style for row in rows}))),
    )
    return tuple(
        _slice(by, name, answered.where(np.array(own) == name), seed)
        for by, own, order in respects
        for name in order
        if name in own
    )


_LENGTHS = (
    f"up to {LENGTH_ENDS[0]} tokens",
    *(f"{a + 1} to {b}" for a, b in pairwise(LENGTH_ENDS)),
    f"over {LENGTH_ENDS[-1]}",
)


def _length(tokens: int) -> str:
    return _LENGTHS[sum(tokens > end for end in LENGTH_ENDS)]


def _slice(by: str, name: str, answered: Answered, seed: int) -> Slice:
    own = score(answered, seed)
    return Slice(
        texts=own.texts,
        labels_occurring=own.labels_occurring,
        accuracy=own.accuracy,
        accuracy_interval=own.accuracy_interval,
        macro_f1=own.macro_f1,
        macro_f1_interval=own.macro_f1_interval,
        by=by,
        name=name,
        mean_confidence=float(answered.confidence.mean()),
    )


def scope_result(rows: Sequence[Labelled], predictions: Sequence[Prediction]) -> ScopeResult | None:
    """None where there is nothing to compare, as in a file of one's own."""
    by_source: defaultdict[str, list[Prediction]] = defaultdict(list)
    for row, prediction in zip(rows, predictions, strict=True):
        by_source[row.source].append(prediction)
    if not by_source.keys() & {FAR, NEAR, MAPPED}:
        return None
    others = {
        source: np.array([prediction.probability(OTHER) for prediction in found])
        for source, found in by_source.items()
    }
    inside, mapped = others.get(IN_SCOPE), by_source.get(MAPPED, [])
    apart = partial(_auroc_if_any, negatives=inside)
    return ScopeResult(
        in_scope=len(by_source[IN_SCOPE]),
        far=len(by_source[FAR]),
        far_auroc=apart(others.get(FAR)),
        near=len(by_source[NEAR]),
        near_auroc=apart(others.get(NEAR)),
        mapped=len(mapped),
        mapped_as_other=(
            sum(prediction.label == OTHER for prediction in mapped) / len(mapped)
            if mapped
            else None
        ),
    )


def _auroc_if_any(positives: FloatArray | None, negatives: FloatArray | None) -> float | None:
    if positives is None or negatives is None:
        return None
    return auroc(positives, negatives)


def company_result(
    rows: Sequence[Labelled], by_company: Answered, by_text: Answered, seed: int
) -> CompanyResult:
    labels: defaultdict[str, set[str]] = defaultdict(set)
    for row in rows:
        labels[row.text].add(row.label)
    differing = np.array([len(labels[row.text]) > 1 for row in rows])
    some = bool(differing.any())
    return CompanyResult(
        by_text=score(by_text, seed),
        differing=score(by_company.where(differing), seed) if some else None,
        differing_by_text=score(by_text.where(differing), seed) if some else None,
        not_found=sum(row.company_missing for row in rows),
    )
