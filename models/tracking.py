"""The MLflow store: runs of training with settings, losses and figures, and the way to reach it."""

import fcntl
import logging
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from schemas.errors import ConfigurationError

if TYPE_CHECKING:
    from mlflow import MlflowClient

EXPERIMENT = "bellwether-training"
# How long a server may take to answer, and to take or begin to give a file: one that keeps its
# files in an object store answers when they are there.
ANSWER_SECONDS, FILE_SECONDS = 10, 120
_SQLITE = "sqlite:///"
_SPECIAL = str.maketrans({"%": "%25", "?": "%3F"})
_USER = re.compile(r"//[^/@\s]*@")  # and password, in a URI


def sqlite_uri(file: Path) -> str:
    """The URI of a store in a SQLite file, whatever its path has in it."""
    return f"{_SQLITE}{str(file).translate(_SPECIAL)}"


def sqlite_file(uri: str) -> Path | None:
    """The file of such a URI; None for a server."""
    if not uri.startswith(_SQLITE):
        return None
    return Path(unquote(uri.removeprefix(_SQLITE).partition("?")[0]))


def prepare() -> None:
    """Imports MLflow, which takes seconds and 140 MB, and makes it quick to give up and quiet.

    A server that refuses is told of within five seconds, one that hangs within 40; MLflow's own
    patience is minutes. It reports nothing about its use to its makers.
    """
    import mlflow.store.db.utils as databases
    from mlflow.environment_variables import (
        MLFLOW_DISABLE_TELEMETRY,
        MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR,
        MLFLOW_HTTP_REQUEST_MAX_RETRIES,
        MLFLOW_HTTP_REQUEST_TIMEOUT,
        MLFLOW_HTTP_RESPECT_RETRY_AFTER_HEADER,
        MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT,
    )
    from mlflow.telemetry import set_telemetry_client

    databases.MAX_RETRY_COUNT = 3
    # It would make a folder by the name as it stands in the URI; ours makes the right one.
    databases._make_parent_dirs_if_sqlite = lambda db_uri: None
    MLFLOW_HTTP_REQUEST_MAX_RETRIES.set(2)  # type: ignore[no-untyped-call]
    MLFLOW_HTTP_REQUEST_TIMEOUT.set(ANSWER_SECONDS)  # type: ignore[no-untyped-call]
    # A proxy may ask for an hour's patience.
    MLFLOW_HTTP_RESPECT_RETRY_AFTER_HEADER.set(False)  # type: ignore[no-untyped-call]
    MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR.set(False)  # type: ignore[no-untyped-call]
    MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT.set(True)  # type: ignore[no-untyped-call]
    MLFLOW_DISABLE_TELEMETRY.set(True)  # type: ignore[no-untyped-call]
    set_telemetry_client()  # type: ignore[no-untyped-call]
    logging.getLogger("alembic").setLevel(logging.WARNING)
    # What these call an error, or try again, they also raise.
    for loud in ("mlflow", "urllib3"):
        logging.getLogger(loud).setLevel(logging.CRITICAL)


def connect(uri: str) -> "MlflowClient":
    """A client of the store at `uri`, database or server. Raises as within `reachable`."""
    prepare()
    from mlflow import MlflowClient

    with _opening(uri):
        client = MlflowClient(uri, uri)
        if sqlite_file(uri):
            client.search_registered_models(max_results=1)  # opens the second of its stores
    return client


@contextmanager
def _opening(uri: str) -> Iterator[None]:
    """One process at a time opens a SQLite store: MLflow makes the tables at the first opening, and
    two that do it at once, such as a trainer and a worker's watcher, spoil it for each other."""
    file = sqlite_file(uri)
    if file is None:
        yield
        return
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.with_name(f"{file.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@contextmanager
def reachable(uri: str) -> Iterator[None]:
    """Raises ConfigurationError when the store cannot be used while the block lasts."""
    from mlflow.exceptions import MlflowException
    from sqlalchemy.exc import SQLAlchemyError

    try:
        yield
    except (MlflowException, SQLAlchemyError, OSError, ImportError) as error:
        raise _unusable(uri, error) from error


@contextmanager
def patient() -> Iterator[None]:
    """Gives a server the time that files need, while the block lasts."""
    from mlflow.environment_variables import MLFLOW_HTTP_REQUEST_TIMEOUT

    MLFLOW_HTTP_REQUEST_TIMEOUT.set(FILE_SECONDS)  # type: ignore[no-untyped-call]
    try:
        yield
    finally:
        MLFLOW_HTTP_REQUEST_TIMEOUT.set(ANSWER_SECONDS)  # type: ignore[no-untyped-call]


def first_line(error: Exception | str) -> str:
    """What an error of the store says, in one line and without passwords."""
    first, *_ = str(error).splitlines() or [type(error).__name__]
    return _USER.sub("//", first)


def _unusable(uri: str, error: Exception) -> ConfigurationError:
    return ConfigurationError(
        f"Cannot use the MLflow store at {_USER.sub('//', uri)}: {first_line(error)}"
    )


@contextmanager
def tracked(uri: str | None, name: str, settings: Mapping[str, Any]) -> Iterator[None]:
    """A run in the MLflow store at `uri` while the block lasts; nothing is tracked without one.

    What logs to MLflow meanwhile logs to this run, transformers.Trainer included. Raises
    ConfigurationError when the store cannot be reached, also where it goes away in the block.
    """
    if not uri:
        yield
        return
    import mlflow
    from mlflow.exceptions import MlflowException

    with reachable(uri):
        connect(uri)
        mlflow.set_tracking_uri(uri)
        if mlflow.get_experiment_by_name(EXPERIMENT) is None:
            mlflow.create_experiment(EXPERIMENT, artifact_location=_place(uri))
        mlflow.set_experiment(EXPERIMENT)
        run = mlflow.start_run(run_name=name)
    try:
        with run:
            mlflow.log_params(_flat(settings))
            yield
    except MlflowException as error:  # other errors may be of what the block does besides
        raise _unusable(uri, error) from error


def _place(uri: str) -> str | None:
    """Where files of runs go: beside a SQLite file, which would put them into the current folder;
    a server has a place of its own."""
    file = sqlite_file(uri)
    return (file.resolve().parent / "runs").as_uri() if file else None


def log_bundle(
    uri: str | None, version: str, metrics: Mapping[str, Mapping[str, Mapping[str, float]]]
) -> None:
    """Adds the bundle's version and its figures (task, set, measure) to the current run."""
    if not uri:
        return
    import mlflow

    mlflow.set_tag("bundle", version)
    mlflow.log_metrics(figures(metrics))


def log_report(uri: str, report: Mapping[str, Any], name: str) -> None:
    """Adds a report to the current run, as a JSON file of that name. Raises ConfigurationError."""
    import mlflow

    with reachable(uri), patient():
        mlflow.log_dict(dict(report), name)


def figures(metrics: Mapping[str, Any]) -> dict[str, float]:
    """Nested figures by names that MLflow takes: joined with a dot, without spaces."""
    return {name.replace(" ", "-"): float(value) for name, value in _flat(metrics).items()}


def _flat(settings: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested settings by names joined with a dot."""
    flat: dict[str, Any] = {}
    for name, value in settings.items():
        if isinstance(value, Mapping):
            flat |= _flat(value, f"{prefix}{name}.")
        else:
            flat[f"{prefix}{name}"] = value
    return flat
