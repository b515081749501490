"""People's labels on a document: whatever comes again or late, the same comes out."""

from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.human import MAX_HUMAN_LABELS, HumanLabel
from tests.schemas.samples import ARRIVED

DOCUMENT: dict[str, Any] = {"id": "n1", "topic": {"label": "macro", "confidence": 0.9}}


def said(
    label: str | None,
    second: int,
    annotator: str = "ana",
    task: str = "news.sentiment",
    entity: str | None = None,
) -> HumanLabel:
    return HumanLabel(task, entity, annotator, label, ARRIVED + timedelta(seconds=second))


def after(*labels: HumanLabel) -> dict[str, Any]:
    document = DOCUMENT
    for label in labels:
        document = label.on(document)
    return document


def human(*labels: HumanLabel) -> Any:
    return after(*labels).get("human")


def test_the_newest_label_counts_and_the_rest_of_the_document_stays() -> None:
    document = after(said("negative", 1), said("positive", 2, "bob"))
    assert document["human"] == {"sentiment": "positive"}
    assert {name: document[name] for name in DOCUMENT} == DOCUMENT
    assert human(said("positive", 2, "bob"), said("negative", 1)) == {"sentiment": "positive"}
    assert human(said("negative", 1), said("positive", 1, "bob")) == {"sentiment": "positive"}
    assert human(said("negative", 1), said("positive", 1)) == {"sentiment": "positive"}


def test_a_withdrawn_label_leaves_those_of_others() -> None:
    both = said("negative", 1), said("positive", 2, "bob")
    assert human(*both, said(None, 3, "bob")) == {"sentiment": "negative"}
    assert "human" not in after(*both, said(None, 3, "bob"), said(None, 4))


def test_a_label_older_than_its_withdrawal_stays_withdrawn() -> None:
    withdrawn = after(said(None, 2))
    assert said("negative", 1).is_stale(withdrawn)
    assert said("negative", 1).on(withdrawn) == withdrawn
    assert not said("negative", 3).is_stale(withdrawn)


def test_a_company_and_an_own_task_are_no_sentiment_of_the_text() -> None:
    document = after(said("negative", 1, entity="Acme"), said("yes", 1, task="news.esg"))
    assert "human" not in document
    assert len(document["human_labels"]) == 2


def test_each_task_has_its_field() -> None:
    tasks = {"news.topic": "macro", "message.intent": "other", "message.emotion": "joy"}
    assert human(*(said(label, 1, task=task) for task, label in tasks.items())) == {
        "topic": "macro",
        "intent": "other",
        "emotion": "joy",
    }


def test_the_list_is_bounded_and_keeps_the_newest() -> None:
    document = after(*(said("negative", n, f"a{n}") for n in range(MAX_HUMAN_LABELS + 5)))
    assert len(document["human_labels"]) == MAX_HUMAN_LABELS
    assert document["human_labels"][0]["annotator"] == "a5"


LABELS = st.builds(
    said,
    st.sampled_from(["negative", "neutral", None]),
    st.integers(0, 100),
    st.sampled_from(["ana", "bob"]),
)


@settings(deadline=None)
@given(st.lists(LABELS, unique_by=lambda label: label.given_at), st.randoms(), st.data())
def test_order_and_repetition_change_nothing(labels: Any, random: Any, data: st.DataObject) -> None:
    again = [*labels, *(data.draw(st.lists(st.sampled_from(labels))) if labels else [])]
    random.shuffle(again)
    expected, found = after(*labels), after(*again)
    assert found.get("human") == expected.get("human")
    assert after(*again, *again) == found


@pytest.mark.parametrize("redelivered_from", range(4))
def test_a_redelivery_comes_out_where_it_was(redelivered_from: int) -> None:
    """Also where several are equally old."""
    labels = [said("negative", 1), said("neutral", 1), said("positive", 1, "bob"), said(None, 1)]
    assert after(*labels, *labels[redelivered_from:])["human"] == after(*labels)["human"]
