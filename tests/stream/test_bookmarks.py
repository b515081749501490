import pytest
from aiokafka import TopicPartition
from aiokafka.structs import OffsetAndMetadata

from stream.bookmarks import CutShort, Expired, MadeAnew, is_of

PART = TopicPartition("financial-news", 3)


@pytest.mark.parametrize(
    ("committed", "here", "counts"),
    [
        ("a", "a", True),
        ("a", "b", False),
        ("", "b", True),  # set by another program, or by an older worker
        ("a", "", True),  # the topic could not be seen
        ("", "", True),
    ],
)
def test_whose_offset_counts(committed: str, here: str, counts: bool) -> None:
    assert is_of(OffsetAndMetadata(7, committed), here) is counts


def test_changes_say_what_happened() -> None:
    assert str(Expired(PART, 2, 3)).startswith("financial-news, partition 3: 1 record (")
    assert "10 records (offsets 2 to 11) expired" in str(Expired(PART, 2, 12))
    assert "financial-news was made anew" in str(MadeAnew(PART.topic))
    assert "partition 3 ends before the offset" in str(CutShort(PART))
