"""What the benchmarks judge and count with: bench/gate/gate.py and bench/processes.py."""

import subprocess
import sys
import time
from pathlib import Path

import pytest
from gate.gate import judge
from processes import cpu_seconds, family, whole

linux_only = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")

BURN = "import time\nwhile time.process_time() < 0.3: pass\n"
# Starts a process in a session of its own whose parent ends at once, and waits for the signal.
PARENT = """
import signal, subprocess, sys, time
subprocess.run([sys.executable, "-c", {burn!r}])
middle = "import subprocess, sys; subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'], " \\
         "start_new_session=True)"
subprocess.run([sys.executable, "-c", middle])
print("ready", flush=True)
time.sleep(60)
"""


def test_a_path_that_takes_more_instructions_is_named(capsys):
    base = {"hop": 1000, "head": 1000, "json": 1000}
    assert judge({"hop": 1031, "head": 1029, "json": 900, "new": 5}, base) == ["hop"]
    said = capsys.readouterr().out
    assert "dearer" in said
    assert "cheaper" in said


def test_paths_that_take_as_many_instructions_pass():
    assert judge({"hop": 1000}, {"hop": 1000}) == []


@pytest.fixture
def server(tmp_path):
    """Run a server that has started one process that ended, and one whose parent ended."""
    log = tmp_path / "log"
    command = [sys.executable, "-c", PARENT.format(burn=BURN)]
    with whole(command, log, environment={}, folder=tmp_path, patience=5) as server:
        end = time.monotonic() + 30
        while "ready" not in log.read_text():
            assert time.monotonic() < end
            time.sleep(0.01)
        yield server


@linux_only
def test_the_processor_time_of_children_that_have_ended_counts(server):
    assert cpu_seconds(server.pid) >= 0.3


@linux_only
def test_a_process_whose_parent_has_ended_is_still_of_the_family(server):
    assert len(family(server.pid)) == 2


@linux_only
def test_none_of_a_server_is_left(tmp_path):
    command = [sys.executable, "-c", PARENT.format(burn="")]
    with whole(command, tmp_path / "log", environment={}, folder=tmp_path, patience=5) as server:
        end = time.monotonic() + 30
        while len(members := family(server.pid)) < 2 or "ready" not in (tmp_path / "log").read_text():
            assert time.monotonic() < end
            time.sleep(0.01)
    assert isinstance(server, subprocess.Popen)
    assert server.poll() is not None
    states = [Path(f"/proc/{process.pid}/stat") for process in members]
    running = [path for path in states if path.exists() and path.read_text().rpartition(")")[2].split()[0] != "Z"]
    assert running == []
