"""`bellwether dead-letters`: look at records that could not become documents, and retry them."""

from datetime import datetime
from typing import TYPE_CHECKING, Annotated

import typer

from schemas.errors import BellwetherError, Reason
from stream.cli_base import Json, explained, operator_settings, run, when

if TYPE_CHECKING:
    from stream.dead_letter_box import Identity, Outcome

app = typer.Typer(no_args_is_help=True, help="Records that could not become documents.")


_Reasons = Annotated[
    list[Reason] | None, typer.Option("--reason", help="Only those with this reason; repeatable.")
]
_Since = Annotated[
    datetime | None,
    typer.Option(
        parser=when,
        metavar="WHEN",
        help="Only those that failed at or after it: 2h, 7d, 2026-11-22, 2026-11-22T06:10:00Z.",
    ),
]
_Until = Annotated[
    datetime | None,
    typer.Option(parser=when, metavar="WHEN", help="Only those that failed before it."),
]
_Topic = Annotated[str | None, typer.Option(help="Only those that came from this topic.")]


@app.command("list")
@explained
def list_letters(
    reasons: _Reasons = None,
    since: _Since = None,
    until: _Until = None,
    topic: _Topic = None,
    limit: Annotated[int, typer.Option(min=1, help="Show the newest so many.")] = 50,
    show_value: Annotated[
        bool, typer.Option("--show-value", help="Show the records too: customers' texts!")
    ] = False,
    as_json: Json = False,
) -> None:
    """Show dead letters, the newest first.

    A dead letter is known by where it came from, TOPIC/PARTITION/OFFSET; copies count once.

    \b
    Examples:
      $ bellwether dead-letters list --since 2h
      $ bellwether dead-letters list --reason invalid --reason undecodable --show-value
      $ bellwether dead-letters list --json --limit 1000 | jq -r '.[].message' | sort | uniq -c
    """
    from stream.dead_letter_box import Wanted
    from stream.dead_letter_box import list_letters as look
    from stream.display import letter_row, print_json, print_letters

    wanted = Wanted(frozenset(reasons or ()), since, until, topic)
    listing = run(look(operator_settings(), wanted, limit, keep_values=show_value))
    if as_json:
        print_json(letter_row(letter, show_value=show_value) for letter in listing.letters)
    else:
        print_letters(listing, show_values=show_value)


@app.command()
@explained
def replay(
    identities: Annotated[
        list[str] | None, typer.Argument(metavar="[TOPIC/PARTITION/OFFSET]...", show_default=False)
    ] = None,
    reasons: _Reasons = None,
    since: _Since = None,
    until: _Until = None,
    topic: _Topic = None,
    everything: Annotated[bool, typer.Option("--all", help="All there are.")] = False,
    again: Annotated[
        bool, typer.Option("--again", help="Also those that were replayed before.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Send nothing, say what would be sent.")
    ] = False,
) -> None:
    """Send dead letters again to the topics they came from, as they were.

    For records that failed for a reason that is gone: a mapping corrected, a model fixed. Each is
    sent once, also when you repeat the command and when it failed again meanwhile; --again sends
    those too. Those of which only a part was kept are refused.

    \b
    Examples:
      $ bellwether dead-letters replay --reason rejected_by_index --since 1d --dry-run
      $ bellwether dead-letters replay --reason rejected_by_index --since 1d
      $ bellwether dead-letters replay financial-news/2/1804
    """
    from stream.dead_letter_box import Wanted, replay_letters

    named = frozenset(map(_identity, identities or ()))
    if not (named or reasons or since or until or topic or everything):
        raise typer.BadParameter("say which: an identity, --reason, --since, --topic … or --all")
    wanted = Wanted(frozenset(reasons or ()), since, until, topic, named)
    outcome = run(replay_letters(operator_settings(), wanted, again=again, dry_run=dry_run))
    _tell(outcome, dry_run=dry_run)
    if missing := named - {*outcome.sent, *outcome.remembered}:
        names = ", ".join(sorted("/".join(map(str, identity)) for identity in missing))
        raise BellwetherError(f"not sent, since there is no such dead letter or it is cut: {names}")


def _identity(text: str) -> "Identity":
    from stream.dead_letter_box import parse_identity

    try:
        return parse_identity(text)
    except ValueError:
        raise typer.BadParameter(f"{text!r} is not TOPIC/PARTITION/OFFSET") from None


def _tell(outcome: "Outcome", *, dry_run: bool) -> None:
    from stream.dead_letter_box import written

    for identity, reason in outcome.refused.items():
        print(f"refused {written(identity)}: {reason}")
    done = "would be sent" if dry_run else "sent"
    print(
        f"{len(outcome.sent)} {done}, {len(outcome.remembered)} replayed before, "
        f"{len(outcome.refused)} refused"
    )
