import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.predictions import Prediction, sentiment_of_emotion
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
