"""What behavioural tests find in a classifier."""

from collections.abc import Callable, Sequence

import orjson
import pytest

from models.checklist_cases import Case, Expectation
from models.classifier import Classifier
from models.robustness import (
    MAX_EXAMPLES,
    MIN_SCORE_MOVE,
    FairnessResult,
    RobustnessReport,
    check_robustness,
)
from schemas.predictions import Classification, Prediction
from schemas.records import Kind
from schemas.taxonomy import EMOTION, SENTIMENT, Task, load_taxonomy
from tests.models.checklist import CASES, COMPANIES, ORIGINS, PEOPLE, cases, sentences

INVARIANCE = ("typos", "casing", "links", "company_swap")
DIRECTION = ("negation", "rise_fall", "severity")


class Rule:
    """A classifier that knows only P(positive) of a text; the rest is P(negative)."""

    def __init__(self, positive: Callable[[str], float]) -> None:
        self.taxonomy = load_taxonomy()
        self.version = "rule"
        self._positive = positive

    def classify(self, texts: Sequence[str], kinds: Sequence[Kind]) -> list[Classification]:
        return [
            Classification(
                {task.name: self._predict(task, text) for task in self.taxonomy.for_kind(kind)},
                truncated=False,
                tokens=1,
                model_version=self.version,
            )
            for text, kind in zip(texts, kinds, strict=True)
        ]

    def _predict(self, task: Task, text: str) -> Prediction:
        good, bad = {SENTIMENT: ("positive", "negative"), EMOTION: ("joy", "anger")}.get(
            task.name, task.labels[:2]
        )
        found = dict.fromkeys(task.labels, 0.0)
        found[good] = self._positive(text)
        found[bad] = 1 - found[good]
        return Prediction.most_likely(task.labels, tuple(found.values()))


def rates(report: RobustnessReport, capabilities: Sequence[str]) -> set[float]:
    found = [r for r in report.capabilities if r.capability in capabilities]
    assert {r.capability for r in found} == set(capabilities)
    return {r.failure_rate for r in found}


def test_who_always_says_positive_passes_invariance_and_fails_direction() -> None:
    report = check_robustness(Rule(lambda text: 1.0))
    assert rates(report, INVARIANCE) == {0.0}
    assert rates(report, DIRECTION) == {1.0}
    for result in report.capabilities:
        expected = MAX_EXAMPLES if result.capability in DIRECTION else 0
        assert len({example.text for example in result.examples}) == expected
    assert {r.mean_deviation for r in report.fairness} == {0.0}
    assert {g.spread for r in report.fairness for g in r.groups} == {0.0}


def as_expected(case: Case, move: float) -> dict[str, float]:
    """P(positive) by text; a negation moves the score, which is 2 P − 1, by `move`."""
    after = case.changed or ""
    match case.expected:
        case Expectation.UP:
            return {case.text: 0.3, after: 0.3 + move / 2}
        case Expectation.DOWN:
            return {case.text: 0.7, after: 0.7 - move / 2}
        case Expectation.POSITIVE_THEN_NEGATIVE:
            return {case.text: 0.6, after: 0.4}
        case Expectation.NEGATIVE:
            return {case.text: 0.4}
    return {}


@pytest.mark.parametrize(
    ("move", "negation"), [(MIN_SCORE_MOVE * 1.01, 0.0), (MIN_SCORE_MOVE * 0.99, 1.0), (-0.5, 1.0)]
)
def test_who_knows_every_direction_passes(move: float, negation: float) -> None:
    known = {text: p for case in CASES for text, p in as_expected(case, move).items()}
    report = check_robustness(Rule(lambda text: known.get(text, 0.5)))
    assert rates(report, ["rise_fall", "severity"]) == {0.0}
    assert rates(report, ["negation"]) == {negation}


def test_who_minds_capitals_or_links_is_found_out() -> None:
    loud = check_robustness(Rule(lambda text: float(text.isupper())))
    assert rates(loud, ["casing"]) == {1 / 3}
    assert rates(loud, ["typos", "links", "company_swap"]) == {0.0}
    linked = check_robustness(Rule(lambda text: float("http" in text)))
    assert rates(linked, ["links"]) == {0.5}
    assert rates(linked, ["typos", "casing", "company_swap"]) == {0.0}


def test_a_failure_says_what_was_asked_and_answered() -> None:
    report = check_robustness(Rule(lambda text: 0.9 if "http" in text else 0.2))
    (result, *_) = [r for r in report.capabilities if r.capability == "links"]
    assert (result.task, result.cases) == (SENTIMENT, 2 * len(sentences("links")))
    failure = result.examples[0]
    assert failure.changed is not None
    assert failure.after is not None
    assert failure.changed.startswith(failure.text)
    assert failure.expected is Expectation.SAME
    assert (failure.before.label, failure.after.label) == ("negative", "positive")
    assert failure.before.score == pytest.approx(-0.6)
    assert failure.after.score == pytest.approx(0.8)


def test_examples_are_few_and_of_different_sentences() -> None:
    originals = {text for text, _ in cases("typos")}
    report = check_robustness(Rule(lambda text: float(text in originals)))
    (result, *_) = [r for r in report.capabilities if r.capability == "typos"]
    assert (result.task, result.failure_rate) == (SENTIMENT, 1.0)
    assert len({failure.text for failure in result.examples}) == MAX_EXAMPLES
    assert len(result.examples) == MAX_EXAMPLES


def by_slot(report: RobustnessReport, slot: str) -> list[FairnessResult]:
    found = [result for result in report.fairness if result.slot == slot]
    assert [result.kind for result in found] == [Kind.NEWS, Kind.MESSAGE]
    return found


def test_who_dislikes_an_origin_shows_its_spread() -> None:
    disliked = [name for name, origin in COMPANIES.items() if origin == "Nigeria"]
    report = check_robustness(
        Rule(lambda text: 0.3 if any(name in text for name in disliked) else 0.6)
    )
    for result in by_slot(report, "company"):
        (origin,) = result.groups
        assert origin.attribute == "origin"
        assert origin.means.keys() == ORIGINS
        assert min(origin.means, key=origin.means.__getitem__) == "Nigeria"
        assert origin.spread == pytest.approx(0.6)
        assert origin.chance_spread < origin.spread
        # One name of nine is 0.6 below the others: 0.6 · √(1/9 · 8/9).
        deviation = pytest.approx(0.6 * 8**0.5 / 9)
        assert all(found == deviation for found in result.deviations.values())
        assert result.mean_deviation == deviation
    for result in by_slot(report, "person"):
        assert {group.spread for group in result.groups} == {0.0}


def test_who_dislikes_a_gender_shows_its_spread() -> None:
    disliked = [name for name, (_, gender) in PEOPLE.items() if gender == "female"]
    report = check_robustness(
        Rule(lambda text: 0.4 if any(name in text for name in disliked) else 0.6)
    )
    for result in by_slot(report, "person"):
        origin, gender = result.groups
        assert (origin.attribute, gender.attribute) == ("origin", "gender")
        assert gender.means == pytest.approx({"female": -0.2, "male": 0.2})
        assert gender.spread == pytest.approx(0.4)
        assert gender.chance_spread < gender.spread
        assert origin.spread == pytest.approx(0)


def test_the_shipped_bundle_can_be_asked(classifier: Classifier) -> None:
    report = check_robustness(classifier)
    assert report.model_version == classifier.version
    asked = {(result.capability, result.task) for result in report.capabilities}
    assert {capability for capability, _ in asked} == {*INVARIANCE, *DIRECTION}
    assert {task for _, task in asked} == set(classifier.taxonomy.tasks)
    for result in report.capabilities:
        assert result.cases > 0
        assert 0 <= result.failure_rate <= 1
        assert bool(result.examples) == (result.failure_rate > 0)
    assert len(report.fairness) == 4
    written = orjson.loads(orjson.dumps(report.as_dict()))
    assert list(written) == ["model_version", "seed", "capabilities", "fairness"]
    assert len(written["capabilities"]) == len(report.capabilities)
