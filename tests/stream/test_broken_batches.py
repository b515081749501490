"""Where a batch ends that cannot be read, by its own head and by the next one's."""

import pytest
from aiokafka.record.default_records import DefaultRecordBatchBuilder
from hypothesis import given
from hypothesis import strategies as st

from stream.broken_batches import extent, unpacks
from tests.end_to_end import segments


def batch(first: int, records: int, codec: int = 0) -> bytearray:
    """As a broker keeps it."""
    builder = DefaultRecordBatchBuilder(2, codec, 0, -1, -1, -1, 1 << 20)
    for number in range(records):
        headers = [("name", b"x")]
        builder.append(number, timestamp=1, key=None, value=b"x" * 50, headers=headers)
    built = bytearray(builder.build())
    built[:8] = first.to_bytes(8, "big")
    return built


def test_both_heads_agree() -> None:
    fetched = batch(5, 3) + batch(8, 1)
    found = extent(bytes(fetched), 5, 100)
    assert found is not None
    assert (found.size, found.end) == (len(batch(5, 3)), 8)


def test_the_last_of_a_partition_has_only_its_own_head() -> None:
    found = extent(bytes(batch(5, 3)), 5, 8)
    assert found is not None
    assert found.end == 8


@pytest.mark.parametrize("change", [segments.magic(0), segments.magic(9), segments.last_offset])
def test_a_wrong_head_is_corrected_by_the_next(change: segments.Damage) -> None:
    broken = batch(5, 3)
    change(broken)
    assert not unpacks(bytes(broken))
    found = extent(bytes(broken + batch(8, 1)), 5, 100)
    assert found is not None
    assert found.end == 8


def test_no_end_lies_beyond_the_partition_or_before_the_offset() -> None:
    broken = batch(5, 3)
    segments.last_offset(broken)
    assert extent(bytes(broken), 5, 100) is None
    assert extent(bytes(batch(5, 3)), 8, 100) is None
    assert extent(b"", 5, 100) is None
    assert extent(bytes(batch(5, 3))[:20], 5, 100) is None


@pytest.mark.parametrize("codec", [0, 1, 2, 3, 4])
def test_what_is_in_order_unpacks(codec: int) -> None:
    assert unpacks(bytes(batch(0, 3, codec)))
    broken = batch(0, 3, codec)
    segments.flipped(broken)
    assert not unpacks(bytes(broken))


@given(st.binary(max_size=300), st.integers(0, 2**63 - 1), st.integers(0, 2**63 - 1))
def test_whatever_was_fetched(fetched: bytes, offset: int, high_watermark: int) -> None:
    found = extent(fetched, offset, high_watermark)
    assert found is None or offset < found.end <= high_watermark
    unpacks(fetched)


@given(st.integers(0, len(batch(5, 3)) - 1), st.integers(1, 255))
def test_whatever_byte_has_turned(position: int, change: int) -> None:
    broken = batch(5, 3)
    broken[position] ^= change
    found = extent(bytes(broken + batch(8, 1)), 5, 100)
    assert found is None or found.end <= 8
