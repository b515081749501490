"""How the command line shows versions of the model."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import ValidationError
from rich.console import Console
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text
from rich.tree import Tree

from models.bundle import Manifest
from models.gate_report import GateReport
from models.versions import CHAMPION, REPLACES, Version
from schemas.taxonomy import COMPANY_SENTIMENT
from schemas.times import format_milliseconds
from stream.display import WIDTH_OF_FILES, harmless, screen

_HEADLINE = "accuracy"
_SHORT_NAMES = {COMPANY_SENTIMENT: "company"}
# Of labels that were set aside for one reason; --json has them all.
_MOST_LABELS = 5


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
    """A line each; in a narrow terminal without the figures that have no room."""
    console = screen()
    if not versions:
        console.print("no version is registered: the shipped model serves")
        return
    tasks = list(dict.fromkeys(task for version in versions for task in version.figures))
    tables = [_versions(versions, tasks[:shown]) for shown in range(len(tasks), -1, -1)]
    wide = console.options.update_width(WIDTH_OF_FILES)
    fitting = (t for t in tables if Measurement.get(console, wide, t).maximum <= console.width)
    console.print(next(fitting, tables[-1]))


def _versions(versions: Sequence[Version], tasks: Sequence[str]) -> Table:
    table = _table("version", "aliases", "registered", "parent", *_short(tasks), "decision")
    for column in table.columns:
        column.no_wrap = True
    for version in versions:
        table.add_row(
            Text(version.name, style="bold green" if CHAMPION in version.aliases else ""),
            " ".join(version.aliases),
            f"{version.registered_at:%Y-%m-%d %H:%M}",
            Text(version.parent or "–"),
            *(_share(version.figures.get(task, {}).get(_HEADLINE)) for task in tasks),
            Text(harmless(_decision(version))),
        )
    return table


def _short(tasks: Sequence[str]) -> list[str]:
    """The names without the kind, where they stay different."""
    short = [_SHORT_NAMES.get(task, task.rpartition(".")[2]) for task in tasks]
    return [own if short.count(own) == 1 else task for own, task in zip(short, tasks, strict=True)]


def _decision(version: Version) -> str:
    """In a word or two; the reasons are for `models show`."""
    if version.decision:
        return version.decision.partition(":")[0]
    return "by hand" if REPLACES in version.tags else "–"


def print_version(version: Version, manifest: Manifest, report: Any) -> None:
    """What it is, its figures on each set, and the report, whatever is in it."""
    console = screen()
    facts = {
        "version": version.name,
        "aliases": " ".join(version.aliases) or "–",
        "registered": f"{version.registered_at:%Y-%m-%d %H:%M} UTC",
        "parent": version.parent or "–",
        "decision": version.decision or _decision(version),
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
        print_report(console, report)


def print_report(console: Console, report: Any) -> None:
    """The gate's checks and the labels that were set aside as tables, anything else as it is."""
    rest = dict(report) if isinstance(report, Mapping) else {"content": report}
    gate, resolution = _gate(rest.get("gate")), rest.get("resolution")
    if gate:
        del rest["gate"]
        _print_gate(console, gate)
    found = resolution if isinstance(resolution, Mapping) else {}
    labels = found.get("implausible")
    if isinstance(labels, list) and all(isinstance(each, Mapping) for each in labels):
        named = {"set_aside", "implausible"}
        rest["resolution"] = {name: own for name, own in found.items() if name not in named}
        _print_set_aside(console, labels)
    if rest:
        console.print(tree("report", rest))


def _gate(found: Any) -> GateReport | None:
    try:
        return GateReport.model_validate(found)
    except ValidationError:
        return None


def _print_gate(console: Console, gate: GateReport) -> None:
    table = _table(f"beside {gate.champion}", "check", "figure", "bound", "in words")
    for column in table.columns[:-1]:
        column.no_wrap = True
    for check in gate.checks:
        table.add_row(
            Text("passed", style="green") if check.passed else Text("FAILED", style="bold red"),
            Text(harmless(check.name)),
            f"{check.figure:.4g}",
            "–" if check.bound is None else f"{check.bound:.4g}",
            Text(harmless(check.words)),
        )
    console.print(table)


def _print_set_aside(console: Console, labels: Sequence[Mapping[str, Any]]) -> None:
    """Each reason with how many labels it is for, and the first of them."""
    by_reason: defaultdict[str, list[Mapping[str, Any]]] = defaultdict(list)
    for each in labels:
        by_reason[str(each.get("reason"))].append(each)
    for reason, own in sorted(by_reason.items(), key=lambda pair: -len(pair[1])):
        console.print(Text(harmless(f"{len(own):,} set aside: {reason}")))
        table = _table(*(names := ("task", "label", "annotator", "event_id", "entity")))
        for each in own[:_MOST_LABELS]:
            table.add_row(*(Text(harmless(str(each.get(name) or "–"))) for name in names))
        console.print(table)
        if len(own) > _MOST_LABELS:
            console.print(f"and {len(own) - _MOST_LABELS:,} more, which --json shows", style="dim")


def _print_figures(console: Console, manifest: Manifest) -> None:
    rows = [(task, name, own) for task, s in manifest.metrics.items() for name, own in s.items()]
    measures = list(dict.fromkeys(measure for _, _, own in rows for measure in own))
    table = _table("task", "set", *measures)
    for task, name, own in rows:
        table.add_row(task, name, *(_figure(own.get(measure)) for measure in measures))
    for column in table.columns[2:]:
        column.justify = "right"
    console.print(table)


def _figure(measured: float | None) -> str:
    """A share to three places, a number of texts in whole."""
    if measured is None:
        return ""
    return f"{measured:.3f}" if measured <= 1 else f"{measured:,.0f}"


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
