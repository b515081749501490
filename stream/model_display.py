"""How the command line shows versions of the model."""

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text
from rich.tree import Tree

from models.bundle import Manifest
from models.versions import CHAMPION, Version
from schemas.times import format_milliseconds
from stream.display import harmless, screen

_HEADLINE = "accuracy"


def version_row(version: Version) -> dict[str, Any]:
    """For JSON."""
    return {
        "version": version.name,
        "number": version.number,
        "aliases": list(version.aliases),
        "registered_at": format_milliseconds(version.registered_at),
        "parent": version.parent,
        "figures": version.figures,
        "decision": version.decision,
    }


def print_versions(versions: Sequence[Version]) -> None:
    """A line each."""
    console = screen()
    if not versions:
        console.print("no version is registered: the shipped model serves")
        return
    tasks = list(dict.fromkeys(task for version in versions for task in version.figures))
    table = _table("version", "aliases", "registered", "parent", *tasks, "decision")
    for version in versions:
        table.add_row(
            Text(version.name, style="bold green" if CHAMPION in version.aliases else ""),
            " ".join(version.aliases),
            f"{version.registered_at:%Y-%m-%d %H:%M}",
            Text(version.parent or "–"),
            *(_share(version.figures.get(task, {}).get(_HEADLINE)) for task in tasks),
            Text(harmless(version.decision or "–")),
        )
    console.print(table)


def print_version(version: Version, manifest: Manifest, report: Any) -> None:
    """What it is, its figures on each set, and the report, whatever is in it."""
    console = screen()
    facts = {
        "version": version.name,
        "aliases": " ".join(version.aliases) or "–",
        "registered": f"{version.registered_at:%Y-%m-%d %H:%M} UTC",
        "parent": version.parent or "–",
        "decision": version.decision or "–",
        "recipe": f"{manifest.recipe}, seed {manifest.seed}",
        "encoder": manifest.encoder.name,
        "languages": " ".join(manifest.languages),
        "taxonomy": manifest.taxonomy_version,
        "data": manifest.data_fingerprint,
    }
    grid = Table.grid(padding=(0, 2))
    for name, value in facts.items():
        grid.add_row(Text(name, style="dim"), Text(harmless(value)))
    console.print(grid)
    _print_figures(console, manifest)
    if report is not None:
        console.print(tree("report", report))


def _print_figures(console: Console, manifest: Manifest) -> None:
    rows = [(task, name, own) for task, s in manifest.metrics.items() for name, own in s.items()]
    measures = list(dict.fromkeys(measure for _, _, own in rows for measure in own))
    table = _table("task", "set", *measures)
    for task, name, own in rows:
        table.add_row(task, name, *(_number(own.get(measure)) for measure in measures))
    console.print(table)


def tree(name: str, value: Any) -> Tree:
    """Any JSON value: an object or a list as branches, anything else as a leaf."""
    if isinstance(value, Mapping):
        return _branches(name, [(str(key), item) for key, item in value.items()])
    if isinstance(value, list):
        if any(isinstance(item, Mapping | list) for item in value):
            return _branches(name, [(str(at), item) for at, item in enumerate(value, 1)])
        return _leaf(name, ", ".join(map(_number, value)) or "none")
    return _leaf(name, _number(value))


def _branches(name: str, items: Sequence[tuple[str, Any]]) -> Tree:
    branch = Tree(Text(harmless(name), style="bold"))
    for key, item in items:
        branch.children.append(tree(key, item))
    return branch


def _leaf(name: str, said: str) -> Tree:
    return Tree(Text.assemble((f"{harmless(name)}  ", "dim"), harmless(said)))


def _table(*columns: str) -> Table:
    table = Table(box=None, pad_edge=False, header_style="dim")
    for name in columns:
        table.add_column(name)
    return table


def _share(value: float | None) -> str:
    return "–" if value is None else f"{value:.1%}"


def _number(value: Any) -> str:
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:.6g}" if isinstance(value, float) else str(value)
