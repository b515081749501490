"""How well a new concept is learnt from 20 to 500 labels, and what is forgotten for it.

The concept is that posts about dividends are positive (benchmarks/common/concept.py); of the posts
three hundred are never learnt from. Old texts are the test splits of the labelled sets, those of
the sentiment but for what says "dividend". No annotator stands behind these labels, so nothing here
is set aside: it is the learning that is measured.

Heads take half a minute a run on two cores, encoders one to three; `--methods heads,lora,full`
takes over an hour. With `--out` each run is kept: a benchmark that was ended goes on from there.
"""

import random
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import mean
from typing import Annotated

import orjson
import typer

from benchmarks.common.command import DEFAULT_DATA, Data, execute
from benchmarks.common.concept import WORD, lessons
from benchmarks.common.screen import machine, results, say, table
from models.answers import answers
from models.bundle import SHIPPED_BUNDLE, Bundle
from models.classifier import Classifier
from models.data import Example
from models.incremental import Method, relearn
from models.opinions import Lesson, as_examples
from models.rehearsal import Rehearsal, rehearsal_of_sets
from schemas.errors import ConfigurationError
from schemas.taxonomy import COMPANY_SENTIMENT, SENTIMENT

TEST_POSTS = 300
# Training and test texts of each head that is not taught.
OTHER_TEXTS = 1_000
COUNTS = (20, 60, 200, 500)
# One seed says enough of the slowest way.
ONE_SEED: tuple[Method, ...] = ("full",)
FIGURES = {"concept": "new concept", "old": "old texts of its task", "others": "other tasks"}


@dataclass(frozen=True, slots=True)
class Run:
    """One candidate: `protected` with old texts beside the lessons, `seed` draws the lessons."""

    method: Method
    protected: bool
    labels: int
    seed: int

    @property
    def name(self) -> str:
        return self.method if self.protected else f"{self.method}, without old texts"


@dataclass(frozen=True, slots=True)
class Learnt:
    """Shares of right answers as served: of the concept, of old texts of the task that is taught,
    and of old texts of the other heads, on average over these. `seconds` are of the processor."""

    run: Run
    concept: float
    old: float
    others: float
    seconds: float


class Course:
    """The concept's posts and the old texts."""

    def __init__(self, data: Path) -> None:
        self.lessons = lessons(data, TEST_POSTS + max(COUNTS))
        own = rehearsal_of_sets(data)
        others = rehearsal_of_sets(data, repeated=OTHER_TEXTS, judged=OTHER_TEXTS)
        self.rehearsal = Rehearsal(
            (
                *(example for example in own.labelled if example.task == SENTIMENT),
                *(example for example in others.labelled if example.task != SENTIMENT),
            )
        )
        self.test = as_examples(self.lessons[:TEST_POSTS])

    def drawn(self, count: int, seed: int) -> list[Lesson]:
        return random.Random(seed).sample(self.lessons[TEST_POSTS:], count)

    def measured(self, bundle: Path) -> tuple[float, float, float]:
        """What `Learnt` has, but for the seconds."""
        classifier = Classifier.load(bundle)
        heads = [*classifier.taxonomy.tasks, COMPANY_SENTIMENT]
        return (
            _accuracy(classifier, self.test),
            _accuracy(classifier, self._old(SENTIMENT)),
            mean(_accuracy(classifier, self._old(name)) for name in heads if name != SENTIMENT),
        )

    def _old(self, task: str) -> list[Example]:
        found = self.rehearsal.test(task)
        return [e for e in found if task != SENTIMENT or WORD not in e.text.lower()]


def _accuracy(classifier: Classifier, examples: Sequence[Example]) -> float:
    said = answers(classifier, examples)
    return mean(a.label == e.label for a, e in zip(said, examples, strict=True))


def learning(
    data: Data = DEFAULT_DATA,
    methods: Annotated[str, typer.Option(help="Of heads, lora and full.")] = "heads",
    counts: Annotated[str, typer.Option(help="Numbers of labels.")] = ",".join(map(str, COUNTS)),
    seeds: Annotated[int, typer.Option(help="Draws of the labels.")] = 3,
    out: Annotated[Path | None, typer.Option(help="Folder for learning.json and .png.")] = None,
) -> None:
    """Accuracy on a new concept and on old texts over the number of labels."""
    course = Course(data)
    before = course.measured(SHIPPED_BUNDLE)
    known = {learnt.run: learnt for learnt in _read(out / "learning.json")} if out else {}
    found = []
    with tempfile.TemporaryDirectory() as folder:
        for run in _runs(methods.split(","), [int(count) for count in counts.split(",")], seeds):
            found.append(known.get(run) or _learnt(course, run, Path(folder)))
            if out:
                _write(
                    out / "learning.json",
                    [*found, *(each for each in known.values() if each not in found)],
                )
    _print(before, found)
    if out:
        _draw(before, found, out / "learning.png")


def _runs(methods: Sequence[str], counts: Sequence[int], seeds: int) -> Iterator[Run]:
    for method in map(_method, methods):
        for protected in (True, False):
            for count in counts:
                for seed in range(1 if method in ONE_SEED else seeds):
                    yield Run(method, protected, count, seed)


def _method(name: str) -> Method:
    known: tuple[Method, ...] = ("heads", "lora", "full")
    for method in known:
        if method == name:
            return method
    raise ConfigurationError(f"There is no method {name!r}. Choose from {', '.join(known)}.")


def _learnt(course: Course, run: Run, folder: Path) -> Learnt:
    """The folder keeps vectors from run to run."""
    out, start = folder / "candidate", time.process_time()
    relearn(
        Bundle.open(SHIPPED_BUNDLE),
        course.drawn(run.labels, run.seed),
        course.rehearsal,
        out,
        method=run.method,
        protected=run.protected,
        seed=run.seed,
        store=folder / "vectors",
        report=lambda _: None,
    )
    seconds = time.process_time() - start
    learnt = Learnt(run, *course.measured(out), seconds)
    say(f"{run.name}, {run.labels} labels, seed {run.seed}: {learnt.concept:.1%} of the concept")
    return learnt


def _read(file: Path) -> list[Learnt]:
    """What an earlier benchmark of this bundle has left."""
    content = orjson.loads(file.read_bytes()) if file.is_file() else {}
    if content.get("bundle") != Bundle.open(SHIPPED_BUNDLE).version:
        return []
    return [Learnt(**{**row, "run": Run(**row["run"])}) for row in content["runs"]]


def _write(file: Path, found: Sequence[Learnt]) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    content = {
        "machine": machine(),
        "bundle": Bundle.open(SHIPPED_BUNDLE).version,
        "runs": [asdict(each) for each in found],
    }
    file.write_bytes(orjson.dumps(content, option=orjson.OPT_INDENT_2))


def _grouped(found: Sequence[Learnt]) -> dict[tuple[str, int], list[Learnt]]:
    """By the way of learning and the number of labels."""
    groups: dict[tuple[str, int], list[Learnt]] = {}
    for each in found:
        groups.setdefault((each.run.name, each.run.labels), []).append(each)
    return groups


def _print(before: tuple[float, float, float], found: Sequence[Learnt]) -> None:
    shown = table(f"Learning: {machine()}", "method", "labels", *FIGURES.values(), "processor s")
    shown.add_row("the shipped model", "0", *(f"{100 * value:.1f}" for value in before), "")
    for (name, count), own in _grouped(found).items():
        figures = (f"{100 * mean(getattr(each, field) for each in own):.1f}" for field in FIGURES)
        shown.add_row(name, str(count), *figures, f"{mean(each.seconds for each in own):.0f}")
    results.print(shown)


def _draw(before: tuple[float, float, float], found: Sequence[Learnt], file: Path) -> None:
    from matplotlib.figure import Figure

    from models.plots import COLOURS

    groups = _grouped(found)
    methods = dict.fromkeys(each.run.method for each in found)
    colours = dict(zip(methods, COLOURS, strict=False))
    figure = Figure(figsize=(12, 3.8), layout="constrained")
    for axis, (field, title), start in zip(
        figure.subplots(1, 3), FIGURES.items(), before, strict=True
    ):
        for name in dict.fromkeys(name for name, _ in groups):
            own = {count: each for (other, count), each in groups.items() if other == name}
            run = next(iter(own.values()))[0].run
            shares = [100 * mean(getattr(each, field) for each in runs) for runs in own.values()]
            style, colour = "-" if run.protected else "--", colours[run.method]
            axis.plot(
                [0, *own], [100 * start, *shares], style, marker="o", color=colour, label=name
            )
        axis.set(title=title, xlabel="labels", ylabel="right answers, %", xscale="symlog")
        axis.set_xticks([0, *COUNTS], [str(count) for count in (0, *COUNTS)])
        axis.grid(alpha=0.3)
    figure.axes[0].legend(frameon=False, fontsize="small")
    figure.savefig(file, dpi=120)


if __name__ == "__main__":
    execute(learning)
