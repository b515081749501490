import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.predictions import Classification, Prediction, sentiment_of_emotion
from schemas.taxonomy import EMOTION, load_taxonomy

TAXONOMY = load_taxonomy()
EMOTIONS = TAXONOMY.tasks[EMOTION].labels


def feeling(**probabilities: float) -> Prediction:
    return Prediction.most_likely(EMOTIONS, [probabilities.get(name, 0.0) for name in EMOTIONS])


def test_the_most_likely_label_and_of_equal_ones_the_first() -> None:
    assert Prediction.most_likely(["a", "b", "c"], [0.2, 0.5, 0.3]).label == "b"
    tied = Prediction.most_likely(["a", "b"], [0.5, 0.5])
    assert (tied.label, tied.confidence) == ("a", 0.5)


def test_as_it_is_printed() -> None:
    prediction = Prediction.most_likely(["a", "b"], [0.25, 0.75])
    assert prediction.as_dict() == {
        "label": "b",
        "confidence": 0.75,
        "probabilities": {"a": 0.25, "b": 0.75},
    }
    assert prediction.probability("a") == 0.25
    with pytest.raises(KeyError):
        prediction.probability("z")


def test_emotions_of_one_sentiment_add_up() -> None:
    # joy is the likeliest single emotion, but three upset ones outweigh it
    mixed = feeling(joy=0.4, anger=0.25, sadness=0.2, fear=0.1, surprise=0.05)
    sentiment = sentiment_of_emotion(mixed, TAXONOMY)
    assert mixed.label == "joy"
    assert sentiment.label == "negative"
    assert sentiment.labels == ("negative", "neutral", "positive")
    assert sentiment.probabilities == pytest.approx((0.55, 0.05, 0.4))
    assert sentiment.confidence == pytest.approx(0.55)


@given(st.lists(st.floats(0.001, 1), min_size=len(EMOTIONS), max_size=len(EMOTIONS)))
def test_a_sentiments_probabilities_sum_to_one(weights: list[float]) -> None:
    probabilities = [weight / sum(weights) for weight in weights]
    sentiment = sentiment_of_emotion(Prediction.most_likely(EMOTIONS, probabilities), TAXONOMY)
    assert sum(sentiment.probabilities) == pytest.approx(1)
    assert sentiment.confidence == max(sentiment.probabilities)


@given(st.lists(st.floats(0.001, 1), min_size=1, max_size=20))
def test_a_doubted_answer_keeps_its_label_and_is_at_most_half_sure(weights: list[float]) -> None:
    labels = [str(number) for number in range(len(weights))]
    sure = Prediction.most_likely(labels, [weight / sum(weights) for weight in weights])
    doubted = sure.doubted()
    assert doubted.label == sure.label
    assert doubted.confidence == max(doubted.probabilities) <= max(0.5, 1 / len(labels))
    assert sum(doubted.probabilities) == pytest.approx(1, abs=1e-4)
    assert doubted.doubted() == doubted
    if sure.confidence <= 0.5:
        assert doubted == sure


@given(st.lists(st.floats(0.001, 1), min_size=len(EMOTIONS), max_size=len(EMOTIONS)))
def test_doubt_about_an_emotion_does_not_turn_the_sentiment(weights: list[float]) -> None:
    """Four of seven emotions are negative: what is mixed with all of them leans that way."""
    sure = Prediction.most_likely(EMOTIONS, [weight / sum(weights) for weight in weights])
    before = sentiment_of_emotion(sure, TAXONOMY)
    after = sentiment_of_emotion(sure.doubted(), TAXONOMY).doubted()
    assert after.label == before.label
    assert after.confidence <= 0.5


def test_every_answer_to_a_foreign_text_is_doubted() -> None:
    sure = feeling(joy=1.0)
    known = Classification({EMOTION: sure}, False, 9, "test", companies=(sure,))
    foreign = known.doubted("de")
    assert foreign.foreign_language == "de"
    assert foreign.predictions == {EMOTION: sure.doubted()}
    assert foreign.companies == (sure.doubted(),)
    assert (known.foreign_language, known.predictions[EMOTION].confidence) == (None, 1.0)
