"""`bellwether prune` and `bellwether forget`: both ask before they remove anything."""

from datetime import UTC, datetime, timedelta
from typing import Annotated

import typer

from stream.cli_base import FAILED, explained, operator_settings, run, span
from stream.wording import counted

Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]


@explained
def prune(
    older_than: Annotated[
        timedelta,
        typer.Option(parser=span, metavar="SPAN", help="How long ago a month ended: 90d, 26w."),
    ],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only name the indices.")] = False,
    yes: Yes = False,
) -> None:
    """Delete the indices of months that are long over.

    Each index holds a month by event time, of news, messages, alerts or drift; it goes as a whole.

    \b
    Examples:
      $ bellwether prune --older-than 365d --dry-run
      $ bellwether prune --older-than 26w --yes      in a nightly job
    """
    from stream.retention import prune as delete

    settings, now = operator_settings(), datetime.now(UTC)
    names = run(delete(settings, older_than, now=now, dry_run=True))
    if not names:
        print("no index is that old")
        return
    print("\n".join(names))
    if dry_run:
        return
    if not yes and not typer.confirm(f"Delete {counted(len(names), 'index')} for good?"):
        raise typer.Exit(FAILED)
    print(f"{len(run(delete(settings, older_than, now=now)))} deleted")


@explained
def forget(
    customer: Annotated[str, typer.Option(metavar="ID", help="The customer's id.")],
    yes: Yes = False,
) -> None:
    """Remove a customer's messages, the alerts they raised, and the labels of their texts.

    Labels are erased by a tombstone each, for every message that is in the index. Out of reach are
    the topics that Kafka keeps for their retention: records, feedback and dead letters of the
    customer vanish from there by themselves. May be repeated, also after an interruption.

    \b
    Examples:
      $ bellwether forget --customer c-1804
      $ bellwether forget --customer c-1804 --yes
    """
    from stream.retention import forget as remove

    if not yes and not typer.confirm(f"Remove everything of customer {customer} for good?"):
        raise typer.Exit(FAILED)
    print(run(remove(operator_settings(), customer)))
