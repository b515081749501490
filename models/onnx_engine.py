"""From texts to logits: tokenizer and int8 graphs on ONNX Runtime.

Texts of equal token count share a micro-batch, so nothing is padded and nothing is masked, and the
answer for a text is the same whatever else is in its batch. Micro-batches run side by side, each on
one core: without a barrier in every layer this is a quarter faster than two threads on one
micro-batch, and no thread spins while it waits.

The layers are divided into stages with heads at the end of each. A text whose answers are plain at
the end of a stage goes no further (early exit: Xin et al., "DeeBERT", 2020). Whether it does hangs
on its own logits alone. Where only a user's own task is in doubt, the text goes on for its sake:
the built-in tasks keep the answers of the stage at which they were plain together.
"""

import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from copy import copy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime as ort

from models.calibration import softmax
from models.engine import EngineOutput, FloatArray, Request, ngram_logits, span_weights
from models.micro_batches import groups, plan_micro_batches
from models.ngrams import NgramModel
from models.tokenizer import Tokens, WindowTokenizer
from schemas.taxonomy import BUILT_IN_TASKS, COMPANY_SENTIMENT

IDS, STATES, NEXT_STATES = "ids", "states", "next_states"
COMPANY_TEXTS, COMPANY_WEIGHTS = "company_texts", "company_weights"
POOLED, COMPANY_POOLED = "pooled", "company_pooled"
MICRO_BATCH_TOKENS = 512
_CPU_INFO = Path("/proc/cpuinfo")


@dataclass(slots=True)
class _Rows:
    """The texts of a call on their way through the stages.

    states: what the last stage left of each text that goes on, [length, hidden].
    settled: of texts that go on, the heads (see `_together`) whose answers stand already.
    first_company: where each text's companies begin among all.
    ngrams: what the n-grams say, by task [texts, labels]; zeros where the task is not wanted.
    """

    requests: Sequence[Request]
    tokens: Sequence[Tokens]
    states: dict[int, FloatArray]
    settled: dict[int, set[str]]
    first_company: npt.NDArray[np.int64]
    ngrams: dict[str, FloatArray]
    stages: list[int]


class OnnxEngine:
    """Runs a bundle's graphs on the CPU. `threads` micro-batches run at once; 0 means every core.

    exits: for each stage but the last, from which confidence on the answer to a task is plain;
        without them every text goes through all stages.
    ngrams: what is added to the heads' logits.
    """

    def __init__(
        self,
        graphs: Sequence[Path | bytes],
        tokenizer: Path | bytes,
        window_tokens: int,
        *,
        exits: Sequence[Mapping[str, float]] = (),
        ngrams: NgramModel | None = None,
        threads: int = 0,
        micro_batch_tokens: int = MICRO_BATCH_TOKENS,
    ) -> None:
        self._tokenizer = WindowTokenizer(tokenizer, window_tokens)
        self._sessions = [open_session(graph) for graph in graphs]
        self._exits = exits
        self._ngrams = ngrams or NgramModel()
        self._threads = ThreadPoolExecutor(
            threads or _usable_cores(), thread_name_prefix="bellwether-engine"
        )
        self._micro_batch_tokens = micro_batch_tokens
        self._window_tokens = window_tokens
        self._outputs = [
            {o.name: o.shape[1] for o in session.get_outputs() if len(o.shape) == 2}
            for session in self._sessions
        ]

    @property
    def widths(self) -> Mapping[str, int]:
        """The number of labels of each head; only of heads that every stage has alike."""
        first, *others = self._outputs
        return {
            name: width
            for name, width in first.items()
            if name not in {POOLED, COMPANY_POOLED}
            and all(other.get(name) == width for other in others)
        }

    @property
    def window_tokens(self) -> int:
        return self._window_tokens

    def leaving_early(self, exits: Sequence[Mapping[str, float]]) -> "OnnxEngine":
        """The same engine with other exits; both share what is loaded."""
        other = copy(self)
        other._exits = exits
        return other

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        return [len(tokens.ids) for tokens in self._tokenizer.encode(texts)]

    def run(self, requests: Sequence[Request]) -> EngineOutput:
        """Blocks; the interpreter lock is free meanwhile."""
        rows = self._read(requests)
        values = self._empty(rows, self.widths)
        self._through(rows, [values] * len(self._sessions), self._exits)
        return EngineOutput(values, tuple(rows.tokens), tuple(rows.stages))

    def vectors(self, requests: Sequence[Request]) -> list[dict[str, FloatArray]]:
        """For each stage POOLED [texts, width] and COMPANY_POOLED [companies, 2 * width]."""
        rows = self._read(requests)
        found = [
            self._empty(rows, {name: outputs[name] for name in (POOLED, COMPANY_POOLED)})
            for outputs in self._outputs
        ]
        self._through(rows, found, ())
        return found

    def _read(self, requests: Sequence[Request]) -> _Rows:
        tokens = self._tokenizer.encode(
            [request.text for request in requests], [request.companies for request in requests]
        )
        counts = [0, *(len(request.companies) for request in requests)]
        return _Rows(
            requests,
            tokens,
            states={},
            settled={},
            first_company=np.cumsum(counts),
            ngrams=ngram_logits(self._ngrams, requests, tokens),
            stages=[0] * len(requests),
        )

    def _empty(self, rows: _Rows, widths: Mapping[str, int]) -> dict[str, FloatArray]:
        texts, companies = len(rows.requests), int(rows.first_company[-1])
        return {
            name: np.zeros((companies if _by_company(name) else texts, width), np.float32)
            for name, width in widths.items()
        }

    def _through(
        self,
        rows: _Rows,
        values: Sequence[dict[str, FloatArray]],
        exits: Sequence[Mapping[str, float]],
    ) -> None:
        """Takes the texts through the stages; `values`, one a stage, are filled in."""
        lengths = [len(tokens.ids) for tokens in rows.tokens]
        for group in groups(lengths):
            going = group
            for stage in range(len(self._sessions)):
                least = exits[stage] if stage < len(exits) else None

                def run_one(
                    batch: Sequence[int],
                    stage: int = stage,
                    least: Mapping[str, float] | None = least,
                ) -> list[int]:
                    return self._micro_batch(rows, batch, stage, values[stage], least)

                plan = plan_micro_batches([lengths[i] for i in going], self._micro_batch_tokens)
                batches = [[going[place] for place in batch] for batch in plan]
                # Longest first, so that no core is left alone with a long one at the end.
                going = [i for left in self._threads.map(run_one, batches) for i in left]

    def _micro_batch(
        self,
        rows: _Rows,
        batch: Sequence[int],
        stage: int,
        values: dict[str, FloatArray],
        least: Mapping[str, float] | None,
    ) -> list[int]:
        """Runs one stage over texts of one length; gives those that go on."""
        session, last = self._sessions[stage], stage == len(self._sessions) - 1
        names = [*values] if last else [*values, NEXT_STATES]
        results = dict(zip(names, session.run(names, _feeds(rows, batch, stage)), strict=True))
        for name, share in self._ngrams.shares.items():
            if name in results:
                results[name] = results[name] + np.float32(share[stage]) * rows.ngrams[name][batch]
        for name, found in values.items():
            _fill_in(rows, batch, name, found, results[name])
        for i in batch:
            rows.stages[i] = stage + 1
            rows.states.pop(i, None)
        if last:
            return []
        left = _in_doubt(rows, batch, results, least) if least else range(len(batch))
        for place in left:
            rows.states[batch[place]] = results[NEXT_STATES][place]
        return [batch[place] for place in left]


def _by_company(name: str) -> bool:
    return name in {COMPANY_SENTIMENT, COMPANY_POOLED}


def _feeds(rows: _Rows, batch: Sequence[int], stage: int) -> dict[str, npt.NDArray[Any]]:
    tokens = [rows.tokens[i] for i in batch]
    feeds: dict[str, npt.NDArray[Any]] = {
        COMPANY_TEXTS: np.array(
            [place for place, own in enumerate(tokens) for _ in own.places], np.int64
        ),
        COMPANY_WEIGHTS: span_weights(tokens, len(tokens[0].ids)),
    }
    if stage == 0:
        feeds[IDS] = np.array([each.ids for each in tokens], np.int32)
    else:
        feeds[STATES] = np.stack([rows.states[i] for i in batch])
    return feeds


def _fill_in(
    rows: _Rows, batch: Sequence[int], name: str, found: FloatArray, result: FloatArray
) -> None:
    """Takes over what a stage says of a batch, but where an earlier stage's answer stands."""
    if _by_company(name):
        owners = [(i, c) for i in batch for c in range(*rows.first_company[i : i + 2])]
    else:
        owners = [(i, i) for i in batch]
    head = _together(name)
    open_ = [at for at, (i, _) in enumerate(owners) if head not in rows.settled.get(i, ())]
    found[[owners[at][1] for at in open_]] = result[open_]


def _in_doubt(
    rows: _Rows,
    batch: Sequence[int],
    results: Mapping[str, FloatArray],
    least: Mapping[str, float],
) -> list[int]:
    """The places of the texts of which some wanted answer is in doubt; the others of their answers
    are settled."""
    sure = {
        name: softmax(results[name]).max(axis=1) >= confidence
        for name, confidence in least.items()
        if name in results
    }
    left, company = [], 0
    for place, i in enumerate(batch):
        request = rows.requests[i]
        own = range(company, company := company + len(request.companies))
        wanted = [(task, sure[task][place]) for task in request.tasks]
        wanted += [(COMPANY_SENTIMENT, sure[COMPANY_SENTIMENT][row]) for row in own]
        settled = rows.settled.get(i, set())
        doubtful = {_together(name) for name, plain in wanted if not plain} - settled
        if doubtful:
            left.append(place)
            if others := {_together(name) for name, _ in wanted} - doubtful:
                rows.settled[i] = others
    return left


def _together(name: str) -> str:
    """What stands for a head and those that leave with it: built-in ones leave all together, a
    user's own by itself."""
    return COMPANY_SENTIMENT if name in BUILT_IN_TASKS else name


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
