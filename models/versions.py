"""A version of the model as the registry knows it, written as tags of an MLflow model version."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import orjson

from models.bundle import Manifest

if TYPE_CHECKING:
    from mlflow.entities.model_registry import ModelVersion

CHAMPION, CANDIDATE, PREVIOUS = "champion", "candidate", "previous"
ALIASES = (CHAMPION, CANDIDATE, PREVIOUS)
BUNDLE, REPLACES, MOVED_BY = "bundle", "replaces", "moved-by"
# What moved a version to the champion's place.
PROMOTION, ROLLBACK = "promotion", "rollback"

_PARENT, _DECISION, _FIGURES = "parent", "decision", "figures"
_HEADLINES = ("accuracy", "macro_f1")


@dataclass(frozen=True, slots=True)
class Version:
    """A registered bundle. `name` is its hash of 12 digits, `number` MLflow's own."""

    name: str
    number: str
    run_id: str
    registered_at: datetime
    aliases: tuple[str, ...]
    tags: Mapping[str, str]

    @property
    def parent(self) -> str | None:
        """The version that it was made from."""
        return self.tags.get(_PARENT)

    @property
    def decision(self) -> str | None:
        """What was decided about it, in words; the tag `decision`."""
        return self.tags.get(_DECISION)

    @property
    def rolled_back(self) -> str | None:
        """The version in whose place people put this one again, when they last did."""
        return self.tags.get(REPLACES) if self.tags.get(MOVED_BY) == ROLLBACK else None

    @property
    def figures(self) -> dict[str, dict[str, float]]:
        """The headline figures that the bundle came with: task, measure, mean over its sets."""
        found: dict[str, dict[str, float]] = orjson.loads(self.tags.get(_FIGURES, "{}"))
        return found


def version_of(found: "ModelVersion", aliases: Collection[str]) -> Version:
    """Of a model version that is tagged with its bundle."""
    return Version(
        name=found.tags[BUNDLE],
        number=str(found.version),
        run_id=found.run_id or "",
        registered_at=datetime.fromtimestamp(found.creation_timestamp / 1000, UTC),
        aliases=tuple(alias for alias in ALIASES if alias in aliases),
        tags=dict(found.tags),
    )


def tags_of(manifest: Manifest) -> dict[str, str]:
    """What a version is tagged with when it is registered."""
    parent = {_PARENT: manifest.parent} if manifest.parent else {}
    headline = orjson.dumps(_headline(manifest.metrics)).decode()
    return {BUNDLE: manifest.version, _FIGURES: headline, **parent}


def _headline(metrics: Mapping[str, Mapping[str, Mapping[str, float]]]) -> dict[str, Any]:
    """Task, measure, and the mean over the task's sets."""
    return {
        task: {
            measure: round(sum(values) / len(values), 4)
            for measure in _HEADLINES
            if (values := [figures[measure] for figures in sets.values() if measure in figures])
        }
        for task, sets in metrics.items()
    }
