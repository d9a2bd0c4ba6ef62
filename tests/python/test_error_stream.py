"""Failures as records of a stream."""

import threading

import penstock
import pytest
from penstock import streams
from penstock.error_stream import ErrorStream
from penstock.errors import GraphError
from penstock.streams.memory import MemoryStream


def look(body):
    return body["x"]


def reports(event, context):
    context.push_error(event, "not so good", source="me", limit=3)
    return event


@pytest.fixture
def fn():
    return penstock.new_function("f", project="p")


class Slow(MemoryStream):
    """A stream that waits until it is let."""

    def __init__(self):
        super().__init__()
        self.may = threading.Event()
        self.closed = False

    def push(self, records, key=None):
        assert self.may.wait(20)
        super().push(records)

    def close(self):
        self.closed = True


class Broken(MemoryStream):
    def push(self, records, key=None):
        raise ConnectionError("no way")


@pytest.fixture
def kind():
    """A further kind of streams, "test://", whose streams are listed; forgotten afterwards."""
    made = []

    def register(make):
        def factory(path, **_):
            made.append(make())
            return made[-1]

        streams.register("test", factory)
        return made

    yield register
    del streams._factories["test"]


def test_a_failure_is_a_record_of_mlrun_also_in_the_mock(fn):
    fn.set_topology("flow").to("look").respond()
    fn.spec.error_stream = "dummy://"
    with fn.to_mock_server() as server:
        assert server.test(body={"y": 1}, event_id="e1", silent=True).status_code == 500
        assert server.test(body={"x": 1}) == 1
        server.test(body={}, silent=True)
        record, other = server._error_stream_object.event_list
    assert len(other["event"]["id"]) == 32
    assert set(record) == {"function_uri", "worker", "host", "source", "event", "message", "args"}
    assert (record["function_uri"], record["source"]) == ("p/f", "look")
    assert record["event"] == {"id": "e1", "body": {"y": 1}}
    assert record["message"].startswith("KeyError: 'x'\nTraceback")


def test_what_a_handler_catches_is_no_failure(fn):
    flow = fn.set_topology("flow")
    flow.to("look").error_handler(name="catch", handler="('caught')").respond()
    fn.spec.error_stream = "dummy://"
    with fn.to_mock_server() as server:
        assert server.test(body={"y": 1}) == "caught"
        assert server._error_stream_object.event_list == []


def test_failures_that_no_caller_hears_of_are_records_too(fn):
    flow = fn.set_topology("flow")
    start = flow.to("(event)", "start").respond()
    start.to("look", "side")
    fn.spec.error_stream = "memory://failures-of-a-side-branch"
    with fn.to_mock_server() as server:
        assert server.test(body={"y": 1}) == {"y": 1}
        server.wait_for_completion()
        assert [record["source"] for record in server._error_stream_object.event_list] == ["side"]


def test_a_step_reports_by_its_context(fn, caplog):
    fn.set_topology("flow").to("reports", full_event=True).respond()
    with fn.to_mock_server() as server:
        server.set_error_stream("dummy://")
        server.test(body=5, event_id="e1")
        (record,) = server._error_stream_object.event_list
        assert (record["source"], record["message"], record["args"]) == ("me", "not so good", {"limit": 3})
        assert record["event"] == {"id": "e1", "body": 5}
        server.set_error_stream(None)
        server.test(body=6)
        assert server._error_stream_object is None
    assert "not so good" in caplog.text


def test_failures_are_lines_of_a_file(fn, tmp_path):
    fn.set_topology("flow").to("look").respond()
    fn.spec.error_stream = str(tmp_path / "errors.jsonl")
    with fn.to_mock_server() as server:
        server.test(body=b"\xff", content_type="text/plain", silent=True)
        server.test(body={"y": {object()}}, silent=True)
    first, second = (tmp_path / "errors.jsonl").read_text().splitlines()
    assert '"body":{"base64":' in first
    assert '"body":"<dict>"' in second


def test_a_slow_stream_elsewhere_holds_no_event_up(fn, kind):
    made = kind(Slow)
    fn.set_topology("flow").to("look").respond()
    fn.spec.error_stream = "test://elsewhere"
    with fn.to_mock_server() as server:
        body = {"y": 1}
        for _ in range(3):
            assert server.test(body=body, silent=True).status_code == 500
        (stream,) = made
        assert stream.event_list == []
        stream.may.set()
    assert [record["event"]["body"] for record in stream.event_list] == [{"y": 1}] * 3
    assert stream.closed


def test_a_stream_that_fails_is_logged_and_fails_no_event(fn, kind, caplog):
    kind(Broken)
    fn.set_topology("flow").to("look").respond()
    fn.spec.error_stream = "test://broken"
    with fn.to_mock_server() as server:
        assert server.test(body={"y": 1}, silent=True).body == "KeyError: 'x'"
        assert server.test(body={"x": 1}) == 1
    assert "a failure could not be written to test://broken: ConnectionError: no way" in caplog.text


def test_a_kind_of_stream_that_is_none_is_found_at_the_start(fn):
    fn.set_topology("flow").to("look").respond()
    fn.spec.error_stream = "kafak://h/t"
    with pytest.raises(GraphError, match="there is no kind of stream 'kafak://'"):
        fn.to_mock_server()


def test_records_that_cannot_wait_are_logged(kind, caplog, monkeypatch):
    monkeypatch.setattr("penstock.error_stream._WAITING", 1)
    made = kind(Slow)
    errors = ErrorStream("test://full")
    for number in range(4):  # one is being written at most, and one waits
        errors.push(source="s", message="m", event_id=f"e{number}", body=None)
    made[0].may.set()
    errors.close()
    assert "the error stream test://full is too slow: the failure of event e3 is lost to it" in caplog.text
