from functools import partial

from hypothesis import given
from hypothesis import strategies as st

from stream.ledger import Lane, Ledger

LANE = Lane("topic", 0, 1)


@given(st.integers(1, 30).flatmap(lambda n: st.permutations(range(n))))
def test_acknowledges_in_the_order_of_offsets_whatever_finishes_first(order: list[int]) -> None:
    ledger = Ledger()
    acknowledged: list[int] = []
    tickets = [ledger.open(LANE, partial(acknowledged.append, o)) for o in range(len(order))]
    finished: set[int] = set()
    for offset in order:
        ledger.finish(tickets[offset])
        finished.add(offset)
        # Nothing is acknowledged past the first that is not finished, and nothing is held back.
        frontier = next((o for o in range(len(order)) if o not in finished), len(order))
        assert acknowledged == list(range(frontier))
    assert len(ledger) == 0


def test_lanes_do_not_wait_for_each_other() -> None:
    ledger, acknowledged = Ledger(), []
    ledger.open(LANE, lambda: acknowledged.append("slow"))
    other = ledger.open(Lane("topic", 1, 1), lambda: acknowledged.append("quick"))
    ledger.finish(other)
    assert acknowledged == ["quick"]


def test_a_forgotten_generation_is_never_acknowledged() -> None:
    ledger, acknowledged = Ledger(), []
    stale = ledger.open(LANE, lambda: acknowledged.append("stale"))
    ledger.forget()
    fresh = ledger.open(Lane("topic", 0, 2), lambda: acknowledged.append("fresh"))
    assert stale not in ledger
    ledger.finish(stale)
    ledger.finish(fresh)
    assert fresh in ledger
    assert acknowledged == ["fresh"]
