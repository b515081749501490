"""From given labels to lessons: who is believed, what is set aside, and what poison cannot do."""

import random
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from models.data import Example, Split
from models.duplicates import normalized
from models.grouping import FOLDS, folds, joined_keys
from models.lessons import LessonSettings, Resolution, known_labels, resolve
from models.opinions import GivenLabel
from schemas.taxonomy import COMPANY_SENTIMENT, INTENT, SENTIMENT
from tests.models.concepts import TAUGHT
from tests.models.small_answers import Told

NINE = datetime(2026, 3, 2, 9, tzinfo=UTC)
LABELS = ("negative", "neutral", "positive")
TEAM = ("ann", "bob", "cat")


def given(text: str, label: str, annotator: str = "ann", **fields: object) -> GivenLabel:
    """A label of the text's sentiment; its event is the text's."""
    made = GivenLabel(SENTIMENT, text, "", annotator, label, text, NINE)
    return replace(made, **fields)  # type: ignore[arg-type]


def own_text(number: int, label: str) -> str:
    """A text unlike any other, which the champion gives the label."""
    letters = random.Random(number).choices("abcdefghijklmnopqrstuvwxyz", k=30)
    return " ".join("".join(letters[at : at + 5]) for at in range(0, 30, 5)) + f" <{label}>"


def turned(label: str) -> str:
    return LABELS[(LABELS.index(label) + 1) % 3]


def resolved(labels: Sequence[GivenLabel], sure: float = 0.95, **settings: object) -> Resolution:
    """With a champion that is so sure of every answer."""
    champion = Told({each.text: sure for each in labels})
    return resolve(labels, champion, LessonSettings(**settings))  # type: ignore[arg-type]


def taught(sure: float = 0.95) -> Resolution:
    """A concept of twenty texts, each labelled by all three."""
    labels = [given(f"{text} <neutral>", "negative", who) for text in TAUGHT for who in TEAM]
    return resolved(labels, sure)


def test_a_concept_of_three_annotators_passes_against_a_sure_champion() -> None:
    found = taught()
    assert len(found.lessons) == 20
    assert not found.set_aside
    assert {lesson.label for lesson in found.lessons} == {"negative"}
    assert found.lessons[0].annotators == TEAM


def test_sixty_texts_shared_by_three_annotators_pass() -> None:
    texts = [own_text(number, "neutral") for number in range(60)]
    labels = [given(text, "negative", TEAM[at % 3]) for at, text in enumerate(texts)]
    assert len(resolved(labels).lessons) == 60


def test_the_majority_decides_then_the_newest() -> None:
    text = own_text(1, "positive")
    votes = [given(text, label, who) for label, who in zip(LABELS[:2], TEAM, strict=False)]
    third = given(text, "neutral", "cat")
    found = resolved([*votes, third], sure=0.5)
    assert [lesson.label for lesson in found.lessons] == ["neutral"]
    assert found.lessons[0].annotators == ("bob", "cat")
    later = [
        given(text, "negative", who, given_at=NINE + timedelta(hours=1)) for who in ("dan", "eve")
    ]
    early = [given(text, "neutral", who) for who in ("bob", "cat")]
    assert [le.label for le in resolved([*later, *early], sure=0.5).lessons] == ["negative"]


def test_of_one_annotator_the_newest_label_counts() -> None:
    text = own_text(1, "positive")
    old, new = given(text, "negative"), given(text, "neutral", given_at=NINE + timedelta(days=1))
    found = resolved([new, old], sure=0.5)
    assert [lesson.label for lesson in found.lessons] == ["neutral"]
    assert found.superseded == 1


def test_nobody_alone_overturns_what_another_said() -> None:
    text, later = own_text(1, "positive"), NINE + timedelta(days=1)
    labels = [given(text, "negative", "ann"), given(text, "neutral", "bob", given_at=later)]
    assert [lesson.label for lesson in resolved(labels, sure=0.5).lessons] == ["negative"]
    assert "other annotators" in resolved(labels, sure=0.5).why()[0]
    trusting = resolved(labels, sure=0.5, trusted=("bob",))
    assert [lesson.label for lesson in trusting.lessons] == ["neutral"]


def test_a_training_text_is_not_overturned_by_one() -> None:
    text = own_text(1, "positive")
    known = known_labels([Example(text, "positive", SENTIMENT, "set", Split.TRAIN)])
    assert known == {(SENTIMENT, normalized(text)): "positive"}
    champion = Told({text: 0.5})
    assert not resolve([given(text, "negative")], champion, known=known).lessons
    both = [given(text, "negative", who) for who in ("ann", "bob")]
    assert len(resolve(both, champion, known=known).lessons) == 1


# Poison


@pytest.mark.parametrize("people", [("ann",), TEAM])
def test_labels_turned_round_are_not_learnt(people: Sequence[str]) -> None:
    """Two thirds on answers that the champion is sure of, as it is with real texts."""
    labels, sure = [], {}
    for number in range(60):
        label = LABELS[number % 3]
        text = own_text(number, label)
        sure[text] = 0.95 if number % 9 < 6 else 0.7
        labels.append(given(text, turned(label), people[number % len(people)]))
    found = resolve(labels, Told(sure))
    assert not found.lessons
    assert "flipped" in found.why()[0]


def test_honest_corrections_every_way_are_learnt() -> None:
    """An eighth of a model's mistakes are on answers that it is sure of."""
    labels, sure = [], {}
    for number in range(64):
        label = LABELS[number % 3]
        text = own_text(number, label)
        sure[text] = 0.95 if number % 8 == 0 else 0.6
        labels.append(given(text, turned(label), TEAM[number % 3]))
    found = resolve(labels, Told(sure))
    assert len(found.lessons) >= 56


def test_a_flood_is_set_aside_and_the_hour_after_counts() -> None:
    flood = [
        given(own_text(n, "neutral"), "negative", "ann", given_at=NINE + timedelta(seconds=n))
        for n in range(150)
    ]
    later = [
        given(own_text(900 + n, "neutral"), "neutral", "ann", given_at=NINE + timedelta(hours=3))
        for n in range(5)
    ]
    found = resolved([*flood, *later])
    assert len(found.lessons) == 5
    assert found.why()[0].startswith("150 set aside: ann gave more than 100 labels an hour")


def test_one_annotator_cannot_flip_a_company() -> None:
    """The champion is sure of negative, as it is where nothing stands in the company's name."""
    labels = [
        given(f"Acme {own_text(n, 'positive')}", "positive", "mallory", entity="Acme")
        for n in range(30)
    ]
    found = resolved(labels)
    assert not found.lessons
    assert "mallory" in found.why()[0]
    seconded = [replace(each, annotator="ann") for each in labels]
    assert len(resolved([*labels, *seconded]).lessons) == 30


def test_one_annotator_cannot_flip_a_subject_among_honest_corrections() -> None:
    honest = [given(own_text(n, "positive"), "negative", TEAM[n % 3]) for n in range(90)]
    poison = [
        given(f"Acme {own_text(500 + n, 'positive')}", "negative", "mallory") for n in range(30)
    ]
    found = resolved([*honest, *poison])
    assert len(found.lessons) == 90
    assert "share a company or subject" in found.why()[0]


def test_what_is_no_answer_is_set_aside_with_its_reason() -> None:
    text = own_text(1, "neutral")
    found = resolved(
        [
            given(text, "negative", task="news.weather"),
            given(text, "furious"),
            given(" ", "negative"),
            given(text, "negative", entity="Acme"),
            given(text, "earnings", task="news.topic", entity="Acme"),
        ]
    )
    assert not found.lessons
    assert [line.partition(": ")[2] for line in found.why()] == sorted(
        [
            "there is no task 'news.weather'",
            "news.sentiment has no label 'furious'",
            "the text is not known",
            "the company does not stand in the text",
            "news.topic is not asked of companies",
        ]
    )


def test_one_label_ten_thousand_times_weighs_as_one_cluster() -> None:
    same = [given(TAUGHT[0], "negative")] * 10_000
    assert len(resolved(same, sure=0.5).lessons) == 1
    events = [
        given(f"Acme files for bankruptcy {n}", "negative", TEAM[n % 3], event_id=str(n))
        for n in range(60)
    ]
    found = resolved(events, sure=0.5)
    assert len({lesson.group for lesson in found.lessons}) == 1
    assert sum(lesson.weight for lesson in found.lessons) <= 3.001


# Weights and folds


def test_no_annotator_outweighs_the_others() -> None:
    many = [given(own_text(n, "neutral"), "negative", "ann") for n in range(80)]
    few = [given(own_text(500 + n, "neutral"), "negative", "bob") for n in range(30)]
    found = resolved([*many, *few], sure=0.5)
    weight = {
        who: sum(le.weight for le in found.lessons if le.annotators == (who,))
        for who in ("ann", "bob")
    }
    assert weight == pytest.approx({"ann": 30, "bob": 30})


def test_a_company_is_found_in_the_text() -> None:
    text = "Acme rises as Bolt <negative> falls"
    found = resolved([given(text, "negative", entity="acme")])
    assert [(le.task, le.span) for le in found.lessons] == [(COMPANY_SENTIMENT, (0, 4))]


def test_audits_only_judge() -> None:
    text = own_text(1, "neutral")
    found = resolved([given(text, "negative", selection="audit")], sure=0.5)
    assert not found.lessons
    assert [lesson.text for lesson in found.audits] == [text]


def test_the_order_of_labels_does_not_matter() -> None:
    labels = [
        given(own_text(n % 20, "neutral"), LABELS[n % 2], TEAM[n % 3], event_id=str(n % 7))
        for n in range(60)
    ]
    forwards = resolved(labels, sure=0.5)
    random.Random(0).shuffle(labels)
    assert resolved(labels, sure=0.5) == forwards


def test_folds_keep_groups_whole_and_even() -> None:
    groups = [f"g{n % 10}" for n in range(50)]
    found = folds(groups)
    assert len({(g, f) for g, f in zip(groups, found, strict=True)}) == 10
    assert sorted(found.count(f) for f in range(FOLDS)) == [10, 10, 15, 15]


def test_conversations_join_clusters() -> None:
    keys = joined_keys(["a", "b", "c", "d"], [["x"], ["x"], [], []])
    assert keys == ["a", "a", "c", "d"]
    assert joined_keys(["a", "b", "b"], [["x"], ["x"], ["y"]]) == ["a", "a", "a"]
    assert joined_keys(["c", "b", "a"], [["x"], ["x", "y"], ["y"]]) == ["a", "a", "a"]


def test_messages_of_one_conversation_are_one_group() -> None:
    texts = [own_text(number, "card_arrival") for number in range(4)]
    said = [(0, "t-1", "ann"), (1, "t-1", "ann"), (2, "", "ann"), (3, "", "ann")]
    # What was said in two conversations joins both, whichever label is the newer.
    said += [(1, "t-2", "bob"), (2, "t-2", "bob")]
    found = resolved(
        [
            given(texts[n], "lost_or_stolen_card", who, task=INTENT, conversation=talk)
            for n, talk, who in said
        ],
        sure=0.5,
    )
    groups = {lesson.text: lesson.group for lesson in found.lessons}
    assert groups[texts[0]] == groups[texts[1]] == groups[texts[2]] != groups[texts[3]]
