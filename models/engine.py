"""What an engine is: it turns texts into logits, on whatever it runs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from models.ngrams import NgramModel
from models.reading import Span
from models.tokenizer import Tokens

FloatArray = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Request:
    """A text, the tasks that are wanted of it, and where companies stand in it."""

    text: str
    tasks: tuple[str, ...]
    companies: tuple[Span, ...] = ()


@dataclass(frozen=True, slots=True)
class EngineOutput:
    """One row a text, in the order of the requests.

    values: logits by task, float32 [texts, labels], of which those of tasks not wanted of a text
        mean nothing; those of COMPANY_SENTIMENT are [companies, labels], text by text.
    tokens: each text as the network saw it.
    stages: how many stages each text went through.
    """

    values: Mapping[str, FloatArray]
    tokens: tuple[Tokens, ...]
    stages: tuple[int, ...]


class Engine(Protocol):
    """What turns texts into logits. Called from one thread at a time."""

    @property
    def widths(self) -> Mapping[str, int]:
        """The number of labels of each head."""
        ...

    @property
    def window_tokens(self) -> int: ...

    def run(self, requests: Sequence[Request]) -> EngineOutput: ...

    def count_tokens(self, texts: Sequence[str]) -> list[int]: ...


def ngram_logits(
    ngrams: NgramModel, requests: Sequence[Request], tokens: Sequence[Tokens]
) -> dict[str, FloatArray]:
    """By task [texts, labels]: what its table says of the texts of which the task is wanted."""
    found = {}
    for task, table in ngrams.tables.items():
        wanted = [row for row, request in enumerate(requests) if task in request.tasks]
        found[task] = np.zeros((len(requests), len(table.bias)), np.float32)
        if wanted:
            found[task][wanted] = table.logits([tokens[row].ids for row in wanted])
    return found


def span_weights(tokens: Sequence[Tokens], length: int) -> FloatArray:
    """[companies, length]: what makes the mean over each company's tokens."""
    companies = [(each, places) for each in tokens for places in each.places]
    weights = np.zeros((len(companies), length), np.float32)
    for row, (each, places) in enumerate(companies):
        # A company beyond the window has the whole text's vector.
        found = list(places) or list(range(len(each.ids)))
        weights[row, found] = 1 / len(found)
    return weights
