"""What a run of incremental learning is given, and what comes of it."""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from models import bundle as bundles
from models.bundle import Bundle, Manifest
from models.concept import of_concept
from models.data import Example
from models.duplicates import normalized
from models.head_lessons import Beside, HeldOut
from models.heads import FloatArray
from models.ngrams import NgramReader
from models.onnx_engine import OnnxEngine
from models.opinions import Lesson, as_examples
from models.recipe import Recipe
from models.rehearsal import RECENT, Rehearsal
from models.statistics import ClassStatistics, read_statistics
from models.vector_store import stored_vectors
from schemas.taxonomy import BUILT_IN_TASKS

# Of each of them so many tell how many leave early.
COMPANIONS = 1_000

Report = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Relearnt:
    """The candidate's manifest, how it was made, the lessons by which it is to be judged, and of
    each task the recent texts by which it is not (`Teaching.concepts`)."""

    manifest: Manifest
    method: str
    held_out: tuple[HeldOut, ...]
    concepts: Mapping[str, frozenset[str]]


@dataclass(frozen=True)
class Teaching:
    """What a run is given; see `incremental.relearn`."""

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
    def engine(self) -> OnnxEngine:
        """The champion's graphs, opened once."""
        champion = self.champion
        window = champion.manifest.window_tokens
        return OnnxEngine(champion.graphs, champion.tokenizer, window, threads=self.threads)

    @cached_property
    def statistics(self) -> dict[str, list[ClassStatistics]]:
        """By head, one a stage; heads of older bundles may have none."""
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
        """Old texts on which a head is to stay as it is: recent events are also those that people
        have corrected, and others of the same concept, so those are left out."""
        lessons = {normalized(lesson.text) for lesson in self.by_task.get(task, ())}
        concept = self.concepts.get(task, frozenset())
        return [
            each
            for each in self.rehearsal.repeated(task, self.champion.taxonomy)
            if normalized(each.text) not in lessons
            and not (each.source == RECENT and each.text in concept)
        ]

    @cached_property
    def concepts(self) -> Mapping[str, frozenset[str]]:
        """Of each task that is taught the recent texts that are near what people corrected."""
        return {task: self._concept(task, own) for task, own in self.by_task.items()}

    def _concept(self, task: str, lessons: Sequence[Lesson]) -> frozenset[str]:
        taxonomy, last = self.champion.taxonomy, len(self.champion.manifest.stages) - 1
        corrections = [lesson for lesson in lessons if lesson.contradicts and not lesson.span]
        recent = [e for e in self.rehearsal.repeated(task, taxonomy) if e.source == RECENT]
        if not corrections or not recent:
            return frozenset()
        given = as_examples(corrections)
        vectors = stored_vectors(
            self.store, self.champion, self.engine, [*given, *recent], self.report
        )
        near = of_concept(
            vectors.of(given, last), [each.group for each in corrections], vectors.of(recent, last)
        )
        found = frozenset(each.text for each, is_near in zip(recent, near, strict=True) if is_near)
        self.report(
            f"{task}: {len(found):,} of {len(recent):,} recent events are near what was corrected"
        )
        return found

    def examples(self, tasks: Sequence[str]) -> list[Example]:
        """Every text whose vectors are needed."""
        found = as_examples(self.lessons)
        for task in tasks:
            found += self.repeated(task) if self.protected else []
            found += self.rehearsal.kept_back(task)
        return found

    def companions(self, task: str) -> list[Example]:
        """Old texts of the tasks that leave the network together with this one: surer answers to it
        would let them leave earlier, and cost them some of their right ones."""
        tasks = self.champion.taxonomy.tasks
        if task not in BUILT_IN_TASKS or task not in tasks:
            return []
        others = [
            name
            for name in BUILT_IN_TASKS
            if name != task and name in tasks and tasks[name].kind is tasks[task].kind
        ]
        return [each for name in others for each in self.rehearsal.kept_back(name)[:COMPANIONS]]
