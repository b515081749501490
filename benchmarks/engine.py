"""Texts a second without servers: `bellwether classify`, the engine, and transformers.pipeline.

All read the same posts, each text once, on the same cores, one after the other; each runs in a
process of its own, so that its peak memory is its own. Loading and a few texts of warming up are
not timed. The pipelines run the same encoder in torch with one head, where ours answers two tasks.
"""

import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import orjson
import typer

from benchmarks.common.command import DEFAULT_DATA, Data, execute
from benchmarks.common.corpus import posts
from benchmarks.common.screen import machine, results, say, table
from models.bundle import SHIPPED_BUNDLE, Bundle
from models.classification import classify_chunks, read_chunks
from models.classifier import Classifier
from models.engine import OnnxEngine
from schemas.errors import BellwetherError
from schemas.taxonomy import load_taxonomy

WARM_UP_TEXTS = 64

Run = Callable[[Sequence[str]], None]


@dataclass(frozen=True, slots=True)
class Speed:
    """What one contestant reached; memory is the peak resident size in bytes.

    Processor time says more than the clock where other programs share the machine.
    """

    name: str
    texts: int
    seconds: float
    cpu_seconds: float
    memory_bytes: int

    @property
    def texts_a_second(self) -> float:
        return self.texts / self.seconds


def _classify(threads: int) -> Run:
    """The path of `bellwether classify` on a file: reading, parsing, answering, writing."""
    classifier = Classifier.load(threads=threads)

    def run(texts: Sequence[str]) -> None:
        with tempfile.TemporaryDirectory() as folder, open("/dev/null", "wb") as out:
            file = Path(folder) / "posts.jsonl"
            file.write_bytes(b"\n".join(orjson.dumps({"text": text}) for text in texts))
            out.writelines(classify_chunks(read_chunks(str(file)), classifier))

    return run


def _engine(threads: int) -> Run:
    bundle = Bundle.open(SHIPPED_BUNDLE, load_taxonomy())
    engine = OnnxEngine(
        bundle.graph, bundle.tokenizer, bundle.manifest.window_tokens, threads=threads
    )

    def run(texts: Sequence[str]) -> None:
        engine.logits(texts)

    return run


def _pipeline(batch_size: int, threads: int) -> Run:
    import torch

    from benchmarks.alternatives.torch_pipeline import make_pipeline

    if threads:
        torch.set_num_threads(threads)
    pipeline = make_pipeline()

    def run(texts: Sequence[str]) -> None:
        pipeline(list(texts), batch_size=batch_size)

    return run


CONTESTANTS: dict[str, Callable[[int], Run]] = {
    "bellwether classify": _classify,
    "bare engine": _engine,
    "transformers.pipeline, batch 32": lambda threads: _pipeline(32, threads),
    "transformers.pipeline, batch 1": lambda threads: _pipeline(1, threads),
}


def engine(
    texts: Annotated[int, typer.Option(min=1, help="Posts to read, each text once.")] = 2000,
    threads: Annotated[int, typer.Option(min=0, help="Cores to use; 0 means all.")] = 0,
    data: Data = DEFAULT_DATA,
    contestant: Annotated[str | None, typer.Option(hidden=True)] = None,
) -> None:
    """Measure how many texts a second are classified without servers.

    \b
    Examples:
      $ python -m benchmarks.engine
      $ python -m benchmarks.engine --texts 500 --threads 1
    """
    if contestant:
        print(json.dumps(_measure(CONTESTANTS[contestant](threads), json.load(sys.stdin))))
        return
    found = [post.text for post in posts(data, texts)]
    where = machine()
    speeds = [_in_own_process(name, found, threads) for name in CONTESTANTS]
    results.print(where)
    _show(speeds, _mean_tokens(found))


def _measure(run: Run, texts: Sequence[str]) -> dict[str, float]:
    run(texts[:WARM_UP_TEXTS])
    started, cpu_started = time.perf_counter(), time.process_time()
    run(texts)
    return {
        "seconds": time.perf_counter() - started,
        "cpu_seconds": time.process_time() - cpu_started,
        "memory_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
    }


def _in_own_process(name: str, texts: Sequence[str], threads: int) -> Speed:
    say(f"{name}: {len(texts):,} texts")
    command = [sys.executable, "-m", "benchmarks.engine", "--contestant", name]
    command += ["--threads", str(threads)]
    done = subprocess.run(
        command, input=json.dumps(texts), capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise BellwetherError(f"{name} failed:\n{done.stderr[-2000:]}")
    return Speed(name, len(texts), **json.loads(done.stdout.splitlines()[-1]))


def _mean_tokens(texts: Sequence[str]) -> float:
    return sum(Classifier.load().count_tokens(texts)) / len(texts)


def _show(speeds: Sequence[Speed], mean_tokens: float) -> None:
    best = speeds[0].texts_a_second
    title = f"{speeds[0].texts:,} posts, {mean_tokens:.0f} tokens each on average"
    headings = ("texts/s", "tokens/s", "processor ms a text", "classify is", "peak memory")
    shown = table(title, "", *headings)
    for speed in speeds:
        shown.add_row(
            speed.name,
            f"{speed.texts_a_second:,.0f}",
            f"{speed.texts_a_second * mean_tokens:,.0f}",
            f"{1000 * speed.cpu_seconds / speed.texts:.2f}",
            f"{best / speed.texts_a_second:.2f} times as fast",
            f"{speed.memory_bytes / 2**20:,.0f} MiB",
        )
    results.print(shown)


if __name__ == "__main__":
    execute(engine)
