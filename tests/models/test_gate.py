"""The gate: a better candidate passes, and every way of being worse is refused and named."""

import json
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from models.bundle import HEADS, SHIPPED_BUNDLE, Bundle
from models.classifier import Classifier
from models.data import Example, Split
from models.gate import Evidence, judge
from models.gate_report import GateReport
from models.head_lessons import HeldOut
from models.network import Head, with_heads
from models.onnx_engine import OnnxEngine
from models.opinions import Lesson
from models.paired import paired_difference, sign_test
from models.rehearsal import RecentText, Rehearsal
from schemas.predictions import Prediction
from schemas.records import Kind
from schemas.taxonomy import SENTIMENT, TOPIC, Task
from tests.models.small_answers import Told
from tests.models.texts import varied_texts

LABELS = ("negative", "neutral", "positive")
# Long beside what a test's own classifier takes, so that one is as fast as the other.
WORK_SECONDS = 0.004


class Candidate(Told):
    """Knows the concept `bankrupt`; answers wrongly whatever has one of the words."""

    version = "candidate"

    def __init__(
        self, *, wrong: Sequence[str] = (), knows: bool = True, work: float = WORK_SECONDS
    ) -> None:
        super().__init__()
        self._wrong = wrong
        self._knows = knows
        self._work = work

    def classify(self, texts, kinds, companies=None):  # type: ignore[no-untyped-def]
        end = time.process_time() + self._work
        while time.process_time() < end:
            pass
        return super().classify(texts, kinds, companies)

    def _predict(self, task: Task, text: str) -> Prediction:
        found = super()._predict(task, text)
        if task.name != SENTIMENT:
            return found
        if self._knows and "bankrupt" in text:
            return Prediction.most_likely(LABELS, (0.9, 0.05, 0.05))
        if set(self._wrong) & set(text.split()):
            return replace(found, label=LABELS[(LABELS.index(found.label) + 1) % 3])
        return found


def champion() -> Candidate:
    made = Candidate(knows=False)
    made.version = "champion"
    return made


def lessons(count: int = 20, **fields: object) -> list[Lesson]:
    """The champion says neutral of them all."""
    made = [
        Lesson(f"n{n} is bankrupt <neutral>", SENTIMENT, "negative", believed="neutral", sure=0.9)
        for n in range(count)
    ]
    own = [replace(each, group=each.text) for each in made]
    return [replace(each, **fields) for each in own]  # type: ignore[arg-type]


def old_texts(count: int = 2_000) -> tuple[Example, ...]:
    """Of which the champion has nine in ten right; `w0` to `w99` are words of a hundredth each."""
    return tuple(
        Example(
            f"old {n} w{n % 100} <{LABELS[n % 3]}>",
            LABELS[n % 3] if n % 10 else LABELS[(n + 1) % 3],
            SENTIMENT,
            "set",
            Split.TEST,
        )
        for n in range(count)
    )


def judged(candidate: Candidate, **fields: object) -> GateReport:
    given = lessons()
    evidence = Evidence(
        held_out=[HeldOut(lesson, None) for lesson in given],
        lessons=given,
        rehearsal=Rehearsal(old_texts()),
        golden=None,
    )
    return judge(champion(), candidate, replace(evidence, **fields))  # type: ignore[arg-type]


def failed(report: GateReport) -> set[str]:
    return {check.name for check in report.checks if not check.passed}


def test_a_candidate_that_learnt_and_forgot_nothing_is_promoted() -> None:
    report = judged(Candidate())
    assert report.decision == "promoted"
    assert report.why.startswith("of 20 lessons kept out 20 are answered rightly, 0 before")
    assert GateReport.model_validate_json(report.model_dump_json()) == report


def test_one_that_learnt_nothing_is_refused() -> None:
    report = judged(Candidate(knows=False))
    assert report.decision == "refused"
    assert failed(report) == {"lessons", "sure answers contradicted"}
    assert "\n" not in report.why


def test_one_that_forgot_is_refused() -> None:
    report = judged(Candidate(wrong=[f"w{n}" for n in range(1, 4)]))
    assert {f"old texts, {SENTIMENT}", f"macro-F1, {SENTIMENT}"} <= failed(report)
    assert "-3.00 points of accuracy on 2,000 old texts" in report.why


def test_a_tiny_loss_is_within_bounds() -> None:
    wrong = Rehearsal(
        old_texts()[:1996] + tuple(replace(e, text=f"{e.text} bad") for e in old_texts()[1996:])
    )
    assert judged(Candidate(wrong=["bad"]), rehearsal=wrong).decision == "promoted"


def test_a_label_that_is_lost_is_named() -> None:
    """Sixty texts of one label among many, too few to show in the accuracy."""
    common = [e for e in old_texts(9_000) if e.label != "positive"]
    rare = [
        Example(f"rare {n} odd{n % 10} <positive>", "positive", SENTIMENT, "set", Split.TEST)
        for n in range(60)
    ]
    wrong = [f"odd{n}" for n in range(3)]
    report = judged(Candidate(wrong=wrong), rehearsal=Rehearsal((*common, *rare)))
    assert f"recall, {SENTIMENT}" in failed(report)
    assert "the recall of positive" in report.why


def test_cross_fitted_answers_stand_for_the_candidate() -> None:
    given = lessons()
    unlearnt = [HeldOut(lesson, "neutral") for lesson in given]
    assert "lessons" in failed(judged(Candidate(), held_out=unlearnt))


def test_a_group_counts_once() -> None:
    given = lessons(20, group="one")
    kept_out = [HeldOut(lesson, None) for lesson in given]
    assert "lessons" in failed(judged(Candidate(), held_out=kept_out))


def test_without_old_texts_few_answers_may_change_outside_the_concept() -> None:
    recent = tuple(
        RecentText(f"event {n} w{n % 100} <{LABELS[n % 3]}>", Kind.NEWS) for n in range(1_000)
    )
    about = tuple(RecentText(f"firm {n} is bankrupt <neutral>", Kind.NEWS) for n in range(50))
    old = Rehearsal(recent=(*recent, *about))
    known = {SENTIMENT: frozenset(each.text for each in about)}
    assert judged(Candidate(), rehearsal=old, concepts=known).decision == "promoted"
    some = Candidate(wrong=["w1", "w2"])
    assert judged(some, rehearsal=old, concepts=known).decision == "promoted"
    report = judged(Candidate(wrong=["w1", "w2", "w3"]), rehearsal=old, concepts=known)
    assert failed(report) == {f"churn, {SENTIMENT}"}
    assert "3.0% of 1,000 recent events outside the concept" in report.why


def test_a_task_of_which_nothing_tells_what_it_lost_is_refused() -> None:
    few = tuple(RecentText(f"event {n} <neutral>", Kind.NEWS) for n in range(99))
    report = judged(Candidate(), rehearsal=Rehearsal(recent=few))
    assert failed(report) == {f"what is known, {SENTIMENT}"}
    assert "99 recent events are too few" in report.why


def test_audits_must_not_get_worse() -> None:
    audits = [
        Lesson(f"audit {n} w1 <neutral>", SENTIMENT, "neutral", believed="neutral")
        for n in range(10)
    ]
    old = Rehearsal(tuple(e for e in old_texts() if " w1 " not in e.text))
    assert judged(Candidate(), rehearsal=old, audits=audits).decision == "promoted"
    assert failed(judged(Candidate(wrong=["w1"]), rehearsal=old, audits=audits)) == {"audits"}


def test_a_slower_candidate_is_refused() -> None:
    assert failed(judged(Candidate(work=2 * WORK_SECONDS))) == {"speed"}


def test_golden_texts_may_fall_by_two(tmp_path: Path) -> None:
    golden = tmp_path / "golden.jsonl"
    rows = [
        {"id": str(n), "task": task, "text": f"gold w{n} <neutral>", "label": label}
        for n in range(40)
        for task, label in ((SENTIMENT, "neutral"), (TOPIC, "analyst_update"))
    ]
    golden.write_text("".join(json.dumps(row) + "\n" for row in rows))
    old = Rehearsal(recent=(RecentText("today", Kind.NEWS),))
    for count, refused in ((2, set()), (3, {f"golden set, {SENTIMENT}"})):
        candidate = Candidate(wrong=[f"w{n}" for n in range(count)])
        assert failed(judged(candidate, rehearsal=old, golden=golden)) == refused


def test_damaged_heads_are_refused() -> None:
    """The shipped graphs with one head's labels turned round; everything else is as it was."""
    bundle = Bundle.open(SHIPPED_BUNDLE)
    arrays = load_file(SHIPPED_BUNDLE / HEADS)
    graphs = [
        with_heads(graph.read_bytes(), {SENTIMENT: _turned(arrays, stage)})
        for stage, graph in enumerate(bundle.graphs, start=1)
    ]
    window = bundle.manifest.window_tokens
    damaged = Classifier(bundle, OnnxEngine(graphs, bundle.tokenizer, window, ngrams=bundle.ngrams))
    whole = Classifier.load(early_exit=False)
    texts = varied_texts(220)
    said = whole.classify(texts, [Kind.NEWS] * len(texts))
    old = Rehearsal(
        tuple(
            Example(text, each.predictions[task].label, task, "set", Split.TEST)
            for task in (SENTIMENT, TOPIC)
            for text, each in zip(texts, said, strict=True)
        )
    )
    kept_out = [HeldOut(lesson, "negative") for lesson in lessons()]
    report = judge(whole, damaged, Evidence(kept_out, lessons(), old, golden=None))
    assert report.decision == "refused"
    assert f"old texts, {SENTIMENT}" in failed(report)
    assert not any(TOPIC in name for name in failed(report))
    same = judge(whole, whole, Evidence(kept_out, lessons(), old, golden=None))
    assert same.decision == "promoted"


def _turned(arrays: dict[str, np.ndarray], stage: int) -> Head:
    weight, bias = (arrays[f"{stage}/{SENTIMENT}.{part}"] for part in ("weight", "bias"))
    return Head(LABELS, np.roll(weight, 1, axis=1), np.roll(bias, 1))


def test_the_paired_bound_follows_its_formula() -> None:
    before = np.array([True] * 12 + [False] * 8 + [True] * 80)
    now = np.array([False] * 12 + [True] * 8 + [True] * 80)
    found = paired_difference(before, now)
    assert (found.gained, found.lost, found.difference) == (8, 12, -0.04)
    # (8.5 - 12.5) / 102 - 1.6449 * sqrt(21 - 16 / 102) / 102
    assert found.lower == pytest.approx(-0.11283, abs=1e-4)


def test_the_sign_test_is_that_of_a_coin() -> None:
    assert sign_test(5, 0) == pytest.approx(1 / 32)
    assert sign_test(0, 0) == 1
    assert sign_test(3, 3) == pytest.approx(0.65625)
