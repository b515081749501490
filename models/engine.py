"""From texts to logits: tokenizer and int8 graph on ONNX Runtime.

Texts of equal token count share a micro-batch, so nothing is padded and nothing is masked, and the
answer for a text is the same whatever else is in its batch. Micro-batches run side by side, each on
one core: without a barrier in every layer this is a quarter faster than two threads on one
micro-batch, and no thread spins while it waits.
"""

import os
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt
import onnxruntime as ort
from tokenizers import Encoding, Tokenizer

FloatArray = npt.NDArray[np.float32]

POOLED = "pooled"
MICRO_BATCH_TOKENS = 512
# No token needs this many characters on average; beyond, tokenising would be work thrown away.
CHARACTERS_PER_TOKEN = 16
_CPU_INFO = Path("/proc/cpuinfo")


@dataclass(frozen=True, slots=True)
class EngineOutput:
    """One row a text, in the order of the texts.

    values: by output name, float32 [texts, width]: a task's logits, or the pooled vectors.
    tokens: token count of each text as the network saw it, special tokens included.
    truncated: whether the text went beyond the window.
    """

    values: Mapping[str, FloatArray]
    tokens: tuple[int, ...]
    truncated: tuple[bool, ...]


class Engine(Protocol):
    """What turns texts into logits. Called from one thread at a time."""

    @property
    def tasks(self) -> tuple[str, ...]: ...

    @property
    def window_tokens(self) -> int: ...

    def logits(self, texts: Sequence[str]) -> EngineOutput: ...

    def count_tokens(self, texts: Sequence[str]) -> list[int]: ...


@dataclass(frozen=True, slots=True)
class Tokens:
    """A text's token ids, and whether some were cut off at the window."""

    ids: list[int]
    truncated: bool


class WindowTokenizer:
    """Tokenises to at most `window_tokens`; long texts are cut before they cost anything.

    Thread-safe; releases the interpreter lock while it works.
    """

    def __init__(self, path: Path, window_tokens: int) -> None:
        self._tokenizer = Tokenizer.from_file(str(path))
        self._tokenizer.no_padding()
        self._tokenizer.enable_truncation(window_tokens)
        self._max_characters = window_tokens * CHARACTERS_PER_TOKEN

    def encode(self, texts: Sequence[str]) -> list[Tokens]:
        stripped = [text.strip() for text in texts]
        cut = [text[: self._max_characters] for text in stripped]
        encodings: list[Encoding] = self._tokenizer.encode_batch_fast(
            [_without_surrogates(text) for text in cut]
        )
        return [
            Tokens(encoding.ids, bool(encoding.overflowing) or len(short) < len(text))
            for encoding, short, text in zip(encodings, cut, stripped, strict=True)
        ]


def _without_surrogates(text: str) -> str:
    """Lone surrogates cannot be written as UTF-8, which the tokenizer needs."""
    if text.isascii():
        return text
    return text.encode("utf-8", "replace").decode("utf-8")


class OnnxEngine:
    """Runs a bundle's graph on the CPU. `threads` micro-batches run at once; 0 means every core."""

    def __init__(
        self,
        graph: Path | bytes,
        tokenizer: Path,
        window_tokens: int,
        *,
        threads: int = 0,
        micro_batch_tokens: int = MICRO_BATCH_TOKENS,
    ) -> None:
        self._tokenizer = WindowTokenizer(tokenizer, window_tokens)
        self._session = open_session(graph)
        self._threads = ThreadPoolExecutor(
            threads or _usable_cores(), thread_name_prefix="bellwether-engine"
        )
        self._micro_batch_tokens = micro_batch_tokens
        self._window_tokens = window_tokens
        self._outputs = {
            o.name: o.shape[1] for o in self._session.get_outputs() if len(o.shape) == 2
        }

    @property
    def tasks(self) -> tuple[str, ...]:
        return tuple(name for name in self._outputs if name != POOLED)

    @property
    def widths(self) -> Mapping[str, int]:
        """The number of columns of each output."""
        return self._outputs

    @property
    def window_tokens(self) -> int:
        return self._window_tokens

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        return [len(tokens.ids) for tokens in self._tokenizer.encode(texts)]

    def logits(self, texts: Sequence[str]) -> EngineOutput:
        return self.run(texts, self.tasks)

    def run(self, texts: Sequence[str], outputs: Sequence[str]) -> EngineOutput:
        """The named outputs for each text. Blocks; the interpreter lock is free meanwhile."""
        tokens = self._tokenizer.encode(texts)
        values = {name: np.empty((len(texts), self._outputs[name]), np.float32) for name in outputs}

        def run_one(batch: Sequence[int]) -> None:
            ids = np.array([tokens[i].ids for i in batch], np.int32)
            results = self._session.run(list(outputs), {"ids": ids})
            for name, rows in zip(outputs, results, strict=True):
                values[name][list(batch)] = rows

        batches = plan_micro_batches([len(t.ids) for t in tokens], self._micro_batch_tokens)
        # Longest first, so that no core is left alone with a long one at the end.
        for _ in self._threads.map(run_one, batches):
            pass
        return EngineOutput(
            values, tuple(len(t.ids) for t in tokens), tuple(t.truncated for t in tokens)
        )


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


def _usable_cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _has_int8_products() -> bool:
    """Whether the processor sums int8 products exactly (VNNI); unknown counts as no."""
    try:
        return "vnni" in _CPU_INFO.read_text()
    except OSError:
        return False


def open_session(graph: Path | bytes) -> ort.InferenceSession:
    """A session whose every run stays on the calling thread and gives its memory back."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    # The arena never gives memory back: it grows to several times the largest batch.
    options.enable_cpu_mem_arena = False
    options.enable_mem_pattern = False
    if not _has_int8_products():
        # Older x86 instructions would saturate; with this ONNX Runtime avoids them, 2.4 x slower.
        options.add_session_config_entry("session.x64quantprecision", "1")
    options.log_severity_level = 3
    return ort.InferenceSession(
        graph if isinstance(graph, bytes) else str(graph),
        options,
        providers=["CPUExecutionProvider"],
        # It is slower than the Add and LayerNormalization that it replaces.
        disabled_optimizers=["SkipLayerNormFusion"],
    )
