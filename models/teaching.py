"""What a run of incremental learning is given, and what comes of it."""

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from models import bundle as bundles
from models.bundle import Bundle, Manifest
from models.data import Example
from models.duplicates import normalized
from models.engine import OnnxEngine
from models.head_lessons import Beside, HeldOut
from models.heads import FloatArray
from models.ngrams import NgramReader
from models.opinions import Lesson, as_examples
from models.recipe import Recipe
from models.rehearsal import Rehearsal
from models.statistics import ClassStatistics, read_statistics

Report = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Relearnt:
    """The candidate's manifest, how it was made, and the lessons by which it is to be judged."""

    manifest: Manifest
    method: str
    held_out: tuple[HeldOut, ...]


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

    @property
    def engine(self) -> OnnxEngine:
        """The champion's graphs, opened anew."""
        champion = self.champion
        window = champion.manifest.window_tokens
        return OnnxEngine(champion.graphs, champion.tokenizer, window, threads=self.threads)

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
