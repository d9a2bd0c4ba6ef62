"""The Nuclio handler, in a stand-in for the processor: every trap of the real one that concerns it."""

import json

import penstock
import pytest
from nuclio_functions import MAIN, STEPS, spec_of, start  # noqa: F401  # a fixture
from nuclio_processor import Dead, Worker
from penstock.documents import pack

# --- where the specification is ---------------------------------------------------------------------------------


@pytest.mark.parametrize("packed", [False, True])
def test_the_specification_comes_from_the_environment(start, packed):
    spec = spec_of("double")
    worker = start(spec=pack(spec) if packed else spec)
    assert worker.request(body=4).json == 8


@pytest.mark.parametrize("name", ["PENSTOCK_SPEC_PATH", "MLRUN_SERVING_SPEC_PATH"])
@pytest.mark.parametrize("folder", [False, True])
def test_the_specification_comes_from_a_file(tmp_path, name, folder):
    (tmp_path / "main.py").write_text(MAIN)
    file = tmp_path / "serving_spec.json"
    file.write_text(spec_of("double"))
    with Worker(tmp_path, "main:handler", **{name: str(tmp_path if folder else file)}) as worker:
        assert worker.request(body=4).json == 8


def test_without_a_specification_the_worker_says_so_and_ends(tmp_path):
    (tmp_path / "main.py").write_text(MAIN)
    with pytest.raises(Dead, match="Failed to find serving spec in env var or config file"):
        Worker(tmp_path, "main:handler")


def test_a_wrong_graph_ends_the_worker_before_it_is_ready(start):
    with pytest.raises(Dead, match="step 'doubel': there is no .*did you mean 'double'"):
        start("doubel")


def test_the_handler_of_the_package_finds_the_names_of_the_functions_source(tmp_path, start):
    (tmp_path / "steps.py").write_text(STEPS)
    fn = penstock.new_function("golden")
    fn.set_topology("flow").to(handler="double", name="double").respond()
    fn.spec.filename = "steps.py"
    worker = start(spec=fn.serving_spec, handler="penstock.nuclio:handler")
    assert worker.home == "penstock.nuclio"
    assert worker.request(body=4).json == 8


CHILD = """
fn = penstock.new_function("golden")
fn.add_child_function("enrich", "./", "image")
graph = fn.set_topology("flow")
queue = graph.to("(event + 3)", name="first").to(">>", "q", path="")
queue.to("(event + 1)", name="second", function="enrich").respond()
"""


@pytest.mark.parametrize(("named", "answer"), [("", 11), ("enrich", 8)])
def test_the_environment_names_the_child_function_and_empty_is_none(start, named, answer):
    namespace = {"penstock": penstock}
    exec(CHILD, namespace)
    worker = start(spec=namespace["fn"].serving_spec, SERVING_CURRENT_FUNCTION=named)
    assert worker.request(body=7).json == answer


# --- init_context -----------------------------------------------------------------------------------------------

OWN = {
    "def": "def init_context(context):\n    global rate\n    rate = 3\n",
    "async def": "import asyncio\nasync def init_context(context):\n    await asyncio.sleep(0)\n"
    "    global rate\n    rate = 3\n",
    "calls ours": "import penstock.nuclio\ndef init_context(context):\n    global rate\n    rate = 3\n"
    "    penstock.nuclio.init_context(context)\n",
}


@pytest.mark.parametrize("told", [True, False])
@pytest.mark.parametrize("own", OWN.values(), ids=OWN)
def test_a_users_own_init_context_is_called_and_the_graph_is_made_ready(start, own, told):
    worker = start("rated", main=MAIN + own + "def rated(body):\n    return rate * body\n", told=told)
    assert worker.home == "penstock.nuclio.for_main"
    assert worker.request(body=4).json == 12


def test_an_async_handler_is_an_async_function(start):
    worker = start("double", main=STEPS + "from penstock.nuclio import async_handler\n", handler="main:async_handler",
                   mode="async")  # fmt: skip
    assert worker.request(body=4).json == 8


def test_the_hook_of_mlruns_function_code_works(start):
    main = STEPS + (
        "from penstock.nuclio import nuclio_init_hook\n"
        "def init_context(context):\n    nuclio_init_hook(context, globals(), 'serving_v2')\n"
        "def handler(context, event):\n    return context.mlrun_handler(context, event)\n"
    )
    assert start("double", main=main).request(body=4).json == 8


def test_init_is_once_for_each_worker_and_a_handler_without_it_makes_the_graph_ready_itself(start):
    main = STEPS + (
        "import penstock.nuclio\nreal = penstock.nuclio.handler\n"
        "def handler(context, event):\n    return real(context, event)\n"
    )
    worker = start("double", main=main)
    assert [worker.request(body=n).json for n in (1, 2)] == [2, 4]


def test_a_function_that_cannot_start_says_so_in_answers_and_batches(tmp_path):
    main = "import penstock.nuclio\nreal = penstock.nuclio.handler\ndef handler(context, event):\n"
    (tmp_path / "main.py").write_text(main + "    return real(context, event)\n")
    with Worker(tmp_path, "main:handler") as worker:
        answer = worker.request(body=1)
        assert (answer.status, "Failed to find serving spec" in answer.json["error"]) == (500, True)
        assert worker.batch([worker.http_event(id="e0")])["e0"].status == 500


# --- events -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("raw", [False, True], ids=["texts", "bytes"])
def test_what_an_http_event_is(start, raw):
    worker = start("show", raw=raw)
    seen = worker.request("/p/q?x=1&y=a%20b", {"a": 1}, headers={"X-Foo": "bar", "MLRUN-EVENT-PATH": "/other"}).json
    assert (seen["path"], seen["method"], seen["trigger"]) == ("/p/q?x=1&y=a+b", "POST", "http")
    assert (seen["content_type"], seen["body"]) == ("application/json", "{'a': 1}")
    assert seen["headers"]["X-Foo"] == "bar"


def test_ids_are_fresh(start):
    worker = start("show")
    ids = {worker.request(body=1).json["id"] for _ in range(3)}
    assert len(ids) == 3
    assert "the-id-of-the-worker" not in ids


@pytest.mark.parametrize(
    ("body", "content_type", "seen"),
    [
        (b'{"a": 1}', "application/json", "{'a': 1}"),
        (b'{"a": 1}', "application/json; charset=utf-8", "{'a': 1}"),
        (b'{"a": 1}', "", "{'a': 1}"),
        (b'{"a": 1}', "application/x-www-form-urlencoded", "{'a': 1}"),
        (b'{"a": 1}', "text/plain", "b'{\"a\": 1}'"),
        (b"{x", "", "b'{x'"),
        (b'"text"', "application/json", "'text'"),
        (b"", "", "None"),
        (None, "", "None"),
    ],
)
def test_bodies_are_read_as_over_http(start, body, content_type, seen):
    worker = start("show")
    assert worker.call(worker.http_event(body=body, content_type=content_type)).json["body"] == seen


def test_what_is_said_to_be_json_and_is_not_is_400(start):
    answer = start("double").request(body=b"{x", content_type="application/json")
    assert answer.status == 400
    assert answer.json["error"].startswith("failed to json decode event, ")


def test_the_functions_content_type_fills_in(start):
    worker = start("show", options={"default_content_type": "text/plain"})
    assert worker.call(worker.http_event(body=b"5")).json["body"] == "b'5'"


def test_what_a_cron_event_is(start):
    worker = start("show", trigger="cron")
    seen = worker.call(worker._event(body=b'{"a": 1}', path="/tick", method="POST", headers={"a": "b"})).json
    assert (seen["path"], seen["method"], seen["trigger"]) == ("/tick", "POST", "cron")
    assert (seen["body"], seen["headers"]) == ("{'a': 1}", {"a": "b"})
    assert not seen["time"].startswith("1970")


# --- answers ----------------------------------------------------------------------------------------------------


def test_answers_are_text_that_is_encoded_already(start):
    answer = start("(event)").request(body={"a": [1, 2.5, None], "é": "ü"})
    assert (answer.status, answer.content_type, answer.encoding) == (200, "application/json", "text")
    assert answer.body == '{"a":[1,2.5,null],"é":"ü"}'.encode()


@pytest.mark.parametrize(
    ("body", "kind", "sent"),
    [
        ([], "application/json", b"[]"),
        ([1, 2], "application/json", b"[1,2]"),
        (None, "application/json", b"null"),
        (5, "application/json", b"5"),
        ("text", "text/plain", b"text"),
    ],
)
def test_a_list_is_no_batch_and_none_no_text(start, body, kind, sent):
    worker = start("(event)")
    for _ in range(2):
        answer = worker.request(body=json.dumps(body).encode(), content_type="application/json")
        assert (answer.status, answer.content_type, answer.body) == (200, kind, sent)


def test_bytes_that_are_no_text_go_out_as_they_are(start):
    answer = start("raw").request(body=1)
    assert (answer.content_type, answer.body, answer.encoding) == ("application/octet-stream", b"\xff\x00", "base64")


def test_a_response_keeps_its_status_and_all_its_headers(start):
    answer = start("respond").request(body=1)
    assert (answer.status, answer.content_type, answer.body) == (201, "application/json", b'{"a":[1]}')
    assert answer.headers == {"X-Number": "5", "X-Flag": "True"}


def test_an_event_that_is_filtered_out_is_204(start):
    worker = start("odd")
    assert worker.request(body=3).body == b"3"
    answer = worker.request(body=2)
    assert (answer.status, answer.body) == (204, b"")


def test_a_graph_without_responder_takes_events(start):
    answer = start("double", options={"respond": False}).request(body=3)
    assert (answer.status, list(answer.json)) == (200, ["id"])


@pytest.mark.parametrize(
    ("step", "status", "said"),
    [
        ("fail", 500, "step 'fail': TypeError: 'int' object is not subscriptable"),
        ("refuse", 409, "MLRunConflictError: not twice"),
    ],
)
def test_a_failure_has_its_status_and_no_stack(start, step, status, said):
    worker = start(step)
    answer = worker.request(body=1)
    assert (answer.status, answer.content_type, answer.json) == (status, "application/json", {"error": said})
    assert worker.request(body=2).status == status  # the worker lives on


def test_a_deadline_of_the_caller_is_504(start):
    worker = start("slow")
    answer = worker.request(body={"seconds": 0.5}, headers={"X-Penstock-Timeout-Ms": "50"})
    assert answer.status == 504
    assert worker.request(body=1, headers={"X-Penstock-Timeout-Ms": "soon"}).status == 400


def test_chunks_come_as_one_where_the_processor_cannot_stream(start):
    worker = start("chunks")
    answer = worker.request(body="x")
    assert (answer.status, answer.content_type, answer.body) == (200, "text/plain", b"x0x1x2")
    answer = worker.request(body="x", headers={"Accept": "text/event-stream"})
    assert (answer.content_type, answer.body) == (
        "text/event-stream; charset=utf-8",
        b'data: "x0"\n\ndata: "x1"\n\ndata: "x2"\n\n',
    )


def test_chunks_that_are_no_text_are_lines_of_json(start):
    answer = start(main=MAIN + "def numbers(body):\n    yield from ({'n': n} for n in range(body))\n",
                   spec=spec_of("numbers")).request(body=2)  # fmt: skip
    assert (answer.content_type, answer.body) == ("application/x-ndjson", b'{"n":0}\n{"n":1}\n')


def test_chunks_are_streamed_where_it_can(start):
    worker = start("chunks", main=STEPS + "from penstock.nuclio import async_handler\n", handler="main:async_handler",
                   mode="async", streams=True, options={"streaming": True})  # fmt: skip
    first, *others = worker.wait(worker.send(worker.http_event(body=b'"x"', content_type="application/json")))
    assert (first["body"], first["content_type"], others) == ("x0", "text/plain", ["eDE=", "eDI="])


# --- the protocol -----------------------------------------------------------------------------------------------


def test_health_and_metadata_are_answered_ahead_of_the_graph(start):
    worker = start("double")
    assert worker.request("/v2/health/live").json == {"live": True}
    assert worker.request("/v2/health/ready").json == {"live": True, "ready": True}
    assert worker.request("/v2").json["name"] == "golden"
    refused = worker.request("/v2/health/live", 1)
    assert (refused.status, refused.headers) == (405, {"Allow": "GET"})


def test_what_the_steps_have_done_is_counted(start):
    worker = start("double")
    worker.request(body=1)
    answer = worker.request("/metrics")
    assert answer.content_type.startswith("text/plain")
    assert b'penstock_step_events_total{model="",step="double"} 1.0' in answer.body


# --- batches ----------------------------------------------------------------------------------------------------


def test_a_batch_comes_back_with_the_ids_whatever_happens(start):
    worker = start("fail")
    messages = [worker.http_event(body=body, id=f"e{n}") for n, body in enumerate((b'{"missing": 5}', b"1", b"{x"))]
    got = worker.batch(messages)
    assert [got[f"e{n}"].status for n in range(3)] == [200, 500, 500]
    assert got["e0"].body == b"5"
    assert worker.batch(messages[:1])["e0"].body == b"5"


def test_the_events_of_a_batch_run_at_once(start):
    main = MAIN + "gate = threading.Barrier(4, timeout=20)\ndef meet(body):\n    gate.wait()\n    return body\n"
    fn = penstock.new_function("golden")
    fn.set_topology("flow").to(handler="meet", name="meet").concurrency(4).respond()
    worker = start(main=main, spec=fn.serving_spec)
    got = worker.batch([worker.http_event(body=str(n).encode(), id=str(n)) for n in range(4)])
    assert {key: answer.json for key, answer in got.items()} == {str(n): n for n in range(4)}


def test_an_async_worker_overlaps_events(start):
    main = STEPS + "gate = threading.Barrier(3, timeout=20)\ndef meet(body):\n    gate.wait()\n    return body\n"
    fn = penstock.new_function("golden")
    fn.set_topology("flow").to(handler="meet", name="meet").concurrency(3).respond()
    worker = start(main=main + "from penstock.nuclio import async_handler\n", spec=fn.serving_spec,
                   handler="main:async_handler", mode="async")  # fmt: skip
    numbers = [worker.send(worker.http_event(body=str(n).encode())) for n in range(3)]
    assert [worker.wait(number)["body"] for number in numbers] == ["0", "1", "2"]


# --- streams ----------------------------------------------------------------------------------------------------


def test_what_a_record_is(start, tmp_path):
    worker = start("show", "keep", trigger="kafka-cluster")
    answer = worker.call(worker.record(7, b'{"a": 1}', partition=2, headers={"h": b"v"}))
    assert (answer.status, answer.body, answer.raw_headers) == (200, b"", {})
    seen = json.loads((tmp_path / "kept.txt").read_text())
    assert (seen["path"], seen["stream_path"], seen["offset"], seen["shard_id"]) == ("/", "in", 7, 2)
    assert (seen["body"], seen["headers"], seen["time"]) == ("{'a': 1}", {"h": "v"}, "2023-11-14T22:13:20+00:00")
    assert worker.wait_for_acks(1)[0]["attributes"] == {"topic": "in", "partition": 2, "offset": 7}


@pytest.mark.parametrize(("trigger", "mode"), [("rabbit-mq", ""), ("kafka-cluster", "disable")])
def test_where_acknowledgements_are_none_of_its_business_there_are_none(start, trigger, mode):
    worker = start("keep", trigger=trigger, PENSTOCK_EXPLICIT_ACK=mode)
    assert worker.call(worker.record(0, b"1")).status == 200
    assert worker.call(worker.record(1, b"1")).status == 200
    assert worker.drain() == "drain"
    assert worker.acks == []


@pytest.mark.parametrize("wrapped", [False, True])
def test_a_record_of_a_queue_enters_behind_it(start, tmp_path, wrapped):
    fn = penstock.new_function("golden")
    fn.add_child_function("child", "./", "image")
    flow = fn.set_topology("flow")
    queue = flow.to("(event + 100)", name="first").to(">>", "q", path="kafka://127.0.0.1:1/topic")
    queue.to(handler="double", name="double", function="child").to(handler="keep", name="keep", function="child")
    worker = start(spec=fn.serving_spec, trigger="kafka-cluster", SERVING_CURRENT_FUNCTION="child")
    body = json.dumps({"full_event_wrapper": True, "body": 7, "id": "x9"} if wrapped else 7).encode()
    assert worker.call(worker.record(0, body, topic="topic")).status == 200
    assert (tmp_path / "kept.txt").read_text() == "14\n"


def test_a_record_is_answered_when_all_that_came_of_it_is_settled(start, tmp_path):
    worker = start("slow", trigger="kafka-cluster", options={"respond": False})
    worker.call(worker.record(0, b'{"seconds": 0.2}'))
    assert (tmp_path / "kept.txt").read_text() == '{"seconds": 0.2}\n'


def test_a_record_of_a_trigger_without_acknowledgements_is_settled_first_whatever_the_others_do(start, tmp_path):
    worker = start("slow", trigger="rabbit-mq", options={"respond": False}, PENSTOCK_EXPLICIT_ACK="explicitOnly")
    worker.call(worker.record(0, b'{"seconds": 0.2}'))
    assert (tmp_path / "kept.txt").read_text() == '{"seconds": 0.2}\n'


def test_a_record_that_fails_goes_to_the_error_stream_and_is_done(start, tmp_path):
    worker = start("fail", trigger="kafka-cluster", options={"error_stream": f"file://{tmp_path}/errors.jsonl"})
    assert worker.call(worker.record(0, b"1")).status == 200
    (line,) = (tmp_path / "errors.jsonl").read_text().splitlines()
    assert "TypeError" in line


def test_acknowledged_is_only_what_is_settled_without_gaps(start):
    main = MAIN + (
        "gates = [threading.Event() for _ in range(4)]\n"
        "def wait(body):\n    gates[body].wait(20)\n    return body\n"
        "def gate(body):\n    gates[body].set()\n"
    )
    fn = penstock.new_function("golden")
    flow = fn.set_topology("flow")
    flow.add_step(handler="wait", name="wait", after="").concurrency(8)
    worker = start(main=main + "own = handler\ndef handler(context, event):\n    if event.method == 'OPEN':\n"
                   "        gate(int(event.body))\n        return 'open'\n    return own(context, event)\n"
                   "handler.__module__ = own.__module__\n",
                   spec=fn.serving_spec, trigger="kafka-cluster", PENSTOCK_EXPLICIT_ACK="explicitOnly")  # fmt: skip

    def open_gate(number):
        worker.call(worker._event(method="OPEN", body=str(number).encode()))

    for offset in range(4):
        answer = worker.call(worker.record(10 + offset, str(offset).encode()))
        assert answer.raw_headers == {"X-Nuclio-Stream-No-Ack": True}
    open_gate(2)
    open_gate(1)
    open_gate(0)
    (ack,) = worker.wait_for_acks(1)[-1:]
    assert ack["kind"] == "streamMessageAck"
    open_gate(3)
    offsets = [
        ack["attributes"]["offset"] for ack in _until(worker, lambda acks: acks[-1]["attributes"]["offset"] == 13)
    ]
    assert offsets == sorted(set(offsets))
    assert set(offsets) <= {10, 11, 12, 13}
    assert worker.acks[0]["attributes"].items() >= {"topic": "in", "partition": 0}.items()


def _until(worker, done):
    count = 1
    while not done(acks := worker.wait_for_acks(count)):
        count = len(acks) + 1
    return acks


# --- the end ----------------------------------------------------------------------------------------------------


def test_termination_settles_all_and_ends_at_once(start, tmp_path):
    worker = start("slow", options={"respond": False})
    worker.request(body={"seconds": 0.5})
    code, seconds = worker.terminate()
    assert (code, seconds < 5) == (0, True)
    assert (tmp_path / "kept.txt").read_text() == '{"seconds": 0.5}\n'


def test_drain_settles_records_and_the_worker_goes_on(start, tmp_path):
    worker = start("slow", trigger="kafka-cluster", options={"respond": False}, PENSTOCK_EXPLICIT_ACK="enable")
    worker.call(worker.record(0, b'{"seconds": 0.3}'))
    assert worker.drain() == "drain"
    assert (tmp_path / "kept.txt").read_text() == '{"seconds": 0.3}\n'
    assert [ack["attributes"]["offset"] for ack in worker.wait_for_acks(1)] == [0]
    worker.resume()
    worker.call(worker.record(1, b"{}"))
    assert worker.wait_for_acks(2)[-1]["attributes"]["offset"] == 1


# --- logs -------------------------------------------------------------------------------------------------------


def test_logs_are_the_processors_and_filtered_first(start):
    worker = start("Logs")
    assert worker.request(body=1).json == ["0", "local", "http", "*"]
    logged = {log["message"]: log for log in worker.logs}
    assert "too much" not in logged
    assert logged["fact 5"]["with"] == {"rows": 3, "name_": "n", "worker_id": "0"}
    assert (logged["fact 5"]["level"], logged["own"]["level"]) == ("info", "warning")


@pytest.mark.parametrize("respond", [True, False])
def test_a_failure_that_nobody_hears_of_is_logged_once_with_its_stack(start, respond):
    worker = start("fail", trigger="kafka-cluster", options={"respond": respond})
    worker.call(worker.record(0, b"1"))
    (log,) = [log for log in worker.logs if "step 'fail' failed on" in log["message"]]
    assert "Traceback" in log["with"]["error"]


def test_the_environment_sets_the_level(start):
    worker = start("Logs", PENSTOCK_LOG_LEVEL="debug")
    worker.request(body=1)
    assert "too much" in {log["message"] for log in worker.logs}


# --- the stand-in is as the processor -----------------------------------------------------------------------------

RETURNS = {
    "'text'": (200, "text/plain", b"text"),
    "b'bytes'": (200, "text/plain", b"bytes"),
    "{'a': float('nan')}": (200, "application/json", b'{"a": "NaN"}'),
    "(404, 'no')": (404, "text/plain", b"no"),
    "None": (200, "text/plain", b"None"),
    "context.Response({'X-A': 1, 'X-B': 'b'}, [1], status_code=202)": (202, "text/plain", b"[1]"),
    "['a', 'b']": (200, "text/plain", b"a"),
}


@pytest.mark.parametrize("returned", RETURNS)
def test_the_stand_in_answers_as_the_processor_does(start, returned):
    worker = start(main=f"def handler(context, event):\n    return {returned}\n")
    answer = worker.request(body=1)
    assert (answer.status, answer.content_type, answer.body) == RETURNS[returned]


def test_the_stand_in_has_the_traps(start):
    worker = start(main="def handler(context, event):\n    return 1 / event.body if event.body else []\n")
    assert worker.request(body=0.0 + 2).body == b"0.5"
    with pytest.raises(Dead, match="empty list"):
        worker.request(body=0)
    failing = start(main="def handler(context, event):\n    raise KeyError(event.id)\n")
    answer = failing.request(body=1)
    assert (answer.status, b"Traceback" in answer.body, b"the-id-of-the-worker" in answer.body) == (500, True, True)
    with pytest.raises(Dead, match="ids of its events"):
        failing.batch([failing.http_event()])


def test_the_stand_in_discards_events_while_it_drains(start):
    worker = start(main="def handler(context, event):\n    return 'seen'\n")
    worker.drain()
    worker.send(worker.http_event())
    assert worker.called.get(timeout=20) == "discarded"
    worker.resume()
    assert worker.request().body == b"seen"
