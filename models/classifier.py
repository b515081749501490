"""From texts to predictions: what the worker and the command line call."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from models.bundle import SHIPPED_BUNDLE, Bundle
from models.calibration import FloatArray, softmax
from models.engine import Engine, EngineOutput, OnnxEngine
from models.probes import check_probes
from schemas.errors import BundleError
from schemas.predictions import Classification, Prediction
from schemas.records import Kind
from schemas.taxonomy import Task, Taxonomy, load_taxonomy


class Classifier:
    """A loaded model. `classify` is called from one thread; `count_tokens` from any."""

    def __init__(self, bundle: Bundle, engine: Engine, taxonomy: Taxonomy) -> None:
        self.taxonomy = taxonomy
        self.version = bundle.version
        self.window_tokens = engine.window_tokens
        self._engine = engine
        self._temperatures = {n: t.temperature for n, t in bundle.manifest.tasks.items()}

    @classmethod
    def load(
        cls,
        folder: Path | None = None,
        *,
        taxonomy: Taxonomy | None = None,
        device: str = "auto",
        threads: int = 0,
    ) -> "Classifier":
        """Opens a bundle (None: the shipped one), starts the engine, asks the probe texts again.

        `threads` texts are worked on at once; 0 means one a core. Raises BundleError when the
        bundle is damaged, was made for other tasks, is of a newer format, or answers a probe
        differently on this machine.
        """
        if device not in {"auto", "cpu"}:
            raise BundleError(f"A bundle of format 1 runs on the CPU, not on {device!r}.")
        known = taxonomy or load_taxonomy()
        bundle = Bundle.open(folder or SHIPPED_BUNDLE, known)
        engine = _start_engine(bundle, known, threads)
        classifier = cls(bundle, engine, known)
        check_probes(bundle.probes, classifier.classify)
        return classifier

    def classify(
        self,
        texts: Sequence[str],
        kinds: Sequence[Kind],
        entities: Sequence[str | None] | None = None,
    ) -> list[Classification]:
        """One classification a text, in order, with the tasks of the text's kind.

        Blocks until done; the interpreter lock is free meanwhile. With `entities`, a company's
        name for a text, `news.sentiment` is meant for that company; the present heads do not tell
        companies apart, so it is the sentiment of the whole text.
        """
        output = self._engine.logits(texts)
        answers: list[dict[str, Prediction]] = [{} for _ in texts]
        for kind in set(kinds):
            rows = [row for row, k in enumerate(kinds) if k is kind]
            for task in self.taxonomy.for_kind(kind):
                predictions = self._predict(task, output.values[task.name][rows])
                for row, prediction in zip(rows, predictions, strict=True):
                    answers[row][task.name] = prediction
        return self._classifications(output, answers)

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """How many tokens the network will read of each text: at most the window. Thread-safe."""
        return self._engine.count_tokens(texts)

    def _predict(self, task: Task, logits: FloatArray) -> list[Prediction]:
        probabilities = softmax(logits, self._temperatures[task.name])
        best = probabilities.argmax(axis=1).tolist()
        # Six digits: more would only say how this processor rounds.
        rows = np.round(probabilities.astype(np.float64), 6).tolist()
        return [
            Prediction(task.labels[top], row[top], task.labels, tuple(row))
            for top, row in zip(best, rows, strict=True)
        ]

    def _classifications(
        self, output: EngineOutput, answers: Sequence[dict[str, Prediction]]
    ) -> list[Classification]:
        return [
            Classification(predictions, truncated, tokens, self.version)
            for predictions, truncated, tokens in zip(
                answers, output.truncated, output.tokens, strict=True
            )
        ]


def _start_engine(bundle: Bundle, taxonomy: Taxonomy, threads: int) -> OnnxEngine:
    try:
        engine = OnnxEngine(
            bundle.graph, bundle.tokenizer, bundle.manifest.window_tokens, threads=threads
        )
    # The errors of ONNX Runtime and of tokenizers have no root of their own.
    except Exception as error:
        raise BundleError(
            f"The graph {bundle.graph} cannot be run, or its tokenizer not read: {error}."
        ) from error
    for task in taxonomy.tasks.values():
        if engine.widths.get(task.name) != len(task.labels):
            raise BundleError(
                f"The graph of the model bundle {bundle.folder} has no head for {task.name} with "
                f"{len(task.labels)} labels."
            )
    return engine
