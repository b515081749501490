"""A run in which the encoder learns too: through low-rank matrices (`lora`) or by itself (`full`).

It starts from the champion's weights and heads and repeats old texts beside the lessons; to those
the champion's own answers are kept by distillation (Hinton et al. 2015). Then the way to a bundle
is that of training: matrices merged, ranges measured, int8 graphs, and heads fitted on their
vectors.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from shutil import copyfile
from tempfile import TemporaryDirectory
from typing import Literal

import numpy as np
import torch
from transformers import TrainingArguments
from transformers.trainer_callback import PrinterCallback

from models import bundle as bundles
from models.batches import TextSet, text_sets
from models.bundle import Bundle, Manifest, replace_folder
from models.calibration import softmax
from models.data import Example, Split
from models.distillation import DistillingCollator, DistillingTrainer, Teacher, is_of_lessons
from models.encoder import Encoder, write_weights
from models.engine import OnnxEngine
from models.export import measure_ranges, stage_graphs
from models.grouping import folds
from models.head_lessons import HeadLessons, TaughtTask
from models.heads import FloatArray, head_arrays, heads_of
from models.incremental import (
    Relearnt,
    Teaching,
    described,
    seal,
    write_heads,
)
from models.multitask_network import (
    MultiTaskNetwork,
    adapted_bert,
    learning_bert,
    learnt_heads,
    learnt_weights,
)
from models.multitask_trainer import Progress
from models.network import Head
from models.opinions import LESSONS, as_examples
from models.quantization import Range
from models.recipe import Finetuning, Stage
from models.rehearsal import RECENT
from models.statistics import ClassStatistics, write_statistics
from models.tokenizer import WindowTokenizer
from models.torch_network import trained_encoder
from models.training import range_texts
from models.vector_store import stored_vectors
from models.vectors import Vectors, read_vectors
from schemas.taxonomy import COMPANY_SENTIMENT

Method = Literal["lora", "full"]

# Steps of BATCH_TEXTS texts, a quarter of them lessons: a minute or two on two cores. Few lessons
# are shown so many times at most.
LEAST_STEPS, MOST_STEPS, BATCH_TEXTS = 60, 240, 32
LESSON_SHARE, MOST_TIMES = 0.25, 24
# Of the repeated texts so many a head go through the encoder.
REPEATED_TEXTS = 1_500
RATES = {"lora": 3e-4, "full": 3e-5}
RANGE_TEXTS = 60


def adapted(teaching: Teaching, method: Method, out: Path) -> Relearnt:
    """Puts a candidate at `out` whose encoder learnt the lessons that are not kept out."""
    champion = teaching.champion
    encoder = trained_encoder(champion, teaching.encoder)
    examples = _examples(teaching)
    before = _known_vectors(teaching)
    learnt, heads = _learn(teaching, method, encoder, examples, before)
    teaching.report("measuring the ranges of activations")
    old = [e for e in examples if not e.source.startswith(LESSONS)] or examples
    ranges = measure_ranges(
        learnt,
        range_texts(old, RANGE_TEXTS, teaching.seed),
        champion.manifest.window_tokens,
    )
    taught, statistics = _fitted(teaching, learnt, ranges, heads, before)
    out.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=out.parent, prefix=".candidate-") as temporary:
        folder = Path(temporary) / "bundle"
        folder.mkdir()
        _write_files(folder, champion, learnt, ranges, taught, statistics)
        manifest = _sealed(folder, teaching, method, taught)
        replace_folder(folder, out)
    teaching.report(f"Wrote candidate {manifest.version} to {out}")
    held_out = tuple(each for task in taught.values() for each in task.held_out)
    return Relearnt(manifest, method, held_out)


def _examples(teaching: Teaching) -> list[Example]:
    """Lessons but for the fold that judges, and old texts of every head."""
    kept = [
        lesson
        for own in teaching.by_task.values()
        for lesson, fold in zip(own, folds([each.group for each in own]), strict=True)
        if fold != 0
    ]
    champion = teaching.champion
    old = [
        example
        for name in champion.manifest.heads
        for example in _repeated(teaching, name)[:REPEATED_TEXTS]
    ]
    return [*as_examples(kept), *(old if teaching.protected else [])]


def _repeated(teaching: Teaching, name: str) -> list[Example]:
    """Old texts with a label: of recent events any will do, since only the teacher is heard."""
    labels = teaching.champion.manifest.heads[name].labels
    return [
        replace(example, label=labels[0]) if example.source == RECENT else example
        for example in teaching.repeated(name)
    ]


def _known_vectors(teaching: Teaching) -> Vectors:
    """What the champion's graphs make of the texts that are repeated, and of a company's text also
    as a whole: what the teacher reads."""
    champion = teaching.champion
    names = champion.manifest.heads if teaching.protected else ()
    examples = [example for name in names for example in teaching.repeated(name)]
    whole = [replace(example, span=None) for example in examples if example.span]
    engine = OnnxEngine(
        champion.graphs,
        champion.tokenizer,
        champion.manifest.window_tokens,
        threads=teaching.threads,
    )
    return stored_vectors(teaching.store, champion, engine, [*examples, *whole], teaching.report)


def _learn(
    teaching: Teaching,
    method: Method,
    encoder: Encoder,
    examples: Sequence[Example],
    before: Vectors,
) -> tuple[Encoder, list[dict[str, Head]]]:
    """The encoder and the heads of each stage after the run."""
    champion = teaching.champion
    torch.manual_seed(teaching.seed)
    if teaching.threads:
        torch.set_num_threads(teaching.threads)
    settings = Finetuning(method=method, epochs=1, batch_texts=BATCH_TEXTS, augmentation=0.0)
    settings = settings.model_copy(
        update={"learning_rate": RATES[method], "head_learning_rate": 1e-3}
    )
    window = min(settings.window_tokens, champion.manifest.window_tokens)
    tokenizer = WindowTokenizer(champion.tokenizer, window)
    taxonomy = champion.taxonomy
    sets = text_sets(tokenizer, examples, taxonomy, Split.TRAIN)
    network = _network(champion, encoder, settings)
    collator = DistillingCollator(
        tokenizer,
        {task: n for n, task in enumerate(taxonomy.tasks)},
        teacher=Teacher(before, _heads_by_stage(champion)),
    )
    with TemporaryDirectory() as folder:
        trainer = DistillingTrainer(
            network,
            _arguments(Path(folder), _steps(sets), teaching.seed),
            settings,
            _balanced(sets),
            [],
            collator,
            [Progress(teaching.report)],
        )
        trainer.remove_callback(PrinterCallback)
        trainer.train()
    return replace(encoder, weights=learnt_weights(network.encoder, encoder)), learnt_heads(
        network, taxonomy
    )


def _steps(sets: Sequence[TextSet]) -> int:
    lessons = sum(len(each) for each in sets if is_of_lessons(each))
    steps = math.ceil(MOST_TIMES * lessons / (LESSON_SHARE * BATCH_TEXTS))
    return min(MOST_STEPS, max(LEAST_STEPS, steps))


def _balanced(sets: Sequence[TextSet]) -> list[TextSet]:
    """Lessons repeated until they are LESSON_SHARE of all texts."""
    old = sum(len(each) for each in sets if not is_of_lessons(each))
    lessons = sum(len(each) for each in sets if is_of_lessons(each))
    times = max(1, round(old * LESSON_SHARE / (1 - LESSON_SHARE) / max(1, lessons)))
    return [_times(each, times) if is_of_lessons(each) else each for each in sets]


def _times(texts: TextSet, times: int) -> TextSet:
    return replace(
        texts,
        texts=texts.texts * times,
        targets=texts.targets * times,
        lengths=texts.lengths * times,
        spans=texts.spans * times,
        company_targets=texts.company_targets * times,
    )


def _network(champion: Bundle, encoder: Encoder, settings: Finetuning) -> MultiTaskNetwork:
    """The champion's network in torch, with its heads."""
    taxonomy = champion.taxonomy
    network = MultiTaskNetwork(
        adapted_bert(learning_bert(encoder), settings),
        encoder.shape.hidden,
        _stages(champion),
        {name: len(task.labels) for name, task in taxonomy.tasks.items()},
    )
    for stage, heads in enumerate(_heads_by_stage(champion)):
        modules = [*network.heads[stage], network.company_heads[stage]]  # type: ignore[misc]
        for module, name in zip(modules, [*taxonomy.tasks, COMPANY_SENTIMENT], strict=True):
            head = heads[name]
            weights = {"weight": head.weight.T.copy(), "bias": head.bias.copy()}
            module.load_state_dict({k: torch.from_numpy(v) for k, v in weights.items()})
    return network


def _heads_by_stage(champion: Bundle) -> list[dict[str, Head]]:
    arrays = head_arrays(champion)
    by_name = {name: heads_of(champion, name, arrays) for name in champion.manifest.heads}
    return [
        {name: heads[stage] for name, heads in by_name.items()}
        for stage in range(len(champion.manifest.stages))
    ]


def _arguments(folder: Path, steps: int, seed: int) -> TrainingArguments:
    return TrainingArguments(
        output_dir=str(folder),
        max_steps=steps,
        per_device_train_batch_size=BATCH_TEXTS,
        lr_scheduler_type="linear",
        warmup_steps=steps // 10,
        eval_strategy="no",
        save_strategy="no",
        logging_steps=40,
        disable_tqdm=True,
        report_to=[],
        remove_unused_columns=False,
        label_names=["labels"],
        use_cpu=not torch.cuda.is_available(),
        dataloader_pin_memory=False,
        seed=seed,
    )


def _fitted(
    teaching: Teaching,
    learnt: Encoder,
    ranges: Mapping[str, Range],
    heads: Sequence[Mapping[str, Head]],
    before: Vectors,
) -> tuple[dict[str, TaughtTask], dict[str, list[ClassStatistics]]]:
    """Every head on the new int8 vectors: near those that learnt, with the champion's answers; and
    where the vectors of old texts lie now."""
    champion = teaching.champion
    new = OnnxEngine(
        stage_graphs(learnt, _stages(champion), ranges, champion.manifest.window_tokens),
        champion.tokenizer,
        champion.manifest.window_tokens,
        threads=teaching.threads,
    )
    examples = teaching.examples([*champion.manifest.heads])
    after = read_vectors(new, examples, teaching.report)
    taught = {
        name: _refitted(teaching, name, [own[name] for own in heads], before, after)
        for name in champion.manifest.heads
    }
    return taught, {name: _statistics(teaching, name, task, after) for name, task in taught.items()}


def _statistics(
    teaching: Teaching, name: str, task: TaughtTask, vectors: Vectors
) -> list[ClassStatistics]:
    """One a stage; an event without a label has the one that it gets now."""
    examples = teaching.repeated(name)
    if not examples or not teaching.protected:
        return []
    last, beside = len(task.heads) - 1, teaching.beside(name)
    said = vectors.of(examples, last) @ task.heads[last].weight + task.heads[last].bias
    found = (said + beside(examples, last)).argmax(axis=1)
    targets = np.array(
        [
            place if example.source == RECENT else task.entry.labels.index(example.label)
            for place, example in zip(found.tolist(), examples, strict=True)
        ],
        np.int64,
    )
    return [
        ClassStatistics.of(vectors.of(examples, stage), targets, len(task.entry.labels))
        for stage in range(len(task.heads))
    ]


def _refitted(
    teaching: Teaching, name: str, heads: Sequence[Head], before: Vectors, after: Vectors
) -> TaughtTask:
    champion = teaching.champion
    repeated = teaching.repeated(name) if teaching.protected else []
    known = heads_of(champion, name, head_arrays(champion))
    beside = teaching.beside(name)
    teachers: list[FloatArray] = [
        softmax(before.of(repeated, stage) @ head.weight + head.bias + beside(repeated, stage))
        for stage, head in enumerate(known)
        if repeated
    ]
    return HeadLessons(
        heads,
        champion.manifest.heads[name],
        teaching.by_task.get(name, []),
        repeated,
        teaching.rehearsal.kept_back(name),
        after,
        exit_loss=teaching.exit_loss,
        protected=teaching.protected,
        cross_fitted=False,
        beside=beside,
        teachers=teachers,
    ).learn()


def _stages(champion: Bundle) -> list[Stage]:
    firsts = [0, *(stage.end for stage in champion.manifest.stages)]
    return [
        Stage(first, s.end, s.pooled)
        for first, s in zip(firsts, champion.manifest.stages, strict=False)
    ]


def _write_files(
    folder: Path,
    champion: Bundle,
    learnt: Encoder,
    ranges: Mapping[str, Range],
    taught: Mapping[str, TaughtTask],
    statistics: Mapping[str, Sequence[ClassStatistics]],
) -> None:
    by_stage = [
        {name: task.heads[stage] for name, task in taught.items()}
        for stage in range(len(champion.manifest.stages))
    ]
    window = champion.manifest.window_tokens
    graphs = stage_graphs(learnt, _stages(champion), ranges, window, by_stage)
    for name, graph in zip(bundles.graph_files(len(graphs)), graphs, strict=True):
        (folder / name).write_bytes(graph)
    write_heads(folder, champion, taught)
    write_weights(folder / bundles.WEIGHTS, learnt)
    write_statistics(folder / bundles.STATISTICS, statistics)
    for name in (bundles.TOKENIZER, bundles.TAXONOMY, bundles.NGRAMS):
        copyfile(champion.folder / name, folder / name)


def _sealed(
    folder: Path, teaching: Teaching, method: Method, taught: Mapping[str, TaughtTask]
) -> Manifest:
    return seal(folder, described(teaching, method, taught), teaching, [*taught])
