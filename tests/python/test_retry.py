"""`.retry`: a step is called again with an event that it failed with."""

import threading

import penstock
import pytest
from penstock.errors import MLRunBadRequestError, StepError


class Flaky:
    """Fails so many times with each event, then doubles it."""

    def __init__(self, failures):
        self.failures = failures
        self.calls = []

    def do(self, body):
        self.calls.append(body)
        if self.calls.count(body) <= self.failures:
            raise ConnectionError("not yet")
        return body * 2


@pytest.fixture
def fn():
    return penstock.new_function("retries")


def test_it_is_called_until_it_succeeds(fn):
    step = Flaky(failures=2)
    fn.set_topology("flow").to(step, "flaky").retry(attempts=3, backoff=0.001).to("(event + 1)", "next").respond()
    with fn.to_mock_server() as server:
        assert server.test(body=5, timeout=20) == 11
        assert server.test(body=6, timeout=20) == 13
    assert step.calls == [5, 5, 5, 6, 6, 6]


def test_after_the_last_attempt_the_event_fails(fn):
    step = Flaky(failures=9)
    fn.set_topology("flow").to(step, "flaky").retry(attempts=2, backoff=0.001).respond()
    with fn.to_mock_server() as server, pytest.raises(StepError, match="ConnectionError: not yet") as caught:
        server.test(body=5, timeout=20)
    assert caught.value.step == "flaky"
    assert step.calls == [5, 5]


def test_the_error_handler_hears_of_the_last_failure_only(fn):
    step = Flaky(failures=9)
    graph = fn.set_topology("flow")
    graph.to(step, "flaky").retry(attempts=3, backoff=0.001).respond()
    graph["flaky"].error_handler(name="catch", handler="('caught')")
    with fn.to_mock_server() as server:
        assert server.test(body=5, timeout=20) == "caught"
    assert step.calls == [5, 5, 5]


def test_a_mistake_of_the_sender_is_not_tried_again(fn):
    calls = []

    def refuses(body):
        calls.append(body)
        raise MLRunBadRequestError("wrong")

    fn.set_topology("flow").to(refuses, "refuses").retry(attempts=3, backoff=0.001).respond()
    with fn.to_mock_server() as server, pytest.raises(StepError, match=r"failed \(400\)"):
        server.test(body=5, timeout=20)
    assert calls == [5]


def test_a_coroutine_and_a_call_that_takes_too_long_are_tried_again(fn):
    calls = []
    hold = threading.Event()

    async def flaky(body):
        calls.append("flaky")
        if calls.count("flaky") < 2:
            raise ConnectionError("not yet")
        return body

    def slow(body):
        calls.append("slow")
        if calls.count("slow") < 2:
            hold.wait(20)
        return body

    graph = fn.set_topology("flow")
    graph.to(flaky, "flaky").retry(backoff=0.001).to(slow, "slow").timeout(0.05).retry(backoff=0.001).respond()
    graph["slow"].concurrency(2)
    with fn.to_mock_server() as server:
        assert server.test(body=5, timeout=20) == 5
        hold.set()
    assert calls == ["flaky", "flaky", "slow", "slow"]


def test_the_deadline_ends_the_attempts(fn):
    step = Flaky(failures=1000)
    fn.set_topology("flow").to(step, "flaky").retry(attempts=1000, backoff=0.01).respond()
    server = fn.to_mock_server()
    with pytest.raises(StepError, match=r"failed \(504\)"):
        server.test(body=5, timeout=0.05)
    server.wait_for_completion(timeout=20)
    assert len(step.calls) < 1000


@pytest.mark.parametrize("options", [{}, {"calls": 4, "order": "key"}], ids=["one at a time", "by key"])
def test_events_of_one_key_stay_in_order_while_one_is_tried_again(fn, options):
    done = []
    failed = set()

    def flaky(event):
        if event.body % 3 == 0 and event.body not in failed:
            failed.add(event.body)
            raise ConnectionError("not yet")
        done.append((event.key, event.body))
        return event

    step = fn.set_topology("flow").to(flaky, "flaky", full_event=True).retry(backoff=0.002)
    if options:
        step.concurrency(**options)
    server = fn.to_mock_server()
    for body in range(40):
        server.run(penstock.Event(body, key="ab"[body % 2]))
    server.wait_for_completion(timeout=20)
    for key, first in (("a", 0), ("b", 1)):
        assert [body for each, body in done if each == key] == list(range(first, 40, 2))


def test_a_graph_that_drains_waits_for_those_that_rest(fn):
    step = Flaky(failures=1)
    seen = []
    fn.set_topology("flow").to(step, "flaky").retry(attempts=2, backoff=0.05).to(seen.append, "see")
    server = fn.to_mock_server()
    for body in range(5):
        server.test(body=body)
    server.wait_for_completion(timeout=20)
    assert sorted(seen) == [0, 2, 4, 6, 8]
