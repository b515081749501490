"""From a champion and lessons to a candidate: a bundle that learnt them and little else.

The cheap way comes first: the heads of the tasks with lessons are fitted anew on the vectors that
the champion's own int8 graphs make, beside old texts on which they are to stay as they are
(`refitting`). The graphs are copied but for the weights of those heads, so all other answers stay
the same bit for bit. Where that does not teach what was to be learnt, the encoder learns too
(`adaptation`).
"""

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from shutil import copyfile
from typing import Literal

from models.bundle import Bundle
from models.candidate import write_heads, written
from models.data import DataError
from models.head_lessons import HeadLessons, TaughtTask
from models.heads import FloatArray, head_arrays, heads_of
from models.network import with_heads
from models.opinions import Lesson
from models.rehearsal import Rehearsal
from models.teaching import Relearnt, Report, Teaching
from models.vector_store import stored_vectors
from models.vectors import Vectors
from schemas.errors import ConfigurationError

Method = Literal["auto", "heads", "lora", "full"]

# Heads that answer fewer of the lessons kept out rightly have not learnt the concept.
LEARNT = 0.8
# Of fewer lessons of a task too few are kept out to tell: one stray label would make the encoder
# learn for the sake of a task that nobody teaches.
LEAST_TELLING = 5


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
        low-rank matrices where heads answer under `LEARNT` of the lessons kept out of a task that
        has at least `LEAST_TELLING`.
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
        if method == "heads" or all(_is_learnt(task) for task in taught.values()):
            write = partial(_write_files, champion=champion, taught=taught)
            return written(teaching, "heads", taught, write, out)
        report("the heads alone do not learn it: the encoder learns too")
    from models.adaptation import adapted

    return adapted(teaching, "full" if method == "full" else "lora", out)


def teach_heads(teaching: Teaching) -> dict[str, TaughtTask]:
    """New heads of the tasks that have lessons."""
    champion, by_task = teaching.champion, teaching.by_task
    companions = [each for name in by_task for each in teaching.companions(name)]
    examples = [*teaching.examples([*by_task]), *companions]
    vectors = stored_vectors(teaching.store, champion, teaching.engine, examples, teaching.report)
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
    teaching.report(f"{name}: heads are fitted to {len(lessons)} lessons beside the old texts")
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
        companions=teaching.companions(name),
    ).learn()
    teaching.report(
        f"{name}: {len(lessons)} lessons, each for {taught.strength.lesson:g} old texts; of those "
        f"kept out {taught.accuracy:.0%} are answered rightly"
    )
    return taught


def _is_learnt(task: TaughtTask) -> bool:
    return task.accuracy >= LEARNT or len(task.held_out) < LEAST_TELLING


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


def _write_files(folder: Path, champion: Bundle, taught: Mapping[str, TaughtTask]) -> None:
    for stage, graph in enumerate(champion.graphs):
        heads = {name: task.heads[stage] for name, task in taught.items()}
        (folder / graph.name).write_bytes(with_heads(graph.read_bytes(), heads))
    write_heads(folder, champion, taught)
    for name in champion.manifest.files:
        if not (folder / name).exists():
            copyfile(champion.folder / name, folder / name)
