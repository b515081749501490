"""The trainer: from the labels that people gave to a model that the workers take over.

A run reads all labels, resolves them into lessons, makes a candidate of the champion, lets the gate
judge it, and promotes it if every check is passed. Kafka keeps the labels and the registry keeps
what came of them, so a trainer that was killed loses nothing but its time: a candidate appears in
the registry whole or not at all, and the next run begins anew.
"""

import asyncio
import fcntl
import json
import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from shutil import rmtree
from tempfile import TemporaryDirectory
from typing import Any

from models.bundle import SHIPPED_BUNDLE, Bundle
from models.classifier import Classifier
from models.data import DataError
from models.gate import Evidence, judge
from models.gate_report import GateReport
from models.incremental import Method, relearn
from models.lessons import LessonSettings, Resolution, known_labels, resolve
from models.rehearsal import Rehearsal, rehearsal_of_sets
from models.teaching import Relearnt
from models.tracking import log_report, tracked
from models.version_files import REPORT
from models.versions import CANDIDATE, CHAMPION, Version
from schemas.errors import BellwetherError, ConfigurationError, in_words
from stream.champion import follows_registry, open_registry
from stream.labels import Labels, Positions, read_labels
from stream.recent_events import recent_texts
from stream.run_report import said_of
from stream.settings import Settings

logger = logging.getLogger(__name__)

# Tags of a version: what the gate decided, what it learnt, and up to where the topic `labels` was
# read for it.
DECISION, LESSONS, LABELS = "decision", "lessons", "labels"
# Of the reasons why labels were set aside so many stand in a run's last line.
MOST_REASONS = 5
HOUR_SECONDS = 3600.0

Report = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a run ended: the version that was promoted, or why none was."""

    version: str | None
    why: str

    def __str__(self) -> str:
        return f"promoted {self.version}" if self.version else f"refused: {self.why}"


@dataclass(frozen=True, slots=True)
class Champion:
    """The model that serves: the registry's, or the shipped one, which nobody registered yet."""

    bundle: Bundle
    classifier: Classifier


class Trainer:
    """Makes one run at a time. `report` is told each step in words."""

    def __init__(self, settings: Settings, method: Method, report: Report) -> None:
        if not follows_registry(settings):
            raise ConfigurationError(
                "BELLWETHER_MODEL names a folder, so that workers would not follow what is "
                "promoted. Unset it, or set it to champion."
            )
        self._settings = settings
        self._registry = open_registry(settings)
        self._method = method
        self._report = report
        self._read_to: Positions | None = None
        self._run_at = time.monotonic()

    def watch(self) -> None:
        """For ever: a run whenever enough labels are new, or some are and enough time went by."""
        self._report(
            f"waiting for {self._settings.trainer_labels} new labels, or for one and "
            f"{self._settings.trainer_hours:g} hours"
        )
        while True:
            try:
                if self._read_to is None:
                    self._read_to = self._last_positions()
                labels = asyncio.run(read_labels(self._settings))
                if self._is_due(labels.since(self._read_to)):
                    self._report(str(self.run(labels)))
            except BellwetherError as error:
                logger.warning("%s Trying again.", error)
            except OSError as error:  # a full disk, a folder that may not be written
                logger.warning("%s. Trying again.", in_words(error))
            time.sleep(self._settings.trainer_seconds)

    def _is_due(self, new: int) -> bool:
        hours = (time.monotonic() - self._run_at) / HOUR_SECONDS
        return new >= self._settings.trainer_labels or (
            new > 0 and hours >= self._settings.trainer_hours
        )

    def run(self, labels: Labels | None = None) -> Outcome:
        """One run on the labels (None: those in the topic now).

        Raises ServerUnavailable and ConfigurationError when a server or the registry is away, and
        BundleError when the champion cannot be used.
        """
        self._registry.check()
        labels = labels or asyncio.run(read_labels(self._settings))
        self._report(f"{len(labels.standing):,} labels stand")
        if labels.repeated:
            self._report(f"{labels.repeated:,} records repeat or change one of them and add none")
        if labels.unreadable:
            self._report(f"beware: {labels.unreadable:,} records in the topic are no labels")
        with alone(self._settings.home), self._tracked(labels):
            outcome = self._learn(labels)
            _log_outcome(outcome)
        self._read_to, self._run_at = labels.positions, time.monotonic()
        return outcome

    @contextmanager
    def _tracked(self, labels: Labels) -> Iterator[None]:
        settings = {"method": self._method, "labels": len(labels.standing)}
        with tracked(self._settings.tracking, "incremental", settings):
            yield

    def _log(self, report: dict[str, Any]) -> None:
        log_report(self._settings.tracking, report, REPORT)

    def _learn(self, labels: Labels) -> Outcome:
        champion = self._champion()
        rehearsal = self._rehearsal()
        self._report(f"the champion is {champion.bundle.version}")
        resolution = resolve(
            labels.given(),
            champion.classifier,
            LessonSettings(
                labels_an_hour=self._settings.labels_an_hour,
                trusted=self._settings.trusted,
            ),
            known_labels(rehearsal.labelled),
        )
        for line in resolution.why():
            self._report(line)
        obstacle = self._obstacle(resolution)
        if obstacle:
            self._log(said_of(labels, resolution))
            return Outcome(None, obstacle)
        folder = self._settings.home / "candidates"
        rmtree(folder, ignore_errors=True)  # what a killed run has left
        folder.mkdir(parents=True)
        with TemporaryDirectory(dir=folder) as temporary:
            out = Path(temporary) / "candidate"
            relearnt = self._relearnt(champion, resolution, rehearsal, out)
            if isinstance(relearnt, Outcome):
                return relearnt
            return self._judged(champion, resolution, rehearsal, relearnt, out, labels)

    def _obstacle(self, resolution: Resolution) -> str | None:
        """Why there is nothing to be learnt from these lessons."""
        if not any(lesson.contradicts for lesson in resolution.lessons):
            reasons = resolution.why()
            told = ["no label teaches the champion anything new", *reasons[:MOST_REASONS]]
            further = len(reasons) - MOST_REASONS
            return "; ".join([*told, f"and {further:,} more"] if further > 0 else told)
        champion = self._registry.alias(CHAMPION)
        name = champion.rolled_back if champion else None
        if name and self._registry.find(name).tags.get(LESSONS) == resolution.key:
            return (
                f"people rolled {name} back, which learnt these very lessons; other labels teach "
                f"on, or `bellwether models promote {name}` puts it in place again"
            )
        return None

    def _champion(self) -> Champion:
        version = self._registry.alias(CHAMPION)
        folder = (
            self._registry.fetch(version, self._settings.fetched_models)
            if version
            else SHIPPED_BUNDLE
        )
        return Champion(Bundle.open(folder), self._loaded(folder))

    def _loaded(self, folder: Path) -> Classifier:
        """As a worker serves it, but without a cache."""
        return Classifier.load(
            folder,
            threads=self._settings.trainer_threads,
            early_exit=self._settings.early_exit,
        )

    def _rehearsal(self) -> Rehearsal:
        """Old texts: of the training sets where their folder is set, and recent events."""
        recent = asyncio.run(recent_texts(self._settings))
        folder = self._settings.training_data
        if folder is None:
            self._report(f"{len(recent):,} recent events against forgetting")
            return Rehearsal(recent=tuple(recent))
        try:
            found = rehearsal_of_sets(folder, recent=recent)
        except DataError as error:
            raise ConfigurationError(f"BELLWETHER_TRAINING_DATA: {error}") from error
        self._report(
            f"{len(found.labelled):,} texts of the training sets and {len(recent):,} recent events "
            "against forgetting"
        )
        return found

    def _relearnt(
        self, champion: Champion, resolution: Resolution, rehearsal: Rehearsal, out: Path
    ) -> Relearnt | Outcome:
        try:
            return relearn(
                champion.bundle,
                resolution.lessons,
                rehearsal,
                out,
                method=self._method,
                threads=self._settings.trainer_threads,
                store=self._settings.home / "vectors",
                report=self._report,
            )
        except DataError as error:
            return Outcome(None, str(error))

    def _judged(
        self,
        champion: Champion,
        resolution: Resolution,
        rehearsal: Rehearsal,
        relearnt: Relearnt,
        out: Path,
        labels: Labels,
    ) -> Outcome:
        evidence = Evidence(
            relearnt.held_out,
            resolution.lessons,
            rehearsal,
            audits=resolution.audits,
            concepts=relearnt.concepts,
        )
        gate = judge(champion.classifier, self._loaded(out), evidence, self._report)
        report = {
            "gate": gate.model_dump(mode="json"),
            "method": relearnt.method,
            **said_of(labels, resolution),
        }
        self._log(report)
        version = self._registered(out, gate, report, resolution.key)
        if gate.decision == "refused":
            outcome = Outcome(None, gate.why)
        else:
            outcome = self._promoted(champion, version)
        # Last of all: labels of a run that was killed before are new to the next one.
        self._registry.annotate(version, tags={LABELS: json.dumps(labels.positions)})
        return outcome

    def _registered(
        self, bundle: Path, gate: GateReport, report: dict[str, Any], lessons: str
    ) -> Version:
        file = bundle.with_name(REPORT)
        file.write_text(json.dumps(report, indent=2))
        # MLflow takes no commas in names.
        figures = {"gate": {c.name.replace(", ", "/"): c.figure for c in gate.checks}}
        tags = {DECISION: f"{gate.decision}: {gate.why}", LESSONS: lessons}
        version = self._registry.register(bundle, metrics=figures, tags=tags, report_files=[file])
        self._registry.set_alias(CANDIDATE, version)
        return version

    def _promoted(self, champion: Champion, version: Version) -> Outcome:
        """Unless another champion is in place, by which nobody judged.

        The registry knows no lock that a second host would see. Who is overtaken between the two
        looks is told so, and the other one stays, which was judged by the same champion.
        """
        if self._champion_name() == champion.bundle.version:
            self._registry.promote(version)
            if self._champion_name() == version.name:
                return Outcome(version.name, "")
        return Outcome(None, "another model became the champion meanwhile; run again")

    def _champion_name(self) -> str:
        version = self._registry.alias(CHAMPION)
        return version.name if version else Bundle.open(SHIPPED_BUNDLE).version

    def _last_positions(self) -> Positions:
        """Up to where labels were read for the newest version that was learnt from some."""
        tagged = (version.tags.get(LABELS) for version in self._registry.versions())
        last: dict[str, int] = json.loads(next((tag for tag in tagged if tag), "{}"))
        return {int(partition): offset for partition, offset in last.items()}


@contextmanager
def alone(home: Path) -> Iterator[None]:
    """One run at a time in a home: two would do the same work. Raises BellwetherError."""
    home.mkdir(parents=True, exist_ok=True)
    with (home / "trainer.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise BellwetherError(f"Another trainer is at work in {home}.") from None
        yield


def _log_outcome(outcome: Outcome) -> None:
    import mlflow

    mlflow.set_tag(DECISION, str(outcome))
