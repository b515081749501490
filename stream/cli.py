"""The command line: each command calls one function of its module and shows what it answers.

Exit codes: 0 done, 1 failed, 2 wrong usage or configuration, 130 ended by Ctrl-C. Heavy modules
are imported inside the commands, so that help comes at once.
"""

import sys
from typing import Annotated

import typer

from schemas.errors import BellwetherError, ConfigurationError, in_words
from stream import (
    cli_alerts,
    cli_dead_letters,
    cli_explain,
    cli_label,
    cli_models,
    cli_registry,
    cli_retention,
    cli_trainer,
)
from stream.cli_base import (
    DONE,
    FAILED,
    INTERRUPTED,
    WRONG_USAGE,
    Force,
    Json,
    explained,
    fail,
    flush,
    operator_settings,
    run,
    speak_plainly,
)

app = typer.Typer(
    name="bellwether",
    no_args_is_help=True,
    pretty_exceptions_enable=False,  # a traceback with variables would show customers' texts
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.add_typer(cli_dead_letters.app, name="dead-letters")
app.add_typer(cli_alerts.app, name="alerts")
app.add_typer(cli_registry.app, name="models")


def main() -> None:
    """Run the command line and exit."""
    speak_plainly()
    try:
        app()
    except ConfigurationError as error:
        fail(error, WRONG_USAGE)
    except BellwetherError as error:
        fail(error, FAILED)
    except OSError as error:  # a full disk, a home that cannot be written
        fail(in_words(error), FAILED)
    finally:
        flush()


def _version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        print(f"bellwether {version('bellwether')}")
        raise typer.Exit


@app.callback()
@explained
def bellwether(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Real-time understanding of financial news and customers' messages.

    Records come in on Kafka; a fraction of a second later each is a classified document in
    Elasticsearch and, where it is a risk, an alert in Redis. Settings are environment variables
    with the prefix BELLWETHER_, such as BELLWETHER_KAFKA; `make up` starts local servers.

    \b
    The first steps:
      $ bellwether doctor           is everything there?
      $ bellwether init             create topics and index templates
      $ bellwether worker           run the service
      $ bellwether replay news.jsonl --topic financial-news
      $ bellwether alerts watch
    """


@app.command()
@explained
def worker(
    processes: Annotated[
        int, typer.Option("--processes", min=1, max=256, help="Worker processes on this machine.")
    ] = 1,
) -> None:
    """Run the service until Ctrl-C or SIGTERM.

    Takes records from Kafka, classifies them and writes documents and alerts. Runs `init` first.
    SIGTERM drains what is under way for up to 10 seconds; nothing is lost by a kill either.

    \b
    Examples:
      $ bellwether worker
      $ bellwether worker --processes 4     as many as partitions at most
      $ curl http://127.0.0.1:6066/ready    the second process is at 6067
    """
    from stream.settings import load_settings
    from stream.worker import run as work

    raise typer.Exit(work(load_settings(), processes))


@app.command()
@explained
def init() -> None:
    """Create topics and index templates; safe to repeat.

    What exists stays as its owner configured it; `doctor` says what deserves a change.

    \b
    Examples:
      $ bellwether init
      $ BELLWETHER_NAMESPACE=staging bellwether init     beside another installation
    """
    from stream.topics import initialise

    for line in run(initialise(operator_settings())):
        print(line)


@app.command()
@explained
def doctor(as_json: Json = False) -> None:
    """Examine servers, topics, indices, files and the model.

    Prints a line each: ✓ fine, ! to look at, ✗ wrong, with what to do. Exit code 1 if one is wrong.

    \b
    Examples:
      $ bellwether doctor
      $ bellwether doctor --json | jq '.[] | select(.level != "fine")'
    """
    from stream.display import print_findings, print_json
    from stream.doctor import examine, is_well

    findings = run(examine(operator_settings()))
    if as_json:
        print_json(finding.as_dict() for finding in findings)
    else:
        print_findings(findings)
    raise typer.Exit(DONE if is_well(findings) else FAILED)


@app.command()
@explained
def replay(
    file: Annotated[str, typer.Argument(help="A file of JSON lines, also .gz; - is the input.")],
    topic: Annotated[str, typer.Option(help="The topic, without the namespace.")],
    speed: Annotated[
        float | None,
        typer.Option(help="Times faster than it happened; without it as fast as possible."),
    ] = None,
    shift_to_now: Annotated[
        bool, typer.Option("--shift-to-now", help="Move all event times: the last one is now.")
    ] = False,
    fields: Annotated[
        list[str] | None,
        typer.Option("--map", metavar="OURS=THEIRS", help="Read a field from another of theirs."),
    ] = None,
    values: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="OURS=VALUE", help="A field's value where a line has none."),
    ] = None,
    fill: Annotated[
        bool, typer.Option(help="Make up an absent id, time, source, channel and customer.")
    ] = True,
    force: Force = False,
) -> None:
    """Publish a file of JSON lines to a topic, every record confirmed.

    An id that is missing is made of the line, so a replay may be repeated. Lines that are no JSON
    object go as they are: the worker makes them dead letters. {"$base64": "..."} stands for any
    bytes, {"$null": true} for a null value, {"$repeat": "x", "times": 9} for a long text. A file
    that by its beginning is no JSON lines (CSV, an array, UTF-16) is refused with what to do.

    \b
    Examples:
      $ bellwether replay news.jsonl --topic financial-news
      $ bellwether replay tweets.jsonl.gz --topic financial-news --map headline=text \\
          --map published_at=ts --map symbols=ticker --set source=tweets --shift-to-now
      $ bellwether replay messages.jsonl --topic customer-messages --speed 10
      $ tail -f app.log | bellwether replay - --topic customer-messages
    """
    from schemas.sources import parse_map
    from stream.display import replay_progress
    from stream.replay import Order
    from stream.replay import replay as publish

    order = Order(
        file=file,
        topic=topic,
        speed=speed,
        shift_to_now=shift_to_now,
        fields=parse_map(fields or []),
        values=parse_map(values or []),
        fill=fill,
        forced=force,
    )
    with replay_progress() as report:
        tally = publish(operator_settings(), order, report)
    print(tally)
    if tally.interrupted:
        raise typer.Exit(INTERRUPTED)
    if tally.too_old:
        print(
            f"{tally.too_old:,} of the events are older than BELLWETHER_ALERT_MAX_AGE_SECONDS and "
            "raise no alerts; --shift-to-now moves the newest to now",
            file=sys.stderr,
        )
    if tally.refused:
        lines = ", ".join(map(str, tally.too_long))
        more = " and more" if tally.refused > len(tally.too_long) else ""
        raise BellwetherError(f"too long for the topic: line {lines}{more}")


app.command()(cli_models.classify)
app.command()(cli_models.train)
app.command()(cli_models.evaluate)
app.command()(cli_explain.explain)
app.command()(cli_label.label)
app.command()(cli_trainer.trainer)
app.command()(cli_registry.reclassify)
app.command()(cli_retention.prune)
app.command()(cli_retention.forget)
