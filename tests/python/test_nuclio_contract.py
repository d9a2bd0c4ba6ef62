"""What Nuclio does with a function, row by row: docs/nuclio.md names the rows, and the test of each."""

import asyncio
import json
import logging
import re
import sys
import time
from pathlib import Path

import nuclio_sdk
import penstock
import pytest
from nuclio_functions import MAIN, STEPS, spec_of, start  # noqa: F401  # a fixture
from nuclio_processor import Dead
from penstock.nuclio.logs import Lines

DOCS = Path(__file__).parents[2] / "docs"


def test_every_row_is_shown_by_a_test_that_there_is():
    named = re.findall(r"`(test_[a-z_]+\.py)::(\w+)`", (DOCS / "nuclio-contract.md").read_text())
    assert len(named) > 50
    for file, name in named:
        assert f"def {name}(" in Path(__file__).with_name(file).read_text(), f"{file}::{name}"


# --- processes --------------------------------------------------------------------------------------------------


def test_workers_share_nothing_and_know_their_number(start, tmp_path):
    main = MAIN + "seen = []\ndef count(body):\n    seen.append(body)\n    return len(seen)\n"
    first, second = (start("count", main=main, number=number) for number in (0, 1))
    assert [first.request(body=1).json, first.request(body=1).json, second.request(body=1).json] == [1, 2, 1]


def test_a_worker_takes_one_event_at_a_time_even_of_async_steps(start):
    main = MAIN + (
        "import asyncio\nrunning = []\nasync def overlap(body):\n    running.append(1)\n"
        "    await asyncio.sleep(0.05)\n    most = len(running)\n    running.pop()\n    return most\n"
    )
    worker = start("overlap", main=main)
    sent = [worker.send(worker.http_event(body=b"1")) for _ in range(3)]
    assert [worker.wait(one)["body"] for one in sent] == ["1", "1", "1"]


def test_a_batching_step_does_not_wait_for_events_that_cannot_come(start):
    fn = penstock.new_function("golden")
    main = MAIN + "def total(bodies):\n    return [len(bodies)] * len(bodies)\n"
    fn.set_topology("flow").to(handler="total", name="total").batch(max_size=8, max_delay=0).respond()
    worker = start(main=main, spec=fn.serving_spec)
    assert worker.request(body=1).json == 1


# --- loading ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("main", "said"),
    [
        (STEPS + "import not_there\n" + "from penstock.nuclio import handler\n", "No module named 'not_there'"),
        (MAIN + "def init_context(context):\n    raise KeyError('rates')\n", "KeyError: 'rates'"),
        (MAIN, "the function cannot start: NameNotFound: step 'doubel': there is no .*did you mean 'double'"),
    ],
    ids=["import", "init_context", "graph"],
)
def test_what_is_wrong_at_the_start_is_in_the_processors_log_and_ends_it_with_1(start, main, said):
    with pytest.raises(Dead, match=r"(?s)exit 1\n.*" + said):
        start("doubel", main=main)


def test_the_readme_form_of_both_names_works(start):
    main = STEPS + "from penstock.nuclio import handler, init_context\n"
    worker = start("double", main=main)
    assert worker.request(body=4).json == 8


def test_a_step_may_run_a_loop_of_its_own_though_the_handler_runs_in_one(start):
    main = MAIN + (
        "import asyncio\nasync def later(body):\n    await asyncio.sleep(0)\n    return body + 1\n"
        "def run(body):\n    return asyncio.run(later(body))\n"
    )
    worker = start("run", main=main)
    assert [worker.request(body=n).json for n in (1, 2)] == [2, 3]


def test_tasks_of_an_async_init_context_run_between_events(start):
    main = MAIN + (
        "import asyncio\nticks = []\nasync def tick():\n    while True:\n        ticks.append(1)\n"
        "        await asyncio.sleep(0.005)\n"
        "async def init_context(context):\n    context.user_data.task = asyncio.create_task(tick())\n"
        "def told(body):\n    return len(ticks)\n"
    )
    worker = start("told", main=main)
    first = worker.request(body=1).json
    deadline = time.monotonic() + 20
    while worker.request(body=1).json <= first + 2:
        assert time.monotonic() < deadline


# --- events of every trigger, as texts and as bytes ----------------------------------------------------------------


@pytest.mark.parametrize("raw", [False, True], ids=["texts", "bytes"])
def test_a_cron_event_without_a_path_is_no_stream(start, raw):
    worker = start("show", trigger="cron", raw=raw)
    seen = worker.call(worker._event(body=b"", path="", headers={"a": "b"})).json
    assert (seen["path"], seen["trigger"], seen["body"], seen["headers"]) == ("/", "cron", "None", {"a": "b"})


@pytest.mark.parametrize("raw", [False, True], ids=["texts", "bytes"])
def test_a_record_is_the_same_as_texts_and_as_bytes(start, tmp_path, raw):
    worker = start("show", "keep", trigger="kafka-cluster", raw=raw)
    worker.call(worker.record(7, "ü".encode(), partition=2, headers={"h": b"v"}))
    seen = json.loads((tmp_path / "kept.txt").read_text())
    assert (seen["path"], seen["stream_path"], seen["offset"], seen["shard_id"]) == ("/", "in", 7, 2)
    assert (seen["headers"], seen["trigger"], seen["content_type"]) == ({"h": "v"}, "kafka-cluster", "")


def test_a_tombstone_is_none(start, tmp_path):
    worker = start("keep", trigger="kafka-cluster")
    assert worker.call(worker.record(0, None)).status == 200
    assert (tmp_path / "kept.txt").read_text() == "null\n"


def test_a_cloud_event_is_what_it_carries(start):
    worker = start("show")
    event = worker.http_event(
        body=b'{"a": 1}', content_type="application/json", headers={"CE-CloudEventsVersion": "0.1"},
        type="com.example", type_version="1", version="0.1",
    )  # fmt: skip
    assert worker.call(event).json["body"] == "{'a': 1}"


# --- answers, and what a handler must not do ------------------------------------------------------------------------


@pytest.mark.parametrize("raised", ["SystemExit(3)", "KeyboardInterrupt()", "asyncio.CancelledError()"])
def test_whatever_a_step_raises_is_an_answer_and_the_worker_goes_on(start, raised):
    main = MAIN + f"import asyncio\ndef odd(body):\n    if body == 1:\n        raise {raised}\n    return body\n"
    worker = start("odd", main=main)
    answer = worker.request(body=1)
    assert (answer.status, answer.content_type) == (500, "application/json")
    assert "Traceback" not in answer.body.decode()
    assert worker.request(body=2).json == 2


def test_an_answer_that_has_no_json_is_500(start):
    main = MAIN + "def odd(body):\n    return {'a': object()}\n"
    answer = start("odd", main=main).request(body=1)
    assert (answer.status, answer.content_type) == (500, "application/json")
    assert answer.json["error"].startswith("the answer cannot be sent: TypeError: Type is not JSON serializable")


@pytest.mark.parametrize(
    ("returned", "answer"),
    [
        ("5", (200, "text/plain", b"5")),
        ("(1, 2, 3)", (200, "text/plain", b"(1, 2, 3)")),
        ("{'a': {1, 2}}", (200, "application/json", b'{"a": "{1, 2}"}')),
        # Ahead of 3.12 asyncio takes a generator for a coroutine, so the wrapper awaits it; then it writes its name.
        ("(x for x in 'ab')", (500 if sys.version_info < (3, 12) else 200, "text/plain", None)),
        ("context.Response(body='x', status_code='200')", (500, "text/plain", b"")),
    ],
)
def test_the_stand_in_makes_of_odd_outputs_what_the_processor_does(start, returned, answer):
    worker = start(main=f"def handler(context, event):\n    return {returned}\n")
    got = worker.request(body=1)
    assert (got.status, got.content_type) == answer[:2]
    assert answer[2] is None or got.body == answer[2]


def test_a_worker_that_ends_itself_answers_nothing(start):
    worker = start("leave", main=MAIN + "def leave(body):\n    os._exit(3)\n")
    with pytest.raises(Dead):
        worker.request(body=1)
    assert worker.process.wait(10) == 3


# --- the end ----------------------------------------------------------------------------------------------------


def test_the_event_in_hand_is_answered_before_the_end(start):
    worker = start("slow")
    sent = worker.send(worker.http_event(body=b'{"seconds": 0.5}'))
    time.sleep(0.1)  # it has begun; if not, it is discarded, and the test fails
    code, seconds = worker.terminate()
    assert (code, worker.wait(sent)["status_code"], seconds < 3) == (0, 200, True)


@pytest.mark.parametrize(
    "kept",
    [
        "def stay(body):\n    threading.Event().wait()\n",
        "def stay(body):\n    threading.Thread(target=threading.Event().wait).start()\n",
    ],
    ids=["a step that never ends", "a thread that never ends"],
)
def test_whatever_keeps_the_process_the_end_is_in_time_and_0(start, kept):
    worker = start("stay", main=MAIN + kept, options={"respond": False})
    worker.request(body=1)
    code, seconds = worker.terminate()
    assert (code, seconds < 9.5) == (0, True)


def test_a_worker_whose_processor_was_killed_ends_without_a_word_of_penstock(start, tmp_path):
    worker = start("slow", trigger="kafka-cluster", options={"respond": False}, PENSTOCK_EXPLICIT_ACK="explicitOnly")
    worker.call(worker.record(0, b'{"seconds": 0.5}'))
    worker.leave()
    assert worker.process.wait(20) == 1
    worker._listening.join(10)
    said = worker.said.decode().replace("Failed to write message to processor", "")
    assert "penstock" not in said
    assert "Task was destroyed" not in said


# --- logs -------------------------------------------------------------------------------------------------------


def test_lines_of_other_threads_never_tear_an_answer(start):
    main = MAIN + (
        "class Chatty:\n    def __init__(self, context):\n        self.logger = context.logger\n"
        "    def do(self, body):\n        def chat():\n"
        "            for n in range(3000):\n                self.logger.info('n' * 200, n=n)\n"
        "        threading.Thread(target=chat).start()\n        return 'x' * 8_000_000\n"
    )
    worker = start("Chatty", main=main)
    for _ in range(3):
        sent = worker.send(worker.http_event(body=b"1"))
        worker.reading.clear()  # a processor that is busy: the socket fills up
        time.sleep(0.2)
        worker.reading.set()
        assert len(worker.wait(sent)["body"]) == 8_000_000
    assert worker.request(body=1).status == 200
    assert worker.torn == []
    assert {log["with"]["n"] for log in worker.logs if "n" in log["with"]} >= set(range(100))


def test_a_line_of_the_event_comes_ahead_of_its_answer(start):
    main = MAIN + (
        "class Says:\n    def __init__(self, context):\n        self.logger = context.logger\n"
        "    def do(self, body):\n        thread = threading.Thread(target=self.logger.info, args=('from a thread',))\n"
        "        thread.start()\n        thread.join()\n"
        "        try:\n            body['x']\n        except TypeError:\n"
        "            self.logger.error('wrong', exc_info=True)\n        return body\n"
    )
    worker = start("Says", main=main)
    worker.request(body=1)
    said = {log["message"]: log for log in worker.logs}
    assert "from a thread" in said
    assert "TypeError" in said["wrong"]["with"]["error"]


def test_lines_wait_while_a_long_answer_is_on_its_way():
    written = []

    class Logger:
        def info_with(self, message, **_):
            written.append(message)

        warn_with = info_with

    async def scenario():
        lines = Lines(Logger)
        lines.hold()
        await asyncio.get_running_loop().run_in_executor(None, lines.write, logging.INFO, "other", {})
        lines.write(logging.INFO, "own", {})
        await asyncio.sleep(0.05)
        assert written == []
        lines.release()
        lines.write(logging.INFO, "next", {})
        assert written == ["other", "own", "next"]

    asyncio.run(scenario())


def test_lines_that_nobody_reads_are_left_out_and_counted():
    written = []

    class Logger:
        def info_with(self, message, **_):
            written.append(message)

        warn_with = info_with

    async def scenario():
        lines = Lines(Logger)
        lines.hold()
        for number in range(10_002):
            lines.write(logging.INFO, str(number), {})
        lines.release()
        lines.flush()
        assert (len(written), written[-1]) == (10_001, "2 log lines were left out: there were too many")

    asyncio.run(scenario())


# --- Kafka ------------------------------------------------------------------------------------------------------


def test_records_that_come_again_after_a_rebalance_are_taken_and_late_ones_count_no_more(start, tmp_path):
    main = MAIN + (
        "opened = threading.Event()\nseen = []\ndef wait(body):\n    seen.append(body)\n"
        "    if len(seen) <= 2:\n        opened.wait(40)\n    return keep(body)\n"
        "own = handler\ndef handler(context, event):\n    if event.method == 'OPEN':\n        opened.set()\n"
        "        return 'open'\n    return own(context, event)\nhandler.__module__ = own.__module__\n"
    )
    fn = penstock.new_function("golden")
    fn.set_topology("flow").to(handler="wait", name="wait").concurrency(8)
    worker = start(main=main, spec=fn.serving_spec, trigger="kafka-cluster", PENSTOCK_EXPLICIT_ACK="explicitOnly")
    for offset in (10, 11):
        assert worker.call(worker.record(offset, b"1")).raw_headers == {"X-Nuclio-Stream-No-Ack": True}
    assert worker.drain() == "drain"  # after all the time that there is: they do not settle
    assert worker.acks == []
    worker.resume()
    for offset in (10, 11):  # the partition came back, where it was
        assert worker.call(worker.record(offset, b"2")).status == 200
    offsets = [ack["attributes"]["offset"] for ack in worker.wait_for_acks(1)]
    assert set(offsets) <= {10, 11}
    worker.call(worker._event(method="OPEN", trigger={"kind": "http", "name": "t"}))
    assert worker.call(worker.record(12, b"3")).status == 200
    while worker.wait_for_acks(1)[-1]["attributes"]["offset"] != 12:
        time.sleep(0.01)
    assert [ack["attributes"]["offset"] for ack in worker.acks] == sorted(
        {a["attributes"]["offset"] for a in worker.acks}
    )


@pytest.mark.parametrize("mode", ["", "explicitOnly"])
def test_a_record_that_is_not_what_it_says_goes_to_the_log_and_the_error_stream_and_is_done(start, tmp_path, mode):
    options = {"error_stream": f"file://{tmp_path}/errors.jsonl", "default_content_type": "application/json"}
    worker = start("keep", trigger="kafka-cluster", options=options, PENSTOCK_EXPLICIT_ACK=mode)
    answer = worker.call(worker.record(3, b"{x"))
    assert (answer.status, answer.raw_headers) == (200, {"X-Nuclio-Stream-No-Ack": True} if mode else {})
    assert worker.call(worker.record(4, b"1")).status == 200
    while worker.wait_for_acks(1)[-1]["attributes"]["offset"] != 4:
        time.sleep(0.01)
    (line,) = (tmp_path / "errors.jsonl").read_text().splitlines()
    assert "failed to json decode" in line
    assert any("a record is not what it says" in log["message"] for log in worker.logs)


def test_the_sdk_and_the_processor_disagree_on_the_header_that_keeps_an_offset():
    response = nuclio_sdk.Response()
    response.ensure_no_ack()
    assert list(response.headers) == ["x-nuclio-stream-no-ack"]  # the processor looks for another case
    assert penstock.nuclio.answers.received(acknowledged=False).headers == {"X-Nuclio-Stream-No-Ack": True}


# --- batches ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("raw", [False, True], ids=["texts", "bytes"])
def test_a_batch_of_one_and_of_many_is_a_list_with_the_ids_as_text(start, raw):
    worker = start("double", raw=raw)
    for count in (1, 5):
        got = worker.batch([worker.http_event(body=str(n).encode(), id=f"e{n}") for n in range(count)])
        assert {key: answer.json for key, answer in got.items()} == {f"e{n}": 2 * n for n in range(count)}


# --- the asynchronous mode ------------------------------------------------------------------------------------------


def test_the_async_entry_is_what_the_processor_takes_for_one(start):
    main = STEPS + "from penstock.nuclio import async_handler, handler\n"
    with pytest.raises(Dead, match="must be an async function"):
        start("double", main=main, handler="main:handler", mode="async")
    worker = start("double", main=main, handler="main:async_handler", mode="async")
    assert worker.request(body=4).json == 8


def test_an_async_worker_ends_in_time(start):
    main = STEPS + "from penstock.nuclio import async_handler\n"
    worker = start("double", main=main, handler="main:async_handler", mode="async")
    worker.request(body=4)
    code, seconds = worker.terminate()
    assert (code, seconds < 5) == (0, True)
