"""A server whose graph is replaced: nothing is lost, steps and threads of the former graph end, nothing grows."""

import gc
import http.client
import json
import threading
import time
import weakref

import numpy as np
import penstock
import pytest
from penstock.errors import GraphClosed, GraphError, ModelNotReady
from penstock.http_server import HttpServer

JSON = {"Content-Type": "application/json"}


def made(*handlers, name="graph"):
    fn = penstock.new_function(name)
    step = fn.set_topology("flow")
    for number, handler in enumerate(handlers):
        step = step.to(handler, name=f"step{number}")
    step.respond()
    return fn.to_mock_server()


def adding(number):
    return lambda body: body + number


class Caller:
    """One connection that is kept."""

    def __init__(self, server):
        self.connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=20)

    def close(self):
        self.connection.close()

    def ask(self, body=0, path="/", method="POST"):
        self.connection.request(method, path, None if method == "GET" else json.dumps(body), JSON)
        answer = self.connection.getresponse()
        content = answer.read()
        return answer.status, json.loads(content) if content else None


@pytest.fixture
def call():
    callers = []

    def connect(server):
        callers.append(Caller(server))
        return callers[-1]

    yield connect
    for caller in callers:
        caller.close()


@pytest.fixture
def served():
    servers = []

    def start(graph):
        servers.append(HttpServer(graph, port=0))
        return servers[-1]

    yield start
    for server in servers:
        server.close(5.0)


def test_requests_enter_the_graph_that_took_the_place(served, call):
    server = served(made(adding(1)))
    caller = call(server)
    assert caller.ask() == (200, 1)
    assert server.replace(made(adding(1), adding(1)))
    assert caller.ask() == (200, 2)


def test_a_request_that_is_under_way_ends_on_the_graph_that_it_entered(served, call):
    entered, until = threading.Event(), threading.Event()

    def wait(body):
        entered.set()
        until.wait(20)
        return body + 1

    server = served(made(wait))
    slow = call(server)
    slow.connection.request("POST", "/", "0", JSON)
    assert entered.wait(20)
    other = made(adding(10))
    replacing = threading.Thread(target=server.replace, args=(other,))
    replacing.start()
    while server._graph is not other:
        time.sleep(0.001)
    assert call(server).ask() == (200, 10)
    assert replacing.is_alive()  # the former graph has one to finish
    until.set()
    assert slow.connection.getresponse().read() == b"1"
    replacing.join(20)
    assert not replacing.is_alive()


def test_a_coroutine_ends_on_the_graph_that_it_entered(served, call):
    import asyncio

    async def rest(body):
        await asyncio.sleep(0.3)
        return body + 1

    server = served(made(rest, adding(1)))
    slow = call(server)
    slow.connection.request("POST", "/", "0", JSON)
    while server.counts()["in_flight"] == 0:
        pass
    assert server.replace(made(adding(10)))
    assert slow.connection.getresponse().read() == b"2"


class Model(penstock.serving.V2ModelServer):
    wrong = False

    def load(self):
        self.weights = np.ones(250_000)  # 2 MB
        if self.wrong:
            raise ValueError("no weights")

    def predict(self, body):
        return [float(self.weights[0]) for _ in body["inputs"]]


def model_server(**more):
    fn = penstock.new_function("models")
    fn.add_model("m", class_name=Model, **more)
    return fn.to_mock_server()


def test_the_former_graph_leaves_nothing(served, call):
    closed = []

    class Closing:
        def do(self, body):
            return body

        def close(self):
            closed.append(self)

    fn = penstock.new_function("closing")
    fn.set_topology("flow").to(Closing, name="c").respond()
    server = served(fn.to_mock_server())
    assert server.replace(model_server())
    assert len(closed) == 1
    models = weakref.WeakSet(server._graph.compiled.models.values())
    threads = threading.active_count()
    assert server.replace(model_server())
    end = time.monotonic() + 20
    while models:  # the server's threads let go of the former graph in their own time
        gc.collect()
        call(server).ask({"inputs": [[1]]}, "/v2/models/m/infer")
        assert time.monotonic() < end
    assert threading.active_count() <= threads


def test_many_changes_under_load_cost_no_memory(served, call):
    server = served(model_server())
    done = threading.Event()
    wrong, answers = [], []

    def ask():
        caller = call(server)
        while not done.is_set():
            answer = caller.ask({"inputs": [[1]]}, "/v2/models/m/infer")
            (answers if answer[0] == 200 else wrong).append(1)

    caller = threading.Thread(target=ask)
    caller.start()

    def change(times):
        for _ in range(times):
            assert server.replace(model_server())
        gc.collect()

    def resident():
        with open("/proc/self/statm") as file:
            return int(file.read().split()[1]) * 4096

    change(10)  # until what is kept once is there
    before, threads = resident(), threading.active_count()
    change(40)
    done.set()
    caller.join(20)
    assert wrong == []
    assert len(answers) > 100
    assert resident() - before < 20 * 2**20  # one model of each would be 80 MB
    assert threading.active_count() <= threads + 1


def test_threads_that_replace_the_graph_take_turns(served, call):
    server = served(made(adding(0)))
    settled = []
    threads = [
        threading.Thread(target=lambda n=n: settled.append(server.replace(made(adding(n))))) for n in range(1, 9)
    ]
    for thread in threads:
        thread.start()
    caller = call(server)
    while any(thread.is_alive() for thread in threads):
        status, answer = caller.ask()
        assert status == 200
        assert answer in range(9)
    assert settled == [True] * 8


def test_a_model_that_does_not_load_leaves_the_former_graph(served, call):
    server = served(made(adding(1)))
    fn = penstock.new_function("models")

    class Wrong(Model):
        wrong = True

    fn.add_model("m", class_name=Wrong, load_mode="async")
    with pytest.raises(ModelNotReady, match="no weights"):
        server.replace(fn.to_mock_server())
    assert call(server).ask() == (200, 1)


def test_a_model_that_loads_on_its_own_thread_is_waited_for(served, call):
    until = threading.Event()

    class Slow(Model):
        def load(self):
            assert until.wait(20)
            super().load()

    fn = penstock.new_function("models")
    fn.add_model("m", class_name=Slow, load_mode="async")
    server = served(made(adding(1)))
    replacing = threading.Thread(target=server.replace, args=(fn.to_mock_server(),))
    replacing.start()
    caller = call(server)
    assert caller.ask() == (200, 1)
    assert caller.ask(path="/v2/health/ready", method="GET")[0] == 200
    until.set()
    replacing.join(20)
    assert caller.ask({"inputs": [[1]]}, "/v2/models/m/infer")[0] == 200


def test_a_server_that_is_being_stopped_takes_no_other_graph():
    server = HttpServer(made(adding(1)), port=0)
    assert server.drain(5.0)
    late = made(adding(2))
    with pytest.raises(GraphClosed, match="being stopped"):
        server.replace(late)
    server.end()
    with pytest.raises(GraphClosed):
        late.test(body=1)


def test_triggers_of_the_former_graph_end_before_those_of_the_new_one(served):
    events = []

    def triggered(label):
        server = made(lambda body: events.append(label))
        trigger = {"kind": "cron", "attributes": {"interval": "10ms"}}
        server.triggers = {"often": trigger}
        return server

    server = served(triggered("old"))
    while not events:
        time.sleep(0.001)
    assert server.replace(triggered("new"))
    seen = len(events)
    while events[-1] != "new":
        time.sleep(0.001)
    assert "old" not in events[seen:]
    assert events == sorted(events, reverse=True)


def test_counts_never_fall_while_graphs_change(served, call):
    server = served(made(adding(1)))
    caller = call(server)
    seen = []
    for _ in range(10):
        caller.ask()
        seen.append(server.counts()["steps"]["step0"]["events"])
        server.replace(made(adding(1)))
        seen.append(server.counts()["steps"]["step0"]["events"])
    assert seen == [number for number in range(1, 11) for _ in range(2)]


def test_a_graph_is_behind_one_server_once(served, call):
    graph = made(adding(1))
    server = served(graph)
    with pytest.raises(GraphError, match="behind a server already"):
        server.replace(graph)
    assert call(server).ask() == (200, 1)
