"""Answers that were given already: three posts in ten say word for word what another said."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from cachetools import LRUCache

from models.engine import Engine, EngineOutput, FloatArray, Request
from models.tokenizer import Tokens
from schemas.taxonomy import COMPANY_SENTIMENT

# About 25 MB, and minutes of a busy stream; copies follow each other within minutes.
CACHED_TEXTS = 16_384
# Longer texts are hardly ever repeated, and would fill the memory.
LONGEST_CACHED = 2_000


@dataclass(frozen=True, slots=True)
class _Answer:
    """Rows of logits by task; those of companies are [companies, labels]."""

    rows: Mapping[str, FloatArray]
    tokens: Tokens
    stages: int


class CachingEngine:
    """Asks an engine only what it was not asked lately: the same text, tasks and companies.

    It belongs to one engine, so to one model and taxonomy. `texts` is how many answers it keeps;
    the one that was not used for longest goes first.
    """

    def __init__(self, engine: Engine, texts: int = CACHED_TEXTS) -> None:
        self._engine = engine
        self._answers: LRUCache[Request, _Answer] = LRUCache(texts)

    @property
    def widths(self) -> Mapping[str, int]:
        return self._engine.widths

    @property
    def window_tokens(self) -> int:
        return self._engine.window_tokens

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        return self._engine.count_tokens(texts)

    def run(self, requests: Sequence[Request]) -> EngineOutput:
        known = {request: self._answers.get(request) for request in requests}
        new = [request for request, answer in known.items() if answer is None]
        found = {request: answer for request, answer in known.items() if answer is not None}
        found |= zip(new, _divided(new, self._engine.run(new)), strict=True) if new else ()
        for request in new:
            if len(request.text) <= LONGEST_CACHED:
                self._answers[request] = found[request]
        return self._joined([found[request] for request in requests])

    def _joined(self, answers: Sequence[_Answer]) -> EngineOutput:
        values = {}
        for name, width in self.widths.items():
            rows = [answer.rows[name] for answer in answers]
            join = np.concatenate if name == COMPANY_SENTIMENT else np.stack
            values[name] = join(rows) if rows else np.zeros((0, width), np.float32)
        return EngineOutput(
            values, tuple(a.tokens for a in answers), tuple(a.stages for a in answers)
        )


def _divided(requests: Sequence[Request], output: EngineOutput) -> list[_Answer]:
    """The output by request; copies, so that no answer keeps a whole batch in memory."""
    ends = np.cumsum([len(request.companies) for request in requests])
    answers = []
    for row, (request, end) in enumerate(zip(requests, ends, strict=True)):
        rows = {
            name: (
                values[end - len(request.companies) : end].copy()
                if name == COMPANY_SENTIMENT
                else values[row].copy()
            )
            for name, values in output.values.items()
        }
        answers.append(_Answer(rows, output.tokens[row], output.stages[row]))
    return answers
