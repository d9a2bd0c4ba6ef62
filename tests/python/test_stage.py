"""Steps that hold events beyond their calls: when those go on, who is answered, and what is left at the end."""

import threading

import penstock
import pytest
from penstock.errors import GraphClosed, StepError
from penstock.event import DROPPED


class Pairs:
    """Sends on two events as one."""

    def __init__(self, patience=None):
        self.patience = patience
        self.held = []
        self.closed = threading.Event()

    def take(self, port, token, event):
        self.held.append((token, event.body))
        if len(self.held) == 2:
            self.send(port)
        elif self.patience is not None:
            port.wake_after(self.patience)

    def wake(self, port):
        if self.held:
            self.send(port)

    def send(self, port):
        port.emit([token for token, _ in self.held], [body for _, body in self.held])
        self.held = []

    def finish(self, port):
        if self.held:
            self.send(port)
        return "finished"

    def close(self):
        self.closed.set()


@pytest.fixture
def fn():
    return penstock.new_function("stages")


def ask_all(server, bodies):
    answers = {}

    def ask(body):
        try:
            answers[body] = server.test(body=body)
        except Exception as error:
            answers[body] = error

    threads = [threading.Thread(target=ask, args=(body,)) for body in bodies]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
        assert not thread.is_alive()
    return answers


def test_an_event_that_stands_for_several_answers_them_all(fn):
    fn.set_topology("flow").to(Pairs(), "pairs").to("(sum(event))", handler=None, name="sum").respond()
    with fn.to_mock_server() as server:
        assert ask_all(server, [1, 2]) == {1: 3, 2: 3}


def test_a_failure_behind_it_fails_them_all(fn):
    fn.set_topology("flow").to(Pairs(), "pairs").to("(event['x'])", name="fails").respond()
    with fn.to_mock_server() as server:
        answers = ask_all(server, [1, 2])
    assert all(isinstance(answer, StepError) and answer.step == "fails" for answer in answers.values())


def test_it_is_woken_when_it_asked_for_it(fn):
    fn.set_topology("flow").to(Pairs(patience=0.01), "pairs").respond()
    with fn.to_mock_server() as server:
        assert server.test(body=1, timeout=10) == [1]


def test_what_it_holds_goes_on_when_the_graph_ends(fn):
    seen = []
    stage = Pairs()
    graph = fn.set_topology("flow")
    graph.to("(event + 1)", "first").to(stage, "pairs").to(Pairs(), "pairs of pairs").to(seen.append, "see")
    server = fn.to_mock_server()
    for body in range(5):
        server.test(body=body)
    assert server.wait_for_completion(timeout=10) == "finished"
    assert seen == [[[1, 2], [3, 4]], [[5]]]
    assert stage.closed.is_set()


def test_what_it_still_holds_after_that_fails(fn):
    class Hoards:
        def take(self, port, token, event):
            pass

    fn.set_topology("flow").to(Hoards(), "hoards").respond()
    server = fn.to_mock_server()
    answers = []

    def ask():
        with pytest.raises(StepError, match="still held the event when the graph ended"):
            server.test(body=1)
        answers.append("failed")

    thread = threading.Thread(target=ask)
    thread.start()
    while server.engine.stats()["hoards"]["events"] == 0:
        thread.join(0.001)
    server.wait_for_completion(timeout=10)
    thread.join(10)
    assert answers == ["failed"]


def test_more_events_than_the_graph_admits_can_be_held(fn):
    class Counts:
        def __init__(self):
            self.tokens = []

        def take(self, port, token, event):
            self.tokens.append(token)

        def finish(self, port):
            port.drop(self.tokens)
            return len(self.tokens)

    fn.set_topology("flow").to(Counts(), "counts")
    server = fn.to_mock_server()
    for body in range(3000):  # the graph admits 1024 at once
        server.test(body=body)
    assert server.wait_for_completion(timeout=10) == 3000


def test_a_failing_take_fails_its_event_alone(fn):
    class Picky:
        def take(self, port, token, event):
            if event.body < 0:
                raise ValueError("below zero")
            port.emit([token], event)

    fn.set_topology("flow").to(Picky(), "picky").respond()
    with fn.to_mock_server() as server:
        assert server.test(body=1) == 1
        with pytest.raises(StepError, match="ValueError: below zero") as caught:
            server.test(body=-1)
        assert caught.value.step == "picky"
        assert server.test(body=2) == 2


def test_it_can_fail_drop_and_multiply_events(fn):
    class Sorts:
        def take(self, port, token, event):
            if event.body == "fail":
                port.fail([token], LookupError("no"))
            elif event.body == "drop":
                port.drop([token])
            else:
                for part in event.body:
                    port.emit([token], part, keep=True)
                port.drop([token])

    seen = []
    fn.set_topology("flow").to(Sorts(), "sorts").respond().to(seen.append, "see")
    with fn.to_mock_server() as server:
        with pytest.raises(StepError, match="LookupError: no"):
            server.test(body="fail")
        assert server.test(body="drop") is None
        assert server.test(body=["a", "b"]) == "a"
    assert seen == ["a", "b"]


def test_a_token_that_is_gone_is_an_error(fn):
    class Twice:
        def take(self, port, token, event):
            port.emit([token], event)
            port.emit([token], event)

    errors = []
    fn.set_topology("flow").to(Twice(), "twice").to("(event)", "next").respond()
    graph = fn.spec.graph
    graph.error_handler(name="note", handler=errors.append)
    with fn.to_mock_server() as server:
        assert server.test(body=1) == 1
    assert errors == []  # the event went on before; what the step did wrong is logged


def test_an_event_of_nobody_passes_without_an_answer(fn):
    class Ticks:
        def take(self, port, token, event):
            port.emit([], "tick")
            port.emit([token], event)

    seen = []
    fn.set_topology("flow").to(Ticks(), "ticks").to(lambda body: (seen.append(body), body)[1], "see").respond()
    with fn.to_mock_server() as server:
        assert server.test(body="mine") == "mine"
    assert sorted(seen) == ["mine", "tick"]


def test_closing_without_waiting_fails_what_is_held(fn):
    fn.set_topology("flow").to(Pairs(), "pairs").respond()
    server = fn.to_mock_server()
    failures = []

    def ask():
        with pytest.raises(GraphClosed) as caught:
            server.test(body=1)
        failures.append(caught.value.status_code)

    thread = threading.Thread(target=ask)
    thread.start()
    while server.engine.stats()["pairs"]["events"] == 0:
        thread.join(0.001)
    server.close()
    thread.join(10)
    assert failures == [503]


def test_a_handler_may_drop_its_event(fn):
    async def later(body):
        return DROPPED if body < 0 else body

    graph = fn.set_topology("flow")
    graph.to(lambda body: DROPPED if body == 0 else body, "now").to(later, "later").respond()
    with fn.to_mock_server() as server:
        assert [server.test(body=body) for body in (1, 0, -1, 2)] == [1, None, None, 2]
