"""The local servers, for real."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest
import redis

from ops.servers import Home, Redis, ServerError, distributions, free_port, system
from ops.servers.guard import Guard
from ops.servers.home import KINDS
from ops.servers.ports import HOST, is_free
from ops.servers.process import Process, Stat
from tests.servers import Servers, install, running

CHECKOUT = Path(__file__).parents[2]
SERVER_NAMES = [kind.setting for kind in KINDS]


def listener(port: int) -> socket.socket:
    held = socket.socket()
    held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    held.bind((HOST, port))
    held.listen()
    return held


def watched(folder: Path, guard: Guard) -> Path:
    for name in SERVER_NAMES:
        guard.watch(folder / name)
    return folder


def processes(home: Home) -> list[str]:
    return [(home.folder / name / "process").read_text() for name in SERVER_NAMES]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory, guard: Guard) -> Iterator[Home]:
    """A home that came up while somebody held every default port."""
    install()
    folder = watched(tmp_path_factory.mktemp("home"), guard)
    home = Home(folder, say=lambda _: None, long_running=False)
    with ExitStack() as held:
        for kind in KINDS:
            with suppress(OSError):  # held by somebody else already, which is as good
                held.enter_context(listener(kind.default_port))
        home.up()
    yield home
    home.down()
    shutil.rmtree(folder, ignore_errors=True)


def test_up_passes_over_taken_ports_and_writes_the_addresses(home: Home) -> None:
    addresses = home.addresses()
    assert list(addresses) == [kind.variable for kind in KINDS]
    for kind in KINDS:
        assert f":{kind.default_port}" not in addresses[kind.variable]
    assert home.status()


def test_up_twice_starts_nothing_anew(home: Home) -> None:
    before = processes(home)
    assert home.up() == home.addresses()
    assert processes(home) == before


def test_two_homes_run_side_by_side_and_one_goes_down_alone(
    home: Home, tmp_path: Path, guard: Guard
) -> None:
    said: list[str] = []
    shared = {"elasticsearch": home.addresses()["BELLWETHER_ELASTICSEARCH"]}
    second = Home(watched(tmp_path, guard), shared, said.append, long_running=False)
    second.up()
    assert f"Elasticsearch: {shared['elasticsearch']} is used as it is, nothing is started" in said
    assert set(second.addresses()) == {"BELLWETHER_KAFKA", "BELLWETHER_REDIS"}
    assert not set(second.addresses().values()) & set(home.addresses().values())
    addresses = second.addresses()
    second.down()
    second.down()
    # Kept, so that no command goes to whatever else answers on the default ports.
    assert second.addresses() == addresses
    assert home.status()


def test_a_given_port_that_another_program_holds_is_refused(tmp_path: Path) -> None:
    port = free_port()
    given = {"kafka": "kafka.example.com:9092", "redis": f"redis://127.0.0.1:{port}/0"}
    with (
        listener(port),
        pytest.raises(ServerError, match=f"BELLWETHER_REDIS names port {port}, which another"),
    ):
        Home(tmp_path, given, say=lambda _: None).up()
    assert not list(tmp_path.glob("*/process"))


def test_a_killed_server_comes_back_on_its_port_with_its_data(servers: Servers) -> None:
    address = servers.redis.address
    with redis.Redis.from_url(address) as client:
        client.set("written-before", "the kill")
    servers.redis.kill()
    assert servers.redis.address == address
    with redis.Redis.from_url(address) as client:
        assert client.get("written-before") == b"the kill"


def test_a_stopped_server_holds_its_port_without_an_answer(tmp_path: Path, guard: Guard) -> None:
    server = Redis(tmp_path / "redis")
    with running(guard, server):
        server.stop_signal()
        assert not server.answers()
        assert not is_free(server.port)
        server.continue_signal()
        assert server.answers()


def test_a_server_that_cannot_start_says_why(tmp_path: Path) -> None:
    server = Redis(tmp_path / "redis")
    with listener(server.port):
        server.start()
        with pytest.raises(ServerError, match="Address already in use"):
            server.wait_ready()


def test_the_guard_ends_servers_of_a_killed_starter(tmp_path: Path) -> None:
    port = free_port()
    starter = f"""
import os, signal
from pathlib import Path
from ops.servers import Redis
from ops.servers.guard import Guard
server = Redis(Path({str(tmp_path / "redis")!r}), {port})
Guard().watch(server.folder)
server.start()
server.wait_ready()
os.kill(os.getpid(), signal.SIGKILL)
"""
    done = subprocess.run([sys.executable, "-c", starter], cwd=CHECKOUT, check=False)
    assert done.returncode == -signal.SIGKILL
    deadline = time.monotonic() + 10
    while not is_free(port):
        assert time.monotonic() < deadline, "the server outlived its starter"
        time.sleep(0.05)


def test_a_process_that_only_has_the_remembered_id_is_left_alone(tmp_path: Path) -> None:
    with subprocess.Popen(["sleep", "60"], start_new_session=True) as other:
        stat = Stat.read(other.pid)
        assert stat
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        file = tmp_path / "process"
        file.write_text(f"{other.pid} {stat.started_ticks - 1} {boot}\n")
        process = Process(file)
        assert not process.running
        process.kill()
        assert other.poll() is None
        other.kill()


def test_without_root_the_exact_command_is_told(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    command = "sudo apt-get update && sudo apt-get install -y maven redis-server"
    with pytest.raises(ServerError, match=command):
        system.require("redis-server", "mvn")


def test_a_file_that_is_not_the_listed_one_is_refused(tmp_path: Path) -> None:
    for line in distributions.CHECKSUMS.read_text().splitlines():
        (tmp_path / line.split()[1]).write_bytes(b"something else")
    with pytest.raises(ServerError, match=r"kafka-clients-4\.1\.0\.jar"):
        distributions.check(tmp_path)
