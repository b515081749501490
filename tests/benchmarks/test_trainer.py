import pytest

from benchmarks.common.backlog import Drain
from benchmarks.trainer import Beside, Run


def drained(events: int, seconds: float) -> Drain:
    return Drain(events, seconds, batches=1, stages={}, cpu={})


def test_a_slow_backlog_counts_for_as_long_as_it_took() -> None:
    run = Run("promoted abc", seconds=10.0, cpu_seconds=5.0)
    beside = Beside(run, [drained(100, 1.0), drained(100, 7.0)])
    assert beside.events_a_second == pytest.approx(25.0)
    assert beside.share_at_work == pytest.approx(0.8)
