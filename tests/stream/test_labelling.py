"""Which texts are asked, in which order, and what a typed line means."""

from collections.abc import Sequence
from dataclasses import replace
from random import Random

import pytest

from schemas.errors import ConfigurationError
from schemas.predictions import Prediction
from schemas.taxonomy import load_taxonomy
from stream.labelling import (
    ACTIVE,
    AUDIT,
    MOST_RANKED,
    Candidate,
    Choice,
    Command,
    Question,
    TextChoice,
    chosen_task,
)

TAXONOMY = load_taxonomy()
SENTIMENTS = TAXONOMY.tasks["news.sentiment"].labels
INTENTS = TAXONOMY.tasks["message.intent"].labels
WORDS = ("apple", "brick", "cloud", "drum", "eagle", "fern", "glass", "horn", "iron", "jade")


def candidate(name: str, text: str, margin: float = 0.5) -> Candidate:
    """Two labels share all probability, `margin` apart."""
    first, second = (1 + margin) / 2, (1 - margin) / 2
    return Candidate(name, text, Prediction.most_likely(SENTIMENTS, (second, 0.0, first)))


def unlike(count: int) -> list[Candidate]:
    """Texts that share no word."""
    return [candidate(str(n), f"{WORDS[n % 10]}{chr(97 + n // 10) * 3}") for n in range(count)]


def order(candidates: Sequence[Candidate], audit_share: float = 0, seed: int = 0) -> list[Choice]:
    texts = TextChoice(candidates, audit_share, Random(seed))
    found = []
    while choice := texts.next():
        found.append(choice)
    return found


def names(choices: Sequence[Choice]) -> list[str]:
    return [choice.candidate.event_id for choice in choices]


# The order


def test_the_least_sure_comes_first() -> None:
    texts = [candidate(f"{m}", word, m) for word, m in zip(WORDS, (0.9, 0.1, 0.5), strict=False)]
    assert names(order(texts)) == ["0.1", "0.5", "0.9"]


def test_what_is_unlike_the_texts_before_goes_first() -> None:
    texts = [
        candidate("first", "my card was lost on the bus", 0.0),
        candidate("alike", "my card was lost at home", 0.1),
        candidate("other", "how high are fees abroad", 0.3),
    ]
    assert names(order(texts)) == ["first", "other", "alike"]


def test_nearly_the_same_text_is_asked_once() -> None:
    texts = [
        candidate("a", "Acme profit jumps 12% in the third quarter", 0.0),
        candidate("b", "Acme profit jumps 31% in the third quarter!", 0.01),
        candidate("c", "Fees abroad", 0.9),
    ]
    assert names(order(texts)) == ["a", "c"]


def test_foreign_texts_are_asked_as_audits_only() -> None:
    foreign = [replace(one, foreign=True) for one in unlike(20)[10:]]
    texts = [*unlike(10), *foreign]
    assert {int(name) for name in names(order(texts))} == set(range(10))
    audits = [c for c in order(texts, audit_share=0.5) if c.candidate.foreign]
    assert audits
    assert {c.selection for c in audits} == {AUDIT}
    assert len(order(texts, audit_share=1)) == 20


def test_without_texts_there_is_nothing_to_ask() -> None:
    assert order([]) == []
    assert order([], audit_share=0.5) == []


# Audits


def test_so_many_texts_are_audits_and_every_text_is_asked() -> None:
    choices = order(unlike(200), audit_share=0.1)
    assert len(set(names(choices))) == 200
    assert sum(choice.selection == AUDIT for choice in choices) == 20
    first = [choice.selection for choice in choices[:100]]
    assert 3 <= first.count(AUDIT) <= 20
    assert {c.selection for c in order(unlike(20), audit_share=1)} == {AUDIT}
    assert {c.selection for c in order(unlike(20), audit_share=0)} == {ACTIVE}
    assert [c.selection for c in order(unlike(1), audit_share=0.1)] == [AUDIT]


def test_audits_are_as_often_right_as_the_model_is() -> None:
    """However unsure it is of a text, and also of one that comes again and again."""
    sure = [candidate(f"s{n}", "apple brick", 0.99) for n in range(150)]
    unsure = [candidate(f"u{n}", f"cloud {'x' * (n + 1)}", 0.01) for n in range(50)]
    audited = [
        choice.candidate.event_id[0]
        for seed in range(20)
        for choice in order([*sure, *unsure], audit_share=0.2, seed=seed)
        if choice.selection == AUDIT
    ]
    assert len(audited) == 20 * 40
    assert audited.count("s") / len(audited) == pytest.approx(0.75, abs=0.04)


# What is typed


def intent_question(selection: str = ACTIVE) -> Question:
    probabilities = [0.0] * len(INTENTS)
    probabilities[INTENTS.index("change_pin")] = 0.6
    probabilities[INTENTS.index("other")] = 0.4
    prediction = Prediction.most_likely(INTENTS, probabilities)
    return Question(Choice(Candidate("e", "t", prediction), selection))  # type: ignore[arg-type]


def test_the_likeliest_labels_are_offered_first() -> None:
    question = intent_question()
    assert question.offered[:2] == ["change_pin", "other"]
    assert len(question.offered) == MOST_RANKED
    assert question.read("2") == "other"
    assert question.read(" 1\n") == "change_pin"


def test_an_audit_shows_nothing_of_the_answer() -> None:
    assert intent_question(AUDIT).offered == []
    found = intent_question(AUDIT)
    assert found.read("card") is None
    assert found.offered == [label for label in INTENTS if "card" in label]
    sure = candidate("e", "t").prediction
    assert Question(Choice(Candidate("e", "t", sure), AUDIT)).offered == list(SENTIMENTS)


def test_typed_words_find_labels() -> None:
    question = intent_question()
    assert question.read("lost card\n") is None
    assert question.offered == ["lost_or_stolen_card"]
    assert question.read("1") == "lost_or_stolen_card"
    assert question.read("Lost_Or_Stolen") is None
    assert question.read("lost_or_stolen_card") == "lost_or_stolen_card"
    assert question.complaint == ""
    assert question.read("no such thing") is None
    assert question.offered == []
    assert question.complaint == "No label is named so."


@pytest.mark.parametrize("selection", [ACTIVE, AUDIT])
def test_a_question_mark_lists_all_labels(selection: str) -> None:
    question = intent_question(selection)
    assert question.read("?\n") is None
    assert question.complaint == ""
    assert sorted(question.offered) == sorted(INTENTS)
    assert question.offered == list(INTENTS) or selection == ACTIVE  # an audit leads nobody
    assert question.read("78") == question.offered[77]
    assert question.read("79") is None
    assert question.complaint == "79 is none of 1 to 78."


def test_a_number_out_of_range_is_told() -> None:
    question = Question(Choice(candidate("e", "t"), ACTIVE))
    assert question.read("99") is None
    assert question.complaint == "99 is none of 1 to 3."
    assert question.read("\n") is None
    assert question.complaint == ""
    audit = intent_question(AUDIT)
    assert audit.read("1") is None
    assert audit.complaint == "No label has a number yet: ? lists all."


@pytest.mark.parametrize("typed", ["", "\n", "  ", "0", "6", "99999999999999999999", "-1"])
def test_what_is_no_answer(typed: str) -> None:
    question = intent_question()
    assert question.read(typed) is None


def test_an_empty_line_offers_the_first_labels_again() -> None:
    question = intent_question()
    before = question.offered
    question.read("card")
    assert question.offered != before
    assert question.read("\n") is None
    assert question.offered == before


def test_commands() -> None:
    question = intent_question()
    assert [question.read(word) for word in ("s", "U\n", "q")] == [
        Command.SKIP,
        Command.UNDO,
        Command.QUIT,
    ]


# Tasks


def test_the_task_of_a_session() -> None:
    assert chosen_task(TAXONOMY, None, None).name == "news.sentiment"
    assert chosen_task(TAXONOMY, None, "customer-messages").name == "message.intent"
    assert chosen_task(TAXONOMY, "message.emotion", None).name == "message.emotion"
    assert chosen_task(TAXONOMY, "news.topic", "financial-news").name == "news.topic"


@pytest.mark.parametrize(
    ("task", "stream", "said"),
    [
        ("news.mood", None, "there is no task 'news.mood': they are news.sentiment"),
        (None, "tweets", "there is no stream 'tweets'"),
        ("news.topic", "customer-messages", "news.topic is of financial-news"),
    ],
)
def test_tasks_that_cannot_be_labelled(task: str | None, stream: str | None, said: str) -> None:
    with pytest.raises(ConfigurationError, match=said):
        chosen_task(TAXONOMY, task, stream)
