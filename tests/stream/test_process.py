"""What learns leaves the processor to workers; what a log leaves out."""

import json
import logging
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from stream.process import NowAndThen

SESSION = Path("/proc/self/autogroup")
STEPPED_BACK = """
import json, os, pathlib
import numpy as np
matrix = np.ones((600, 600)) @ np.ones((600, 600))  # linear algebra has its threads by now
from stream.process import step_back
step_back(1)
from threadpoolctl import threadpool_info
own = pathlib.Path("/proc/self")
print(json.dumps({
    "niceness": [os.getpriority(os.PRIO_PROCESS, int(t.name)) for t in (own / "task").iterdir()],
    "threads": [each["num_threads"] for each in threadpool_info()],
    "session": (own / "autogroup").read_text() if (own / "autogroup").exists() else "",
}))
"""


def stepped_back(own_session: bool) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, "-c", STEPPED_BACK],
        capture_output=True,
        text=True,
        check=True,
        start_new_session=own_session,
    )
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_every_thread_is_nice_and_libraries_have_few() -> None:
    found = stepped_back(own_session=False)
    assert set(found["niceness"]) == {10}
    assert len(found["threads"]) >= 2
    assert set(found["threads"]) == {1}


@pytest.mark.skipif(not SESSION.exists(), reason="this system does not share among sessions")
def test_a_session_of_its_own_is_nice_and_no_other() -> None:
    before = SESSION.read_text()
    assert stepped_back(own_session=False)["session"] == before
    assert stepped_back(own_session=True)["session"].endswith("nice 10\n")


def test_what_is_said_again_and_again_passes_now_and_then() -> None:
    some = NowAndThen(seconds=10.0)

    def passes(name: str, sentence: str, at: float) -> bool:
        record = logging.LogRecord(name, logging.ERROR, "", 0, sentence, (1,), None)
        record.created = at
        return some.filter(record)

    away, gone = "broker %s is away", "group %s is gone"
    assert [passes("aiokafka.conn", away, 100.0 + n) for n in range(0, 21, 5)] == [
        True, False, True, False, True,
    ]  # fmt: skip
    assert passes("aiokafka.conn", gone, 101.0)
    assert all(passes("stream.elastic", away, 100.0) for _ in range(3))
