"""gRPC against clients as they are, each in a process of its own."""

import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest
from served import Served

GRAPHS = """
import pathlib
import time
import numpy as np
import penstock

HERE = pathlib.Path(__file__).parent

class Double(penstock.serving.V2ModelServer):
    def load(self):
        self.factor = self.get_param("factor", 2)

    def predict(self, body):
        return body["inputs"] * self.factor

class Same(penstock.serving.V2ModelServer):
    def load(self):
        pass

    def predict(self, body):
        return body["inputs"]

class Naps(Same):
    def predict(self, body):
        time.sleep(0.7)
        return body["inputs"]

class Fails(Same):
    def predict(self, body):
        raise ValueError("not tödäy")

class Counts(Same):
    def predict(self, body):
        number = int(np.asarray(body["inputs"]).reshape(-1)[0])
        for count in range(abs(number)):
            yield {"output0": np.array([count], dtype="int32"), "rest": np.array([number - count - 1])}
        if number < 0:
            raise ValueError("told to")

class LateCounts(Counts):
    async def predict(self, body):
        for part in super().predict(body):
            yield part

class Endless(Same):
    def predict(self, body):
        made = 0
        try:
            while True:
                made += 1
                yield np.zeros(100_000, "uint8")
        finally:
            (HERE / "closing").write_text(str(made))
            (HERE / "closing").rename(HERE / "closed")

models = penstock.new_function("models")
models.add_model("double", class_name=Double, model_path="")
models.add_model("versioned:v1", class_name=Double, model_path="", factor=10)
models.add_model("versioned:v2", class_name=Double, model_path="", factor=20)
models.add_model("fails", class_name=Fails, model_path="")
models.add_model("naps", class_name=Naps, model_path="")
models.add_model("counts", class_name=Counts, model_path="")
models.add_model("late_counts", class_name=LateCounts, model_path="")
models.add_model("endless", class_name=Endless, model_path="")
models.add_model("batched", class_name=Double, model_path="").batch(64, max_delay=0.01)
names = ["bool", "text", "float16", "float32", "float64"]
for name in names + [sign + str(bits) for sign in ("int", "uint") for bits in (8, 16, 32, 64)]:
    models.add_model("same_" + name, class_name=Same, model_path="")

def total(event):
    [tensor] = event.body["inputs"]
    outputs = [{"name": "sum", "shape": [1], "datatype": "FP64", "data": [float(np.sum(tensor["data"]))]}]
    event.body = {"model_name": event.path, "outputs": outputs}
    return event

flow = penstock.new_function("flow")
flow.set_topology("flow").to(total, name="total", full_event=True).respond()
"""
CLIENTS = Path(__file__).with_name("grpc_clients.py")


@pytest.fixture(scope="module")
def graphs(tmp_path_factory):
    path = tmp_path_factory.mktemp("grpc") / "graphs.py"
    path.write_text(textwrap.dedent(GRAPHS))
    return path


@pytest.fixture
def serve(graphs):
    started = []

    def start(name):
        started.append(Served(f"{graphs}:{name}", "--grpc-port", "0"))
        return started[-1]

    yield start
    for server in started:
        server.end()


def client(name, server):
    environment = {**os.environ, "GRPC_VERBOSITY": "NONE"}
    return subprocess.Popen(
        [sys.executable, str(CLIENTS), name, str(server.grpc_port)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=environment,
    )


def run(name, server):
    process = client(name, server)
    try:
        said, _ = process.communicate(timeout=50)
    finally:
        process.kill()
    assert process.returncode == 0, said


@pytest.fixture(scope="module")
def models(graphs):
    """The server of the tests that leave it as it is."""
    server = Served(f"{graphs}:models", "--grpc-port", "0")
    yield server
    code, said = server.stop()
    assert code == 0, said


@pytest.mark.parametrize("name", ["sync", "types", "many", "stream", "parts", "classes", "statistics", "aio", "raw"])
def test_a_client_is_served(models, name):
    run(name, models)


def test_a_client_that_does_not_read_holds_a_model_up_and_one_that_leaves_ends_it(models, graphs):
    run("leaves", models)
    closed = graphs.parent / "closed"
    end = time.monotonic() + 20
    while not closed.exists():
        assert time.monotonic() < end
        run("idle", models)
    assert int(closed.read_text()) < 1000


def test_a_flow_gets_the_calls(serve):
    run("flow", serve("flow"))


def test_a_drain_answers_the_call_that_is_under_way(serve):
    server = serve("models")
    process = client("drain", server)
    try:
        assert process.stdout.readline() == "under way\n"
        code, said = server.stop(signal.SIGTERM)
        rest, _ = process.communicate(timeout=30)
    finally:
        process.kill()
    assert process.returncode == 0, rest
    assert code == 0, said


def test_a_port_that_is_taken_is_told(graphs, serve):
    taken = serve("flow").grpc_port
    done = subprocess.run(
        [sys.executable, "-m", "penstock", "serve", f"{graphs}:flow", "--port", "0", "--grpc-port", str(taken)],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.returncode == 1
    assert f"cannot listen on 127.0.0.1:{taken}" in done.stderr
