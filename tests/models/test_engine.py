import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.bundle import SHIPPED_BUNDLE
from models.classifier import Classifier
from models.engine import WindowTokenizer, plan_micro_batches
from schemas.records import Kind
from tests.models.texts import varied_texts

LENGTHS = st.lists(st.integers(min_value=1, max_value=256), max_size=200)


@given(LENGTHS, st.integers(min_value=1, max_value=1024))
def test_a_plan_has_each_text_once_in_batches_of_one_length_within_the_budget(
    lengths: list[int], budget: int
) -> None:
    plan = plan_micro_batches(lengths, budget)
    assert sorted(position for batch in plan for position in batch) == list(range(len(lengths)))
    for batch in plan:
        assert len({lengths[position] for position in batch}) == 1
        assert len(batch) == 1 or len(batch) * lengths[batch[0]] <= budget
    assert [lengths[b[0]] for b in plan] == sorted((lengths[b[0]] for b in plan), reverse=True)


@pytest.fixture(scope="module")
def tokenizer() -> WindowTokenizer:
    return WindowTokenizer(SHIPPED_BUNDLE / "tokenizer.json", 256)


def test_only_texts_beyond_the_window_are_truncated(tokenizer: WindowTokenizer) -> None:
    fits, beyond, far_beyond = tokenizer.encode(["word " * 254, "word " * 255, "word " * 9000])
    assert (len(fits.ids), fits.truncated) == (256, False)
    assert (len(beyond.ids), beyond.truncated) == (256, True)
    assert (len(far_beyond.ids), far_beyond.truncated) == (256, True)


def test_white_space_around_a_text_does_not_use_up_the_window(tokenizer: WindowTokenizer) -> None:
    plain, spaced = tokenizer.encode(
        ["profits fell", " " * 50_000 + "profits fell" + "\n" * 50_000]
    )
    assert plain == spaced


def test_a_huge_text_is_cut_before_it_costs_anything(tokenizer: WindowTokenizer) -> None:
    started = time.process_time()
    tokenizer.encode(["a text without end " * 55_000] * 5)
    assert time.process_time() - started < 1


def test_any_string_is_tokenised(tokenizer: WindowTokenizer) -> None:
    for text in ("", " ", "\x00", "\ud800 alone", "\U0001f600" * 300, "x" * 5000):
        (tokens,) = tokenizer.encode([text])
        assert 2 <= len(tokens.ids) <= 256


def test_counts_are_what_the_network_reads(classifier: Classifier) -> None:
    texts = varied_texts(40)
    counts = classifier.count_tokens(texts)
    answers = classifier.classify(texts, [Kind.NEWS] * len(texts))
    assert counts == [answer.tokens for answer in answers]
    assert max(counts) <= classifier.window_tokens


def test_nothing_in_nothing_out(classifier: Classifier) -> None:
    assert classifier.classify([], []) == []
    assert classifier.count_tokens([]) == []


def test_memory_stays_bounded(classifier: Classifier) -> None:
    """Long texts in number make the process grow by one micro-batch a core, not by all of them."""

    def resident() -> float:
        return int(Path("/proc/self/statm").read_text().split()[1]) * 4096 / 2**20

    kinds = [Kind.NEWS] * 64
    classifier.classify(["profit warning and a fine " * 80] * 64, kinds)
    before = resident()
    for number in range(3):
        classifier.classify([f"{number} losses and more losses " * 80] * 64, kinds)
    assert resident() - before < 48
