"""What is measured, on answers that are known beforehand."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import orjson
import pytest

from models.data import DataError, Example, Split
from models.evaluation import Evaluator
from models.labelled import Labelled
from models.measures import calibration_error_by_chance
from models.results import Answered, Evaluation, SetResult, TaskResult
from schemas.predictions import Prediction
from schemas.taxonomy import COMPANY_SENTIMENT, EMOTION, INTENT, SENTIMENT, TOPIC, load_taxonomy
from tests.models.small_answers import Told

TASKS = load_taxonomy().tasks
SETS = Path("sets")


def rows(*answers: tuple[str, str], source: str = "ours") -> list[Labelled]:
    """Texts that are numbered apart, by true label and answer."""
    return [
        Labelled(f"{number} {source} <{answer}>", label, source, "prose")
        for number, (label, answer) in enumerate(answers)
    ]


def measured(texts: Sequence[Labelled], task: str = SENTIMENT, **settings: object) -> TaskResult:
    told = Told(**settings)  # type: ignore[arg-type]
    return Evaluator(told).task_result(task, TASKS[task], texts)


RIGHT, WRONG = ("negative", "negative"), ("negative", "positive")


def test_the_figures_of_a_set() -> None:
    whole = measured(rows(RIGHT, RIGHT, WRONG, ("positive", "positive"))).whole
    assert (whole.texts, whole.accuracy, whole.labels_occurring) == (4, 0.75, 2)
    assert whole.macro_f1 == pytest.approx((4 / 5 + 2 / 3) / 2)
    assert whole.accuracy_interval[0] < 0.75 < whole.accuracy_interval[1]
    assert whole.confusion == ((2, 0, 1), (0, 0, 0), (0, 0, 1))
    assert whole.classes["negative"].recall == pytest.approx(2 / 3)
    assert whole.classes["neutral"].support == 0
    assert whole.mean_confidence == pytest.approx(0.9)
    assert whole.calibration_error == pytest.approx(0.15)
    assert whole.calibration_error_by_chance == calibration_error_by_chance(np.full(4, 0.9))
    assert [each.texts for each in whole.reliability] == [4]
    assert whole.area_under_coverage == pytest.approx(0.75)
    assert whole.baseline_accuracy is None


def test_every_set_has_its_own_figures_beside_the_whole() -> None:
    result = measured([*rows(RIGHT, WRONG, source="a"), *rows(RIGHT, RIGHT, source="b")])
    assert [(each.source, each.accuracy) for each in result.sets] == [("a", 0.5), ("b", 1.0)]
    assert (result.whole.source, result.whole.accuracy) == ("all sets", 0.75)


def test_the_surest_answers_come_first() -> None:
    texts = rows(RIGHT, WRONG)
    whole = measured(texts, confidences={texts[1].text: 0.6}).whole
    assert [point.accuracy for point in whole.coverage] == [1.0, 0.5]
    assert [point.least_confidence for point in whole.coverage] == [0.9, 0.6]


def test_slices_by_length_source_and_style() -> None:
    lengths = [12, 13, 24, 25, 48, 49]
    texts = [
        Labelled(
            " ".join(["<negative>"] * length), "negative" if length > 12 else "positive",
            "a" if length < 25 else "b", "post" if length == 49 else "prose",
        )
        for length in lengths
    ]  # fmt: skip
    found = {(each.by, each.name): each for each in measured(texts).slices}
    assert [(*key, each.texts) for key, each in found.items()] == [
        ("length", "up to 12 tokens", 1),
        ("length", "13 to 24", 2),
        ("length", "25 to 48", 2),
        ("length", "over 48", 1),
        ("source", "a", 3),
        ("source", "b", 3),
        ("style", "post", 1),
        ("style", "prose", 5),
    ]
    assert found["length", "up to 12 tokens"].accuracy == 0
    assert found["source", "a"].accuracy == pytest.approx(2 / 3)
    assert found["source", "a"].mean_confidence == pytest.approx(0.9)


def test_of_many_sources_the_small_ones_are_one_slice() -> None:
    texts = [row for n in range(30) for row in rows(*[RIGHT] * (30 - n), source=f"s{n}")]
    sources = [each for each in measured(texts).slices if each.by == "source"]
    assert len(sources) == 21
    assert (sources[0].name, sources[0].texts) == ("s0", 30)
    assert (sources[-1].name, sources[-1].texts) == ("other sources", sum(range(1, 11)))


# Companies


def company(text: str, name: str, label: str) -> Labelled:
    start = text.index(name)
    end = text.index(">", start) + 1
    return Labelled(text, label, "sentfin", "prose", (start, end))


BOTH = "Ant <positive> but Bee <negative>"  # as a whole negative: that label is the first


def test_companies_beside_the_text_s_own_sentiment() -> None:
    alone = "Cat <positive>"
    result = measured(
        [
            company(BOTH, "Ant", "positive"),
            company(BOTH, "Bee", "negative"),
            company(alone, "Cat", "positive"),
            Labelled("Dog <neutral>", "neutral", "sentfin", "prose", company_missing=True),
        ]
    )
    assert result.whole.accuracy == 1
    found = result.company
    assert found is not None
    assert found.by_text.accuracy == 0.75
    assert found.differing is not None
    assert found.differing_by_text is not None
    assert (found.differing.texts, found.differing.accuracy) == (2, 1.0)
    assert found.differing_by_text.accuracy == 0.5
    assert found.not_found == 1


def test_without_companies_there_is_nothing_to_compare() -> None:
    assert measured(rows(RIGHT)).company is None
    found = measured([company(BOTH, "Ant", "positive")]).company
    assert found is not None
    assert found.differing is None


# What no intent fits


def scope_rows() -> tuple[list[Labelled], dict[str, float]]:
    inside = rows(("other", "other"), ("age_limit", "age_limit"), source="banking77")
    far = rows(("other", "other"), ("other", "other"), source="oos")
    near = rows(("other", "other"), ("other", "age_limit"), source="clinc")
    mapped = rows(("age_limit", "other"), ("age_limit", "age_limit"), source="clinc_mapped")
    confidences = dict(
        zip(
            (row.text for row in (*inside, *far, *near)),
            (0.75, 0.9, 0.8, 0.7, 0.8, 0.9),
            strict=True,
        )
    )
    return [*inside, *far, *near, *mapped], confidences


def test_other_is_told_from_the_intents() -> None:
    texts, confidences = scope_rows()
    found = measured(texts, INTENT, confidences=confidences).scope
    assert found is not None
    # Within, P(other) is 0.75 and 0.1 / 77; far 0.8 and 0.7; near 0.8 and 0.1 / 77.
    assert (found.in_scope, found.far, found.near, found.mapped) == (2, 2, 2, 2)
    assert found.far_auroc == pytest.approx(3 / 4)
    assert found.near_auroc == pytest.approx(2.5 / 4)
    assert found.mapped_as_other == 0.5


def test_scope_is_of_sets_that_are_there() -> None:
    texts, _ = scope_rows()
    far_alone = [row for row in texts if row.source == "oos"]
    found = measured(far_alone, INTENT).scope
    assert found is not None
    assert (found.far_auroc, found.near_auroc, found.mapped_as_other) == (None, None, None)
    assert measured(rows(("other", "other")), INTENT).scope is None
    assert measured(texts[:1], INTENT).scope is None


# A whole report


EXAMPLES = [
    Example("Ant <positive> today", "positive", SENTIMENT, "sentfin", Split.TEST),
    Example("oil <negative> today", "positive", SENTIMENT, "twitter", Split.TEST),
    Example("never asked", "positive", SENTIMENT, "twitter", Split.TRAIN),
    Example(BOTH, "negative", COMPANY_SENTIMENT, "sentfin", Split.TEST, (19, len(BOTH))),
    Example("rates <macro>", "macro", TOPIC, "topics", Split.TEST),
    Example("my card <age_limit>", "age_limit", INTENT, "banking77", Split.TEST),
    Example("grr <anger>", "anger", EMOTION, "goemotions", Split.TEST),
]


def report(*tasks: str, examples: Sequence[Example] = EXAMPLES) -> Evaluation:
    chosen = [TASKS[name] for name in tasks or TASKS]
    return Evaluator(Told()).of_sets(SETS, chosen, examples, baseline=False)


def test_the_test_split_alone_is_asked_by_task_and_set() -> None:
    found = report()
    assert [(each.task, each.whole.texts) for each in found.tasks] == [
        (SENTIMENT, 2), (COMPANY_SENTIMENT, 1), (TOPIC, 1), (INTENT, 1), (EMOTION, 1),
    ]  # fmt: skip
    assert [(each.source, each.accuracy) for each in found.tasks[0].sets] == [
        ("sentfin", 1.0), ("twitter", 0.0),
    ]  # fmt: skip
    assert (found.model_version, found.data) == ("told", "sets")


def test_the_messages_and_the_behavioural_tests_belong_to_it() -> None:
    found = report()
    assert [each.task for each in found.messages] == [INTENT, EMOTION]
    assert {each.result.texts for each in found.messages} == {300}
    # Every answer is the first label.
    anger = found.messages[1].result
    assert anger.accuracy == anger.classes["anger"].support / 300
    assert found.robustness is not None
    assert {each.task for each in found.robustness.capabilities} == set(TASKS)


def test_one_task_leaves_the_others_out() -> None:
    found = report(SENTIMENT)
    assert [each.task for each in found.tasks] == [SENTIMENT, COMPANY_SENTIMENT]
    assert found.messages == ()
    assert found.robustness is not None
    assert {each.task for each in found.robustness.capabilities} == {SENTIMENT}
    assert {each.kind for each in found.robustness.fairness} == {"news"}
    assert [each.task for each in report(EMOTION).messages] == [EMOTION]


def test_the_messages_are_left_out_where_the_taxonomy_has_other_labels() -> None:
    emotion = replace(TASKS[EMOTION], labels=("anger", "calm"))
    grr = [each for each in EXAMPLES if each.task == EMOTION]
    found = Evaluator(Told()).of_sets(SETS, [emotion], grr, baseline=False)
    assert found.messages == ()


def test_second_labels_that_never_differ_say_nothing() -> None:
    messages = report().messages
    same = replace(messages[0], agreement=1.0)
    assert same.never_differ
    assert not replace(messages[0], agreement=0.99).never_differ


def test_sets_without_test_texts_or_with_unknown_labels_are_told() -> None:
    with pytest.raises(DataError, match="no test texts"):
        report(TOPIC, examples=EXAMPLES[:2])
    for task in (SENTIMENT, COMPANY_SENTIMENT):
        odd = replace(EXAMPLES[0], label="odd", task=task)
        with pytest.raises(DataError, match="has the label 'odd'"):
            report(SENTIMENT, examples=[odd])


def test_a_file_is_one_set_whatever_its_sources() -> None:
    texts = [*rows(RIGHT, source="a"), *rows(WRONG, source="b")]
    found = Evaluator(Told()).of_file(SETS / "ours.jsonl", TASKS[SENTIMENT], texts)
    (result,) = found.tasks
    assert [(each.source, each.texts) for each in result.sets] == [("ours.jsonl", 2)]
    assert [each.name for each in result.slices if each.by == "source"] == ["a", "b"]
    assert (found.messages, found.robustness, found.trained_on_data) == ((), None, None)


def test_word_ngrams_stand_beside_it() -> None:
    words = {"negative": "bad awful", "positive": "good great"}
    train = [
        Labelled(f"{word} day {n}", label, "ours", "prose")
        for n in range(5)
        for label, word in words.items()
    ]
    found = Evaluator(Told()).task_result(SENTIMENT, TASKS[SENTIMENT], train[:4], train)
    assert found.whole.accuracy == 0.5
    assert (found.whole.baseline_accuracy, found.sets[0].baseline_macro_f1) == (1.0, 1.0)


def test_progress_tells_each_step() -> None:
    said: list[tuple[str, int, int]] = []
    evaluator = Evaluator(Told(), progress=lambda *step: said.append(step))
    evaluator.of_sets(SETS, [TASKS[TOPIC]], EXAMPLES, baseline=False)
    assert said == [(TOPIC, 1, 1), ("robustness and fairness", 0, 0)]


def test_the_report_is_json_as_it_stands() -> None:
    found = orjson.loads(orjson.dumps(report()))
    assert found.keys() == {
        "model_version", "data", "trained_on_data", "seed", "tasks", "messages", "robustness",
    }  # fmt: skip
    line = found["tasks"][0]["sets"][0]
    assert set(SetResult.__dataclass_fields__) == line.keys()
    assert line["classes"]["positive"] == {
        "precision": 1.0, "recall": 1.0, "f1": 1.0, "support": 1,
    }  # fmt: skip
    assert len(found["messages"][0]["result"]["confusion"]) == 78


def test_answers_are_placed_by_label() -> None:
    predictions = [Prediction("b", 0.6, ("a", "b"), (0.4, 0.6))]
    found = Answered.of(("a", "b"), ["a"], predictions)
    assert (found.targets.tolist(), found.predicted.tolist()) == ([0], [1])
    assert found.where(np.array([False])).right.tolist() == []
