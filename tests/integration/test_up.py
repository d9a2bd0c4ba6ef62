"""Every function of an application as a process of its own, joined by a real Kafka."""

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from pathlib import Path

import pytest

NLP = Path(__file__).parents[2] / "examples" / "nlp" / "nlp.py"
LINE = re.compile(r"^(?P<name>\S+) +\| (?P<said>.*)$")
ADDRESS = re.compile(r"answers on (http://\S+)")
PROCESS = re.compile(r"started as process (\d+)")


class Up:
    """`penstock up` as a process, with what it says."""

    def __init__(self, target, *options, **environment):
        self.lines = []
        self._heard = threading.Condition()
        self.process = subprocess.Popen(
            [sys.executable, "-m", "penstock", "up", str(target), "--port", "0", *options],
            stderr=subprocess.PIPE,
            text=True,
            env=os.environ | environment,
            start_new_session=True,  # as a shell has a group of processes for what it starts
        )
        self._thread = threading.Thread(target=self._read)
        self._thread.start()

    def _read(self):
        for line in self.process.stderr:
            with self._heard:
                self.lines.append(line.rstrip())
                self._heard.notify_all()

    def hear(self, name, pattern, *, count=1, timeout=60):
        """Wait for the line of a function that matches for the count-th time; return the match."""

        def found():
            said = [match["said"] for line in self.lines if (match := LINE.match(line)) and match["name"] == name]
            matches = [match for line in said if (match := re.search(pattern, line))]
            return matches[count - 1] if len(matches) >= count else None

        with self._heard:
            assert self._heard.wait_for(found, timeout), "\n".join(self.lines)
            return found()

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        code = self.process.wait(60)
        self._thread.join(10)
        return code

    def end(self):
        if self.process.poll() is None:
            self.process.terminate()
            self.process.wait(60)
        self._thread.join(10)
        self.process.stderr.close()


@pytest.fixture
def up():
    started = []

    def start(*arguments, **environment):
        started.append(Up(*arguments, **environment))
        return started[-1]

    yield start
    for one in started:
        one.end()


def post(url, body):
    request = urllib.request.Request(url, json.dumps(body).encode(), {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=30) as answer:
        return answer.status


@pytest.mark.timeout(180)
def test_the_nlp_example_as_two_processes(up, kafka):
    started = up(NLP, INTERNAL_STREAM=kafka.path("paragraphs"), OUTPUT_STREAM=kafka.path("entities"))
    root = started.hear("multi-func", ADDRESS)[1]
    started.hear("enrich", ADDRESS)
    assert post(root, {"url": str(NLP.with_name("holmes.txt"))}) == 200
    found = [json.loads(value) for value in kafka.values("entities", 10, timeout=60, quiet=2.0)]
    assert {"text": "Irene Adler", "meaning": "somebody"}.items() <= found[
        [e["text"] for e in found].index("Irene Adler")
    ].items()
    assert {"PERSON", "GPE", "FAC"} <= {entity["label"] for entity in found}
    assert started.stop() == 0


@pytest.mark.timeout(120)
def test_a_function_that_dies_is_started_again_and_they_stop_in_the_order_of_the_events(up, kafka, tmp_path):
    app = tmp_path / "two.py"
    app.write_text(f"""
import penstock

fn = penstock.new_function("two")
graph = fn.set_topology("flow")
graph.to(name="add", handler="(event + 1)").to(">>", "q", path="kafka:///{kafka.name("q")}")\\
     .to(name="double", handler="(event * 2)", function="second").to(">>", "out", path="kafka:///{kafka.name("out")}")
fn.add_child_function("second", "./")
""")
    kafka.make("q")
    kafka.make("out")
    started = up(app, "--kafka", kafka.address)
    root = started.hear("two", ADDRESS)[1]
    started.hear("second", ADDRESS)
    assert post(root, 1) == 200
    assert kafka.values("out", 1) == [b"4"]
    os.kill(int(started.hear("second", PROCESS)[1]), signal.SIGKILL)
    started.hear("second", "ended with -9, is started again in 0.5 s")
    started.hear("second", ADDRESS, count=2)
    assert post(root, 2) == 200
    # What it did not get to commit comes again.
    assert list(dict.fromkeys(kafka.values("out", 2, timeout=60, quiet=2.0))) == [b"4", b"6"]
    assert started.stop() == 0
    ends = [line for line in started.lines if line.endswith("ended with 0")]
    assert [line.split()[0] for line in ends] == ["two", "second"]


SLOW = """
import os
import time
import penstock

def wait(body):
    print("took", body)
    time.sleep(body)
    return body

fn = penstock.new_function("slow")
graph = fn.set_topology("flow")
graph.to(name="wait", handler="wait").to(">>", "q", path=os.environ["Q"])\\
     .to(name="same", handler="(event)", function="second").to(">>", "out", path=os.environ["OUT"])
fn.add_child_function("second", "./")
"""


@pytest.fixture
def slow(up, kafka, tmp_path):
    """An application whose first function sleeps; as a process that has answered, and its address."""
    app = tmp_path / "slow.py"
    app.write_text(SLOW)
    kafka.make("q")
    kafka.make("out")
    started = up(app, Q=kafka.path("q"), OUT=kafka.path("out"), PYTHONUNBUFFERED="")
    root = started.hear("slow", ADDRESS)[1]
    started.hear("second", ADDRESS)
    return started, root


@pytest.mark.timeout(120)
def test_ctrl_c_stops_the_functions_in_order_with_all_that_is_under_way(slow, kafka):
    started, root = slow
    assert post(root, 1.5) == 200
    started.hear("slow", "took 1.5")  # and what is printed is seen while it runs
    os.killpg(started.process.pid, signal.SIGINT)  # as a terminal sends it
    assert started.process.wait(60) == 0
    assert kafka.values("out", 1) == [b"1.5"]
    assert [line.split()[0] for line in started.lines if line.endswith("ended with 0")] == ["slow", "second"]


@pytest.mark.timeout(120)
def test_a_second_signal_ends_all_functions_at_once(slow):
    started, root = slow
    assert post(root, 60) == 200
    started.hear("slow", "took 60")
    started.process.send_signal(signal.SIGTERM)
    started.hear("slow", "draining")
    began = time.monotonic()
    started.process.send_signal(signal.SIGTERM)
    assert started.process.wait(10) == 75
    assert time.monotonic() - began < 2


@pytest.mark.timeout(120)
def test_no_function_outlives_the_one_who_started_it(slow):
    started, _ = slow
    pids = [int(started.hear(name, PROCESS)[1]) for name in ("slow", "second")]
    started.process.kill()
    end = time.monotonic() + 30
    while any(Path(f"/proc/{pid}").exists() for pid in pids):
        assert time.monotonic() < end
        time.sleep(0.05)


@pytest.mark.timeout(120)
def test_a_function_that_somebody_else_stops_is_started_again(slow):
    started, _ = slow
    os.kill(int(started.hear("second", PROCESS)[1]), signal.SIGTERM)
    started.hear("second", "ended with 0, is started again in 0.5 s")
    started.hear("second", ADDRESS, count=2)
    assert started.stop() == 0


def test_functions_joined_by_memory_are_refused(tmp_path):
    app = tmp_path / "memory.py"
    app.write_text("""
import penstock

fn = penstock.new_function("one")
fn.set_topology("flow").to(name="a", handler="(event)").to(">>", "q", path="")\\
  .to(name="b", handler="(event)", function="second")
fn.add_child_function("second", "./")
""")
    done = subprocess.run(
        [sys.executable, "-m", "penstock", "up", str(app)], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 1
    assert "queue 'q' leads to a function in a process of its own" in done.stderr


def test_brokers_that_nobody_names_are_told_before_anything_is_started(tmp_path):
    app = tmp_path / "unnamed.py"
    app.write_text("""
import penstock

fn = penstock.new_function("one")
fn.set_topology("flow").to(name="a", handler="(event)").to(">>", "q", path="kafka:///in")\\
  .to(name="b", handler="(event)", function="second")
fn.add_child_function("second", "./")
""")
    environment = {name: value for name, value in os.environ.items() if name != "PENSTOCK_KAFKA"}
    done = subprocess.run(
        [sys.executable, "-m", "penstock", "up", str(app)],
        capture_output=True, text=True, timeout=60, check=False, env=environment,
    )  # fmt: skip
    assert (done.returncode, "started as process" in done.stderr) == (1, False)
    assert "the stream 'kafka:///in' needs brokers and a topic" in done.stderr
