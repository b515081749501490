"""`bellwether models` on a real SQLite registry."""

import io
import json
import os
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from models.bundle import SHIPPED_BUNDLE, Bundle
from models.gate_report import Check, GateReport
from models.versions import Version
from stream.model_display import print_report, print_versions, tree
from tests.models.small_bundle import another_bundle

SHIPPED = Bundle.open(SHIPPED_BUNDLE).version
UNKNOWN_LABEL = """
- name: moon
  severity: warning
  kind: news
  when: {topic: moon}
  key: event_id
  reason: "{headline}"
"""
Models = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def models(tmp_path: Path) -> Models:
    """`bellwether models`, in a home of its own and from a folder that must stay empty."""
    (tmp_path / "elsewhere").mkdir()
    checkout = str(Path(__file__).parents[2])

    def run(*arguments: str | Path, **variables: str) -> "subprocess.CompletedProcess[str]":
        home = {"BELLWETHER_HOME": str(tmp_path / "home"), "PYTHONPATH": checkout}
        return subprocess.run(
            [sys.executable, "-m", "stream", "models", *map(str, arguments)],
            cwd=tmp_path / "elsewhere",
            env=os.environ | home | variables,
            capture_output=True,
            text=True,
            check=False,
        )

    return run


def test_a_version_from_its_registration_to_its_rollback(models: Models, tmp_path: Path) -> None:
    none = models("list")
    assert (none.returncode, none.stdout, none.stderr) == (
        0, "no version is registered: the shipped model serves\n", "",
    )  # fmt: skip
    assert json.loads(models("list", "--json").stdout) == []
    bundle = another_bundle(SHIPPED_BUNDLE, tmp_path / "bundle", 1)
    other = Bundle.open(bundle).version
    registered = models("register", bundle)
    assert (registered.returncode, registered.stderr) == (0, "")
    assert registered.stdout.startswith(f"registered {other}; ")
    rules = tmp_path / "rules.yaml"
    rules.write_text(UNKNOWN_LABEL)
    refused = models("promote", other[:4], BELLWETHER_RULES=str(rules))
    assert (refused.returncode, refused.stdout) == (1, "")
    assert refused.stderr.startswith(f"bellwether: Workers would refuse {other}: {rules}:")
    promoted = models("promote", other[:4])
    assert promoted.stdout.startswith(f"{other} is the champion; workers take it within 10 seconds")
    rows = {row["version"]: row for row in json.loads(models("list", "--json").stdout)}
    assert rows[other]["aliases"] == ["champion"]
    assert rows[SHIPPED]["aliases"] == ["previous"]
    assert 0 < rows[other]["figures"]["news.topic"]["accuracy"] < 1
    table = models("list").stdout
    assert f"{other}  champion" in table
    shown = models("show", "champion")
    assert (shown.returncode, shown.stderr) == (0, "")
    assert "twitter_fin_topic" in shown.stdout
    described = json.loads(models("show", "previous", "--json").stdout)
    assert (described["manifest"]["version"], described["report"]) == (SHIPPED, None)
    assert models("rollback").stdout.startswith(f"{SHIPPED} is the champion again; ")
    assert list((tmp_path / "elsewhere").iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("show", "champion"), 1, "There is no champion in the registry yet."),
        (("promote", "abcdef"), 1, "There is no version abcdef in the registry; there are: none"),
        (("rollback",), 1, "There is no previous version to go back to."),
        (("register", "/nowhere"), 1, "There is no model bundle at /nowhere."),
    ],
    ids=str,
)
def test_what_is_not_there_is_told(
    models: Models, arguments: tuple[str, ...], code: int, said: str
) -> None:
    done = models(*arguments)
    assert (done.returncode, done.stdout) == (code, "")
    assert done.stderr.startswith(f"bellwether: {said}")
    assert done.stderr.count("\n") == 1


def test_a_registry_that_is_away_is_told(models: Models) -> None:
    done = models("list", BELLWETHER_REGISTRY="http://127.0.0.1:9")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("bellwether: Cannot use the MLflow store at http://127.0.0.1:9: ")
    assert done.stderr.count("\n") == 1


def test_any_report_is_readable() -> None:
    report = {
        "decision": "refused",
        "tasks": {"news.topic": {"bound": -0.0123456789, "passed": False, "labels": ["a", "b"]}},
        "conflicts": [{"text": "\x1b[31mred", "by": None}],
    }
    console = Console(file=io.StringIO(), width=80)
    console.print(tree("report", report))
    assert isinstance(console.file, io.StringIO)
    said = console.file.getvalue()
    for expected in ("decision  refused", "bound  -0.0123457", "passed  no", "labels  a, b"):
        assert expected in said
    assert "text  \\x1b[31mred" in said


@pytest.mark.parametrize(
    ("columns", "heads"),
    [(100, ["sentiment", "topic", "intent", "emotion"]), (80, ["sentiment"]), (70, [])],
)
def test_a_version_has_one_line_in_any_terminal(
    columns: int, heads: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    tasks = ("news.sentiment", "news.topic", "message.intent", "message.emotion")
    version = Version(
        name="6d67562a9126",
        number="1",
        run_id="",
        registered_at=datetime(2026, 11, 22, 6, 10, tzinfo=UTC),
        aliases=("candidate",),
        tags={
            "parent": "f6c1099925df",
            "decision": "refused: news.topic: 30 texts lost; 0.7 of the speed",
            "figures": json.dumps({task: {"accuracy": 0.875} for task in tasks}),
        },
    )
    console = Console(file=io.StringIO(), width=columns)
    monkeypatch.setattr("stream.model_display.screen", lambda: console)
    print_versions([version])
    assert isinstance(console.file, io.StringIO)
    head, line = console.file.getvalue().splitlines()
    assert head.split() == ["version", "aliases", "registered", "parent", *heads, "decision"]
    assert line.startswith("6d67562a9126  candidate  2026-11-22 06:10  f6c1099925df  ")
    assert line.split()[5:] == ["87.5%"] * len(heads) + ["refused"]


def test_a_report_of_the_gate_is_a_table() -> None:
    speed = Check(name="speed", figure=0.7, bound=0.9, passed=False, words="0.70 of the texts")
    probes = Check(name="probes", figure=0, bound=None, passed=True, words="0 answers changed")
    aside = {
        "task": "news.topic", "event_id": "e1", "entity": None, "annotator": "ana",
        "label": "macro", "reason": "a flood",
    }  # fmt: skip
    report = {
        "gate": GateReport.of("aaaa", "bbbb", (speed, probes)).model_dump(mode="json"),
        "method": "heads",
        "resolution": {"lessons": 3, "set_aside": ["6 set aside: a flood"]}
        | {"implausible": [aside] * 6},
    }
    console = Console(file=io.StringIO(), width=100)
    print_report(console, report)
    assert isinstance(console.file, io.StringIO)
    said = [" ".join(line.split()) for line in console.file.getvalue().splitlines()]
    assert said == [
        "beside aaaa check figure bound in words",
        "FAILED speed 0.7 0.9 0.70 of the texts",
        "passed probes 0 – 0 answers changed",
        "6 set aside: a flood",
        "task label annotator event_id entity",
        *["news.topic macro ana e1 –"] * 5,
        "and 1 more, which --json shows",
        "report",
        "├── method heads",
        "└── resolution",
        "└── lessons 3",
    ]


@pytest.mark.parametrize(
    "report",
    [
        [1],
        "words",
        {"resolution": {"implausible": [1]}},
        {"gate": 1, "resolution": {"implausible": 2}},
    ],
)
def test_a_report_of_any_other_form_is_shown(report: Any) -> None:
    console = Console(file=io.StringIO(), width=100)
    print_report(console, report)
    assert isinstance(console.file, io.StringIO)
    assert console.file.getvalue().startswith("report")
