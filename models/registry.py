"""The registry: versions of the model in MLflow, and the aliases that say what each is for.

    champion    what workers serve
    candidate   what the trainer proposes
    previous    the champion before, where `rollback` goes

A version is a bundle, known to people by the bundle's hash, which stands as a tag on MLflow's own
numbered version. Its files and figures belong to a run of MLflow: `bundle/`, and beside it files of
a report such as the gate's `report.json`.

**What a kill leaves behind.** A version comes into being with one write, after all its files; a
kill before leaves a run that nothing names, and registering again begins anew. The champion moves
by one write too, so it is always a whole, registered version. Before that write the new champion
is tagged with the one that it replaces, and whether a promotion or a rollback does it; after it
`previous` follows the tag. A kill before the write leaves tags that nobody reads until the next
promotion sets them again; a kill behind it leaves `previous` as it was, and the next `promote` or
`rollback` first puts it where the tag says. A rollback that was killed there is done with that.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from models.bundle import SHIPPED_BUNDLE, Bundle, Manifest
from models.fetched import fetched
from models.tracking import connect, reachable, sqlite_file
from models.version_files import VersionFiles
from models.versions import (
    ALIASES,
    BUNDLE,
    CHAMPION,
    MOVED_BY,
    PREVIOUS,
    PROMOTION,
    REPLACES,
    ROLLBACK,
    Version,
    tags_of,
    version_of,
)
from schemas.errors import BellwetherError, BundleError, ConfigurationError

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities.model_registry import ModelVersion

SHORTEST_NAME = 4

_SERVERS = ("http://", "https://", "databricks")
_ABSENT = ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE")
_PAGE = 1_000


class Registry:
    """Versions and aliases of one registered model.

    uri: of the MLflow store, a database or a server.
    name: of the registered model.
    store: where files of versions go if the store is a database; a server has its own place.

    Nothing is opened, and MLflow not imported, before it is needed; nothing is made by reading.
    Every method raises ConfigurationError within seconds when the store cannot be used.
    """

    def __init__(self, uri: str, name: str, store: Path) -> None:
        self.uri = uri
        self._name = name
        self._store = store

    @property
    def may_exist(self) -> bool:
        """False where the store is a file that is not there, and nothing was ever registered."""
        return sqlite_file(self.uri) is None or self.file is not None or self._is_lost

    @property
    def _is_lost(self) -> bool:
        """Whether the store's file is gone, while files of its versions are there."""
        is_file = sqlite_file(self.uri) is not None
        return is_file and self.file is None and self._store.is_dir() and any(self._store.iterdir())

    def check(self) -> None:
        """Raises ConfigurationError where the store's file is lost: to make another would turn the
        champion into the shipped model without a word."""
        if self._is_lost:
            raise ConfigurationError(
                f"The registry's file {sqlite_file(self.uri)} is gone or empty, but files "
                f"of its versions are in {self._store}. Restore it from a backup; to begin anew, "
                "remove that folder too; to serve a bundle meanwhile, name it in BELLWETHER_MODEL."
            )

    @property
    def file(self) -> tuple[int, int] | None:
        """Which file the store is, by device and inode; None for a server, or where there is none
        with anything in it.

        MLflow keeps the file open that it has opened, for as long as the process lasts.
        """
        file = sqlite_file(self.uri)
        if file is None:
            return None
        try:
            found = file.stat()
        except (FileNotFoundError, NotADirectoryError):
            return None
        return (found.st_dev, found.st_ino) if found.st_size else None

    def versions(self) -> list[Version]:
        """The newest first. A bundle that two processes registered at once is one version."""
        if not self.may_exist:
            return []
        with self._speaking() as client:
            at = self._aliases(client)
            numbered = sorted(self._numbered(client), key=lambda found: int(found.version))
        by_name: dict[str, Version] = {}
        for found in numbered:
            if BUNDLE in found.tags:
                own = [alias for alias, number in at.items() if number == str(found.version)]
                by_name.setdefault(found.tags[BUNDLE], version_of(found, own))
        return list(reversed(by_name.values()))

    def alias(self, alias: str) -> Version | None:
        """The version that an alias stands at."""
        from_alias = self._from_alias(alias) if self.may_exist else None
        if from_alias is not None and BUNDLE not in from_alias.tags:
            raise ConfigurationError(
                f"The alias {alias} of {self._name} stands at version {from_alias.version}, which "
                "is no bundle of Bellwether. Move the alias, or remove it, in MLflow."
            )
        return version_of(from_alias, from_alias.aliases) if from_alias else None

    def find(self, named: str) -> Version:
        """A version by alias, by hash, or by the first digits of its hash, at least 4.

        Raises BellwetherError when there is none, or more than one.
        """
        if named in ALIASES:
            version = self.alias(named)
            if version is None:
                raise BellwetherError(f"There is no {named} in the registry yet.")
            return version
        versions = self.versions()
        found = [version for version in versions if version.name.startswith(named.lower())]
        if len(found) == 1 and len(named) >= SHORTEST_NAME:
            return found[0]
        if len(found) > 1 and len(named) >= SHORTEST_NAME:
            raise BellwetherError(
                f"{named} may be {' or '.join(version.name for version in found)}: say more of it."
            )
        known = ", ".join(version.name for version in versions) or "none"
        raise BellwetherError(
            f"There is no version {named} in the registry; there are: {known}. At least the first "
            f"{SHORTEST_NAME} digits are needed."
        )

    def register(
        self,
        folder: Path,
        *,
        metrics: Mapping[str, Any] | None = None,
        tags: Mapping[str, str] | None = None,
        report_files: Sequence[Path] = (),
    ) -> Version:
        """Takes a bundle in, with its own figures; the same bundle again is the same version.

        metrics, tags, report_files: as for `annotate`; a known version gains them.
        Raises BundleError for a folder that is no whole bundle.
        """
        bundle = Bundle.open(folder)
        version = self._known(bundle.version) or self._add(bundle, tags or {})
        if metrics or tags or report_files:
            version = self.annotate(version, metrics=metrics, tags=tags, report_files=report_files)
        return version

    def annotate(
        self,
        version: Version,
        *,
        metrics: Mapping[str, Any] | None = None,
        tags: Mapping[str, str] | None = None,
        report_files: Sequence[Path] = (),
    ) -> Version:
        """Adds to a version: nested figures, tags such as `decision`, files such as report.json."""
        with self._speaking() as client:
            self._files.add(version.run_id, metrics or {}, report_files)
            for key, value in (tags or {}).items():
                client.set_model_version_tag(self._name, version.number, key, value)
            found = client.get_model_version(self._name, version.number)
        return version_of(found, found.aliases)

    def set_alias(self, alias: str, version: Version) -> None:
        """Puts an alias at a version. For the champion see `promote`."""
        with self._speaking() as client:
            client.set_registered_model_alias(self._name, alias, version.number)

    def promote(self, version: Version) -> None:
        """Makes a version the champion, and the champion the previous one.

        The first promotion replaces the shipped bundle, which is registered for it, so that it can
        be gone back to.
        """
        self._replace_champion(version, PROMOTION)

    def rollback(self) -> Version:
        """Makes the previous version the champion and returns it; a second call goes forth again.

        A rollback that was killed half-way is completed. Raises BellwetherError when there is no
        previous version.
        """
        champion, previous = self.alias(CHAMPION), self.alias(PREVIOUS)
        self._mended_champion()
        is_half_done = champion and previous and champion.name == previous.name
        if champion and is_half_done and champion.tags.get(MOVED_BY) == ROLLBACK:
            return champion
        previous = self.alias(PREVIOUS)
        if previous is None:
            raise BellwetherError("There is no previous version to go back to.")
        self._replace_champion(previous, ROLLBACK)
        return previous

    def fetch(self, version: Version, cache: Path) -> Path:
        """The version's bundle as a folder of `cache`, named by its hash, every file checked.

        It appears there whole or not at all; several processes may fetch at once. Raises
        BundleError when the files cannot be had, or are not what was registered.
        """
        with self._speaking():
            download = partial(self._files.bundle, version)
        try:
            return fetched(version.name, cache, download)
        except BundleError:
            self.alias(CHAMPION)  # raises where the store is away: then its files are not to blame
            raise

    def manifest(self, version: Version) -> Manifest:
        """What the version's bundle says about itself. Raises as `fetch`."""
        with self._speaking():
            return self._files.manifest(version)

    def report(self, version: Version) -> Any:
        """The content of its report.json; None where it has none. Raises as `fetch`."""
        with self._speaking():
            return self._files.report(version)

    @cached_property
    def _client(self) -> "MlflowClient":
        self.check()
        return connect(self.uri)

    @cached_property
    def _files(self) -> VersionFiles:
        place = None if self.uri.startswith(_SERVERS) else self._store.resolve().as_uri()
        return VersionFiles(self._client, self._name, place)

    @contextmanager
    def _speaking(self) -> Iterator["MlflowClient"]:
        with reachable(self.uri):
            yield self._client

    def _from_alias(self, alias: str) -> "ModelVersion | None":
        with self._speaking() as client, _absent_is_none():
            return client.get_model_version_by_alias(self._name, alias)
        return None

    def _aliases(self, client: "MlflowClient") -> dict[str, str]:
        """Alias to number; a search does not tell."""
        with _absent_is_none():
            return {
                name: str(at)
                for name, at in client.get_registered_model(self._name).aliases.items()
            }
        return {}

    def _numbered(self, client: "MlflowClient") -> Iterator["ModelVersion"]:
        """All of MLflow's versions of this model."""
        token: str | None = None
        while token != "":
            page = client.search_model_versions(
                f"name='{self._name}'", max_results=_PAGE, page_token=token
            )
            yield from page
            token = page.token or ""

    def _known(self, name: str) -> Version | None:
        return next((version for version in self.versions() if version.name == name), None)

    def _add(self, bundle: Bundle, tags: Mapping[str, str]) -> Version:
        with self._speaking() as client:
            self._ensure_model(client)
            run_id, source = self._files.keep(bundle)
            all_tags = {**tags_of(bundle.manifest), **tags}
            client.create_model_version(self._name, source, run_id, tags=all_tags)
        added = self._known(bundle.version)
        if added is None:
            raise ConfigurationError(f"The registry at {self.uri} does not keep what it is given.")
        return added

    def _ensure_model(self, client: "MlflowClient") -> None:
        from mlflow.exceptions import MlflowException

        try:
            client.create_registered_model(self._name)
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise

    def _replace_champion(self, version: Version, moved_by: str) -> None:
        champion = self._mended_champion() or self.register(SHIPPED_BUNDLE)
        if champion.name != version.name:
            self.annotate(version, tags={REPLACES: champion.name, MOVED_BY: moved_by})
        self.set_alias(CHAMPION, version)
        if champion.name != version.name:
            self.set_alias(PREVIOUS, champion)

    def _mended_champion(self) -> Version | None:
        """The champion, after `previous` was put where the champion's tag says."""
        champion = self.alias(CHAMPION)
        if champion is None or REPLACES not in champion.tags:
            return champion
        previous, replaced = self.alias(PREVIOUS), champion.tags[REPLACES]
        if previous is None or previous.name != replaced:
            before = self._known(replaced)
            if before:  # else somebody has deleted it in MLflow
                self.set_alias(PREVIOUS, before)
        return champion


@contextmanager
def _absent_is_none() -> Iterator[None]:
    """Ends the block where MLflow says that there is no such model or alias."""
    from mlflow.exceptions import MlflowException

    try:
        yield
    except MlflowException as error:
        if error.error_code not in _ABSENT:
            raise
