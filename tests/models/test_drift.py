"""Spreads of answers: counted, kept for an hour, and compared by a figure worked out by hand."""

from dataclasses import replace

import numpy as np
import pytest

from models.drift import (
    BINS,
    Reference,
    Tally,
    Window,
    confidence_divergence,
    divergence,
    label_divergence,
)
from schemas.predictions import Classification
from schemas.records import Kind
from schemas.taxonomy import EMOTION, INTENT, OTHER, SENTIMENT, TOPIC, load_taxonomy
from tests.schemas.samples import classified

TAXONOMY = load_taxonomy()
MANY = 10**9  # so many that what is added to the bins does not count


def news(sentiment: str = "positive", topic: str = "macro") -> Classification:
    return classified(TAXONOMY, Kind.NEWS, sentiment, topic)


def message(intent: str = OTHER, emotion: str = "joy") -> Classification:
    return classified(TAXONOMY, Kind.MESSAGE, intent, emotion)


@pytest.mark.parametrize(
    ("now", "before", "expected"),
    [
        # 0.1 ln 2 - 0.1 ln (6/7)
        ([0.2, 0.2, 0.6], [0.1, 0.2, 0.7], 0.084730),
        # 0.3 ln 4 - 0.3 ln (2/3)
        ([0.4, 0.6], [0.1, 0.9], 0.537528),
        ([0.3, 0.7], [0.3, 0.7], 0.0),
    ],
)
def test_many_texts_have_the_index_of_the_formula(
    now: list[float], before: list[float], expected: float
) -> None:
    found = divergence([MANY * share for share in now], [MANY * share for share in before])
    assert found == pytest.approx(expected, abs=1e-6)


def test_empty_bins_and_few_texts_by_hand() -> None:
    # Before: 99.5 each is 0.5 each. Now: 100 + 10 and 0 + 10 of 120.
    # (11/12 - 1/2) ln (11/6) + (1/12 - 1/2) ln (1/6) = 5/12 ln 11
    assert divergence([100, 0], [99, 99]) == pytest.approx(5 / 12 * np.log(11), abs=1e-6)
    # Before: 1.5 and 0.5 of 2. Now: 0 + 15 and 4 + 5 of 24.
    # (5/8 - 3/4) ln (5/6) + (3/8 - 1/4) ln (3/2) = 1/8 ln (9/5)
    assert divergence([0, 4], [1, 0]) == pytest.approx(np.log(9 / 5) / 8, abs=1e-6)
    assert divergence([0, 0], [7, 3]) == 0


@pytest.mark.parametrize("texts", [5, 100, 780, 10_000])
def test_chance_alone_is_no_change(texts: int) -> None:
    """Of 78 labels of very different frequency, drawn as before."""
    random = np.random.default_rng(0)
    before = random.zipf(1.5, 78).clip(1, 2_000)
    drawn = random.multinomial(texts, before / before.sum(), size=200)
    found = [divergence(now, before.tolist()) for now in drawn.tolist()]
    assert np.mean(found) < 0.04
    assert max(found) < 0.1


def test_a_real_change_is_seen_in_an_hour() -> None:
    before = [100.0] * 78
    now = [30] * 39 + [0] * 39
    assert divergence(now, before) > 0.25


def test_shares_of_labels_and_histograms_are_compared() -> None:
    tally = Tally()
    for label in ("negative", "neutral", "neutral", "neutral"):
        tally.add(SENTIMENT, news(label))
    reference = Reference(
        texts=10,
        labels={"negative": 0.5, "positive": 0.5},
        confidence=(0.0,) * (BINS - 1) + (1.0,),
        abstained=0.0,
        unknown_tokens=0.0,
    )
    # In the order of the names: negative, neutral, positive.
    assert label_divergence(tally, reference) == divergence([1, 3, 0], [5, 0, 5])
    # All of both are sure.
    assert confidence_divergence(tally, reference) == pytest.approx(0, abs=1e-3)
    unsure = reference.model_copy(update={"confidence": (1.0,) + (0.0,) * (BINS - 1)})
    assert confidence_divergence(tally, unsure) == divergence([0] * 9 + [4], [10] + [0] * 9) > 0


def test_a_tally_becomes_a_reference() -> None:
    tally = Tally()
    tally.add(INTENT, replace(message(), unknown_tokens=3))
    tally.add(INTENT, message("change_pin"))
    tally.add(INTENT, message("change_pin"))
    tally.add(INTENT, replace(message("change_pin"), foreign_language="de"))

    assert tally.reference() == Reference(
        texts=4,
        labels={"change_pin": 0.75, OTHER: 0.25},
        confidence=(0.0,) * (BINS - 1) + (1.0,),
        abstained=0.5,
        unknown_tokens=3 / 48,
    )
    assert Tally().reference().texts == 0


def test_references_join_by_their_texts() -> None:
    first, second = Tally(), Tally()
    for _ in range(3):
        first.add(SENTIMENT, news("positive"))
    second.add(SENTIMENT, replace(news("negative"), unknown_tokens=6, foreign_language="de"))
    joined = first.reference().joined(second.reference())
    assert joined.texts == 4
    assert joined.labels == {"negative": 0.25, "positive": 0.75}
    assert joined.confidence[-1] == 1
    assert joined.abstained == 0.25
    assert joined.unknown_tokens == 0.125


def test_only_intents_have_a_label_for_none() -> None:
    tally = Tally()
    tally.add(EMOTION, message(OTHER))
    assert tally.abstained == 0


def test_the_window_forgets_what_is_older() -> None:
    window = Window(TAXONOMY.tasks, minutes=3)
    for label in ("positive", "negative", "neutral"):
        window.add(news(label))
        window.turn()
    totals = window.totals()
    assert totals[SENTIMENT].labels == {"negative": 1, "neutral": 1}
    assert totals[SENTIMENT].texts == totals[TOPIC].texts == 2
    assert totals[INTENT].texts == 0

    window.disagreed(SENTIMENT, True)
    window.disagreed(SENTIMENT, False)
    window.turn()
    said = window.totals()[SENTIMENT]
    assert (said.feedback, said.disagreed, said.texts) == (2, 1, 1)
    for _ in range(3):
        window.turn()
    assert window.totals()[SENTIMENT] == Tally()
