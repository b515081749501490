"""Checks on old texts of one task: no worse in all, by label, and in what confidences mean."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from models.gate_report import Check
from models.measures import (
    IntArray,
    calibration_error_by_chance,
    class_scores,
    confusion,
    expected_calibration_error,
    macro_f1,
    reliability,
)
from models.paired import PairedDifference, paired_difference, sign_test
from schemas.predictions import Prediction

# Of the accuracy and macro-F1 on at least FULL_SIZE old texts; with fewer wider, as chance is.
FULL_SIZE = 2_000
ACCURACY_BOUND, ACCURACY_FALL, F1_FALL = 0.01, 0.005, 0.005
CALIBRATION_RISE = 0.01
CLASS_TEXTS, RECALL_FALL, RECALL_CHANCE = 50, 0.05, 0.01


@dataclass(frozen=True, slots=True)
class AnsweredPair:
    """Both models' answers to texts of one task with their true labels, as positions."""

    labels: tuple[str, ...]
    true: IntArray
    before: Sequence[Prediction]
    now: Sequence[Prediction]

    def places(self, said: Sequence[Prediction]) -> IntArray:
        return np.array([self.labels.index(each.label) for each in said], np.int64)

    def difference(self) -> PairedDifference:
        before, now = (self.places(said) == self.true for said in (self.before, self.now))
        return paired_difference(before, now)


def old_text_checks(task: str, pair: AnsweredPair) -> Iterator[Check]:
    """Not worse on old test texts, in all, by label, and in what confidences mean."""
    size = min(1.0, len(pair.true) / FULL_SIZE) ** 0.5
    found = pair.difference()
    yield Check(
        name=f"old texts, {task}",
        figure=found.difference,
        bound=-ACCURACY_FALL / size,
        passed=found.difference >= -ACCURACY_FALL / size and found.lower > -ACCURACY_BOUND / size,
        words=f"{task}: {100 * found.difference:+.2f} points of accuracy on {found.texts:,} old "
        f"texts, with 95 % confidence above {100 * found.lower:+.2f}",
    )
    before, now = (pair.places(said) for said in (pair.before, pair.now))
    change = macro_f1(pair.true, now) - macro_f1(pair.true, before)
    yield Check(
        name=f"macro-F1, {task}",
        figure=change,
        bound=-F1_FALL / size,
        passed=change >= -F1_FALL / size,
        words=f"{task}: {100 * change:+.2f} points of macro-F1 on {found.texts:,} old texts",
    )
    yield from _recalls(task, pair, before, now)
    yield _calibration(task, pair)


def _recalls(task: str, pair: AnsweredPair, before: IntArray, now: IntArray) -> Iterator[Check]:
    """The label with the greatest fall of recall, of those with enough texts."""
    was, is_ = (
        class_scores(confusion(pair.true, said, len(pair.labels))) for said in (before, now)
    )
    enough = [place for place, score in enumerate(was) if score.support >= CLASS_TEXTS]
    if not enough:
        return
    worst = min(enough, key=lambda place: is_[place].recall - was[place].recall)
    own = pair.true == worst
    found = paired_difference((before == worst)[own], (now == worst)[own])
    chance = sign_test(found.lost, found.gained)
    yield Check(
        name=f"recall, {task}",
        figure=found.difference,
        bound=-RECALL_FALL,
        passed=found.difference >= -RECALL_FALL or chance >= RECALL_CHANCE,
        words=f"{task}: the recall of {pair.labels[worst]} changes most, by "
        f"{100 * found.difference:+.1f} points on {found.texts} texts",
    )


def _calibration(task: str, pair: AnsweredPair) -> Check:
    errors = []
    for said in (pair.before, pair.now):
        sure = np.array([each.confidence for each in said])
        errors.append(expected_calibration_error(reliability(sure, pair.places(said) == pair.true)))
    before, now = errors
    sure = np.array([each.confidence for each in pair.now])
    bound = max(before + CALIBRATION_RISE, calibration_error_by_chance(sure))
    return Check(
        name=f"calibration, {task}",
        figure=now,
        bound=bound,
        passed=now <= bound,
        words=f"{task}: expected calibration error {now:.3f}, {before:.3f} before",
    )
