"""``python -m ops.servers up|down|status``: the local servers of BELLWETHER_HOME.

A server whose address is set (BELLWETHER_KAFKA, BELLWETHER_REDIS, BELLWETHER_ELASTICSEARCH) and
that lives elsewhere, or answers there already, is left to its owner.
"""

import argparse
import os
import sys
from collections.abc import Sequence

from ops.servers import distributions, system
from ops.servers.errors import ServerError
from ops.servers.home import Home


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit code 0 when done, 1 with a plain sentence on stderr."""
    options = _parser().parse_args(arguments)
    try:
        return int(options.run(options))
    except ServerError as error:
        print(error, file=sys.stderr)
        return 1


def _home(options: argparse.Namespace) -> Home:
    given = {"BELLWETHER_HOME": options.home} if options.home else {}
    return Home.of({**os.environ, **given})


def up(options: argparse.Namespace) -> int:
    home = _home(options)
    home.up()
    print(f"The addresses stand in {home.environment_file}")
    return 0


def down(options: argparse.Namespace) -> int:
    _home(options).down()
    return 0


def status(options: argparse.Namespace) -> int:
    return 0 if _home(options).status() else 1


def require(options: argparse.Namespace) -> int:
    system.require(*options.needs)
    return 0


def checksums(options: argparse.Namespace) -> int:
    lines = [f"{digest}  {name}\n" for name, digest in distributions.checksums().items()]
    distributions.CHECKSUMS.write_text("".join(lines))
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m ops.servers")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for run, text in (
        (up, "start the servers that do not run, and wait until each answers"),
        (down, "end the servers of the home; their data stays"),
        (status, "say of each whether it answers"),
    ):
        command = commands.add_parser(run.__name__, help=text)
        command.add_argument("--home", help="default: BELLWETHER_HOME, else .bellwether")
        command.set_defaults(run=run)
    command = commands.add_parser("require", help="make sure that commands, or venv, are there")
    command.add_argument("needs", nargs="+", choices=list(system.PACKAGES))
    command.set_defaults(run=require)
    command = commands.add_parser("checksums", help="write checksums.txt for a changed pom.xml")
    command.set_defaults(run=checksums)
    return parser


if __name__ == "__main__":
    sys.exit(main())
