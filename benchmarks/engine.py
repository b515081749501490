"""Texts a second without servers: the engine, what else runs the same network, and pipelines.

All read the same posts, each text once, on the same cores, one after the other; each runs in a
process of its own, so that its peak memory is its own. Loading and a few texts of warming up are
not timed. Only the last two contestants have a cache, and they read the posts as they were sent,
copies included. The pipelines run one head, where ours answer two tasks.
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
from benchmarks.common.corpus import posts, stream_of_posts
from benchmarks.common.screen import machine, results, say, table
from models.bundle import SHIPPED_BUNDLE, Bundle
from models.cache import CachingEngine
from models.classification import classify_chunks, read_chunks
from models.classifier import Classifier
from models.encoder import packaged_encoder
from models.engine import Engine, Request
from models.onnx_engine import OnnxEngine
from schemas.errors import BellwetherError
from schemas.records import Kind
from schemas.taxonomy import load_taxonomy

WARM_UP_TEXTS = 64
BATCH_TEXTS = 1024

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


def _bundle() -> Bundle:
    return Bundle.open(SHIPPED_BUNDLE, load_taxonomy())


def _run(engine: Engine) -> Run:
    tasks = tuple(task.name for task in load_taxonomy().for_kind(Kind.NEWS))

    def run(texts: Sequence[str]) -> None:
        for start in range(0, len(texts), BATCH_TEXTS):
            engine.run([Request(text, tasks) for text in texts[start : start + BATCH_TEXTS]])

    return run


def _onnx(
    threads: int,
    *,
    early_exit: bool = False,
    graphs: Sequence[Path | bytes] = (),
    tokenizer: Path | bytes = b"",
) -> OnnxEngine:
    bundle = _bundle()
    return OnnxEngine(
        graphs or bundle.graphs,
        tokenizer or bundle.tokenizer,
        bundle.manifest.window_tokens,
        exits=bundle.exits if early_exit else (),
        threads=threads,
    )


def _plain_int8(threads: int, *, links: bool = False) -> Run:
    from benchmarks.alternatives.plain_int8 import plain_int8_graph

    tokenizer = packaged_encoder() / "tokenizer.json" if links else b""
    return _run(_onnx(threads, graphs=[plain_int8_graph(_bundle())], tokenizer=tokenizer))


def _torch(threads: int) -> Run:
    import torch

    from models.torch_engine import TorchEngine

    if threads:
        torch.set_num_threads(threads)
    return _run(TorchEngine(_bundle(), "cpu"))


def _cached(threads: int) -> Run:
    return _run(CachingEngine(_onnx(threads, early_exit=True)))


def _pipeline(batch_size: int, threads: int, *, bert_base: bool = False) -> Run:
    import torch

    from benchmarks.alternatives.torch_pipeline import make_pipeline

    if threads:
        torch.set_num_threads(threads)
    pipeline = make_pipeline(bert_base=bert_base)

    def run(texts: Sequence[str]) -> None:
        pipeline(list(texts), batch_size=batch_size)

    return run


DEFAULT = "engine, default"
STREAM = {
    "engine on the stream, no cache": lambda threads: _run(_onnx(threads, early_exit=True)),
    "engine on the stream, with cache": _cached,
}
CONTESTANTS: dict[str, Callable[[int], Run]] = {
    DEFAULT: lambda threads: _run(_onnx(threads, early_exit=True)),
    "bellwether classify": _classify,
    "engine, whole network": lambda threads: _run(_onnx(threads)),
    "whole network, plain int8": _plain_int8,
    "the same, links not taken out": lambda threads: _plain_int8(threads, links=True),
    "whole network in torch, fp32": _torch,
    "pipeline, this encoder, batch 32": lambda threads: _pipeline(32, threads),
    "pipeline, this encoder, batch 1": lambda threads: _pipeline(1, threads),
    "pipeline, BERT-base, batch 32": lambda threads: _pipeline(32, threads, bert_base=True),
    "pipeline, BERT-base, batch 1": lambda threads: _pipeline(1, threads, bert_base=True),
    **STREAM,
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
    once = [post.text for post in posts(data, texts)]
    sent = [post.text for post in stream_of_posts(data, texts)]
    where = machine()
    speeds = [
        _in_own_process(name, sent if name in STREAM else once, threads) for name in CONTESTANTS
    ]
    results.print(where)
    _show(speeds, once)
    results.print(f"Of the {len(sent):,} posts as they were sent {len(set(sent)):,} are different.")


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


def _show(speeds: Sequence[Speed], texts: Sequence[str]) -> None:
    tokens = sum(_onnx(1).count_tokens(texts)) / len(texts)
    best = next(speed for speed in speeds if speed.name == DEFAULT).texts_a_second
    title = f"{len(texts):,} posts, {tokens:.0f} tokens each on average"
    headings = ("texts/s", "tokens/s", "processor ms a text", "default is", "peak memory")
    shown = table(title, "", *headings)
    for speed in speeds:
        shown.add_row(
            speed.name,
            f"{speed.texts_a_second:,.0f}",
            f"{speed.texts_a_second * tokens:,.0f}",
            f"{1000 * speed.cpu_seconds / speed.texts:.2f}",
            f"{best / speed.texts_a_second:.2f} times as fast",
            f"{speed.memory_bytes / 2**20:,.0f} MiB",
        )
    results.print(shown)


if __name__ == "__main__":
    execute(engine)
