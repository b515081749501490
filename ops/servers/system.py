"""What the Debian system must have; installed by apt where that is allowed."""

import contextlib
import importlib.util
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from ops.servers.errors import ServerError

PACKAGES = {
    "docker-compose": "docker-compose",
    "java": "openjdk-17-jre-headless",
    "mvn": "maven",
    "redis-server": "redis-server",
    "setpriv": "util-linux",
    "venv": f"python{sys.version_info.major}.{sys.version_info.minor}-venv",
}
POLICY = Path("/usr/sbin/policy-rc.d")
SYSTEMD = Path("/run/systemd/system")
APT = ("apt-get", "-o", "DPkg::Lock::Timeout=300")


def require(*needs: str, say: Callable[[str], None] = print) -> None:
    """Make sure that the commands (or venv) exist; install their packages as root on Debian.

    Raises ServerError with the exact command to type where they may not be installed from here.
    """
    packages = sorted({PACKAGES[need] for need in needs if not _present(need)})
    if not packages:
        return
    if os.geteuid() != 0 or not shutil.which("apt-get"):
        raise ServerError(
            f"This machine lacks {', '.join(packages)}. Please type:\n"
            f"  sudo apt-get update && sudo apt-get install -y {' '.join(packages)}"
        )
    say(f"Installing {', '.join(packages)} with apt-get ...")
    with _no_service_starts():
        _apt("update", "-q")
        _apt("install", "-q", "-y", "--no-install-recommends", *packages)
    if "redis-server" in packages and SYSTEMD.exists():
        # The package's own service would hold the default port after the next boot.
        subprocess.run(["systemctl", "disable", "--now", "redis-server"], check=False)


def _present(need: str) -> bool:
    if need == "venv":  # Debian's Python comes without what a virtual environment is made with
        return importlib.util.find_spec("ensurepip") is not None
    return shutil.which(need) is not None


def _apt(*arguments: str) -> None:
    command = ["env", "DEBIAN_FRONTEND=noninteractive", *APT, *arguments]
    done = subprocess.run(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
    )
    if done.returncode:
        raise ServerError(f"{' '.join(command)} failed:\n{done.stdout[-2000:]}")


@contextlib.contextmanager
def _no_service_starts() -> Iterator[None]:
    """Debian's hook against services that start while their package is installed."""
    if POLICY.exists():
        yield
        return
    POLICY.write_text("#!/bin/sh\nexit 101\n")
    POLICY.chmod(0o755)
    try:
        yield
    finally:
        POLICY.unlink()
