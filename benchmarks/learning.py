"""How well a new concept is learnt from 20 to 500 labels, and what is forgotten for it.

The concept is that posts about dividends are positive (benchmarks/common/concept.py); of the posts
three hundred are never learnt from. Old texts are the test splits of the labelled sets, but for
those that say "dividend". No annotator stands behind these labels, so nothing here is set aside: it
is the learning that is measured.

Heads take a minute a run on two cores, encoders several; `--methods heads,lora,full` takes hours.
"""

import random
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import mean
from typing import Annotated

import numpy as np
import orjson
import typer

from benchmarks.common.command import DEFAULT_DATA, Data, execute
from benchmarks.common.concept import LABEL, WORD, lessons
from benchmarks.common.screen import machine, results, say, table
from models.answers import answers
from models.bundle import SHIPPED_BUNDLE, Bundle
from models.classifier import Classifier
from models.data import Split, of_task
from models.incremental import Method, relearn
from models.measures import macro_f1
from models.opinions import Lesson, as_examples
from models.rehearsal import Rehearsal, rehearsal_of_sets
from schemas.errors import ConfigurationError
from schemas.taxonomy import SENTIMENT

TEST_POSTS = 300
COUNTS = (20, 60, 200, 500)
# One seed says enough of the slowest way.
ONE_SEED: tuple[Method, ...] = ("full",)


@dataclass(frozen=True, slots=True)
class Learnt:
    """Shares of right answers; `old_f1` is the macro-F1 on old texts, all as served."""

    method: str
    protected: bool
    labels: int
    seed: int
    concept: float
    old: float
    old_f1: float
    seconds: float


class Course:
    """The concept's posts and the old texts."""

    def __init__(self, data: Path) -> None:
        self.lessons = lessons(data, TEST_POSTS + max(COUNTS))
        sets = rehearsal_of_sets(data)
        self.rehearsal = Rehearsal(tuple(of_task(sets.labelled, SENTIMENT, *Split)))
        self.old = [e for e in self.rehearsal.test(SENTIMENT) if WORD not in e.text.lower()]
        self.test = as_examples(self.lessons[:TEST_POSTS])

    def drawn(self, count: int, seed: int) -> list[Lesson]:
        return random.Random(seed).sample(self.lessons[TEST_POSTS:], count)


def measure(bundle: Path, course: Course) -> tuple[float, float, float]:
    """Accuracy on the concept and on old texts, and macro-F1 on the latter."""
    classifier = Classifier.load(bundle)
    concept = [answer.label == LABEL for answer in answers(classifier, course.test)]
    said = answers(classifier, course.old)
    labels = classifier.taxonomy.tasks[SENTIMENT].labels
    true = np.array([labels.index(e.label) for e in course.old])
    found = np.array([labels.index(answer.label) for answer in said])
    return mean(concept), float((true == found).mean()), macro_f1(true, found)


def runs(
    course: Course, methods: Sequence[Method], counts: Sequence[int], seeds: int
) -> Iterator[Learnt]:
    with tempfile.TemporaryDirectory() as temporary:
        out = Path(temporary) / "candidate"
        store = Path(temporary) / "vectors"
        for method in methods:
            for protected in (True, False):
                for count in counts:
                    for seed in range(1 if method in ONE_SEED else seeds):
                        start = time.perf_counter()
                        relearn(
                            Bundle.open(SHIPPED_BUNDLE),
                            course.drawn(count, seed),
                            course.rehearsal,
                            out,
                            method=method,
                            protected=protected,
                            seed=seed,
                            store=store,
                            report=lambda _: None,
                        )
                        seconds = time.perf_counter() - start
                        found = measure(out, course)
                        say(f"{method}, {count} labels, seed {seed}: {found[0]:.1%} of the concept")
                        yield Learnt(method, protected, count, seed, *found, seconds)


def learning(
    data: Data = DEFAULT_DATA,
    methods: Annotated[str, typer.Option(help="Of heads, lora and full.")] = "heads",
    counts: Annotated[str, typer.Option(help="Numbers of labels.")] = ",".join(map(str, COUNTS)),
    seeds: Annotated[int, typer.Option(help="Draws of the labels.")] = 3,
    out: Annotated[Path | None, typer.Option(help="Folder for learning.json and .png.")] = None,
) -> None:
    """Accuracy on a new concept and on old texts over the number of labels."""
    course = Course(data)
    before = measure(SHIPPED_BUNDLE, course)
    chosen: list[Method] = [_method(name) for name in methods.split(",")]
    found = list(runs(course, chosen, [int(count) for count in counts.split(",")], seeds))
    _print(before, found)
    if out:
        out.mkdir(parents=True, exist_ok=True)
        rows = [asdict(each) for each in found]
        content = {"machine": machine(), "before": before, "runs": rows}
        (out / "learning.json").write_bytes(orjson.dumps(content, option=orjson.OPT_INDENT_2))
        _draw(before, found, out / "learning.png")


def _method(name: str) -> Method:
    known: tuple[Method, ...] = ("heads", "lora", "full")
    for method in known:
        if method == name:
            return method
    raise ConfigurationError(f"There is no method {name!r}. Choose from {', '.join(known)}.")


def _grouped(found: Sequence[Learnt]) -> dict[tuple[str, bool], dict[int, list[Learnt]]]:
    groups: dict[tuple[str, bool], dict[int, list[Learnt]]] = {}
    for each in found:
        own = groups.setdefault((each.method, each.protected), {})
        own.setdefault(each.labels, []).append(each)
    return groups


def _name(method: str, protected: bool) -> str:
    return method if protected else f"{method}, without old texts"


def _print(before: tuple[float, float, float], found: Sequence[Learnt]) -> None:
    shown = table(
        f"Learning: {machine()}", "method", "labels", "concept", "old texts", "macro-F1", "seconds"
    )
    shown.add_row("the shipped model", "0", *(f"{100 * value:.1f}" for value in before), "")
    for (method, protected), by_count in _grouped(found).items():
        for count, own in by_count.items():
            shown.add_row(
                _name(method, protected),
                str(count),
                *(
                    f"{100 * mean(values):.1f}"
                    for values in (
                        [each.concept for each in own],
                        [each.old for each in own],
                        [each.old_f1 for each in own],
                    )
                ),
                f"{mean(each.seconds for each in own):.0f}",
            )
    results.print(shown)


def _draw(before: tuple[float, float, float], found: Sequence[Learnt], file: Path) -> None:
    from matplotlib.figure import Figure

    from models.plots import COLOURS

    figure = Figure(figsize=(9, 3.6), layout="constrained")
    axes = figure.subplots(1, 2)
    for number, ((method, protected), by_count) in enumerate(_grouped(found).items()):
        for axis, field, start in ((axes[0], "concept", before[0]), (axes[1], "old", before[1])):
            points = [
                (count, 100 * mean(getattr(each, field) for each in own))
                for count, own in by_count.items()
            ]
            axis.plot(
                *zip((0, 100 * start), *points, strict=True),
                marker="o",
                linestyle="-" if protected else "--",
                color=COLOURS[number // 2 % len(COLOURS)],
                label=_name(method, protected),
            )
    for axis, title in zip(axes, ("new concept", "old texts"), strict=True):
        axis.set(title=title, xlabel="labels", ylabel="right answers, %", xscale="symlog")
        axis.set_xticks([0, *COUNTS], [str(count) for count in (0, *COUNTS)])
        axis.grid(alpha=0.3)
    axes[0].legend(frameon=False)
    figure.savefig(file, dpi=120)


if __name__ == "__main__":
    execute(learning)
