"""`bellwether train`: from labelled sets to a bundle.

A recipe says whether the encoder learns first (`finetuning`). In any case one linear head a task is
fitted on the vectors of the int8 engine that will serve, so the heads make up for part of what
rounding costs.
"""

import random
import tempfile
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from shutil import copyfile, rmtree

import numpy as np

from models import bundle as bundles
from models.bundle import EncoderEntry, Manifest, TaskEntry, replace_folder, write_manifest
from models.calibration import fit_temperature
from models.classifier import Classifier
from models.data import DataError, Example, Split, fingerprint, load_examples, of_task
from models.encoder import Encoder, load_encoder
from models.engine import POOLED, OnnxEngine
from models.export import int8_graph, measure_ranges
from models.heads import FloatArray, HeadData, fit_head, head_logits
from models.measures import summary
from models.network import Head
from models.probes import write_probes
from models.quantization import Range
from models.recipe import Recipe, load_recipe
from schemas.taxonomy import Taxonomy, load_taxonomy

CHUNK_TEXTS = 2048
Report = Callable[[str], None]


def train(
    data: Path,
    out: Path,
    *,
    recipe: str = "heads",
    encoder: Path | None = None,
    taxonomy: Taxonomy | None = None,
    seed: int | None = None,
    threads: int = 0,
    report: Report = print,
) -> Manifest | None:
    """Trains by a recipe (its name, or its file) on the sets in `data` and puts a bundle at `out`.

    What stood at `out` is replaced once the new bundle is whole. Fine-tuning leaves checkpoints
    beside `out` until then, and goes on from them; of several processes started by torchrun one
    makes the bundle, and the others return None. `report` is told each step in words. Raises
    ConfigurationError for an unknown recipe, DataError and BundleError.
    """
    settings = load_recipe(recipe)
    if seed is not None:
        settings = settings.model_copy(update={"seed": seed})
    trainer = BundleTrainer(
        Path(recipe).stem,
        settings,
        load_encoder(encoder),
        taxonomy or load_taxonomy(),
        threads,
        report,
    )
    return trainer.train(data, out)


class BundleTrainer:
    """One run of a recipe."""

    def __init__(
        self,
        name: str,
        recipe: Recipe,
        encoder: Encoder,
        taxonomy: Taxonomy,
        threads: int,
        report: Report,
    ) -> None:
        self.name = name
        self.recipe = recipe
        self.encoder = encoder
        self.taxonomy = taxonomy
        self.threads = threads
        self.report = report
        self.window_tokens = min(recipe.window_tokens, encoder.shape.positions)

    def train(self, data: Path, out: Path) -> Manifest | None:
        self.report(f"Reading the labelled sets in {data}")
        examples = load_examples(data)
        _require_known_labels(examples, self.taxonomy)
        self.report(f"{len(examples):,} examples")
        checkpoints = out.with_name(f"{out.name}-checkpoints")
        if not self._learn(examples, checkpoints):
            return None
        self.report("measuring the ranges of activations")
        ranges = measure_ranges(
            self.encoder,
            range_texts(examples, self.recipe.range_texts, self.recipe.seed),
            self.window_tokens,
        )
        out.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=out.parent) as temporary:
            folder = Path(temporary) / "bundle"
            folder.mkdir()
            vectors = self._vectors(self._graph({}, ranges), examples)
            heads, entries, metrics = self._heads(examples, vectors)
            self._write_files(folder, self._graph(heads, ranges), heads)
            sealed = self._seal(folder, self._manifest(entries, metrics, fingerprint(data)))
            replace_folder(folder, out)
        if self.recipe.finetuning:
            rmtree(checkpoints)
        self.report(f"Wrote bundle {sealed.version} to {out}")
        return sealed

    def _learn(self, examples: Sequence[Example], checkpoints: Path) -> bool:
        """Let the encoder learn; False where another process goes on with it."""
        if self.recipe.finetuning is None:
            return True
        from models.finetuning import finetuned, is_helper

        self.encoder = finetuned(
            self.encoder,
            examples,
            self.taxonomy,
            self.recipe.finetuning,
            pooled_layers=self.recipe.pooled_layers,
            seed=self.recipe.seed,
            folder=checkpoints,
            report=self.report,
        )
        return not is_helper()

    def _graph(self, heads: Mapping[str, Head], ranges: Mapping[str, Range]) -> bytes:
        layers = min(self.recipe.pooled_layers, self.encoder.shape.layers)
        return int8_graph(self.encoder, heads, ranges, self.window_tokens, layers)

    def _vectors(self, graph: bytes, examples: Sequence[Example]) -> Mapping[str, FloatArray]:
        """The pooled vector of every distinct text."""
        engine = OnnxEngine(graph, self.encoder.tokenizer, self.window_tokens, threads=self.threads)
        texts = list(dict.fromkeys(e.text for e in examples))
        vectors: dict[str, FloatArray] = {}
        for start in range(0, len(texts), CHUNK_TEXTS):
            chunk = texts[start : start + CHUNK_TEXTS]
            vectors.update(zip(chunk, engine.run(chunk, [POOLED]).values[POOLED], strict=True))
            self.report(f"{len(vectors):,} of {len(texts):,} texts read by the encoder")
        return vectors

    def _heads(
        self, examples: Sequence[Example], vectors: Mapping[str, FloatArray]
    ) -> tuple[dict[str, Head], dict[str, TaskEntry], dict[str, dict[str, dict[str, float]]]]:
        heads, entries, metrics = {}, {}, {}
        for name, task in self.taxonomy.tasks.items():
            parts = {
                split: _head_data(of_task(examples, name, split), task.labels, vectors)
                for split in Split
            }
            head = fit_head(
                task.labels,
                parts[Split.TRAIN],
                parts[Split.DEVELOPMENT],
                self.recipe.penalties,
                self.recipe.seed,
            )
            held_out = parts[Split.CALIBRATION]
            temperature = fit_temperature(head_logits(head, held_out), held_out.targets)
            heads[name] = head
            entries[name] = TaskEntry(labels=task.labels, temperature=temperature)
            metrics[name] = self._metrics(of_task(examples, name, Split.TEST), head, vectors)
            self.report(f"{name}: temperature {temperature:.2f}, {_in_words(metrics[name])}")
        return heads, entries, metrics

    def _metrics(
        self, examples: Sequence[Example], head: Head, vectors: Mapping[str, FloatArray]
    ) -> dict[str, dict[str, float]]:
        by_source: defaultdict[str, list[Example]] = defaultdict(list)
        for example in examples:
            by_source[example.source].append(example)
        metrics = {}
        for source, group in by_source.items():
            data = _head_data(group, head.labels, vectors)
            predicted = head_logits(head, data).argmax(axis=1)
            metrics[source] = summary(data.targets, predicted)
        return metrics

    def _write_files(self, folder: Path, graph: bytes, heads: Mapping[str, Head]) -> None:
        from safetensors.numpy import save_file

        (folder / bundles.GRAPH).write_bytes(graph)
        copyfile(self.encoder.tokenizer, folder / bundles.TOKENIZER)
        arrays = {f"{name}.weight": head.weight for name, head in heads.items()}
        arrays |= {f"{name}.bias": head.bias for name, head in heads.items()}
        save_file(arrays, folder / bundles.HEADS)
        (folder / bundles.HEADS).chmod(0o644)  # safetensors gives it to its owner alone
        (folder / bundles.PROBES).write_bytes(b"")

    def _manifest(
        self,
        entries: dict[str, TaskEntry],
        metrics: dict[str, dict[str, dict[str, float]]],
        data_fingerprint: str,
    ) -> Manifest:
        return Manifest(
            recipe=self.name,
            settings=self.recipe.model_dump(mode="json", exclude_none=True),
            seed=self.recipe.seed,
            encoder=EncoderEntry(name=self.encoder.name, sha256=self.encoder.sha256),
            window_tokens=self.window_tokens,
            taxonomy_version=self.taxonomy.version,
            tasks=entries,
            metrics=metrics,
            data_fingerprint=data_fingerprint,
            files={},
        )

    def _seal(self, folder: Path, manifest: Manifest) -> Manifest:
        """Answers the probes with the bundle itself, then seals it for good."""
        write_manifest(folder, manifest)
        classifier = Classifier.load(folder, taxonomy=self.taxonomy, threads=self.threads)
        write_probes(folder / bundles.PROBES, classifier.classify)
        return write_manifest(folder, manifest)


def _require_known_labels(examples: Iterable[Example], taxonomy: Taxonomy) -> None:
    for example in examples:
        if (
            example.task in taxonomy.tasks
            and example.label not in taxonomy.tasks[example.task].labels
        ):
            raise DataError(
                f"The set {example.source} has the label {example.label!r}, which {example.task} "
                "has not in the taxonomy."
            )


def range_texts(examples: Iterable[Example], per_source: int, seed: int) -> list[str]:
    """Training texts of every set, the same number of each, by which ranges are measured."""
    by_source: defaultdict[str, list[str]] = defaultdict(list)
    for example in examples:
        if example.split is Split.TRAIN:
            by_source[example.source].append(example.text)
    picker = random.Random(seed)
    return [
        text
        for source in sorted(by_source)
        for text in picker.sample(by_source[source], min(per_source, len(by_source[source])))
    ]


def _head_data(
    examples: Sequence[Example], labels: Sequence[str], vectors: Mapping[str, FloatArray]
) -> HeadData:
    positions = {label: position for position, label in enumerate(labels)}
    return HeadData(
        vectors=np.stack([vectors[e.text] for e in examples]),
        targets=np.array([positions[e.label] for e in examples], np.int64),
    )


def _in_words(metrics: Mapping[str, Mapping[str, float]]) -> str:
    return ", ".join(
        f"{source} {values['accuracy']:.3f} / {values['macro_f1']:.3f}"
        for source, values in metrics.items()
    )
