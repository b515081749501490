"""`bellwether train`: from labelled sets to a bundle.

A recipe says whether the encoder learns first (`finetuning`). In any case one linear head a task is
fitted on the vectors of the int8 engine that will serve, so the heads make up for part of what
rounding costs.
"""

import random
import tempfile
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from shutil import rmtree

import numpy as np

from models import bundle as bundles
from models.answers import measured, reference
from models.bundle import (
    Bundle,
    EncoderEntry,
    HeadEntry,
    Manifest,
    StageEntry,
    replace_folder,
    write_manifest,
)
from models.calibration import NEVER, fit_temperature, plain_answers, softmax
from models.classifier import Classifier
from models.data import DataError, Example, Split, fingerprint, load_examples, of_task
from models.drift import Reference
from models.encoder import load_encoder, write_weights
from models.export import measure_ranges, stage_graphs
from models.heads import FloatArray, HeadData, cooled, fit_head, head_logits
from models.network import Head
from models.ngrams import NgramTable, fit_ngrams, fit_share, write_ngrams
from models.onnx_engine import OnnxEngine
from models.probes import write_probes
from models.quantization import Range
from models.recipe import Recipe, load_recipe, stages
from models.statistics import ClassStatistics, write_statistics
from models.tokenizer import WindowTokenizer
from models.tracking import log_bundle, tracked
from models.vectors import Vectors, read_vectors
from schemas.taxonomy import COMPANY_SENTIMENT, SENTIMENT, Taxonomy, load_taxonomy

# Texts of a task on which int8 and torch are compared: enough to see a loss of half a point.
MOST_COMPARED = 2_000
BEYOND_TRAINING = (Split.DEVELOPMENT, Split.CALIBRATION)
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
    tracking: str | None = None,
    report: Report = print,
) -> Manifest | None:
    """Trains by a recipe (its name, or its file) on the sets in `data` and puts a bundle at `out`.

    What stood at `out` is replaced once the new bundle is whole. Fine-tuning leaves checkpoints
    beside `out` until then, and goes on from them; of several processes started by torchrun one
    makes the bundle, and the others return None. `tracking` is the URI of an MLflow store that
    keeps the run. `report` is told each step in words. Raises ConfigurationError for an unknown
    recipe or a store that is away, DataError and BundleError.
    """
    settings = load_recipe(recipe)
    if seed is not None:
        settings = settings.model_copy(update={"seed": seed})
    trainer = BundleTrainer(
        Path(recipe).stem,
        settings,
        encoder,
        taxonomy or load_taxonomy(),
        threads,
        tracking,
        report,
    )
    with tracked(trainer.tracking, trainer.name, settings.model_dump(mode="json")):
        return trainer.train(data, out)


@dataclass(frozen=True, slots=True)
class FittedTask:
    """One task. heads: one a stage, cooled by their temperatures. ngrams: what they say of it, if
    anything. statistics: where its training texts' vectors lie, one a stage."""

    heads: list[Head]
    entry: HeadEntry
    ngrams: NgramTable | None
    statistics: list[ClassStatistics]


class BundleTrainer:
    """One run of a recipe."""

    def __init__(
        self,
        name: str,
        recipe: Recipe,
        encoder: Path | None,
        taxonomy: Taxonomy,
        threads: int,
        tracking: str | None,
        report: Report,
    ) -> None:
        self.name = name
        self.recipe = recipe
        self.encoder_folder = encoder
        self.encoder = load_encoder(encoder)
        self.taxonomy = taxonomy
        self.threads = threads
        self.tracking = tracking
        self.report = report
        self.window_tokens = min(recipe.window_tokens, self.encoder.shape.positions)
        self.stages = stages(self.encoder.shape.layers, recipe)
        self._learnt: list[dict[str, Head]] = [{} for _ in self.stages]
        self._labels = {name: task.labels for name, task in taxonomy.tasks.items()}
        self._labels[COMPANY_SENTIMENT] = self._labels[SENTIMENT]

    def train(self, data: Path, out: Path) -> Manifest | None:
        self.report(f"Reading the labelled sets in {data}")
        examples = load_examples(data)
        _require_known_labels(examples, self.taxonomy)
        _require_texts(examples, self.taxonomy)
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
        vectors = read_vectors(self._engine(self._graphs(ranges)), examples, self.report)
        fitted = {name: self._fit(name, examples, vectors) for name in self._labels}
        out.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=out.parent) as temporary:
            folder = Path(temporary) / "bundle"
            folder.mkdir()
            self._write_files(folder, ranges, fitted)
            sealed = self._seal(folder, self._manifest(fitted, fingerprint(data)), examples)
            replace_folder(folder, out)
        log_bundle(self.tracking, sealed.version, sealed.metrics)
        if self.recipe.finetuning:
            rmtree(checkpoints)
        self.report(f"Wrote bundle {sealed.version} to {out}")
        return sealed

    def _learn(self, examples: Sequence[Example], checkpoints: Path) -> bool:
        """Let the encoder learn; False where another process goes on with it."""
        if self.recipe.finetuning is None:
            return True
        from models.finetuning import finetuned
        from models.multitask_trainer import is_helper

        learnt = finetuned(
            self.encoder,
            examples,
            self.taxonomy,
            self.recipe,
            self.recipe.finetuning,
            folder=checkpoints,
            tracked=bool(self.tracking),
            report=self.report,
        )
        self.encoder, self._learnt = learnt.encoder, learnt.heads
        return not is_helper()

    def _graphs(
        self, ranges: Mapping[str, Range], heads: Sequence[Mapping[str, Head]] = ()
    ) -> list[bytes]:
        return stage_graphs(self.encoder, self.stages, ranges, self.window_tokens, heads)

    def _engine(self, graphs: Sequence[bytes]) -> OnnxEngine:
        return OnnxEngine(graphs, self.encoder.tokenizer, self.window_tokens, threads=self.threads)

    def _fit(self, name: str, examples: Sequence[Example], vectors: Vectors) -> FittedTask:
        """The heads of one task, one a stage, and when each stage's answer will do."""
        labels = self._labels[name]
        texts = {split: of_task(examples, name, split) for split in Split}
        table = self._ngrams(name, texts[Split.TRAIN])
        beside = {split: self._beside(table, name, texts[split]) for split in BEYOND_TRAINING}
        heads, temperatures, shares, answers, statistics = [], [], [], [], []
        for stage in range(len(self.stages)):
            parts = {split: _head_data(own, labels, vectors, stage) for split, own in texts.items()}
            head = fit_head(
                labels,
                parts[Split.TRAIN],
                parts[Split.DEVELOPMENT],
                self.recipe.penalties,
                self.recipe.seed,
                self._learnt[stage].get(name),
            )
            temperature, share = _calibrated(
                head, parts[Split.CALIBRATION], beside[Split.CALIBRATION] if table else None
            )
            train = parts[Split.TRAIN]
            statistics.append(ClassStatistics.of(train.vectors, train.targets, len(labels)))
            heads.append(cooled(head, temperature))
            temperatures.append(temperature)
            shares.append(share)
            logits = [
                head_logits(heads[-1], parts[split]) + share * beside[split]
                for split in BEYOND_TRAINING
            ]
            answers.append(softmax(np.concatenate(logits)))
            self.report(
                f"{name}, stage {stage + 1}: temperature {temperature:.2f}, n-grams {share:.2f}"
            )
        entry = HeadEntry(
            labels=labels,
            temperatures=tuple(temperatures),
            plain_from=self._plain_from(name, answers),
            ngram_shares=tuple(shares) if table else (),
        )
        return FittedTask(heads, entry, table, statistics)

    def _plain_from(self, name: str, answers: Sequence[FloatArray]) -> tuple[float, ...]:
        """When each stage's answer will do. For a company none but the last: a small loss over all
        headlines is a large one where companies fare differently, which is what they are asked for.
        """
        if name == COMPANY_SENTIMENT:
            return (NEVER,) * (len(self.stages) - 1)
        return plain_answers(answers, self.recipe.exit_loss)

    def _ngrams(self, name: str, examples: Sequence[Example]) -> NgramTable | None:
        # Which words are a company's the n-grams do not know.
        if not self.recipe.ngrams or name == COMPANY_SENTIMENT:
            return None
        targets = np.array([self._labels[name].index(e.label) for e in examples], np.int64)
        return fit_ngrams(len(self._labels[name]), self._ids(examples), targets, self.recipe.seed)

    def _beside(
        self, table: NgramTable | None, name: str, examples: Sequence[Example]
    ) -> FloatArray:
        """What the n-grams say of the texts, [texts, labels]."""
        if table is None:
            return np.zeros((len(examples), len(self._labels[name])), np.float32)
        return table.logits(self._ids(examples))

    def _ids(self, examples: Sequence[Example]) -> list[list[int]]:
        tokenizer = WindowTokenizer(self.encoder.tokenizer, self.window_tokens)
        return [tokens.ids for tokens in tokenizer.encode([e.text for e in examples])]

    def _write_files(
        self, folder: Path, ranges: Mapping[str, Range], fitted: Mapping[str, FittedTask]
    ) -> None:
        from safetensors.numpy import save_file

        by_stage = [
            {name: task.heads[stage] for name, task in fitted.items()}
            for stage in range(len(self.stages))
        ]
        names = bundles.graph_files(len(self.stages))
        for name, graph in zip(names, self._graphs(ranges, by_stage), strict=True):
            (folder / name).write_bytes(graph)
        (folder / bundles.TOKENIZER).write_bytes(self.encoder.tokenizer)
        (folder / bundles.TAXONOMY).write_text(self.taxonomy.as_yaml(), encoding="utf-8")
        arrays = {
            f"{stage}/{name}.{part}": array
            for stage, heads in enumerate(by_stage, start=1)
            for name, head in heads.items()
            for part, array in (("weight", head.weight), ("bias", head.bias))
        }
        save_file(arrays, folder / bundles.HEADS)
        write_weights(folder / bundles.WEIGHTS, self.encoder)
        tables = {name: task.ngrams for name, task in fitted.items() if task.ngrams}
        write_ngrams(folder / bundles.NGRAMS, tables)
        statistics = {name: task.statistics for name, task in fitted.items()}
        write_statistics(folder / bundles.STATISTICS, statistics)
        (folder / bundles.HEADS).chmod(0o644)  # safetensors gives it to its owner alone
        (folder / bundles.PROBES).write_bytes(b"")

    def _manifest(self, fitted: Mapping[str, FittedTask], data_fingerprint: str) -> Manifest:
        return Manifest(
            recipe=self.name,
            settings=self.recipe.model_dump(mode="json", exclude_none=True),
            seed=self.recipe.seed,
            encoder=EncoderEntry(name=self.encoder.name, sha256=self.encoder.sha256),
            window_tokens=self.window_tokens,
            languages=self.recipe.languages,
            taxonomy_version=self.taxonomy.version,
            stages=tuple(StageEntry(end=s.end, pooled=s.pooled) for s in self.stages),
            tasks={name: fitted[name].entry for name in self.taxonomy.tasks},
            company_sentiment=fitted[COMPANY_SENTIMENT].entry,
            metrics={},
            data_fingerprint=data_fingerprint,
            files={},
        )

    def _seal(self, folder: Path, manifest: Manifest, examples: Sequence[Example]) -> Manifest:
        """Measures the bundle and answers the probes with it, then seals it for good."""
        write_manifest(folder, manifest)
        classifier = Classifier.load(folder, taxonomy=self.taxonomy, threads=self.threads)
        metrics = {}
        for name in self._labels:
            metrics[name] = measured(classifier, of_task(examples, name, Split.TEST))
            self.report(f"{name}: {_in_words(metrics[name])}")
        spread: dict[str, Reference] = {}
        for name in self.taxonomy.tasks:
            spread |= reference(classifier, examples, name)
        whole = Classifier.load(
            folder, taxonomy=self.taxonomy, threads=self.threads, early_exit=False
        )
        agreement = self._agreement(folder, whole, examples)
        write_probes(folder / bundles.PROBES, whole.classify)
        measures = {"metrics": metrics, "agreement": agreement, "reference": spread}
        return write_manifest(folder, manifest.model_copy(update=measures))

    def _agreement(
        self, folder: Path, whole: Classifier, examples: Sequence[Example]
    ) -> dict[str, dict[str, float]]:
        """How near the int8 graphs are to torch, on the calibration and test texts of each head."""
        from models.agreement import compare, in_words
        from models.torch_engine import TorchEngine

        bundle = Bundle.open(folder, self.taxonomy)
        exact = Classifier(bundle, TorchEngine(bundle, "cpu", self.encoder_folder))
        found = {}
        for name in self._labels:
            held_out = of_task(examples, name, Split.CALIBRATION, Split.TEST)
            found[name] = compare(whole, exact, held_out[:MOST_COMPARED])
            self.report(in_words(name, found[name]))
        return found


def _calibrated(head: Head, held_out: HeadData, ngrams: FloatArray | None) -> tuple[float, float]:
    """The head's temperature, and the factor of the n-grams' logits beside it."""
    logits = head_logits(head, held_out)
    if ngrams is None:
        return fit_temperature(logits, held_out.targets), 0.0
    of_head, of_ngrams = fit_share(logits, ngrams, held_out.targets)
    return 1 / of_head, of_ngrams


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


def _require_texts(examples: Iterable[Example], taxonomy: Taxonomy) -> None:
    for name in taxonomy.tasks.keys() - {example.task for example in examples}:
        raise DataError(
            f"The sets have no texts of the task {name}, which the taxonomy has. Train without "
            f"it, then add it: `bellwether train --bundle BUNDLE --add-task {name} --data FILE`."
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
    examples: Sequence[Example], labels: Sequence[str], vectors: Vectors, stage: int
) -> HeadData:
    positions = {label: position for position, label in enumerate(labels)}
    return HeadData(
        vectors=vectors.of(examples, stage),
        targets=np.array([positions[e.label] for e in examples], np.int64),
    )


def _in_words(metrics: Mapping[str, Mapping[str, float]]) -> str:
    return ", ".join(
        f"{source} {values['accuracy']:.3f} / {values['macro_f1']:.3f}"
        for source, values in metrics.items()
    )
