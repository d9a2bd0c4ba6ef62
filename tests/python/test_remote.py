"""Remote steps: what is sent, what comes back, and how each kind of failure ends."""

import asyncio
import contextlib
import dataclasses
import email.utils
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta, timezone

import numpy as np
import penstock
import pytest
from endpoint import endpoint, reply
from penstock import Event
from penstock.engine import loop
from penstock.errors import (
    BadRequest,
    DeadlineExceeded,
    GraphError,
    RemoteCut,
    RemoteError,
    RemoteTimeout,
    RemoteUnreachable,
    StepError,
)
from penstock.remote import BatchHttpRequests, RemoteStep
from served import Served

# A connection that the server has closed first is left to the collector, by httpx.
pytestmark = [
    pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning"),
    pytest.mark.usefixtures("httpx_leftovers"),
]


class Waits(list):
    """Takes the place of sleeping, and of chance: each wait is the longest possible."""

    async def sleep(self, seconds):
        self.append(seconds)

    def given_to(self, step):
        step.client.backoff = dataclasses.replace(step.client.backoff, sleep=self.sleep, draw=lambda: 1.0)
        return step


@pytest.fixture
def waits():
    return Waits()


@pytest.fixture
def call():
    """Make a step, and send it events as the engine does: on its event loop."""
    with contextlib.ExitStack() as made:

        def on_loop(step, event):
            made.callback(step.close)
            return asyncio.run_coroutine_threadsafe(step.do_event(event), loop.start()).result(20).body

        yield on_loop


def echo(call):
    return reply({"path": call.path, "method": call.method, "body": call.body.decode()})


def test_the_body_goes_out_as_json_and_the_answer_comes_back(call):
    with endpoint(echo) as target:
        step = RemoteStep(f"{target.url}/a", headers={"X-Token": "t"}, name="r")
        body = call(step, Event({"n": np.float32(1.5)}, event_id="77", path="/q?x=1", method="POST"))
    assert body == {"path": "/a", "method": "POST", "body": '{"n":1.5}'}
    headers = target.calls[0].headers
    assert headers["content-type"] == "application/json"
    assert headers["mlrun-event-id"] == "77"
    assert headers["mlrun-event-path"] == "/q?x=1"
    assert headers["x-token"] == "t"


def test_headers_of_the_event_stay_here(call):
    with endpoint(echo) as target:
        call(RemoteStep(target.url), Event(1, headers={"Authorization": "secret"}, method="POST"))
    assert "authorization" not in target.calls[0].headers
    assert "mlrun-event-path" not in target.calls[0].headers


def test_a_path_that_no_header_can_hold_is_encoded(call):
    with endpoint(echo) as target:
        call(RemoteStep(target.url), Event(1, path="/é\r\nX: y", method="POST"))
    assert target.calls[0].headers["mlrun-event-path"] == "/%C3%A9%0D%0AX:%20y"


@pytest.mark.parametrize(
    ("given", "of_event", "sent"),
    [(None, "PUT", "PUT"), (None, None, "POST"), ("patch", "GET", "PATCH"), ("GET", "POST", "GET")],
)
def test_the_method_is_the_steps_then_the_events(given, of_event, sent, call):
    with endpoint(echo) as target:
        call(RemoteStep(target.url, method=given), Event({"n": 1}, method=of_event))
    assert target.calls[0].method == sent
    assert (target.calls[0].body == b"") == (sent == "GET")


@pytest.mark.parametrize(
    ("body", "raw", "content_type"),
    [("text", b"text", None), (b"\x00\x01", b"\x00\x01", None), (None, b"", None), ([1], b"[1]", "application/json")],
)
def test_text_and_bytes_go_out_as_they_are(body, raw, content_type, call):
    with endpoint(lambda _: reply({})) as target:
        call(RemoteStep(target.url), Event(body, method="POST"))
    assert target.calls[0].body == raw
    assert target.calls[0].headers.get("content-type") == content_type


@pytest.mark.parametrize(
    ("base", "subpath", "path", "sent"),
    [
        ("/a", "b/c", "/", "/a/b/c"),
        ("/a/", "/b", "/", "/a/b"),
        ("/a?k=1", "b?l=2", "/", "/a/b?k=1&l=2"),
        ("", "$path", "/v2/models?x=1", "/v2/models?x=1"),
        ("/a", "$path", "/", "/a"),
        ("/a", "$path", "//evil.example", "/a/evil.example"),
    ],
)
def test_the_subpath_is_added_to_the_urls_path(base, subpath, path, sent, call):
    with endpoint(echo) as target:
        assert call(RemoteStep(target.url + base, subpath=subpath), Event(1, path=path))["path"] == sent


@pytest.mark.parametrize("path", ["/../admin", "/x/%2e%2e/%2E./admin"])
def test_an_events_path_cannot_lead_above_the_url(path, call):
    with endpoint(echo) as target, pytest.raises(BadRequest, match="leads above"):
        call(RemoteStep(f"{target.url}/a", subpath="$path"), Event(1, path=path))
    assert target.calls == []


def test_expressions_see_the_body_the_context_and_the_endpoint(call):
    context = penstock.GraphContext(parameters={"version": "v7"})
    with endpoint(echo) as target:
        step = RemoteStep(
            f"{target.url}/",
            context=context,
            url_expression="endpoint + '/' + event['to']",
            body_expression="{'n': event['n'] + 1}",
            headers_expression="{'X-Version': context.get_param('version')}",
            subpath="sub",
            method="PUT",
        )
        body = call(step, Event({"to": "me", "n": 1}))
    assert body == {"path": "/me/sub", "method": "PUT", "body": '{"n":2}'}
    assert target.calls[0].headers["x-version"] == "v7"


def test_an_expression_that_fails_fails_the_event_with_its_own_error(call):
    with pytest.raises(KeyError, match="to"):
        call(RemoteStep(url_expression="event['to']"), Event({}))


@pytest.mark.parametrize("url", ["file:///etc/passwd", "//host", 7])
def test_an_expression_must_give_an_http_url(url, call):
    with pytest.raises(RemoteError, match="which is no http:// or https:// URL"):
        call(RemoteStep(url_expression="event"), Event(url))


def test_allowed_hosts_bound_where_an_expression_leads(call):
    step = RemoteStep(url_expression="event", allowed_hosts=["127.0.0.1", "*.example.com"], retries=0)
    with endpoint(echo) as target:
        assert call(step, Event(f"{target.url}/a"))["path"] == "/a"
    for url in ("http://localhost/", "http://169.254.169.254/token?secret=1", "http://notexample.com"):
        with pytest.raises(RemoteError, match="not among allowed_hosts") as caught:
            call(step, Event(url))
        assert "secret" not in str(caught.value)


def test_input_and_result_path_say_where_in_the_body(call):
    with endpoint(echo) as target:
        step = RemoteStep(target.url, input_path="in.deep", result_path="out.answer", method="POST")
        body = call(step, Event({"in": {"deep": [1, 2]}, "kept": True}))
    assert body["in"] == {"deep": [1, 2]}
    assert body["kept"] is True
    assert body["out"]["answer"]["body"] == "[1,2]"


@pytest.mark.parametrize(
    ("answer", "return_json", "expected"),
    [
        (reply(b"[1]", content_type="text/plain"), True, [1]),
        (reply(b"[1]", content_type="text/plain"), False, b"[1]"),
        (reply([1]), False, [1]),
        (reply(b"", 204), True, None),
    ],
)
def test_the_answer_is_read_as_json_when_it_is_or_must_be(answer, return_json, expected, call):
    with endpoint(lambda _: answer) as target:
        assert call(RemoteStep(target.url, return_json=return_json), Event(1)) == expected


def test_an_answer_that_must_be_json_and_is_not_is_wrong(call):
    with endpoint(lambda _: reply(b"<html>")) as target, pytest.raises(RemoteError, match="no JSON.*return_json=False"):
        call(RemoteStep(target.url), Event(1))


def test_a_4xx_is_a_failure_and_not_tried_again(call, waits):
    wrong = pytest.raises(RuntimeError, match="^bad http response 404: no such thing$")
    with endpoint(lambda _: reply(b"no such thing", 404)) as target, wrong as caught:
        call(waits.given_to(RemoteStep(target.url)), Event(1))
    assert (caught.value.status_code, caught.value.answered) == (502, 404)
    assert len(target.calls) == 1


def test_a_redirect_is_not_followed(call, waits):
    wrong = pytest.raises(RemoteError, match="bad http response 302")
    with endpoint(lambda _: reply(b"", 302, Location="http://127.0.0.1:1/")) as target, wrong:
        call(waits.given_to(RemoteStep(target.url)), Event(1))
    assert len(target.calls) == 1


@pytest.mark.parametrize("status", [500, 503, 429, 408])
def test_what_may_be_otherwise_next_time_is_tried_again(status, call, waits):
    wrong = pytest.raises(RemoteError, match=f"bad http response {status}: busy")
    with endpoint(lambda _: reply(b"busy", status)) as target, wrong:
        call(waits.given_to(RemoteStep(target.url, retries=1)), Event(1))
    assert len(target.calls) == 2


def test_six_retries_wait_twice_as_long_each_time(call, waits):
    with endpoint(lambda call: reply({"calls": len(target.calls)}, 500 if len(target.calls) < 7 else 200)) as target:
        assert call(waits.given_to(RemoteStep(target.url, backoff_factor=0.5)), Event(1)) == {"calls": 7}
    assert waits == [0.5, 1.0, 2.0, 4.0, 8.0, 16.0]
    assert len({made.headers["mlrun-event-id"] for made in target.calls}) == 1
    assert len({made.port for made in target.calls}) == 1  # one connection for all


def test_a_target_that_asks_for_time_gets_it_up_to_two_minutes(call, waits):
    later = email.utils.format_datetime(datetime.now(timezone.utc) + timedelta(seconds=60), usegmt=True)
    asked = iter(["7", later, "9999", "soon"])

    def answer(_):
        value = next(asked, None)
        return reply({}) if value is None else reply(b"", 503, Retry_After=value)

    with endpoint(answer) as target:
        call(waits.given_to(RemoteStep(target.url, backoff_factor=0)), Event(1))
    assert waits[0] == 7.0
    assert 50 < waits[1] <= 60
    assert waits[2:] == [120.0, 0.0]


def test_waits_are_a_random_part_of_the_longest(call, waits):
    with endpoint(lambda _: reply(b"", 500)) as target:
        step = RemoteStep(target.url, retries=30)
        draws = iter([0.0, 0.25, 1.0] + [0.5] * 30)
        step.client.backoff = dataclasses.replace(step.client.backoff, sleep=waits.sleep, draw=lambda: next(draws))
        with pytest.raises(RemoteError):
            call(step, Event(1))
    assert waits[:3] == [0.0, 0.5, 4.0]
    assert waits[-1] == 60.0


def test_a_broken_connection_is_tried_again(call, waits):
    with endpoint(lambda _: None if len(target.calls) == 1 else reply({"ok": 1})) as target:
        assert call(waits.given_to(RemoteStep(target.url)), Event(1)) == {"ok": 1}
    assert len(waits) == 1


def test_a_refused_connection_says_which_url(call, waits):
    with endpoint(echo) as target:
        pass
    with pytest.raises(OSError, match=f"^cannot invoke url: {target.url}/a, ConnectError") as caught:
        call(waits.given_to(RemoteStep(f"{target.url}/a?token=x", retries=1)), Event(1))
    assert isinstance(caught.value, RemoteUnreachable)
    assert caught.value.status_code == 502
    assert "token" not in str(caught.value)
    assert len(waits) == 1


def test_an_answer_that_comes_too_late_is_a_timeout(call, waits):
    ended = threading.Event()
    with endpoint(lambda _: ended.wait(20) and None) as target:
        step = waits.given_to(RemoteStep(target.url, timeout=0.05, retries=1, name="r"))
        with pytest.raises(RemoteTimeout, match="timed out in RemoteStep r") as caught:
            call(step, Event(1))
        ended.set()
    assert caught.value.status_code == 504
    assert isinstance(caught.value, TimeoutError)
    assert len(target.calls) == 2


def test_no_more_requests_run_at_once_than_allowed(call):
    running, most, lock = [0], [0], threading.Lock()
    full = threading.Event()

    def answer(call):
        with lock:
            running[0] += 1
            most[0] = max(most[0], running[0])
            if running[0] == 3:
                full.set()
        full.wait(10)
        with lock:
            running[0] -= 1
        return reply(call.json)

    with endpoint(answer) as target:
        step = BatchHttpRequests(target.url, method="POST", max_in_flight=3)
        assert call(step, Event(list(range(12)))) == list(range(12))
    assert most[0] == 3
    assert len({made.port for made in target.calls}) == 3


def test_a_batch_asks_for_each_item_and_keeps_the_order(call):
    held = threading.Event()

    def answer(call):
        if call.json == 0:
            held.wait(10)
        else:
            held.set()
        return reply({"path": call.path, "body": call.json, "twice": call.headers["x-twice"]})

    with endpoint(answer) as target:
        step = BatchHttpRequests(
            url_expression=f"'{target.url}/' + str(event)",
            body_expression="event",
            headers_expression="{'X-Twice': 2 * event}",
            method="POST",
            input_path="rows",
            result_path="answers",
        )
        body = call(step, Event({"rows": [0, 1, 2]}))
    assert body["answers"] == [{"path": f"/{n}", "body": n, "twice": str(2 * n)} for n in range(3)]


def test_an_empty_batch_asks_for_nothing(call):
    assert call(BatchHttpRequests("http://127.0.0.1:1"), Event([])) == []


@pytest.mark.parametrize("status", [404, 500])
def test_a_bad_item_fails_the_batch_and_is_named(status, call, waits):
    with endpoint(lambda call: reply(b"no", status) if call.json == 2 else reply(call.json)) as target:
        step = waits.given_to(BatchHttpRequests(target.url, method="POST", retries=1))
        with pytest.raises(RemoteError, match=f"^request 2: bad http response {status}: no$") as caught:
            call(step, Event([0, 1, 2, 3]))
    assert caught.value.answered == status


def test_an_item_whose_expression_fails_is_noted(call):
    with pytest.raises(ZeroDivisionError) as caught:
        call(BatchHttpRequests(url_expression="'http://h/%d' % (1 / event)", retries=0), Event([0]))
    assert getattr(caught.value, "__notes__", ["request 0 of the batch"]) == ["request 0 of the batch"]


def test_a_batch_takes_a_list(call):
    with pytest.raises(BadRequest, match="BatchHttpRequests b takes a list, not dict"):
        call(BatchHttpRequests("http://127.0.0.1:1", name="b"), Event({}))


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({}, "step 'r': give url= or url_expression="),
        ({"url": "host/path"}, "step 'r': url is http://host... or https://host..., not 'host/path'"),
        ({"url": "ftp://user:password@host/"}, "not 'ftp://host/'"),
        ({"url": "http://h", "body_expression": "event +"}, "body_expression='event \\+' is not valid Python"),
        ({"url": "http://h", "retries": -1}, "retries is at least 0, not -1"),
        ({"url": "http://h", "max_in_flight": 0}, "max_in_flight is at least 1, not 0"),
        ({"url": "http://h", "timeout": 0}, "timeout is a number of seconds, not 0"),
    ],
)
def test_wrong_arguments_are_said_when_the_graph_is_made(options, text):
    with pytest.raises(GraphError, match=text):
        RemoteStep(**options, name="r")


def test_a_batch_has_one_source_of_urls():
    with pytest.raises(GraphError, match="cannot set both url and url_expression"):
        BatchHttpRequests("http://h", url_expression="event")


def test_closing_twice_or_unused_does_nothing(call):
    unused = RemoteStep("http://127.0.0.1:1")
    unused.close()
    with endpoint(echo) as target:
        step = RemoteStep(target.url)
        call(step, Event(1))
        step.close()
        step.close()
        assert call(step, Event(2))["path"] == "/"  # it opens again


def test_without_httpx_the_extra_is_named(run_python):
    run_python(
        """
import sys
sys.modules["httpx"] = None
from penstock.errors import GraphError
from penstock.remote import RemoteStep
try:
    RemoteStep("http://host", name="r")
except GraphError as error:
    assert str(error) == "step 'r' needs the package 'httpx': pip install \\"penstock[remote]\\"", error
else:
    raise SystemExit(1)
"""
    )


@pytest.fixture(params=["sync", "async"])
def served(request, call):
    """Run a step in a graph of both engines; return what the graph answers."""
    with contextlib.ExitStack() as made:

        def send(step, body, **arguments):
            fn = penstock.new_function("calls")
            graph = fn.set_topology("flow", engine=request.param)
            task = graph.to(step, "r")
            if request.param == "async":
                task.respond()
            server = made.enter_context(fn.to_mock_server())
            made.callback(step.close)
            return server.test(body=body, **arguments)

        yield send


def test_both_engines_answer_alike(served):
    with endpoint(lambda call: reply({"got": call.json})) as target:
        assert served(RemoteStep(target.url), {"n": 1}) == {"got": {"n": 1}}


@pytest.mark.parametrize(
    ("answer", "text", "status"),
    [
        (reply(b"no", 404), "failed (502): RuntimeError: bad http response 404: no", 502),
        (reply(b"no", 500), "failed (502): RuntimeError: bad http response 500: no", 502),
    ],
)
def test_both_engines_fail_alike(answer, text, status, served):
    with endpoint(lambda _: answer) as target, pytest.raises(StepError) as caught:
        served(RemoteStep(target.url, retries=0), 1)
    assert (str(caught.value), caught.value.status_code, caught.value.step) == (text, status, "r")


def test_the_events_deadline_bounds_all_attempts(served):
    began = time.monotonic()
    with endpoint(lambda _: reply(b"busy", 500)) as target, pytest.raises(DeadlineExceeded):
        served(RemoteStep(target.url, backoff_factor=100), 1, timeout=0.3)
    assert time.monotonic() - began < 10


@pytest.fixture(params=["$remote", "RemoteStep", "mlrun.serving.RemoteStep", RemoteStep])
def remote_name(request):
    return request.param


def test_a_graph_names_the_step_and_closes_its_connections(remote_name):
    with endpoint(lambda call: reply({"got": call.json["n"], "path": call.path})) as target:
        fn = penstock.new_function("calls")
        graph = fn.set_topology("flow")
        step = graph.to(remote_name, "r", url=target.url, subpath="$path", input_path="row", result_path="answer")
        step.respond()
        with fn.to_mock_server() as server:
            assert server.test("/p", body={"row": {"n": 1}}) == {"row": {"n": 1}, "answer": {"got": 1, "path": "/p"}}
    assert target.calls[0].headers["mlrun-event-path"] == "/p"


def test_wrong_arguments_stop_the_graph_with_the_steps_name(remote_name):
    fn = penstock.new_function("calls")
    fn.set_topology("flow").to(remote_name, "r", url="nowhere").respond()
    with pytest.raises(GraphError, match="step 'r': url is http"):
        fn.to_mock_server()


def test_a_batch_in_a_graph_names_the_item():
    with endpoint(lambda call: reply(b"no", 404) if call.json == 2 else reply(call.json + 1)) as target:
        fn = penstock.new_function("calls")
        fn.set_topology("flow").to("BatchHttpRequests", "b", url=target.url, method="POST").respond()
        with fn.to_mock_server() as server:
            assert server.test(body=[0, 1]) == [1, 2]
            with pytest.raises(StepError, match="RuntimeError: request 1: bad http response 404: no") as caught:
                server.test(body=[0, 2])
            assert (caught.value.status_code, caught.value.step) == (502, "b")
            with pytest.raises(StepError, match="takes a list, not dict") as caught:
                server.test(body={"n": 1})
            assert caught.value.status_code == 400


def test_events_of_a_graph_are_under_way_together():
    both = threading.Barrier(2, timeout=20)
    with endpoint(lambda call: both.wait() + 1 and reply(call.json)) as target:
        fn = penstock.new_function("calls")
        fn.set_topology("flow").to("$remote", "r", url=target.url).respond()
        with fn.to_mock_server() as server, ThreadPoolExecutor(2) as pool:
            assert list(pool.map(lambda n: server.test(body=n), [1, 2])) == [1, 2]


def test_a_router_may_have_a_remote_route():
    with endpoint(lambda call: reply({"got": call.json, "path": call.path})) as target:
        fn = penstock.new_function("calls")
        router = fn.set_topology("router")
        router.add_route("far", class_name="$remote", url=target.url, subpath="predict")
        with fn.to_mock_server() as server:
            answer = server.test("/v2/models/far/infer", body={"inputs": [1]})
    assert answer == {"got": {"inputs": [1]}, "path": "/predict"}


def test_an_error_handler_sees_the_failure():
    def catch(event):
        event.body = [event.error, event.origin_state]
        return event

    with endpoint(lambda _: reply(b"gone", 410)) as target:
        fn = penstock.new_function("calls")
        graph = fn.set_topology("flow")
        graph.to("$remote", "r", url=target.url).error_handler("catcher").to("(event)", "after").respond()
        graph.add_step(handler=catch, name="catcher", full_event=True, after="")
        with fn.to_mock_server() as server:
            assert server.test(body=1) == ["RuntimeError: bad http response 410: gone", "r"]


class Time:
    """The clock of a step's breakers; sleeping moves it on."""

    def __init__(self):
        self.now = 0.0

    async def sleep(self, seconds):
        self.now += seconds

    def given_to(self, step):
        step.client.backoff = dataclasses.replace(step.client.backoff, sleep=self.sleep, draw=lambda: 1.0)
        step.client.clock = lambda: self.now
        return step


def record(value, offset=0):
    """An event that a stream has brought."""
    event = Event(value, offset=offset, method="POST")
    event.stream_path, event.shard_id = "topic", 3
    return event


def test_a_target_that_is_out_is_left_alone_and_then_probed(call):
    time = Time()
    with endpoint(lambda _: reply(b"", 500) if len(target.calls) <= 6 else reply(1)) as target:
        step = time.given_to(RemoteStep(target.url, retries=0))
        for _ in range(5):
            with pytest.raises(RemoteError, match="bad http response 500"):
                call(step, Event(1))
        with pytest.raises(RemoteCut, match="is not asked for now") as caught:
            call(step, Event(1))
        assert (caught.value.status_code, caught.value.retry_after) == (503, 30.0)
        assert len(target.calls) == 5
        time.now = 30.0
        with pytest.raises(RemoteError, match="bad http response 500"):
            call(step, Event(1))
        with pytest.raises(RemoteCut):
            call(step, Event(1))
        time.now = 60.0
        assert call(step, Event(1)) == 1
        assert call(step, Event(1)) == 1
    assert len(target.calls) == 8


def test_an_answer_between_failures_keeps_a_target_in_use(call):
    with endpoint(lambda _: reply(b"", 500 if len(target.calls) % 5 else 404)) as target:
        step = RemoteStep(target.url, retries=0)
        for _ in range(12):
            with pytest.raises(RemoteError, match="bad http response"):
                call(step, Event(1))
    assert len(target.calls) == 12


def test_targets_are_judged_one_by_one(call):
    with endpoint(lambda _: reply(b"", 503)) as bad, endpoint(lambda _: reply(1)) as good:
        step = RemoteStep(url_expression="event", retries=0, method="POST")
        for _ in range(5):
            with pytest.raises(RemoteError):
                call(step, Event(bad.url))
        with pytest.raises(RemoteCut):
            call(step, Event(bad.url))
        assert call(step, Event(good.url)) == 1


@pytest.mark.parametrize("retries", [0, 6])
def test_a_record_of_a_stream_waits_for_a_target_that_is_out(retries, call):
    time = Time()
    with endpoint(lambda _: reply(b"", 503) if time.now < 600 else reply(1)) as target:
        step = time.given_to(RemoteStep(target.url, retries=retries))
        assert call(step, record(1)) == 1
    assert time.now >= 600
    assert len(target.calls) < 6 + 600 / 30 + 2


def test_a_record_that_a_target_fails_with_is_not_tried_for_ever(call):
    time = Time()
    with endpoint(lambda _: reply(b"", 500)) as target:
        step = time.given_to(RemoteStep(target.url, retries=6))
        with pytest.raises(RemoteError, match="bad http response 500"):
            call(step, record(1))
    assert len(target.calls) == 7


def test_the_pause_that_an_open_target_asks_for_is_kept(call):
    time = Time()
    with endpoint(lambda _: reply(b"", 503, Retry_After="90")) as target:
        step = time.given_to(RemoteStep(target.url, retries=0))
        for _ in range(5):
            with pytest.raises(RemoteError):
                call(step, Event(1))
        with pytest.raises(RemoteCut) as caught:
            call(step, Event(1))
    assert caught.value.retry_after == 90.0


def test_retries_are_a_small_part_of_the_calls(call):
    running, most, lock = [0], [0], threading.Lock()

    def answer(call):
        if call.json not in seen:
            seen.add(call.json)
            return reply(b"", 429)
        with lock:
            running[0] += 1
            most[0] = max(most[0], running[0])
        time.sleep(0.01)
        with lock:
            running[0] -= 1
        return reply(call.json)

    seen = set()
    with endpoint(answer) as target:
        step = BatchHttpRequests(target.url, method="POST", max_in_flight=10, backoff_factor=0.01)
        assert call(step, Event(list(range(10)))) == list(range(10))
    assert most[0] <= 3


def test_a_request_has_the_same_idempotency_key_whenever_it_is_sent(call, waits):
    with endpoint(lambda _: reply(b"", 503) if len(target.calls) == 1 else reply(1)) as target:
        step = waits.given_to(RemoteStep(target.url, name="r"))
        for event in (record({"n": 1}), record({"n": 1}), record({"n": 2}), record({"n": 1}, offset=1)):
            call(step, event)
    keys = [made.headers["idempotency-key"] for made in target.calls]
    assert keys[0].startswith("topic/3/0/r/")
    assert keys[0] == keys[1] == keys[2]
    assert len(set(keys)) == 3


def test_the_callers_idempotency_key_is_the_root_of_the_steps(call):
    with endpoint(lambda _: reply(1)) as target:
        for headers in ({"idempotency-key": "k7"}, {"Idempotency-Key": "k7"}):
            call(RemoteStep(target.url, name="r"), Event(1, headers=headers, method="POST"))
        call(RemoteStep(target.url, headers={"Idempotency-Key": "own"}), Event(1, method="POST"))
        call(RemoteStep(target.url), Event(1, method="GET"))
    keys = [made.headers.get("idempotency-key") for made in target.calls]
    assert keys[0].startswith("k7/r/")
    assert keys[0] == keys[1]
    assert keys[2:] == ["own", None]


def test_each_item_of_a_batch_has_a_key_of_its_own(call):
    with endpoint(lambda _: reply(1)) as target:
        call(BatchHttpRequests(target.url, method="POST"), Event([5, 5, 6], event_id="e"))
    assert len({made.headers["idempotency-key"] for made in target.calls}) == 3


def test_callers_over_http_get_503_with_retry_after_at_once(tmp_path):
    file = tmp_path / "asks.py"
    with endpoint(lambda _: reply(b"", 500)) as target:
        file.write_text(
            "import penstock\n"
            "fn = penstock.new_function('asks')\n"
            f"fn.set_topology('flow').to('$remote', 'ask', url={target.url!r}, retries=0).respond()\n"
        )
        served = Served(file)
        try:
            assert [served.post(1)[0] for _ in range(5)] == [502] * 5
            status, headers, body = served.request("/", 1)
            assert (status, headers["Retry-After"]) == (503, "30")
            assert "is not asked for now" in body["error"]
            assert len(target.calls) == 5
            assert served.stop()[0] == 0
        finally:
            served.end()
