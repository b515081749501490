"""Runs of training in MLflow: settings, losses and figures, to be compared side by side."""

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from schemas.errors import ConfigurationError

EXPERIMENT = "bellwether-training"


@contextmanager
def tracked(uri: str | None, name: str, settings: Mapping[str, Any]) -> Iterator[None]:
    """A run in the MLflow store at `uri` while the block lasts; nothing is tracked without one.

    What logs to MLflow meanwhile logs to this run, transformers.Trainer included. Raises
    ConfigurationError when the store cannot be reached.
    """
    if not uri:
        yield
        return
    import mlflow
    from mlflow.environment_variables import (
        MLFLOW_HTTP_REQUEST_MAX_RETRIES,
        MLFLOW_HTTP_REQUEST_TIMEOUT,
    )
    from mlflow.exceptions import MlflowException

    # A store that is away is told within seconds; MLflow's own patience is minutes.
    MLFLOW_HTTP_REQUEST_MAX_RETRIES.set(2)  # type: ignore[no-untyped-call]
    MLFLOW_HTTP_REQUEST_TIMEOUT.set(10)  # type: ignore[no-untyped-call]

    for chatty in ("alembic", "mlflow"):
        logging.getLogger(chatty).setLevel(logging.WARNING)
    try:
        mlflow.set_tracking_uri(uri)
        mlflow.set_experiment(EXPERIMENT)
        run = mlflow.start_run(run_name=name)
    except MlflowException as error:
        first, *_ = str(error).splitlines()
        raise ConfigurationError(f"Cannot use the MLflow store at {uri}: {first}") from error
    with run:
        mlflow.log_params(_flat(settings))
        yield


def log_bundle(
    uri: str | None, version: str, metrics: Mapping[str, Mapping[str, Mapping[str, float]]]
) -> None:
    """Adds the bundle's version and its figures (task, set, measure) to the current run."""
    if not uri:
        return
    import mlflow

    mlflow.set_tag("bundle", version)
    mlflow.log_metrics({name.replace(" ", "-"): value for name, value in _flat(metrics).items()})


def _flat(settings: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested settings by names joined with a dot."""
    flat: dict[str, Any] = {}
    for name, value in settings.items():
        if isinstance(value, Mapping):
            flat |= _flat(value, f"{prefix}{name}.")
        else:
            flat[f"{prefix}{name}"] = value
    return flat
