"""Examines everything the service stands on and says, one line each, what is wrong and what to do.

The parts are examined at the same time and each for a few seconds at most, so that a server that
is away costs no more than that.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from functools import partial
from pathlib import Path

from models.bundle import taxonomy_of
from schemas.errors import BellwetherError
from schemas.sources import load_sources
from schemas.taxonomy import Taxonomy, load_taxonomy
from stream.champion import model_folder
from stream.elasticsearch_checks import check_elasticsearch
from stream.findings import Finding, Level, Report
from stream.kafka_checks import check_kafka
from stream.redis_checks import check_redis
from stream.risk import RiskModel
from stream.rules import RuleBook
from stream.settings import Settings, unknown_variables

SERVER_SECONDS = 8.0
MODEL_SECONDS = 60.0

Check = Callable[[Settings, Report], Awaitable[None]]
Serving = asyncio.Future[Path | None]


async def examine(settings: Settings) -> list[Finding]:
    """Everything found, server by server; raises nothing for what is wrong with one."""
    # Once for both that ask: two threads that import MLflow at the same time fail by chance.
    serving = asyncio.ensure_future(asyncio.to_thread(model_folder, settings))
    found = await asyncio.gather(
        _bounded("Kafka", check_kafka, settings, SERVER_SECONDS),
        _bounded("Redis", check_redis, settings, SERVER_SECONDS),
        _bounded("Elasticsearch", check_elasticsearch, settings, SERVER_SECONDS),
        _bounded("settings", _check_variables, settings, SERVER_SECONDS),
        _bounded("files", partial(_check_files, serving), settings, MODEL_SECONDS),
        _bounded("model", partial(_check_model, serving), settings, MODEL_SECONDS),
    )
    return [finding for report in found for finding in report.findings]


def is_well(findings: Iterable[Finding]) -> bool:
    """Whether the service can work; warnings are allowed."""
    return all(finding.level is not Level.WRONG for finding in findings)


async def _bounded(part: str, check: Check, settings: Settings, seconds: float) -> Report:
    report = Report(part)
    try:
        async with asyncio.timeout(seconds):
            await check(settings, report)
    except TimeoutError:
        report.wrong(f"no answer within {seconds:g} s", "see whether it is busy or stopped")
    except BellwetherError as error:
        report.wrong(str(error), "correct the setting or the file")
    except Exception as error:  # whatever is wrong with one part, the others are told
        report.wrong(f"cannot be examined: {type(error).__name__}: {error}", "see what it says")
    return report


async def _check_variables(_settings: Settings, report: Report) -> None:
    for name, near in unknown_variables().items():
        advice = f"say {near}, or unset it" if near else "unset it: `README.md` lists the settings"
        report.warn(f"{name} is no setting, and nobody reads it", advice)


async def _check_files(serving: Serving, settings: Settings, report: Report) -> None:
    try:
        taxonomy = await _taxonomy(serving, settings)
    except BellwetherError as error:
        report.wrong(str(error), "correct the file, or unset BELLWETHER_TAXONOMY")
        return
    loaders: dict[str, Callable[[], object]] = {
        "sources": lambda: load_sources(settings.sources),
        "rules": lambda: RuleBook.load(settings.rules, taxonomy),
        "risk": lambda: RiskModel.load(settings.risk, taxonomy),
    }
    good = ["taxonomy"]
    for name, load in loaders.items():
        try:
            load()
            good.append(name)
        except BellwetherError as error:
            report.wrong(str(error), f"correct the file, or unset BELLWETHER_{name.upper()}")
    report.fine(f"{', '.join(good)}: read and understood")


async def _taxonomy(serving: Serving, settings: Settings) -> Taxonomy:
    """The one that counts; what is wrong with the bundle or the registry is told with the model."""
    if settings.taxonomy:
        return load_taxonomy(settings.taxonomy)
    try:
        return taxonomy_of(await asyncio.shield(serving), None)
    except BellwetherError:
        return load_taxonomy()


async def _check_model(serving: Serving, settings: Settings, report: Report) -> None:
    try:
        folder = await asyncio.shield(serving)
        said = await asyncio.to_thread(_load_model, folder, settings)
    except BellwetherError as error:
        report.wrong(str(error), "set BELLWETHER_MODEL, _REGISTRY and _DEVICE right, or unset them")
    else:
        report.fine(said)


def _load_model(folder: Path | None, settings: Settings) -> str:
    """Load it as a worker does, which rechecks hashes and probe texts."""
    from stream.classifiers import classifier_of

    classifier = classifier_of(folder, settings, threads=1)
    return f"version {classifier.version} loads, window of {classifier.window_tokens} tokens"
