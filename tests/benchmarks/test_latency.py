import random

import pytest

from benchmarks.common.flight import Flight
from benchmarks.latency import arrivals


def test_arrivals_are_in_order_within_the_time_and_as_many_as_the_rate_says() -> None:
    due = list(arrivals(200.0, 60.0, random.Random(1)))
    assert due == sorted(due)
    assert 0 < due[0] < due[-1] < 60
    assert len(due) == pytest.approx(12_000, rel=0.03)


def test_a_flight_counts_what_is_missing_and_times_from_when_it_was_due() -> None:
    flight = Flight(alerting={"a", "b"}, watched={"a", "c"}, due={"a": 1.0, "b": 2.0, "c": 3.0})
    assert flight.missing == 4
    flight.alerted["a"] = 1.25
    flight.stored["c"] = 3.5
    assert flight.missing == 2
    assert flight.milliseconds(flight.alerted) == [250.0]
