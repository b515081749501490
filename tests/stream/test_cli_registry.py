"""`bellwether models` on a real SQLite registry."""

import io
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from rich.console import Console

from models.bundle import SHIPPED_BUNDLE, Bundle
from stream.model_display import tree
from tests.models.small_bundle import another_bundle

SHIPPED = Bundle.open(SHIPPED_BUNDLE).version
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
