"""Repeated texts are answered from memory, and with the same answer."""

from collections.abc import Mapping, Sequence

import numpy as np

from models.cache import LONGEST_CACHED, CachingEngine
from models.engine import EngineOutput, Request
from models.tokenizer import Tokens
from schemas.taxonomy import COMPANY_SENTIMENT

TASKS = ("news.sentiment",)


class CountingEngine:
    """Answers with the text's length, a company with its end; remembers what it was asked."""

    window_tokens = 256
    widths: Mapping[str, int] = {"news.sentiment": 3, COMPANY_SENTIMENT: 3}

    def __init__(self) -> None:
        self.asked: list[Request] = []

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        return [len(text) for text in texts]

    def run(self, requests: Sequence[Request]) -> EngineOutput:
        self.asked += requests
        lengths = [[len(r.text)] * 3 for r in requests]
        ends = [[end] * 3 for r in requests for _, end in r.companies]
        return EngineOutput(
            {
                "news.sentiment": np.array(lengths, np.float32),
                COMPANY_SENTIMENT: np.array(ends, np.float32).reshape(-1, 3),
            },
            tuple(Tokens([0] * len(r.text), False) for r in requests),
            (2,) * len(requests),
        )


def request(text: str, *companies: tuple[int, int]) -> Request:
    return Request(text, TASKS, companies)


def test_an_answer_is_given_again_in_any_order_and_company() -> None:
    plain, cached = CountingEngine(), CachingEngine(engine := CountingEngine())
    requests = [request("a", (0, 1)), request("bb"), request("ccc", (0, 2), (1, 3))]
    for order in (requests, requests[::-1], [requests[2], request("dddd", (0, 4)), requests[0]]):
        expected, found = plain.run(order), cached.run(order)
        for name, values in expected.values.items():
            np.testing.assert_array_equal(found.values[name], values)
        assert (found.tokens, found.stages) == (expected.tokens, expected.stages)
    assert engine.asked == [*requests, request("dddd", (0, 4))]


def test_copies_in_one_batch_are_asked_once() -> None:
    cached = CachingEngine(engine := CountingEngine())
    assert len(cached.run([request("same")] * 50).tokens) == 50
    assert engine.asked == [request("same")]


def test_other_tasks_or_companies_are_another_question() -> None:
    cached = CachingEngine(engine := CountingEngine())
    cached.run([request("text")])
    cached.run([request("text", (0, 4)), Request("text", ("message.intent",))])
    assert len(engine.asked) == 3


def test_what_was_not_used_for_longest_goes_first() -> None:
    cached = CachingEngine(engine := CountingEngine(), texts=2)
    for text in ("a", "b", "a", "c", "a", "b"):
        cached.run([request(text)])
    assert [r.text for r in engine.asked] == ["a", "b", "c", "b"]


def test_more_texts_than_it_keeps_and_long_ones_are_answered_all_the_same() -> None:
    cached = CachingEngine(engine := CountingEngine(), texts=2)
    output = cached.run([request("x" * n) for n in range(1, 9)])
    assert output.values["news.sentiment"][:, 0].tolist() == [1, 2, 3, 4, 5, 6, 7, 8]
    long = request("x" * (LONGEST_CACHED + 1))
    cached.run([long])
    cached.run([long])
    assert engine.asked.count(long) == 2


def test_nothing_in_nothing_out() -> None:
    output = CachingEngine(CountingEngine()).run([])
    assert output.tokens == ()
    assert output.values["news.sentiment"].shape == (0, 3)
