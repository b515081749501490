"""The written corpus keeps what its datasheet says."""

from collections import Counter

import pytest

from models.corpus import TASKS, CorpusText, kept_for_test, near_duplicates, openings, read_corpus
from models.data import company_span
from schemas.records import Kind
from schemas.taxonomy import INTENT, load_taxonomy

LEAST_TEXTS = {Kind.NEWS: 9_000, Kind.MESSAGE: 8_000}
LEAST_AN_EVENT, LEAST_A_NEW_INTENT, LEAST_A_KNOWN_INTENT, LEAST_AN_EMOTION = 120, 90, 25, 400


@pytest.fixture(scope="module", params=Kind)
def kind(request: pytest.FixtureRequest) -> Kind:
    found: Kind = request.param
    return found


@pytest.fixture(scope="module")
def texts(kind: Kind) -> list[CorpusText]:
    return read_corpus(kind)


def test_it_is_large_and_repeats_nothing(kind: Kind, texts: list[CorpusText]) -> None:
    said = [each.text for each in texts]
    assert len(set(said)) >= LEAST_TEXTS[kind]
    assert len({(each.text, each.entity) for each in texts}) == len(texts)
    assert near_duplicates(said) < 0.03
    assert openings(said)[0][1] < 0.01


def test_no_label_is_rare() -> None:
    news, messages = read_corpus(Kind.NEWS), read_corpus(Kind.MESSAGE)
    events = Counter(each.labels["event"] for each in news)
    assert len(events) == 49
    assert min(events.values()) >= LEAST_AN_EVENT
    intents = Counter(each.labels["intent"] for each in messages)
    known = set(load_taxonomy().tasks[INTENT].labels)
    assert len(intents) == 77 + 37 + 1
    for intent, count in intents.items():
        assert count >= (LEAST_A_KNOWN_INTENT if intent in known else LEAST_A_NEW_INTENT), intent
    emotions = Counter(each.labels["emotion"] for each in messages)
    assert len(emotions) == 7
    assert min(emotions.values()) >= LEAST_AN_EMOTION


def test_companies_stand_in_their_texts(texts: list[CorpusText]) -> None:
    assert all(company_span(each.text, each.entity) for each in texts if each.entity)


def test_a_tenth_is_kept_apart(kind: Kind, texts: list[CorpusText]) -> None:
    kept = kept_for_test(texts)
    assert 0.08 < sum(kept) / len(kept) < 0.13
    for task in TASKS[kind]:
        labels = {each.labels[task] for each in texts}
        there = {each.labels[task] for each, apart in zip(texts, kept, strict=True) if apart}
        assert there == labels
    learnt = {each.text for each, apart in zip(texts, kept, strict=True) if not apart}
    assert not learnt & {each.text for each, apart in zip(texts, kept, strict=True) if apart}


def test_what_is_kept_does_not_depend_on_the_order(texts: list[CorpusText]) -> None:
    first = dict(zip([(t.text, t.entity) for t in texts], kept_for_test(texts), strict=True))
    again = texts[::-1]
    second = dict(zip([(t.text, t.entity) for t in again], kept_for_test(again), strict=True))
    differing = sum(first[key] != second[key] for key in first)
    assert differing <= len(texts) / 100  # only where a group has texts of two labels
