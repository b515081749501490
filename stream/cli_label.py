"""`bellwether label`: a person labels texts in the terminal, or sends a file of labels."""

import getpass
import sys
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated

import typer

from schemas.errors import BellwetherError, ConfigurationError
from stream.cli_base import INTERRUPTED, Force, explained, operator_settings, run, span

if TYPE_CHECKING:
    from schemas.taxonomy import Task, Taxonomy
    from stream.label_session import Record
    from stream.settings import Settings

LONGEST_NAME = 256


@explained
def label(
    task: Annotated[
        str | None, typer.Option(help="Which task; default: the stream's first, news.sentiment.")
    ] = None,
    stream: Annotated[
        str | None, typer.Option(help="financial-news or customer-messages; default: the task's.")
    ] = None,
    annotator: Annotated[
        str | None, typer.Option(metavar="NAME", help="Who labels; default: your login name.")
    ] = None,
    count: Annotated[int | None, typer.Option(min=1, help="End after so many labels.")] = None,
    audit_share: Annotated[
        float, typer.Option(min=0, max=1, help="Share of texts that are drawn by chance.")
    ] = 0.1,
    within: Annotated[
        timedelta, typer.Option(parser=span, metavar="SPAN", help="How old texts may be.")
    ] = "7d",  # type: ignore[assignment]
    file: Annotated[
        str | None,
        typer.Option("--from", metavar="FILE", help="Send the labels of a file; - is the input."),
    ] = None,
    force: Force = False,
) -> None:
    """Label texts in the terminal, those first that teach the model the most.

    From some hundred recent texts that you did not label, those come first of which the model is
    least sure and that are unlike the ones before. Type the number of a label, or a part of its
    name and then the number; ? lists all labels, s skips, u takes the last label back, q ends.
    Enter alone answers nothing. Each label is sent at once.

    A share of the texts is drawn by chance: audits, which tell how often the model is right. Its
    answer is not shown there, so that it does not lead you. Texts in a language that the model does
    not know are asked as audits only.

    --from sends labels in JSON lines with event_id, stream, task and label (null takes one back),
    and perhaps entity, text, annotator, given_at, selection. Lines that are wrong are named, and
    the others are sent.

    \b
    Examples:
      $ bellwether label --task message.intent
      $ bellwether label --stream financial-news --count 20 --annotator ana
      $ bellwether label --task news.topic --audit-share 1     only audits
      $ bellwether label --from labels.jsonl --annotator desk
    """
    from models.bundle import taxonomy_of
    from stream.champion import model_folder

    settings, name = operator_settings(), _annotator(annotator)
    taxonomy = taxonomy_of(model_folder(settings), settings.taxonomy)
    if file is not None:
        given = {"task": task, "stream": stream, "annotator": name}
        defaults = {name: value for name, value in given.items() if value is not None}
        _send_file(settings, file, taxonomy, defaults, force)
        return
    from stream.labelling import chosen_task

    chosen = chosen_task(taxonomy, task, stream)
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise ConfigurationError(
            "`bellwether label` talks with a person in a terminal; --from sends a file of labels"
        )
    record = _label(settings, chosen, name, datetime.now(UTC) - within, count, audit_share)
    if record.interrupted:
        raise typer.Exit(INTERRUPTED)


def _annotator(name: str | None) -> str:
    try:
        found = name or getpass.getuser()
    except (KeyError, OSError):
        raise ConfigurationError("you have no login name here: say --annotator NAME") from None
    if len(found) > LONGEST_NAME:
        raise ConfigurationError(f"--annotator: at most {LONGEST_NAME} characters")
    return found


def _label(
    settings: "Settings",
    task: "Task",
    annotator: str,
    since: datetime,
    count: int | None,
    audit_share: float,
) -> "Record":
    """Fetch and classify texts, then ask."""
    from random import Random

    from stream.classifiers import load_classifier
    from stream.display import screen, step_progress
    from stream.label_pool import classified, recent_texts
    from stream.label_sender import label_sender
    from stream.label_session import LabelSession, Record
    from stream.labelling import TextChoice

    random, console = Random(), screen()
    with step_progress() as step:
        step("looking for texts", 0, 0)
        pool = run(recent_texts(settings, task, annotator, since, random))
        if not pool:
            console.print(
                f"There is nothing to label: {settings.prefix}{task.kind.stream} holds no document "
                f"since {since:%Y-%m-%d %H:%M} UTC without a label of {task.name} by {annotator}."
            )
            return Record()
        step("asking the model", 0, 0)
        candidates = classified(load_classifier(settings), pool, task)

    async def talk() -> Record:
        async with label_sender(settings) as send:
            texts = TextChoice(candidates, audit_share, random)
            session = LabelSession(texts, task, annotator, send, console, count=count)
            try:
                await session.run()
            finally:
                console.print(f"\n{session.record}")
            return session.record

    return run(talk())


def _send_file(
    settings: "Settings", file: str, taxonomy: "Taxonomy", defaults: dict[str, str], forced: bool
) -> None:
    from stream.display import replay_progress
    from stream.label_sender import send_file
    from stream.wording import counted

    with replay_progress() as report:
        outcome = run(send_file(settings, file, taxonomy, defaults, report, forced=forced))
    sent, refused = counted(outcome.tally.confirmed, "label"), counted(outcome.refused, "line")
    print(f"{sent} confirmed, {refused} refused")
    for reason in outcome.reasons:
        print(reason)
    if outcome.refused:
        raise BellwetherError(f"no labels, and not sent: {refused}")
