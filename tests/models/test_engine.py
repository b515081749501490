from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from models.classifier import Classifier
from models.micro_batches import plan_micro_batches
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
    for number in range(4):
        classifier.classify([f"{number} profit warning and a fine " * 80] * 64, kinds)
    before = resident()
    for number in range(3):
        classifier.classify([f"{number} losses and more losses " * 80] * 64, kinds)
    assert resident() - before < 48
