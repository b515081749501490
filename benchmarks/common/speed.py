"""What benchmarks/end_to_end.py measured, and how it is shown."""

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from rich.table import Table

from benchmarks.common.backlog import Drain
from benchmarks.common.screen import results, table, verdict

WORKER_TO_ENGINE, WORKER_TO_SCRIPT = 0.7, 3.0


@dataclass(frozen=True, slots=True)
class Pass:
    """One pass of the bare engine over the texts of a backlog."""

    texts: int
    seconds: float
    cpu_seconds: float

    @property
    def events_a_second(self) -> float:
        return self.texts / self.seconds


@dataclass(frozen=True, slots=True)
class Round:
    """The worker draining a backlog, and the engine on the same texts before and after that."""

    passes: tuple[Pass, Pass]
    worker: Drain

    @property
    def engine(self) -> Pass:
        """Both passes as one."""
        return Pass(
            sum(each.texts for each in self.passes),
            sum(each.seconds for each in self.passes),
            sum(each.cpu_seconds for each in self.passes),
        )

    @property
    def ratio(self) -> float:
        """The worker's speed as a share of the engine's."""
        return self.worker.events_a_second / self.engine.events_a_second


@dataclass(frozen=True, slots=True)
class Alternative:
    """What another way of doing the job reached; the worker should be `wanted` times as fast."""

    name: str
    texts: int
    events_a_second: float
    wanted: float | None = None


def show(where: str, rounds: Sequence[Round], alternatives: Sequence[Alternative]) -> None:
    """Print everything: the speeds with their ratios, then where the time goes."""
    middle = sorted(rounds, key=lambda each: each.ratio)[len(rounds) // 2]
    results.print(where)
    results.print(_speeds(rounds, alternatives))
    results.print(_stages(middle))
    results.print(_processes(middle))


def _speeds(rounds: Sequence[Round], alternatives: Sequence[Alternative]) -> Table:
    texts = f"{len(rounds)} backlogs of {rounds[0].worker.events}"
    ratio = statistics.median(each.ratio for each in rounds)
    worker = _median(rounds, lambda each: each.worker.events_a_second)
    shown = table("Speed", "", "texts", "events/s", "of all rounds", "the worker is", "wanted")
    shown.add_row(
        "one worker, a backlog", texts, *_rates(rounds, lambda each: each.worker.events_a_second)
    )
    shown.add_row(
        "the bare engine",
        texts,
        *_rates(rounds, lambda each: each.engine.events_a_second),
        *_verdict(ratio, WORKER_TO_ENGINE),
    )
    for other in alternatives:
        verdict = _verdict(worker / other.events_a_second, other.wanted)
        shown.add_row(other.name, f"{other.texts}", f"{other.events_a_second:.0f}", "", *verdict)
    return shown


def _rates(rounds: Sequence[Round], rate: Callable[[Round], float]) -> tuple[str, str]:
    lowest, highest = min(map(rate, rounds)), max(map(rate, rounds))
    return f"{_median(rounds, rate):.0f}", f"{lowest:.0f} to {highest:.0f}"


def _median(rounds: Sequence[Round], rate: Callable[[Round], float]) -> float:
    return statistics.median(map(rate, rounds))


def _verdict(ratio: float, wanted: float | None) -> tuple[str, str]:
    shown = f"{ratio:.2f} times as fast"
    if wanted is None:
        return shown, ""
    return shown, f"{wanted:g}: {verdict(ratio >= wanted)}"


def _stages(middle: Round) -> Table:
    """What the model's own stage waits for, and what runs beside it."""
    drain, stages = middle.worker, middle.worker.stages
    engine = drain.events / middle.engine.events_a_second
    rows = (
        ("the bare engine", engine),
        ("+ sharing the cores (classify, less the above)", stages["classify"] - engine),
        ("+ the model waits for records or sinks", _idle_seconds(drain)),
    )
    size = f"{drain.events / drain.batches:.0f} events a batch"
    shown = table(f"Where the worker's time goes ({size})", "", "s per 1,000 events", "of the time")
    for name, seconds in rows:
        shown.add_row(name, *_shares(drain, seconds))
    shown.add_section()
    shown.add_row("= the worker", *_shares(drain, drain.seconds))
    shown.add_section()
    shown.add_row("meanwhile, analyse: risk, rules, documents", *_shares(drain, stages["analyse"]))
    shown.add_row("meanwhile, judge: Redis", *_shares(drain, stages["judge"]))
    shown.add_row("meanwhile, store: Elasticsearch", *_shares(drain, stages["store"]))
    return shown


def _idle_seconds(drain: Drain) -> float:
    return drain.seconds - drain.stages["classify"]


def _shares(drain: Drain, seconds: float) -> tuple[str, str]:
    return f"{1000 * seconds / drain.events:.3f}", f"{seconds / drain.seconds:.0%}"


def _processes(middle: Round) -> Table:
    drain, engine = middle.worker, middle.engine
    shown = table("Processor time meanwhile", "", "s per 1,000 events", "cores busy")
    for name, seconds in [*drain.cpu.items(), ("in all", sum(drain.cpu.values()))]:
        per_thousand = f"{1000 * seconds / drain.events:.3f}"
        shown.add_row(name, per_thousand, f"{seconds / drain.seconds:.2f}")
    shown.add_section()
    alone = f"{1000 * engine.cpu_seconds / engine.texts:.3f}"
    shown.add_row("the bare engine", alone, f"{engine.cpu_seconds / engine.seconds:.2f}")
    return shown
