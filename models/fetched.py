"""Bundles fetched from elsewhere into a folder of one's own: whole or not at all."""

import os
import shutil
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory

from models.bundle import Bundle
from schemas.errors import BundleError

_FETCHING = ".fetching-"
_LONGEST_FETCH_SECONDS = 3600
_KEPT_BUNDLES = 5


def fetched(version: str, cache: Path, download: Callable[[Path], Path]) -> Path:
    """The bundle as a folder of `cache`, named by its version, every file checked.

    download: puts the bundle into a folder and says where; called unless it is there.

    Several processes may fetch at once, and be killed at any point. The five bundles that were
    asked for last are kept. Raises BundleError when it is damaged or another version, or when
    there is no room for it.
    """
    place = cache / version
    try:
        if _is_whole(place):
            os.utime(place)
        else:
            _fetch(version, place, download)
    except OSError as error:
        raise BundleError(
            f"Version {version} cannot be kept in {cache}: {error.strerror or error}."
        ) from error
    return place


def _fetch(version: str, place: Path, download: Callable[[Path], Path]) -> None:
    place.parent.mkdir(parents=True, exist_ok=True)
    _sweep(place.parent)
    with TemporaryDirectory(prefix=_FETCHING, dir=place.parent) as temporary:
        folder = download(Path(temporary))
        found = Bundle.open(folder).version
        if found != version:
            raise BundleError(f"The files of version {version} are those of {found}.")
        _put(folder, place, Path(temporary) / "damaged")


def _is_whole(folder: Path) -> bool:
    try:
        return Bundle.open(folder).version == folder.name
    except (BundleError, OSError):
        return False


def _put(fetched: Path, place: Path, aside: Path) -> None:
    """Moves a bundle to its place. Of two processes that come at once the second finds the place
    taken, by a bundle that is as good as its own."""
    if place.exists() and not _is_whole(place):
        with suppress(FileNotFoundError):
            place.rename(aside)
    try:
        fetched.rename(place)
    except OSError:
        if not _is_whole(place):
            raise


def _sweep(cache: Path) -> None:
    """Removes what killed processes left half fetched, and all but the newest bundles."""
    folders = [folder for folder in cache.iterdir() if folder.is_dir()]
    for folder in folders:
        if folder.name.startswith(_FETCHING) and _age(folder) > _LONGEST_FETCH_SECONDS:
            shutil.rmtree(folder, ignore_errors=True)
    bundles = [folder for folder in folders if not folder.name.startswith(".")]
    for folder in sorted(bundles, key=_age)[_KEPT_BUNDLES - 1 :]:
        shutil.rmtree(folder, ignore_errors=True)


def _age(folder: Path) -> float:
    """Seconds since it was last used; none for one that is gone meanwhile."""
    try:
        return time.time() - folder.stat().st_mtime
    except FileNotFoundError:
        return 0.0
