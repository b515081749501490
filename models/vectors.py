"""What the served engine makes of the labelled texts: one vector a text and stage."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from models.data import Example
from models.engine import FloatArray, Request
from models.onnx_engine import COMPANY_POOLED, POOLED, OnnxEngine
from models.reading import Span

CHUNK_TEXTS = 2048


@dataclass(frozen=True, slots=True)
class Vectors:
    """Vectors of texts, and of companies within them, for each stage, float32 [rows, width]."""

    texts: dict[str, int]
    companies: dict[tuple[str, Span], int]
    of_texts: list[FloatArray]
    of_companies: list[FloatArray]

    def of(self, examples: Sequence[Example], stage: int) -> FloatArray:
        """One row an example: its company's, where it has one. All or none of them have."""
        if examples and examples[0].span:
            rows = [self.companies[e.text, e.span] for e in examples if e.span]
            return self.of_companies[stage][rows]
        return self.of_texts[stage][[self.texts[e.text] for e in examples]]


def read_vectors(
    engine: OnnxEngine, examples: Sequence[Example], report: Callable[[str], None]
) -> Vectors:
    """Reads every distinct text once, and every company in it."""
    spans: dict[str, dict[Span, None]] = {e.text: {} for e in examples}
    for example in examples:
        if example.span:
            spans[example.text][example.span] = None
    requests = [Request(text, (), tuple(own)) for text, own in spans.items()]
    chunks = []
    for start in range(0, len(requests), CHUNK_TEXTS):
        chunks.append(engine.vectors(requests[start : start + CHUNK_TEXTS]))
        done = min(start + CHUNK_TEXTS, len(requests))
        report(f"{done:,} of {len(requests):,} texts read by the encoder")
    companies = [(text, span) for text, own in spans.items() for span in own]
    return Vectors(
        {text: row for row, text in enumerate(spans)},
        {company: row for row, company in enumerate(companies)},
        *(
            [
                np.concatenate([chunk[stage][name] for chunk in chunks])
                for stage in range(len(chunks[0]))
            ]
            for name in (POOLED, COMPANY_POOLED)
        ),
    )
