"""How a candidate is written: its files, what its manifest says of it, and its seal."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from models import bundle as bundles
from models.answers import measured
from models.bundle import Bundle, Manifest, replace_folder, write_manifest
from models.classifier import Classifier
from models.head_lessons import TaughtTask
from models.heads import head_arrays
from models.opinions import Lesson
from models.probes import write_probes
from models.teaching import Relearnt, Teaching
from schemas.records import Kind
from schemas.taxonomy import COMPANY_SENTIMENT, SENTIMENT

RECIPE = "incremental"


def written(
    teaching: Teaching,
    method: str,
    taught: Mapping[str, TaughtTask],
    write: Callable[[Path], None],
    out: Path,
) -> Relearnt:
    """Puts a candidate at `out`, once it is whole; `write` puts all files but manifest and probes
    into a folder."""
    out.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=out.parent, prefix=".candidate-") as temporary:
        folder = Path(temporary) / "bundle"
        folder.mkdir()
        write(folder)
        changed = _changed(teaching, taught)
        described = _described(teaching, method, taught, changed)
        manifest = _sealed(folder, described, teaching, changed)
        replace_folder(folder, out)
    teaching.report(f"candidate {manifest.version} is made")
    held_out = tuple(each for task in taught.values() for each in task.held_out)
    return Relearnt(manifest, method, held_out, teaching.concepts)


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


def _described(
    teaching: Teaching, method: str, taught: Mapping[str, TaughtTask], changed: Sequence[str]
) -> Manifest:
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
    return parent.model_copy(
        update={
            "recipe": RECIPE,
            "settings": {**parent.settings, RECIPE: record},
            "seed": teaching.seed,
            "company_sentiment": entries.pop(COMPANY_SENTIMENT, parent.company_sentiment),
            "tasks": {**parent.tasks, **entries},
            "metrics": {k: v for k, v in parent.metrics.items() if k not in changed},
            "agreement": {k: v for k, v in parent.agreement.items() if k not in taught},
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


def _changed(teaching: Teaching, taught: Iterable[str]) -> list[str]:
    """The heads whose answers may be others now: with those taught all that read the same kind of
    text, since they leave the network together. In the manifest's order, which is hashed."""
    tasks = teaching.champion.taxonomy.tasks

    def kind(name: str) -> Kind:
        return tasks[SENTIMENT if name == COMPANY_SENTIMENT else name].kind

    kinds = {kind(name) for name in taught}
    return [name for name in teaching.champion.manifest.heads if kind(name) in kinds]


def _sealed(
    folder: Path, manifest: Manifest, teaching: Teaching, changed: Sequence[str]
) -> Manifest:
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
