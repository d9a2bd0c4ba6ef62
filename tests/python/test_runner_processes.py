"""Models in processes: shared memory, deaths, and a clean end from any state."""

import os
import select
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import penstock
import pytest
from penstock.errors import GraphClosed, GraphError, StepError, StepNotReady
from penstock.runner.processes import ProcessPool, WorkerDied
from penstock.runner.shared_memory import pack
from penstock.serving import ModelRunnerStep
from runner_models import Arrays, Deadly, Loaded, MeetInFifo, Stuck, Times, Unloadable, Unpicklable
from served import Served

IMAGE = (1, 3, 224, 224)


@pytest.fixture
def pool():
    """Make pools of processes, and close them."""
    made = []

    def make(*models, count=1):
        made.append(ProcessPool({model.name: model for model in models}, count, "test"))
        return made[-1]

    yield make
    for item in made:
        item.close()


def ask(pool, body, model="m"):
    return pool.submit(model, body, "/", model).result(timeout=30)


def ended(pid, seconds=10):
    """Wait for a process to end; tell whether it did."""
    try:
        file = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        return bool(select.select([file], [], [], seconds)[0])
    finally:
        os.close(file)


def test_a_model_is_loaded_in_its_process(pool):
    answer = ask(pool(Loaded("m")), None)
    assert answer["loaded"] == answer["ran"] != os.getpid()


def test_models_of_one_event_run_at_the_same_time(tmp_path):
    fifo = str(tmp_path / "fifo")
    os.mkfifo(fifo)
    runner = ModelRunnerStep("runner")
    runner.add_model("reads", MeetInFifo, "process_pool", mode="r")
    runner.add_model("writes", MeetInFifo, "process_pool", mode="w")
    runner.configure_pool_resource(max_processes=2)
    fn = penstock.new_function("meet")
    fn.set_topology("flow").to(runner).respond()
    with fn.to_mock_server() as server:
        assert server.test(body=fifo) == {"reads": "met", "writes": 3}


def test_there_are_no_more_processes_than_needed_nor_than_allowed(pool):
    two = pool(Loaded("m"), count=2)
    assert {ask(two, None)["ran"] for _ in range(3)} == set(two.pids)
    assert len(two.pids) == 1
    with ThreadPoolExecutor(8) as callers:
        ran = set(callers.map(lambda _: ask(two, None)["ran"], range(16)))
    assert ran <= set(two.pids)
    assert len(two.pids) <= 2


def test_arrays_come_and_go_whole(pool):
    image = np.random.default_rng(1).random(IMAGE, dtype=np.float32)
    processes = pool(Arrays("m"))
    for size in (1, 224, 10, 224):  # the memory grows, and then is used again
        part = image[..., :size]
        answer = ask(processes, {"how": "return", "array": part})
        np.testing.assert_array_equal(answer["same"], part)
        np.testing.assert_array_equal(answer["twice"][0], part * 2)
        assert answer["same"].flags.writeable


def test_arrays_lie_in_memory_that_both_processes_see(pool):
    small, large = np.zeros(10), np.zeros(100_000)
    processes = pool(Arrays("m"))
    assert not ask(processes, {"how": "home", "array": small})
    assert ask(processes, {"how": "home", "array": large})


def test_an_array_that_is_a_slice_is_not_pickled_either(pool):
    table = np.arange(1_000_000.0).reshape(1000, 1000)
    assert len(pack(table[:, ::2]).head) < 1000
    np.testing.assert_array_equal(ask(pool(Arrays("m")), {"how": "slice", "array": table[::2]}), table[::2, ::2])


def test_memory_for_a_very_large_array_serves_once(pool):
    large = np.arange(70_000_000, dtype=np.uint8)
    processes = pool(Arrays("m"))
    for _ in range(2):
        assert np.array_equal(ask(processes, {"how": "return", "array": large})["same"], large)
    [worker] = processes._idle
    assert worker._asked is None
    assert worker._answered is None


def test_what_a_model_keeps_stays_as_it_was(pool):
    processes = pool(Arrays("m"))
    answers = [ask(processes, {"how": "keep", "array": np.full(50_000, value)}) for value in (1.0, 2.0, 3.0)]
    assert answers[-1] == [50_000.0, 100_000.0, 150_000.0]


def test_memory_that_is_not_to_be_had_is_done_without(pool, monkeypatch):
    def full(file, start, size):
        raise OSError("no space left")

    monkeypatch.setattr(os, "posix_fallocate", full)
    image = np.ones(IMAGE, dtype=np.float32)
    answer = ask(pool(Arrays("m")), {"how": "return", "array": image})
    np.testing.assert_array_equal(answer["twice"][0], image * 2)


@pytest.mark.parametrize(("order", "how"), [("die", "by signal 9"), (3, "with exit code 3")])
def test_a_process_that_dies_fails_its_event_and_is_replaced(order, how):
    runner = ModelRunnerStep("runner")
    runner.add_model("m", Deadly, "dedicated_process")
    fn = penstock.new_function("deadly")
    fn.set_topology("flow").to(runner).respond()
    with fn.to_mock_server() as server:
        first = server.test(body="who")
        with pytest.raises(StepError) as caught:
            server.test(body=order)
        assert str(caught.value).startswith("failed (500): ModelRunnerError: m WorkerDied: the worker process 'pen")
        assert str(caught.value).endswith(how)
        second = server.test(body="who")
    assert first != second
    assert ended(first)
    assert ended(second)


def test_a_process_that_died_while_idle_fails_nobody(pool):
    processes = pool(Deadly("m"))
    [pid] = processes.pids
    os.kill(pid, signal.SIGKILL)
    assert ended(pid)
    assert ask(processes, "who") != pid


def staying(before):
    """Return the names of memory that are new and stay: those of other programs come and go."""
    left = set(os.listdir("/dev/shm")) - before
    end = time.monotonic() + 5
    while left and time.monotonic() < end:
        left &= set(os.listdir("/dev/shm"))
    return left


def test_a_death_in_the_middle_leaves_no_memory_behind(pool):
    processes = pool(Deadly("m"))
    before = set(os.listdir("/dev/shm"))
    with pytest.raises(WorkerDied):
        ask(processes, np.zeros(100_000))
    assert staying(before) == set()


def test_memory_has_no_name_while_a_model_computes_so_that_nothing_can_be_left_behind(pool, tmp_path):
    begun = tmp_path / "begun"
    os.mkfifo(begun)
    before = set(os.listdir("/dev/shm"))
    processes = pool(Stuck("m"))
    processes.submit("m", [str(begun), np.zeros(100_000)], "/", "m")
    assert begun.read_text() == "begun"
    assert staying(before) == set()


def test_an_exception_that_cannot_travel_is_told_in_words(pool):
    with pytest.raises(RuntimeError, match="of its own kind") as caught:
        ask(pool(Unpicklable("m")), "raise")
    assert type(caught.value).__name__ == "OddError"


def test_a_result_that_cannot_travel_fails_its_event_alone(pool):
    processes = pool(Unpicklable("m"), Times("t"))
    with pytest.raises(TypeError, match="the result, of type function, cannot be sent between processes"):
        ask(processes, "return")
    with pytest.raises(TypeError, match="the body, of type lock, cannot be sent between processes"):
        ask(processes, threading.Lock(), "t")
    assert ask(processes, 1, "t") == 1


def test_a_model_that_does_not_load_says_so_when_the_graph_is_made():
    with pytest.raises(StepNotReady, match="model 'm': failed to load in its process: KeyError: 'weights'"):
        ProcessPool({"m": Unloadable("m")}, 1, "test")


def test_a_model_that_cannot_be_sent_says_so_when_the_graph_is_made():
    with pytest.raises(StepNotReady, match="model 'm' cannot be sent to a process, .*load\\(\\) runs in the process"):
        ProcessPool({"m": Times("m", lock=threading.Lock())}, 1, "test")


def test_a_graph_that_could_not_be_made_leaves_no_process():
    fn = penstock.new_function("broken")
    runner = ModelRunnerStep("runner")
    runner.add_model("m", Deadly, "dedicated_process")
    runner.add_model("u", Unloadable, "thread_pool")
    fn.set_topology("flow").to(runner).respond()
    started = []
    start = ProcessPool._start

    def noted(self):
        worker = start(self)
        started.append(worker.process.pid)
        return worker

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ProcessPool, "_start", noted)
        with pytest.raises(GraphError, match="failed to load"):
            fn.to_mock_server()
    assert len(started) == 1
    assert ended(started[0])


def test_closing_ends_a_process_that_computes_and_fails_its_event(tmp_path):
    processes = ProcessPool({"m": Stuck("m")}, 1, "test")
    begun = tmp_path / "begun"
    os.mkfifo(begun)
    running = processes.submit("m", str(begun), "/", "m")
    waiting = processes.submit("m", str(begun), "/", "m")
    assert begun.read_text() == "begun"
    [pid] = processes.pids
    processes.close()
    with pytest.raises(WorkerDied, match="by signal 9"):
        running.result(timeout=10)
    with pytest.raises(GraphClosed):
        waiting.result(timeout=10)
    with pytest.raises(GraphClosed):
        processes.submit("m", "x", "/", "m")
    assert ended(pid)


PROGRAM = """
import os, sys, threading
import penstock
from penstock.runner.processes import ProcessPool
from penstock.serving import ModelRunnerStep
from runner_models import Stuck, Loaded

runner = ModelRunnerStep("runner")
runner.add_model("m", {model}, "process_pool")
runner.add_model("t", {model}, "{beside}")
fn = penstock.new_function("exits")
fn.set_topology("flow").to(runner).respond()
server = fn.to_mock_server()
if {busy}:
    os.mkfifo(sys.argv[1])
    threading.Thread(target=server.test, kwargs={{"body": sys.argv[1], "silent": True}}, daemon=True).start()
    with open(sys.argv[1]) as file:
        file.read()
else:
    server.test(body="x")
print(*runner_pids(), flush=True)
{ending}
"""
PIDS = """
def runner_pids():
    from penstock.runner.processes import _pools
    return [pid for pool in _pools for pid in pool.pids]
"""


@pytest.mark.parametrize("busy", [False, True])
@pytest.mark.parametrize(
    ("ending", "code"),
    [
        ("server.close()", 0),
        ("pass", 0),
        ("raise SystemExit(3)", 3),
        ("os._exit(4)", 4),
        ("os.kill(os.getpid(), 9)", -9),
    ],
    ids=["closed", "forgotten", "exit", "hard exit", "killed"],
)
def test_no_process_outlives_the_interpreter(tmp_path, busy, ending, code):
    model = "Stuck" if busy else "Loaded"
    beside = "dedicated_process" if busy else "thread_pool"
    program = PIDS + PROGRAM.format(model=model, busy=busy, ending=ending, beside=beside)
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path / "begun")],
        capture_output=True,
        text=True,
        timeout=40,
        check=False,
        env={**os.environ, "PYTHONWARNINGS": "error", "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert done.returncode == code, done.stderr
    pids = [int(pid) for pid in done.stdout.split()]
    assert pids
    assert all(ended(pid) for pid in pids)
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("busy", [False, True])
def test_a_pool_without_a_graph_does_not_hold_the_interpreter_up(run_python, tmp_path, busy):
    program = f"""
import os
from penstock.runner.processes import ProcessPool
from runner_models import Stuck
pool = ProcessPool({{"m": Stuck("m")}}, 1, "test")
if {busy}:
    os.mkfifo({str(tmp_path / "begun")!r})
    pool.submit("m", {str(tmp_path / "begun")!r}, "/", "m")
    with open({str(tmp_path / "begun")!r}) as file:
        file.read()
print(*pool.pids)
"""
    path = f"import sys; sys.path[:0] = {sys.path!r}"
    assert ended(int(run_python(f"{path}\n{program}").stdout))


def test_an_interrupt_from_the_terminal_is_left_to_the_parent(pool):
    processes = pool(Deadly("m"))
    [pid] = processes.pids
    for number in (signal.SIGINT, signal.SIGTERM):
        os.kill(pid, number)
    assert ask(processes, "who") == pid


def test_a_script_that_starts_processes_while_it_is_imported_is_told_what_to_write(tmp_path):
    script = tmp_path / "unguarded.py"
    script.write_text(
        "from penstock.runner.processes import ProcessPool\nfrom penstock.serving import Model\n"
        "ProcessPool({'m': Model('m')}, 1, 'test')\n"
    )
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, timeout=40, check=False)
    assert done.returncode == 1
    assert "keeps what it runs under `if __name__ == '__main__':`" in done.stderr.splitlines()[-1]


def test_a_model_of_a_file_that_is_not_on_the_path_reaches_its_process(tmp_path, monkeypatch):
    from importlib import util

    file = tmp_path / "served_by_file.py"
    file.write_text(
        "from penstock.serving import Model\nclass Far(Model):\n    def predict(self, body):\n        return [body]\n"
    )
    spec = util.spec_from_file_location("served_by_file", file)
    module = util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "served_by_file", module)
    spec.loader.exec_module(module)
    processes = ProcessPool({"m": module.Far("m")}, 1, "test")
    assert ask(processes, 1) == [1]
    processes.close()


@pytest.mark.parametrize("cloudpickle", [True, False])
def test_a_model_of_a_prompt_travels_by_value_where_cloudpickle_is(run_python, cloudpickle):
    program = f"""
import sys
from penstock.runner.processes import ProcessPool
from penstock.serving import Model
if not {cloudpickle}:
    sys.modules["cloudpickle"] = None
class Local(Model):
    def predict(self, body):
        return [body]
try:
    pool = ProcessPool({{"m": Local("m")}}, 1, "prompt")
    print(pool.submit("m", 1, "/", "m").result())
except Exception as error:
    print(error)
"""
    if cloudpickle:
        pytest.importorskip("cloudpickle")
    expected = "[1]" if cloudpickle else "a process cannot import Local from a notebook or prompt"
    assert expected in run_python(program).stdout


SERVED = """
import penstock
from penstock.serving import Model, ModelRunnerStep

class Double(Model):
    def load(self):
        import os
        self.pid = os.getpid()

    def predict(self, body):
        return {"twice": 2 * body["n"], "pid": self.pid}

runner = ModelRunnerStep("runner")
runner.add_model("m", "Double", "dedicated_process")
fn = penstock.new_function("doubles", kind="serving")
fn.set_topology("flow").to(runner).respond()
"""


def test_a_served_file_has_its_models_in_processes_that_end_with_it(tmp_path):
    file = tmp_path / "doubles_by_file.py"
    file.write_text(SERVED)
    served = Served(file)
    try:
        status, answer = served.post({"n": 4})
        assert (status, answer["twice"]) == (200, 8)
        assert answer["pid"] != served.process.pid
        os.kill(answer["pid"], signal.SIGKILL)
        assert ended(answer["pid"])
        status, second = served.post({"n": 5})
        assert (status, second["twice"]) == (200, 10)
        code, said = served.stop()
    finally:
        served.end()
    assert code == 0, said
    assert ended(second["pid"])
