"""The same text gets the same answer whatever else is in its batch."""

import random
from collections.abc import Mapping, Sequence

import numpy as np
import pytest

from models.classifier import Classifier
from schemas.predictions import Classification
from schemas.records import Kind
from tests.models.texts import varied_texts

TEXTS = varied_texts(240)
KINDS = [Kind.NEWS if number % 2 else Kind.MESSAGE for number in range(len(TEXTS))]
SHORT_MATES = ["Ok", "Up", "?"]
LONG_MATES = ["profit warning and a fine " * 80, "card was declined in the shop " * 30]


@pytest.fixture(scope="module")
def alone(classifier: Classifier) -> list[Classification]:
    return [classifier.classify([t], [k])[0] for t, k in zip(TEXTS, KINDS, strict=True)]


def test_random_batches_change_nothing(
    classifier: Classifier, alone: Sequence[Classification]
) -> None:
    for seed, size in enumerate((2, 7, 32, 240)):
        order = random.Random(seed).sample(range(len(TEXTS)), len(TEXTS))
        for start in range(0, len(order), size):
            rows = order[start : start + size]
            together = classifier.classify([TEXTS[i] for i in rows], [KINDS[i] for i in rows])
            for row, answer in zip(rows, together, strict=True):
                assert_same(alone[row], answer)


@pytest.mark.parametrize("mates", [SHORT_MATES, LONG_MATES], ids=["short", "long"])
def test_short_and_long_mates_change_nothing(
    classifier: Classifier, alone: Sequence[Classification], mates: list[str]
) -> None:
    for number in range(0, len(TEXTS), 8):
        texts = [*mates, TEXTS[number], *mates]
        kinds = [KINDS[number]] * len(texts)
        assert_same(alone[number], classifier.classify(texts, kinds)[len(mates)])


def test_many_copies_get_one_answer(
    classifier: Classifier, alone: Sequence[Classification]
) -> None:
    for answer in classifier.classify([TEXTS[5]] * 100, [KINDS[5]] * 100):
        assert_same(alone[5], answer)


def assert_same(first: Classification, second: Classification) -> None:
    assert labels(first) == labels(second)
    assert (first.tokens, first.truncated) == (second.tokens, second.truncated)
    for task, prediction in first.predictions.items():
        np.testing.assert_allclose(
            prediction.probabilities, second.predictions[task].probabilities, atol=1e-5
        )


def labels(classification: Classification) -> Mapping[str, str]:
    return {task: prediction.label for task, prediction in classification.predictions.items()}
