"""The files and figures of versions: each version has a run of MLflow to itself.

`bundle/` holds the bundle, beside it stand the files of a report.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import orjson

from models.bundle import MANIFEST, Bundle, Manifest
from models.tracking import figures, first_line, patient
from models.versions import Version
from schemas.errors import BundleError

if TYPE_CHECKING:
    from mlflow import MlflowClient

REPORT = "report.json"
_BUNDLE = "bundle"


class VersionFiles:
    """Files of the versions of one model.

    place: URI of the folder where they go; None leaves it to the server. A database has no place
        but the one that it is told, and would put them into the current folder.
    """

    def __init__(self, client: "MlflowClient", model: str, place: str | None) -> None:
        self._client = client
        self._experiment_name = f"{model}-versions"
        self._place = place

    def keep(self, bundle: Bundle) -> tuple[str, str]:
        """Takes the bundle's files and figures in; the run's id, and the URI of the files."""
        run = self._client.create_run(self._experiment(), run_name=bundle.version)
        run_id: str = run.info.run_id
        with patient():
            for name in (MANIFEST, *bundle.manifest.files):
                self._client.log_artifact(run_id, str(bundle.folder / name), _BUNDLE)
        self.add(run_id, bundle.manifest.metrics, ())
        self._client.set_terminated(run_id)
        return run_id, f"{run.info.artifact_uri}/{_BUNDLE}"

    def add(self, run_id: str, metrics: Mapping[str, Any], files: Sequence[Path]) -> None:
        """Adds nested figures and the files of a report."""
        from mlflow.entities import Metric

        found = [Metric(name, value, 0, 0) for name, value in figures(metrics).items()]
        if found:
            self._client.log_batch(run_id, metrics=found)
        with patient():
            for file in files:
                self._client.log_artifact(run_id, str(file))

    def bundle(self, version: Version, folder: Path) -> Path:
        """Puts the bundle into the folder; where it is then. Raises BundleError."""
        return self._download(version, _BUNDLE, folder)

    def manifest(self, version: Version) -> Manifest:
        """That of the version's bundle. Raises BundleError."""
        try:
            return Manifest.model_validate_json(self._read(version, f"{_BUNDLE}/{MANIFEST}"))
        except ValueError:
            raise BundleError(f"The manifest of version {version.name} is damaged.") from None

    def report(self, version: Version) -> Any:
        """The content of report.json; None where there is none. Raises BundleError."""
        names = [file.path for file in self._client.list_artifacts(version.run_id)]
        if REPORT not in names:
            return None
        try:
            return orjson.loads(self._read(version, REPORT))
        except orjson.JSONDecodeError:
            raise BundleError(f"The report of version {version.name} is damaged.") from None

    def _experiment(self) -> str:
        from mlflow.exceptions import MlflowException

        found = self._client.get_experiment_by_name(self._experiment_name)
        if found is not None:
            return str(found.experiment_id)
        try:
            return self._client.create_experiment(self._experiment_name, self._place)
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise
            return self._experiment()  # another process has just made it

    def _read(self, version: Version, path: str) -> bytes:
        with TemporaryDirectory() as temporary:
            return self._download(version, path, Path(temporary)).read_bytes()

    def _download(self, version: Version, path: str, folder: Path) -> Path:
        from mlflow.artifacts import download_artifacts

        try:
            # By the run's own place: by its id, MLflow would keep to itself why it fails.
            place = self._client.get_run(version.run_id).info.artifact_uri
            with patient():
                got = download_artifacts(
                    artifact_uri=f"{place}/{path}",
                    dst_path=str(folder),
                    tracking_uri=self._client.tracking_uri,
                )
            return Path(got)
        # Each kind of artifact store has errors of its own.
        except Exception as error:
            raise BundleError(
                f"{path} of version {version.name} cannot be fetched from the registry: "
                f"{_reason(error)}"
            ) from error


def _reason(error: Exception) -> str:
    """The first of the reasons that MLflow gives, each below the name of a file."""
    _, _, below = str(error).partition("#####\n")
    return first_line(below or error)
