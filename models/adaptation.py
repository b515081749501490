"""A run in which the encoder learns too: through low-rank matrices (`lora`) or by itself (`full`).

It starts from the champion's weights and heads and repeats old texts beside the lessons; to those
the champion's own answers are kept by distillation (Hinton et al. 2015). Then the way to a bundle
is that of training: matrices merged, ranges measured, int8 graphs, and heads fitted on their
vectors.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from shutil import copyfile

import numpy as np

from models import bundle as bundles
from models.bundle import Bundle
from models.calibration import softmax
from models.candidate import write_heads, written
from models.data import DataError, Example
from models.distillation import Method, is_of_lessons, learnt_lessons, stages_of
from models.encoder import Encoder, write_weights
from models.export import measure_ranges, stage_graphs
from models.grouping import folds
from models.head_lessons import HeadLessons, TaughtTask
from models.heads import FloatArray, head_arrays, heads_of
from models.network import Head
from models.onnx_engine import OnnxEngine
from models.opinions import as_examples
from models.quantization import Range
from models.rehearsal import RECENT
from models.statistics import ClassStatistics, write_statistics
from models.teaching import Relearnt, Teaching
from models.torch_network import trained_encoder
from models.training import range_texts
from models.vector_store import stored_vectors
from models.vectors import Vectors, read_vectors

# Of the repeated texts so many a head go through the encoder.
REPEATED_TEXTS = 1_500
RANGE_TEXTS = 60


def adapted(teaching: Teaching, method: Method, out: Path) -> Relearnt:
    """Puts a candidate at `out` whose encoder learnt the lessons that are not kept out."""
    champion = teaching.champion
    encoder = trained_encoder(champion, teaching.encoder)
    examples = _examples(teaching)
    if not any(map(is_of_lessons, examples)):
        raise DataError("the lessons are too few: none is left to learn beside those that judge")
    before = _known_vectors(teaching)
    learnt, heads = learnt_lessons(teaching, method, encoder, examples, before)
    teaching.report("measuring the ranges of activations")
    old = [e for e in examples if not is_of_lessons(e)] or examples
    ranges = measure_ranges(
        learnt,
        range_texts(old, RANGE_TEXTS, teaching.seed),
        champion.manifest.window_tokens,
    )
    taught, statistics = _fitted(teaching, learnt, ranges, heads, before)
    write = partial(
        _write_files,
        champion=champion,
        learnt=learnt,
        ranges=ranges,
        taught=taught,
        statistics=statistics,
    )
    return written(teaching, method, taught, write, out)


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
    return stored_vectors(
        teaching.store, champion, teaching.engine, [*examples, *whole], teaching.report
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
        stage_graphs(learnt, stages_of(champion), ranges, champion.manifest.window_tokens),
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
    graphs = stage_graphs(learnt, stages_of(champion), ranges, window, by_stage)
    for name, graph in zip(bundles.graph_files(len(graphs)), graphs, strict=True):
        (folder / name).write_bytes(graph)
    write_heads(folder, champion, taught)
    write_weights(folder / bundles.WEIGHTS, learnt)
    write_statistics(folder / bundles.STATISTICS, statistics)
    for name in (bundles.TOKENIZER, bundles.TAXONOMY, bundles.NGRAMS):
        copyfile(champion.folder / name, folder / name)
