"""``python -m ops.servers up|down|status``: the local servers of a home folder."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from ops.servers import distributions
from ops.servers.errors import ServerError
from ops.servers.home import KINDS, Home


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit code 0 when done, 1 with a plain sentence on stderr."""
    options = _parser().parse_args(arguments)
    addresses = {kind.setting: getattr(options, kind.setting) for kind in KINDS}
    try:
        return _run(options.command, Home(options.home, addresses))
    except ServerError as error:
        print(error, file=sys.stderr)
        return 1


def _run(command: str, home: Home) -> int:
    if command == "checksums":
        lines = [f"{digest}  {name}\n" for name, digest in distributions.checksums().items()]
        distributions.CHECKSUMS.write_text("".join(lines))
        return 0
    if command == "up":
        home.up()
        print(f"The addresses stand in {home.environment_file}")
        return 0
    if command == "down":
        home.down()
        return 0
    return 0 if home.status() else 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m ops.servers", description=__doc__)
    parser.add_argument("command", choices=("up", "down", "status", "checksums"))
    parser.add_argument("--home", type=Path, default=Path(".bellwether"), help="their folder")
    for kind in KINDS:
        parser.add_argument(f"--{kind.setting}", default="", help=f"value of {kind.variable}")
    return parser


if __name__ == "__main__":
    sys.exit(main())
