"""`bellwether models` and `bellwether reclassify`: which model serves, and what it has judged."""

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from schemas.errors import BellwetherError, BundleError
from stream.cli_base import Json, explained, operator_settings, run, when

if TYPE_CHECKING:
    from models.registry import Registry

app = typer.Typer(no_args_is_help=True, help="Versions of the model, and which of them serves.")

_TAKEN = (
    "workers take it within 10 seconds without a pause (those with BELLWETHER_MODEL unset, or set "
    "to champion)"
)
_Named = Annotated[
    str,
    typer.Argument(
        metavar="VERSION",
        help="A version, or the first 4 digits or more; champion, candidate or previous.",
    ),
]


def _registry() -> "Registry":
    from stream.champion import open_registry

    return open_registry(operator_settings())


@app.command("list")
@explained
def list_versions(as_json: Json = False) -> None:
    """Show the registered versions, the newest first.

    `champion` is what workers serve, `candidate` what the trainer proposes, `previous` the champion
    before. The figures are the bundle's own accuracies on held-out texts, for each task the mean
    over its sets; `bellwether models show` has each.

    \b
    Examples:
      $ bellwether models list
      $ bellwether models list --json | jq -r '.[] | [.version, .decision] | @tsv'
    """
    from stream.display import print_json
    from stream.model_display import print_versions, version_row

    versions = _registry().versions()
    if as_json:
        print_json(map(version_row, versions))
    else:
        print_versions(versions)


@app.command()
@explained
def show(named: _Named, as_json: Json = False) -> None:
    """Show a version: what it is, its figures, and the report of the gate if there is one.

    \b
    Examples:
      $ bellwether models show champion
      $ bellwether models show 6d67
      $ bellwether models show candidate --json | jq .report
    """
    from stream.display import print_json_object
    from stream.model_display import print_version, version_row

    registry = _registry()
    version = registry.find(named)
    manifest, report = registry.manifest(version), registry.report(version)
    if as_json:
        shown = {"manifest": manifest.model_dump(mode="json"), "report": report}
        print_json_object(version_row(version) | shown)
    else:
        print_version(version, manifest, report)


@app.command()
@explained
def register(
    folder: Annotated[Path, typer.Argument(help="A bundle's folder, as `train` makes it.")],
) -> None:
    """Take a bundle into the registry; nobody serves it before it is promoted.

    The same bundle again is the same version.

    \b
    Examples:
      $ bellwether models register .bellwether/bundles/heads
      $ bellwether models promote 6d67562a9126
    """
    version = _registry().register(folder)
    print(f"registered {version.name}; to serve it: bellwether models promote {version.name}")


@app.command()
@explained
def promote(named: _Named) -> None:
    """Make a version the champion, which workers serve.

    What was champion is `previous` then. The first promotion registers the shipped model too, so
    that there is a way back. What workers with these settings would refuse (damaged files, other
    answers on this processor, labels that the rules name and it has not) is not promoted.

    \b
    Examples:
      $ bellwether models promote candidate
      $ bellwether models promote 6d67
    """
    from stream.champion import open_registry
    from stream.classifiers import load_model

    settings = operator_settings()
    registry = open_registry(settings)
    version = registry.find(named)
    folder = registry.fetch(version, settings.fetched_models)
    try:
        load_model(folder, settings)
    except BellwetherError as error:
        raise BundleError(f"Workers would refuse {version.name}: {error}") from None
    registry.promote(version)
    print(f"{version.name} is the champion; {_TAKEN}")


@app.command()
@explained
def rollback() -> None:
    """Make the previous version the champion again.

    What was champion stays reachable as `previous`, so a second call goes forth again.

    \b
    Examples:
      $ bellwether models rollback
    """
    version = _registry().rollback()
    print(f"{version.name} is the champion again; {_TAKEN}")


@explained
def reclassify(
    start: Annotated[
        datetime,
        typer.Option(
            "--from",
            parser=when,
            metavar="WHEN",
            help="The earliest event time: 2h, 7d, 2026-11-22, 2026-11-22T06:10:00Z.",
        ),
    ],
    end: Annotated[
        datetime | None,
        typer.Option(
            "--to",
            parser=when,
            metavar="WHEN",
            help="Only events before it.",
            show_default="now",
        ),
    ] = None,
    stream: Annotated[
        Literal["financial-news", "customer-messages"] | None,
        typer.Option(help="Only this stream.", show_default="both"),
    ] = None,
    everything: Annotated[
        bool, typer.Option("--all", help="Also what this model has judged already.")
    ] = False,
) -> None:
    """Judge stored events anew by the model of today. Raises no alert.

    Changes what is the model's in a document: labels, risk, flags, model_version, classified_at.
    May be ended and started again: it goes on with what is not judged yet.

    \b
    Examples:
      $ bellwether reclassify --from 7d
      $ bellwether reclassify --from 2026-11-01 --to 2026-11-15 --stream financial-news
    """
    from schemas.records import Kind
    from stream.display import step_progress
    from stream.reclassify import Wanted
    from stream.reclassify import reclassify as judge

    until = end or datetime.now(UTC)
    if start >= until:
        raise typer.BadParameter("--from is not before --to")
    kinds = tuple(kind for kind in Kind if stream in (None, kind.stream))
    wanted = Wanted(kinds, start, until, everything)
    with step_progress() as progress:
        outcome = run(judge(operator_settings(), wanted, progress))
    print(outcome)
