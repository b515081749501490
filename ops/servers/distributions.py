"""Kafka and Elasticsearch as Maven delivers them, checked and unpacked once a user.

The folder's name is a hash of the version list, so a change of versions makes a new folder, and
a checkout of an older state finds its own. It appears under its name only when it is whole.
"""

import contextlib
import fcntl
import functools
import hashlib
import shutil
import subprocess
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from ops.servers import system
from ops.servers.errors import ServerError

CACHE = Path.home() / ".cache/bellwether"
POM = Path(__file__).with_name("pom.xml")
CHECKSUMS = Path(__file__).with_name("checksums.txt")


@dataclass(frozen=True, slots=True)
class Distributions:
    """Where the two are unpacked."""

    kafka: Path
    elasticsearch: Path


@functools.cache
def installed(say: Callable[[str], None] = print) -> Distributions:
    """The unpacked servers; fetched at the first call on a machine. Raises ServerError."""
    version = hashlib.sha256(POM.read_bytes() + CHECKSUMS.read_bytes()).hexdigest()[:12]
    folder = CACHE / f"servers-{version}"
    if not folder.is_dir():
        with lock("install"):
            if not folder.is_dir():
                _install(folder, say)
    return Distributions(folder / "kafka", folder / "elasticsearch")


@contextlib.contextmanager
def lock(name: str) -> Iterator[None]:
    """Let one process of this user at a time into the named section."""
    CACHE.mkdir(parents=True, exist_ok=True)
    with (CACHE / f"{name}.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def checksums() -> dict[str, str]:
    """The SHA-256 of every file that Maven fetches for us, as it is now in the registry."""
    with tempfile.TemporaryDirectory() as folder:
        _fetch(Path(folder))
        return {file.name: _sha256(file) for file in sorted(Path(folder).iterdir())}


def _install(folder: Path, say: Callable[[str], None]) -> None:
    system.require("mvn", "java", say=say)
    say("Fetching Kafka and Elasticsearch with Maven (150 MB, once) ...")
    with tempfile.TemporaryDirectory(dir=CACHE, prefix="fetching-") as temporary:
        fetched, unpacked = Path(temporary, "fetched"), Path(temporary, "unpacked")
        _fetch(fetched)
        check(fetched)
        _unpack(fetched, unpacked)
        unpacked.rename(folder)


def _fetch(folder: Path) -> None:
    command = ["mvn", "-B", "-q", "-f", str(POM), "dependency:copy-dependencies"]
    done = subprocess.run(
        [*command, f"-DoutputDirectory={folder}"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if done.returncode:
        raise ServerError(
            f"Maven could not fetch the servers; is its registry reachable?\n{done.stdout[-2000:]}"
        )


def check(folder: Path) -> None:
    """Compare every file with the committed list; raises ServerError that names the wrong ones."""
    lines = (line.split() for line in CHECKSUMS.read_text().splitlines())
    expected = {name: digest for digest, name in lines}
    found = {file.name: _sha256(file) for file in folder.iterdir()}
    wrong = sorted(name for name in expected | found if expected.get(name) != found.get(name))
    if wrong:
        raise ServerError(
            f"These files are not what {CHECKSUMS.name} lists: {', '.join(wrong)}. "
            "Remove them from ~/.m2/repository and try again."
        )


def _sha256(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _unpack(fetched: Path, folder: Path) -> None:
    (folder / "kafka").mkdir(parents=True)
    for jar in fetched.glob("*.jar"):
        shutil.move(jar, folder / "kafka")
    (archive,) = fetched.glob("elasticsearch-*.zip")
    _unzip(archive, folder)
    (folder / archive.stem).rename(folder / "elasticsearch")


def _unzip(archive: Path, folder: Path) -> None:
    """Unzip with the files' modes, which zipfile leaves out; all may read."""
    with zipfile.ZipFile(archive) as source:
        for member in source.infolist():
            path = Path(source.extract(member, folder))
            path.chmod((member.external_attr >> 16) & 0o777 | (0o755 if member.is_dir() else 0o644))
