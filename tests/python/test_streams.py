"""Streams: every kind of path takes records, and says what is wrong with it."""

import base64
import json
import socket
import threading

import confluent_kafka
import numpy as np
import penstock
import pytest
from endpoint import endpoint, reply
from penstock import Event
from penstock.errors import GraphClosed, GraphError, MissingExtra, QueueFull, StepError, StreamError
from penstock.streams import open_stream, register, scheme_of
from penstock.streams.memory import MemoryStream
from penstock.streams.records import to_json, unwrap, wrap
from penstock.streams.sink import QueueSink


def lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.mark.parametrize(
    ("path", "scheme"),
    [
        (None, "memory"),
        ("", "memory"),
        ("DUMMY://", "dummy"),
        ("out.jsonl", "file"),
        ("rows.NDJSON", "file"),
        ("file:///tmp/x", "file"),
        ("https://host/path", "https"),
        ("users/me/stream", "v3io"),
    ],
)
def test_the_path_says_which_kind_of_stream_it_is(path, scheme):
    assert scheme_of(path) == scheme


def test_an_unknown_kind_is_refused_with_the_known_ones():
    with pytest.raises(GraphError, match="no kind of stream 'fil://'.*dummy://, file://.*did you mean 'file'"):
        open_stream("fil:///x")


def test_a_registered_kind_gets_path_and_options():
    opened = []

    def factory(path, **options):
        opened.append((path, options))
        return MemoryStream()

    register("Mine", factory)
    open_stream("mine://a/b", size=3).push("x")
    assert opened == [("mine://a/b", {"size": 3})]


def test_a_dummy_keeps_what_was_pushed_and_is_nobody_elses():
    first, second = open_stream("dummy://"), open_stream("dummy://")
    first.push([1, "two", b"3"])
    first.push({"n": 4})
    first.close()
    assert first.event_list == [1, "two", b"3", {"n": 4}]
    assert second.event_list == []


def test_a_name_in_memory_is_one_stream_for_all():
    open_stream("memory://test-one").push([1, 2, 3])
    assert open_stream("memory://test-one").take(2) == [1, 2]
    assert open_stream("memory://test-one").event_list == [3]
    assert open_stream(None).event_list == []


def test_a_full_stream_in_memory_refuses_all_of_a_push():
    stream = open_stream("", capacity=3)
    stream.push([1, 2])
    with pytest.raises(QueueFull, match="holds 3 records"):
        stream.push([3, 4])
    assert stream.event_list == [1, 2]


@pytest.mark.parametrize("scheme", ["", "file://"])
def test_a_file_gets_a_line_of_json_for_each_record(tmp_path, scheme):
    path = tmp_path / "new" / "out.jsonl"
    stream = open_stream(f"{scheme}{path}")
    stream.push([{"n": 1, "raw": b"ab"}, "two", b"\xff", None])
    stream.push({"row": np.array([1.5, 2.5]), "size": np.float32(2)})
    assert lines(path) == [
        {"n": 1, "raw": {"base64": "YWI="}},
        "two",
        {"base64": "/w=="},
        None,
        {"row": [1.5, 2.5], "size": 2.0},
    ]
    stream.close()
    stream.close()
    open_again = open_stream(str(path))
    open_again.push(9)
    open_again.close()
    assert lines(path)[-1] == 9
    assert len(lines(path)) == 6


def test_a_closed_file_takes_nothing(tmp_path):
    stream = open_stream(str(tmp_path / "out.jsonl"))
    stream.close()
    with pytest.raises(GraphClosed, match="out.jsonl is closed"):
        stream.push(1)


def test_a_file_that_cannot_be_opened_is_said_at_once(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(GraphError, match="cannot write the stream"):
        open_stream(str(tmp_path / "file" / "out.jsonl"))


def test_a_record_that_json_cannot_say_leaves_the_file_as_it_was(tmp_path):
    stream = open_stream(str(tmp_path / "out.jsonl"))
    with pytest.raises(TypeError, match="object"):
        stream.push([1, object()])
    stream.close()
    assert lines(tmp_path / "out.jsonl") == []


def test_threads_do_not_mix_their_lines(tmp_path):
    stream = open_stream(str(tmp_path / "out.jsonl"))
    threads = [
        threading.Thread(target=lambda n=n: [stream.push([{"from": n, "pad": "x" * 500}] * 4) for _ in range(50)])
        for n in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    stream.close()
    assert sorted(line["from"] for line in lines(tmp_path / "out.jsonl")) == sorted([0, 1, 2, 3] * 200)


def test_http_gets_a_post_for_each_record_over_one_connection():
    with endpoint(lambda call: reply(b"", 202)) as target:
        stream = open_stream(f"{target.url}/in?x=1", headers={"X-Token": "t"})
        stream.push([{"n": 1}, b"\x00raw"])
        stream.close()
    assert [(call.method, call.path, call.body) for call in target.calls] == [
        ("POST", "/in?x=1", b'{"n":1}'),
        ("POST", "/in?x=1", b"\x00raw"),
    ]
    assert [call.headers["content-type"] for call in target.calls] == ["application/json", "application/octet-stream"]
    assert {call.headers["x-token"] for call in target.calls} == {"t"}
    assert len({call.port for call in target.calls}) == 1


def test_http_raises_what_the_endpoint_answers_and_shows_no_path():
    with endpoint(lambda call: reply(b"", 404)) as target:
        stream = open_stream(f"{target.url}/secret-token")
        with pytest.raises(StreamError, match="answered 404") as caught:
            stream.push(1)
        stream.close()
    assert "secret" not in str(caught.value)
    assert caught.value.status_code == 502
    with pytest.raises(StreamError, match="cannot push to http://127.0.0.1: ConnectError"):
        stream.push(1)  # the endpoint is gone
    stream.close()


def test_http_needs_a_host():
    with pytest.raises(GraphError, match="names no host"):
        open_stream("http:///path")


def test_v3io_puts_records_by_its_own_protocol(monkeypatch):
    monkeypatch.setenv("V3IO_ACCESS_KEY", "secret")

    def answer(call):
        return reply({"FailedRecordCount": int(b"bad" in call.path.encode()), "Records": []})

    with endpoint(answer) as target:
        monkeypatch.setenv("V3IO_API", target.url)
        stream = open_stream("users/me/stream")
        stream.push([{"n": 1}, "two"], key="k")
        stream.close()
        refused = open_stream("v3io:///users/bad", endpoint=target.url)
        with pytest.raises(StreamError, match="1 records were refused"):
            refused.push(1)
        refused.close()
    call = target.calls[0]
    assert call.path.rstrip("/") == "/users/me/stream"
    assert call.headers["x-v3io-function"] == "PutRecords"
    assert [base64.b64decode(record["Data"]) for record in call.json["Records"]] == [b'{"n":1}', b"two"]
    assert [record["PartitionKey"] for record in call.json["Records"]] == ["k", "k"]


@pytest.mark.parametrize(
    ("path", "text"),
    [("out.txt", "none of V3IO: v3io:///container/path is one; a file ends in .jsonl"), ("a/b", "set V3IO_API")],
)
def test_a_path_that_is_no_stream_says_what_to_write(path, text, monkeypatch):
    monkeypatch.delenv("V3IO_API", raising=False)
    with pytest.raises(GraphError, match=text):
        open_stream(path)


@pytest.mark.parametrize(
    ("module", "path", "extra"),
    [
        ("httpx", "http://host/", "remote"),
        ("v3io.dataplane", "users/me/stream", "v3io"),
        ("confluent_kafka", "kafka://host/topic", "kafka"),
    ],
)
def test_a_missing_package_is_named_with_its_extra(module, path, extra, run_python):
    run_python(
        f"""
import sys
sys.modules[{module!r}] = None
import penstock.streams
try:
    penstock.streams.open_stream({path!r})
except penstock.errors.MissingExtra as error:
    assert 'pip install "penstock[{extra}]"' in str(error), error
else:
    raise SystemExit(1)
"""
    )
    assert issubclass(MissingExtra, GraphError)


@pytest.fixture
def orders():
    """A topic of brokers inside of a client, which speak Kafka's protocol on a socket."""
    client = confluent_kafka.Producer({"test.mock.num.brokers": 1, "bootstrap.servers": "set by the client"})
    client.produce("orders", b"")  # these brokers make topics for a record, and for no other asking
    assert client.flush(10) == 0
    (broker,) = client.list_topics(timeout=10).brokers.values()
    yield f"kafka://{broker.host}:{broker.port}/orders"
    client.flush(1)  # which had to be kept until here


def test_kafka_takes_records_when_the_brokers_have_them(orders):
    stream = open_stream(orders)
    stream.push([{"n": 1}, "two", b"3"], key="k")
    stream.push(4, key=5)
    stream.close()
    stream.close()
    assert stream.topic == "orders"


def test_kafka_raises_what_the_brokers_do_not_take(orders):
    stream = open_stream(orders, producer_options={"message.max.bytes": 1000})
    with pytest.raises(StreamError, match="cannot push to the topic orders: .*size"):
        stream.push("x" * 2000)
    stream.close()


def test_kafka_says_of_each_row_what_became_of_it(orders):
    stream = open_stream(orders, producer_options={"message.max.bytes": 1000})
    assert stream.push_rows([{"n": 1}, None, None], ["k", b"gone", None]) is None
    first, large, strange, last = stream.push_rows([1, "x" * 2000, object(), 2], ["a", "b", "c", "d"])
    assert first is last is None
    assert "size" in str(large)
    assert "object" in str(strange)
    stream.close()


def test_a_refusal_that_fits_no_row_counts_for_all_that_are_open():
    stream = open_stream("kafka://localhost:9/orders")
    failures = {0: StreamError("before")}
    stream._put_down(failures, [1, 2, 3], ["a", "b", "c"], (b"b", b"2"), "no")
    assert failures.keys() == {0, 1}
    stream._put_down(failures, [1, 2, 3], ["a", "b", "c"], (b"z", b"9"), "no")
    assert failures.keys() == {0, 1, 2}
    stream.close()


def test_kafka_without_a_broker_ends_in_time():
    with socket.socket() as silent:  # bound, and never listening
        silent.bind(("127.0.0.1", 0))
        stream = open_stream(f"kafka://127.0.0.1:{silent.getsockname()[1]}/orders", timeout=0.5)
        with pytest.raises(StreamError, match="cannot push to the topic orders"):
            stream.push(1)
        stream.close()


def test_kafka_does_not_wait_longer_than_it_is_told():
    options = {"bootstrap.servers": "127.0.0.1:9", "message.timeout.ms": 60_000}
    stream = open_stream("kafka:///orders", timeout=0.01, producer_options=options)
    with pytest.raises(StreamError, match="no answer within 0.01 s"):
        stream.push(1)


@pytest.mark.parametrize("path", ["kafka://host:9092", "kafka:///topic"])
def test_kafka_needs_brokers_and_a_topic(path):
    with pytest.raises(GraphError, match="kafka://host:port/topic"):
        open_stream(path)


def test_kafka_says_which_setting_is_wrong():
    with pytest.raises(GraphError, match="no.such.setting"):
        open_stream("kafka://host/topic", producer_options={"no.such.setting": 1})


def test_a_wrapped_event_comes_back_with_its_key_and_id():
    sent = Event(b"\x01\x02", event_id="x9", key="k")
    got = Event(json.loads(to_json(wrap(sent))))
    assert unwrap(got)
    assert (got.body, got.id, got.key) == (b"\x01\x02", "x9", "k")


@pytest.mark.parametrize("body", [None, 7, {"body": 7}, {"full_event_wrapper": False, "body": 7}])
def test_a_body_that_was_not_wrapped_stays(body):
    event = Event(body, event_id="a")
    assert not unwrap(event)
    assert (event.body, event.id) == (body, "a")


def test_bytes_that_are_no_base64_are_somebodys_field():
    event = Event({"full_event_wrapper": True, "body": {"base64": "?"}})
    assert unwrap(event)
    assert event.body == {"base64": "?"}


def test_a_sink_pushes_each_body_and_hands_the_event_on():
    sink = QueueSink("dummy://", group="readers", shards=2)
    events = [Event(body) for body in (6, 0, [1, 2], {}, None)]
    assert [sink.do_event(event) for event in events] == events
    assert sink.stream.event_list == [6, 0, [1, 2], {}]
    sink.close()


def test_a_sink_keeps_key_and_id_with_full_event():
    sink = QueueSink("dummy://", full_event=True)
    sink.do_event(Event({"n": 1}, event_id="i", key="k"))
    assert sink.stream.event_list == [{"full_event_wrapper": True, "body": {"n": 1}, "key": "k", "id": "i"}]


def queue_graph(engine, path, **options):
    fn = penstock.new_function("writes")
    graph = fn.set_topology("flow", engine=engine)
    graph.to("(event + 1)", "inc").to(">>", "q", path=path, **options)
    return fn


def test_a_queue_at_the_end_of_a_sync_graph_answers_nothing_and_keeps_the_record():
    with queue_graph("sync", "dummy://").to_mock_server() as server:
        assert server.test(body=5) is None
    assert server.graph["q"]._stream.event_list == [6]


def test_a_queue_at_the_end_of_an_async_graph_keeps_the_record():
    with queue_graph("async", "dummy://").to_mock_server() as server:
        assert server.test(body=5, event_id="i") == {"id": "i"}
    assert server.graph["q"]._stream.event_list == [6]


@pytest.mark.parametrize("path", ["dummy://", "failures.jsonl"])
def test_a_catcher_whose_path_ends_in_a_queue_answers_its_result(tmp_path, monkeypatch, path):
    monkeypatch.chdir(tmp_path)
    fn = penstock.new_function("catches")
    graph = fn.set_topology("flow")
    graph.to("(1 / event)", "divide").respond().error_handler("catcher")
    graph.add_step("({'caught': event})", "catcher", after="").to(">>", "failures", path=path)
    with fn.to_mock_server() as server:
        assert server.test(body=0) == {"caught": 0}


def test_a_queue_writes_to_a_file_which_is_closed_with_the_graph(tmp_path):
    with queue_graph("async", str(tmp_path / "out.jsonl"), full_event=True).to_mock_server() as server:
        for n in range(3):
            server.test(body=n, event_id=str(n))
    assert lines(tmp_path / "out.jsonl") == [
        {"full_event_wrapper": True, "body": n + 1, "key": "", "id": str(n)} for n in range(3)
    ]
    with pytest.raises(GraphClosed):
        server.graph["q"]._stream.push(1)


def test_a_queue_that_cannot_write_fails_its_events():
    with endpoint(lambda call: reply(b"", 500)) as target, queue_graph("sync", target.url).to_mock_server() as server:
        with pytest.raises(StepError, match="it answered 500") as caught:
            server.test(body=1)
        assert (caught.value.status_code, caught.value.step) == (502, "q")


def test_a_queues_path_is_checked_when_the_graph_is_made():
    with pytest.raises(GraphError, match="step 'q': there is no kind of stream 'kafak://'"):
        queue_graph("async", "kafak://host/topic").to_mock_server()
