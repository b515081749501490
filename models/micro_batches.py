"""Which texts go through a graph together: those of equal token count, so that none is padded."""

from collections import defaultdict
from collections.abc import Iterator, Sequence

# Texts of so many tokens go through the stages together: enough for full micro-batches of those
# that go on, and their states (1.5 kB a token) stay small.
GROUP_TOKENS = 16_384


def groups(lengths: Sequence[int]) -> Iterator[list[int]]:
    """Positions of texts by falling length, in groups of bounded size."""
    group: list[int] = []
    tokens = 0
    for position in sorted(range(len(lengths)), key=lengths.__getitem__, reverse=True):
        if group and tokens + lengths[position] > GROUP_TOKENS:
            yield group
            group, tokens = [], 0
        group.append(position)
        tokens += lengths[position]
    if group:
        yield group


def plan_micro_batches(lengths: Sequence[int], token_budget: int) -> list[list[int]]:
    """Positions of texts in groups of equal length, each within the budget; longest first.

    A text longer than the budget is a micro-batch of its own.
    """
    return list(_micro_batches(lengths, token_budget))


def _micro_batches(lengths: Sequence[int], token_budget: int) -> Iterator[list[int]]:
    by_length: defaultdict[int, list[int]] = defaultdict(list)
    for position, length in enumerate(lengths):
        by_length[length].append(position)
    for length in sorted(by_length, reverse=True):
        positions, size = by_length[length], max(1, token_budget // max(1, length))
        for start in range(0, len(positions), size):
            yield positions[start : start + size]
