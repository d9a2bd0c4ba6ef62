"""Signals that come while a graph is being made."""

import pathlib
import signal
import subprocess
import sys
import time

import pytest

LOADS = """
import pathlib
import time
import penstock

class Loads(penstock.serving.V2ModelServer):
    def load(self):
        pathlib.Path({mark!r}).touch()
        time.sleep(60)

    def predict(self, body):
        return [1]

fn = penstock.new_function("loads")
fn.add_model("m", class_name=Loads)
if __name__ == "__main__":
    fn.serve(port=0)
"""
COMMANDS = {"command": ["-m", "penstock", "serve", "{path}", "--port", "0"], "program": ["{path}"]}


@pytest.mark.parametrize(
    ("how", "number"), [("command", signal.SIGTERM), ("command", signal.SIGINT), ("program", signal.SIGTERM)]
)
def test_a_process_that_loads_ends_at_once_and_well(how, number, tmp_path):
    mark, path = tmp_path / "loading", tmp_path / "loads.py"
    path.write_text(LOADS.format(mark=str(mark)))
    command = [part.format(path=path) for part in COMMANDS[how]]
    process = subprocess.Popen([sys.executable, *command], stderr=subprocess.PIPE, text=True)
    try:
        end = time.monotonic() + 30
        while not mark.exists():
            assert process.poll() is None
            assert time.monotonic() < end
            time.sleep(0.02)
        # A handler of its own is what the first process of a container needs: the kernel sends it no other signals.
        caught = next(line for line in _status(process.pid) if line.startswith("SigCgt:")).split()[1]
        assert int(caught, 16) & 1 << (number - 1)
        process.send_signal(number)
        _, said = process.communicate(timeout=10)
    finally:
        process.kill()
        process.communicate()
    assert (process.returncode, said) == (0, "penstock: stopped\n")


def _status(pid):
    return pathlib.Path(f"/proc/{pid}/status").read_text().splitlines()
