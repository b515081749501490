"""The rooms and what they may import, and the checks of style and types."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).parents[1]
CONSOLE_MAY = ("schemas", "models.registry", "stream.settings", "stream.alert_store")
MAY_IMPORT: dict[str, tuple[str, ...]] = {
    "schemas": (),
    "models": ("schemas",),
    "stream": ("schemas", "models"),
    "console": CONSOLE_MAY,
    "ops": ("schemas", "models", "stream", "console"),
    "benchmarks": ("schemas", "models", "stream", "console", "ops", "tests"),
}
OURS = {*MAY_IMPORT, "tests"}
SERVER_CLIENTS = {"aiokafka", "confluent_kafka", "elasticsearch", "faust", "kafka", "redis"}
NETWORK = {"aiohttp", "asyncio", "http", "httpx", "requests", "socket", "subprocess", "urllib3"}
FORBIDDEN = {"schemas": SERVER_CLIENTS | NETWORK, "models": SERVER_CLIENTS}
ENVIRONMENT_READER = "stream/settings.py"
PRODUCT = ("schemas", "models", "stream", "console")


def modules(room: str) -> list[Path]:
    """The files of a room; none where it is not built yet."""
    return sorted((CHECKOUT / room).rglob("*.py"))


def imports(tree: ast.AST, package: str) -> Iterator[str]:
    """Full names of what a module imports, wherever in it the import stands."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            parents = package.split(".")[: -(node.level - 1) or None] if node.level else []
            base = ".".join([*parents, *([node.module] if node.module else [])])
            yield from (f"{base}.{alias.name}" for alias in node.names)


def imports_of(file: Path) -> list[str]:
    package = ".".join(file.relative_to(CHECKOUT).parent.parts)
    return list(imports(ast.parse(file.read_text()), package))


def within(name: str, allowed: tuple[str, ...]) -> bool:
    return any(name == item or name.startswith(f"{item}.") for item in allowed)


@pytest.mark.parametrize("room", MAY_IMPORT)
def test_imports_follow_the_arrows(room: str) -> None:
    against = [
        f"{file.relative_to(CHECKOUT)} imports {name}"
        for file in modules(room)
        for name in imports_of(file)
        if name.split(".")[0] in OURS - {room} and not within(name, MAY_IMPORT[room])
    ]
    assert against == []


@pytest.mark.parametrize("room", FORBIDDEN)
def test_rooms_without_servers_import_no_client(room: str) -> None:
    against = [
        f"{file.relative_to(CHECKOUT)} imports {name}"
        for file in modules(room)
        for name in imports_of(file)
        if name.split(".")[0] in FORBIDDEN[room]
    ]
    assert against == []


def test_only_the_settings_read_the_environment() -> None:
    readers = {
        str(file.relative_to(CHECKOUT))
        for room in PRODUCT
        for file in modules(room)
        if reads_environment(ast.parse(file.read_text()))
    }
    assert readers == {ENVIRONMENT_READER}


def reads_environment(tree: ast.AST) -> bool:
    names = {"environ", "environb", "getenv"}
    return any(
        (isinstance(node, ast.Attribute) and node.attr in names)
        or (isinstance(node, ast.ImportFrom) and any(item.name in names for item in node.names))
        for node in ast.walk(tree)
    )


@pytest.mark.parametrize(
    ("source", "package", "expected"),
    [
        ("import stream.app", "models", ["stream.app"]),
        ("def f():\n    from stream import app", "models", ["stream.app"]),
        ("from . import engine", "models", ["models.engine"]),
        ("from ..stream import app", "models.inner", ["models.stream.app"]),
        ("from .inner.x import y", "models", ["models.inner.x.y"]),
    ],
)
def test_every_form_of_import_is_seen(source: str, package: str, expected: list[str]) -> None:
    assert list(imports(ast.parse(source), package)) == expected


@pytest.mark.parametrize(
    "command", [["ruff", "check"], ["ruff", "format", "--check"], ["mypy"]], ids=" ".join
)
def test_style_and_types(command: list[str]) -> None:
    done = subprocess.run(
        [sys.executable, "-m", *command],
        cwd=CHECKOUT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
