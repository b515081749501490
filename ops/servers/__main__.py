"""``python -m ops.servers up|down|status``: the local servers of BELLWETHER_HOME.

A server whose address is set (BELLWETHER_KAFKA, BELLWETHER_REDIS, BELLWETHER_ELASTICSEARCH) and
that lives elsewhere, or answers there already, is left to its owner.
"""

import argparse
import os
import sys
from collections.abc import Sequence

from ops.servers import distributions
from ops.servers.errors import ServerError
from ops.servers.home import Home


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit code 0 when done, 1 with a plain sentence on stderr."""
    options = _parser().parse_args(arguments)
    given = {"BELLWETHER_HOME": options.home} if options.home else {}
    try:
        return _run(options.command, Home.of({**os.environ, **given}))
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
    parser = argparse.ArgumentParser(prog="python -m ops.servers")
    parser.add_argument("command", choices=("up", "down", "status", "checksums"))
    parser.add_argument("--home", help="their folder; default: BELLWETHER_HOME or .bellwether")
    return parser


if __name__ == "__main__":
    sys.exit(main())
