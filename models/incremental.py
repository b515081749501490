"""From a champion and lessons to a candidate: a bundle that learnt them and little else.

The cheap way comes first: the heads of the tasks with lessons are fitted anew on the vectors that
the champion's own int8 graphs make, beside old texts on which they are to stay as they are
(`refitting`). The graphs are copied but for the weights of those heads, so all other answers stay
the same bit for bit. Where that does not teach what was to be learnt, the encoder learns too
(`adaptation`).
"""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from shutil import copyfile
from tempfile import TemporaryDirectory
from typing import Any, Literal

from models import bundle as bundles
from models.answers import measured
from models.bundle import Bundle, Manifest, replace_folder, write_manifest
from models.classifier import Classifier
from models.data import DataError, Example
from models.duplicates import normalized
from models.engine import OnnxEngine
from models.head_lessons import Beside, HeadLessons, HeldOut, TaughtTask
from models.heads import FloatArray, head_arrays, heads_of
from models.network import with_heads
from models.ngrams import NgramReader
from models.opinions import Lesson, as_examples
from models.probes import write_probes
from models.recipe import Recipe
from models.rehearsal import Rehearsal
from models.statistics import ClassStatistics, read_statistics
from models.vector_store import stored_vectors
from models.vectors import Vectors
from schemas.errors import ConfigurationError
from schemas.taxonomy import COMPANY_SENTIMENT

Method = Literal["auto", "heads", "lora", "full"]
Report = Callable[[str], None]

RECIPE = "incremental"
# Heads that answer fewer of the lessons kept out rightly have not learnt the concept.
LEARNT = 0.8


@dataclass(frozen=True, slots=True)
class Relearnt:
    """The candidate's manifest, how it was made, and the lessons by which it is to be judged."""

    manifest: Manifest
    method: str
    held_out: tuple[HeldOut, ...]


@dataclass(frozen=True)
class Teaching:
    """What a run is given; see `relearn`."""

    champion: Bundle
    lessons: Sequence[Lesson]
    rehearsal: Rehearsal
    protected: bool
    seed: int
    threads: int
    store: Path | None
    encoder: Path | None
    report: Report

    @property
    def by_task(self) -> dict[str, list[Lesson]]:
        """In the order of the champion's heads."""
        found: defaultdict[str, list[Lesson]] = defaultdict(list)
        for lesson in self.lessons:
            found[lesson.task].append(lesson)
        return {name: found[name] for name in self.champion.manifest.heads if found[name]}

    @property
    def exit_loss(self) -> float:
        return float(self.champion.manifest.settings.get("exit_loss", Recipe().exit_loss))

    @cached_property
    def statistics(self) -> dict[str, list[ClassStatistics]]:
        """By head, one a stage; none of heads that a user added."""
        return read_statistics(self.champion.folder / bundles.STATISTICS)

    @cached_property
    def ngrams(self) -> NgramReader:
        return self.champion.ngram_reader

    def beside(self, name: str) -> Beside:
        """What the n-grams add to a head's logits."""
        labels = len(self.champion.manifest.heads[name].labels)

        def said(examples: Sequence[Example], stage: int) -> FloatArray:
            return self.ngrams.logits(name, [e.text for e in examples], labels, stage)

        return said

    def repeated(self, task: str) -> list[Example]:
        """Old texts on which a head is to stay as it is; none of them nearly a lesson, since recent
        events are also those that people have corrected."""
        lessons = {normalized(lesson.text) for lesson in self.by_task.get(task, ())}
        found = self.rehearsal.repeated(task, self.champion.taxonomy)
        return [each for each in found if normalized(each.text) not in lessons]

    def examples(self, tasks: Sequence[str]) -> list[Example]:
        """Every text whose vectors are needed."""
        found = as_examples(self.lessons)
        for task in tasks:
            found += self.repeated(task) if self.protected else []
            found += self.rehearsal.kept_back(task)
        return found


def relearn(
    champion: Bundle,
    lessons: Sequence[Lesson],
    rehearsal: Rehearsal,
    out: Path,
    *,
    method: Method = "auto",
    protected: bool = True,
    seed: int = 0,
    threads: int = 0,
    store: Path | None = None,
    encoder: Path | None = None,
    report: Report = print,
) -> Relearnt:
    """Puts a candidate at `out`; what stood there is replaced once the candidate is whole.

    method: `heads`, `lora` or `full`; `auto` begins with heads, and lets the encoder learn through
        low-rank matrices where heads answer under `LEARNT` of the lessons kept out.
    protected: False leaves old texts out of the learning, to show what they are good for.
    store: a folder that keeps vectors for the next run.
    encoder: the folder of the encoder that the champion stands on, for its word vectors; None means
        the packaged default. Only `lora` and `full` read it.

    Deterministic by `seed`. Raises DataError without lessons or with those of a task or label that
    the champion has not, ConfigurationError when `out` is the champion.
    """
    _check(champion, lessons, out)
    teaching = Teaching(
        champion, lessons, rehearsal, protected, seed, threads, store, encoder, report
    )
    if method in ("auto", "heads"):
        taught = teach_heads(teaching)
        if method == "heads" or all(task.accuracy >= LEARNT for task in taught.values()):
            return _relearnt(teaching, "heads", taught, out)
        report("the heads alone do not learn it: the encoder learns too")
    from models.adaptation import adapted

    return adapted(teaching, "full" if method == "full" else "lora", out)


def teach_heads(teaching: Teaching) -> dict[str, TaughtTask]:
    """New heads of the tasks that have lessons."""
    champion, by_task = teaching.champion, teaching.by_task
    engine = OnnxEngine(
        champion.graphs,
        champion.tokenizer,
        champion.manifest.window_tokens,
        threads=teaching.threads,
    )
    vectors = stored_vectors(
        teaching.store, champion, engine, teaching.examples([*by_task]), teaching.report
    )
    arrays = head_arrays(champion)
    return {name: _taught(teaching, name, own, vectors, arrays) for name, own in by_task.items()}


def _taught(
    teaching: Teaching,
    name: str,
    lessons: Sequence[Lesson],
    vectors: Vectors,
    arrays: Mapping[str, FloatArray],
) -> TaughtTask:
    champion = teaching.champion
    taught = HeadLessons(
        heads_of(champion, name, arrays),
        champion.manifest.heads[name],
        lessons,
        teaching.repeated(name),
        teaching.rehearsal.kept_back(name),
        vectors,
        exit_loss=teaching.exit_loss,
        protected=teaching.protected,
        cross_fitted=True,
        beside=teaching.beside(name),
        statistics=teaching.statistics.get(name, ()),
    ).learn()
    teaching.report(
        f"{name}: {len(lessons)} lessons, each for {taught.strength.lesson:g} old texts; of those "
        f"kept out {taught.accuracy:.0%} are answered rightly"
    )
    return taught


def _check(champion: Bundle, lessons: Sequence[Lesson], out: Path) -> None:
    if out.resolve() == champion.folder.resolve():
        raise ConfigurationError(f"The bundle {out} stays as it is. Name another place.")
    if not lessons:
        raise DataError("There is no lesson to learn.")
    for lesson in lessons:
        entry = champion.manifest.heads.get(lesson.task)
        if entry is None or lesson.label not in entry.labels:
            raise DataError(
                f"The model {champion.version} has no label {lesson.label!r} of {lesson.task}."
            )


def _relearnt(
    teaching: Teaching, method: str, taught: Mapping[str, TaughtTask], out: Path
) -> Relearnt:
    """Writes a candidate that differs from the champion in heads alone."""
    out.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=out.parent, prefix=".candidate-") as temporary:
        folder = Path(temporary) / "bundle"
        folder.mkdir()
        _write_files(folder, teaching.champion, taught)
        manifest = seal(folder, described(teaching, method, taught), teaching, [*taught])
        replace_folder(folder, out)
    teaching.report(f"Wrote candidate {manifest.version} to {out}")
    held_out = tuple(each for task in taught.values() for each in task.held_out)
    return Relearnt(manifest, method, held_out)


def _write_files(folder: Path, champion: Bundle, taught: Mapping[str, TaughtTask]) -> None:
    for stage, graph in enumerate(champion.graphs):
        heads = {name: task.heads[stage] for name, task in taught.items()}
        (folder / graph.name).write_bytes(with_heads(graph.read_bytes(), heads))
    write_heads(folder, champion, taught)
    for name in champion.manifest.files:
        if not (folder / name).exists():
            copyfile(champion.folder / name, folder / name)


def write_heads(folder: Path, champion: Bundle, taught: Mapping[str, TaughtTask]) -> None:
    """The champion's heads.safetensors with the new heads in it."""
    from safetensors.numpy import save_file

    arrays = head_arrays(champion)
    for name, task in taught.items():
        for stage, head in enumerate(task.heads, start=1):
            arrays[f"{stage}/{name}.weight"] = head.weight
            arrays[f"{stage}/{name}.bias"] = head.bias
    save_file(arrays, folder / bundles.HEADS)
    (folder / bundles.HEADS).chmod(0o644)  # safetensors gives it to its owner alone


def described(teaching: Teaching, method: str, taught: Mapping[str, TaughtTask]) -> Manifest:
    """The candidate's manifest but for its measures and hashes."""
    parent = teaching.champion.manifest
    entries = {name: task.entry for name, task in taught.items()}
    record: dict[str, Any] = {
        "method": method,
        "protected": teaching.protected,
        "seed": teaching.seed,
        "lessons": {name: _counted(own) for name, own in teaching.by_task.items()},
        "strengths": {name: task.strength.lesson for name, task in taught.items()},
        "old_texts": {
            "labelled": len(teaching.rehearsal.labelled),
            "recent": len(teaching.rehearsal.recent),
        },
    }
    changed = set(taught) if method == "heads" else set(parent.heads)
    return parent.model_copy(
        update={
            "recipe": RECIPE,
            "settings": {**parent.settings, RECIPE: record},
            "seed": teaching.seed,
            "company_sentiment": entries.pop(COMPANY_SENTIMENT, parent.company_sentiment),
            "tasks": {**parent.tasks, **entries},
            "metrics": {k: v for k, v in parent.metrics.items() if k not in changed},
            "agreement": {k: v for k, v in parent.agreement.items() if k not in changed},
            "parent": parent.version,
            "version": "",
        }
    )


def _counted(lessons: Sequence[Lesson]) -> dict[str, int]:
    return {
        "texts": len(lessons),
        "groups": len({lesson.group for lesson in lessons}),
        "annotators": len({each for lesson in lessons for each in lesson.annotators}),
        "corrections": sum(lesson.contradicts for lesson in lessons),
    }


def seal(folder: Path, manifest: Manifest, teaching: Teaching, changed: Sequence[str]) -> Manifest:
    """Asks the probes anew, measures the changed heads on old test texts, and seals the bundle."""
    (folder / bundles.PROBES).write_bytes(b"")
    write_manifest(folder, manifest)
    whole = Classifier.load(folder, threads=teaching.threads, early_exit=False)
    write_probes(folder / bundles.PROBES, whole.classify)
    write_manifest(folder, manifest)
    classifier = Classifier.load(folder, threads=teaching.threads)
    metrics = {
        name: measured(classifier, texts)
        for name in changed
        if (texts := teaching.rehearsal.test(name))
    }
    return write_manifest(
        folder, manifest.model_copy(update={"metrics": {**manifest.metrics, **metrics}})
    )
