"""``python -m ops.servers.guard``: kills servers when whoever started them is gone.

Each line of its input names a server's folder. The input ends when its writer ends, in whatever
way; then every server that still runs is killed. It runs in a session of its own, so that a
signal to its starter's group does not reach it.
"""

import subprocess
import sys
from pathlib import Path

from ops.servers.process import Process

CHECKOUT = Path(__file__).parents[2]


class Guard:
    """The starter's end of the guard."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "ops.servers.guard"],
            cwd=CHECKOUT,
            stdin=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def watch(self, folder: Path) -> None:
        """Kill the server of this folder, also one restarted there, when this process ends."""
        if self._process.stdin:
            self._process.stdin.write(f"{folder}\n")
            self._process.stdin.flush()

    def close(self) -> None:
        """Kill what still runs now."""
        self._process.communicate()


def main() -> None:
    """Wait for the end of the input, then kill."""
    for folder in [line.rstrip("\n") for line in sys.stdin]:
        Process(Path(folder) / "process").kill()


if __name__ == "__main__":
    main()
