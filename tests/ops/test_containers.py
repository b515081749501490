"""The container files, checked without a container engine."""

import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from ops.servers import system

CHECKOUT = Path(__file__).parents[2]
COMPOSE = CHECKOUT / "docker-compose.yml"


@pytest.fixture(scope="module")
def services() -> dict[str, dict[str, Any]]:
    system.require("docker-compose")
    program = shutil.which("docker-compose")
    assert program
    done = subprocess.run(
        [program, "-f", COMPOSE, "config"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, dict[str, Any]] = yaml.safe_load(done.stdout)["services"]
    return found


def test_all_parts_are_there(services: dict[str, dict[str, Any]]) -> None:
    assert set(services) == {"kafka", "redis", "elasticsearch", "kibana", "mlflow", "worker"}


def test_every_service_is_pinned_watched_and_limited(services: dict[str, dict[str, Any]]) -> None:
    for name, service in services.items():
        tag = service["image"].rpartition(":")[2]
        assert tag[:1].isdigit() or tag[:1] == "v", f"{name} is not pinned: {service['image']}"
        assert service["healthcheck"]["test"], name
        assert set(service["deploy"]["resources"]["limits"]) == {"cpus", "memory"}, name


def test_ports_are_open_to_this_machine_only(services: dict[str, dict[str, Any]]) -> None:
    ports = [port for service in services.values() for port in service.get("ports", [])]
    assert ports
    assert all(str(port).startswith("127.0.0.1:") for port in ports)


def test_local_and_container_servers_have_the_same_versions(
    services: dict[str, dict[str, Any]],
) -> None:
    pom = (CHECKOUT / "ops/servers/pom.xml").read_text()
    for name in ("kafka", "elasticsearch"):
        assert f"<version>{services[name]['image'].rpartition(':')[2]}</version>" in pom


def test_the_image_runs_without_root_and_with_checked_packages() -> None:
    lines = (CHECKOUT / "ops/Dockerfile").read_text().splitlines()
    assert "USER bellwether" in lines
    assert any("--require-hashes" in line for line in lines)
    assert any(line.startswith("HEALTHCHECK") for line in lines)


def test_the_image_gets_every_file_it_copies() -> None:
    dockerfile = (CHECKOUT / "ops/Dockerfile").read_text().splitlines()
    copied = [line.split()[1:-1] for line in dockerfile if line.startswith("COPY ")]
    wanted = {name for names in copied for name in names if not name.startswith(("-", "/"))}
    ignore = (CHECKOUT / ".dockerignore").read_text().splitlines()
    assert wanted == {line.removeprefix("!") for line in ignore if line.startswith("!")}
    assert wanted
