"""The steps of storey that penstock has itself, without the storey package."""

import csv
import datetime
import threading

import pandas
import penstock
import pytest
from endpoint import endpoint, reply
from fake_port import FakePort, feed, give
from hypothesis import given
from hypothesis import strategies as st
from penstock import storey_steps as storey
from penstock.errors import GraphError, StepError
from penstock.event import Event

bodies = st.lists(st.integers(0, 3), max_size=30)


def run(events, *steps, **server_options):
    """Send bodies through steps, the last of which responds; returns what each caller gets."""
    fn = penstock.new_function("f")
    step = fn.set_topology("flow")
    for number, (class_name, arguments) in enumerate(steps):
        step = step.to(class_name, name=f"s{number}", **arguments)
    step.respond()
    with fn.to_mock_server(namespace=globals(), **server_options) as server:
        return [server.test(body=event) for event in events]


def refusal(class_name, **arguments):
    fn = penstock.new_function("f")
    fn.set_topology("flow").to(class_name, name="s", **arguments).respond()
    with pytest.raises(GraphError) as caught:
        fn.to_mock_server()
    return str(caught.value)


# ---- steps that change a body


@pytest.mark.parametrize(
    ("class_name", "arguments", "body", "answer"),
    [
        ("storey.Map", {"_fn": "(event + 1)"}, 1, 2),
        ("storey.Filter", {"_fn": "(event > 1)"}, 1, None),
        ("storey.Filter", {"_fn": "(event > 1)"}, 2, 2),
        ("storey.Extend", {"_fn": '({"b": event["a"]})'}, {"a": 1}, {"a": 1, "b": 1}),
        ("storey.FlatMap", {"_fn": "(event)"}, [1, 2], 1),
        ("storey.Flatten", {}, [3, 4], 3),
        ("storey.ForEach", {"_fn": "(event + 1)"}, 1, 1),
        ("storey.DropColumns", {"columns": ["a", "z"]}, {"a": 1, "b": 2}, {"b": 2}),
        ("storey.DropColumns", {"columns": "a"}, {"a": 1, "b": 2}, {"b": 2}),
        ("storey.Rename", {"mapping": {"a": "c", "z": "y"}}, {"a": 1, "b": 2}, {"b": 2, "c": 1}),
        ("storey.ReifyMetadata", {"mapping": ["path"]}, {"a": 1}, {"a": 1, "path": "/"}),
        ("storey.ReifyMetadata", {"mapping": {"path": "where"}}, {"a": 1}, {"a": 1, "where": "/"}),
        ("storey.Partition", {"_predicate": "(event.body > 1)"}, 2, (2, None)),
        ("storey.Partition", {"_predicate": "(event.body > 1)"}, 1, (None, 1)),
        ("storey.Complete", {}, 1, 1),
        ("storey.Collector", {}, {"a": 1}, {"a": 1}),
    ],
)
def test_a_step_named_as_in_storey_runs_without_it(class_name, arguments, body, answer):
    assert run([body], (class_name, arguments)) == [answer]


def test_the_callers_body_stays_as_it_is():
    body = {"a": 1, "b": 2}
    run([body], ("storey.Rename", {"mapping": {"a": "c"}}), ("storey.DropColumns", {"columns": "b"}))
    assert body == {"a": 1, "b": 2}


def test_a_map_reads_and_writes_a_part_of_the_body():
    arguments = {"_fn": "(event * 2)", "input_path": "a.b", "result_path": "c.d"}
    assert run([{"a": {"b": 4}}], ("storey.Map", arguments)) == [{"a": {"b": 4}, "c": {"d": 8}}]


def test_paths_given_to_the_object_count_as_well():
    step = storey.Map(lambda part: part * 2, input_path="a", result_path="b")
    assert run([{"a": 4}], (step, {})) == [{"a": 4, "b": 8}]


def test_rename_says_what_it_needs():
    with pytest.raises(StepError, match="Rename changes a dict, the body is int"):
        run([1], ("storey.Rename", {"mapping": {"a": "b"}}))


def test_an_attribute_that_events_do_not_have_comes_with_the_nearest():
    with pytest.raises(StepError, match="an event has no 'pth'; did you mean 'path'"):
        run([{}], ("storey.ReifyMetadata", {"mapping": ["pth"]}))


def test_a_state_goes_from_one_event_to_the_next():
    arguments = {"initial_state": 100, "fn": lambda body, state: (state + body, state + body)}
    assert run([1, 2, 3], ("storey.MapWithState", arguments)) == [101, 103, 106]


def test_an_async_function_may_change_the_state():
    async def add(body, state):
        return state + body, state + body

    assert run([1, 2], ("storey.MapWithState", {"initial_state": 0, "fn": add})) == [1, 3]


def test_each_key_has_its_own_state():
    step = storey.MapWithState({"a": {"n": 10}}, lambda body, state: (state["n"] + body, state), group_by_key=True)
    event = Event(1, key="a")
    assert step.do_event(event).body == 11
    with pytest.raises(KeyError, match="n"):
        step.do_event(Event(1, key="b"))  # a new key begins with an empty dict


def test_a_result_without_a_state_is_refused():
    arguments = {"initial_state": 0, "fn": lambda body, state: body}
    with pytest.raises(StepError, match="returns a body and a state, not 1"):
        run([1], ("storey.MapWithState", arguments))


def chunks(body):
    yield from range(body)
    if body > 5:
        raise ValueError("too many")


async def async_chunks(body):
    for number in range(body):
        yield number


@pytest.mark.parametrize("handler", ["chunks", "async_chunks"])
def test_a_collector_makes_a_list_of_a_stream(handler):
    collected = [([0, 1]), 0, []]
    fn = penstock.new_function("f")
    fn.set_topology("flow").to(handler=handler, name="c").to("storey.Collector", name="l").respond()
    with fn.to_mock_server(namespace=globals()) as server:
        assert [server.test(body=count) for count in (2, 1, 0)] == collected


def test_a_stream_that_breaks_off_fails_and_the_next_is_whole():
    fn = penstock.new_function("f")
    fn.set_topology("flow").to(handler="chunks", name="c").to("storey.Collector", name="l").respond()
    with fn.to_mock_server(namespace=globals()) as server:
        with pytest.raises(StepError, match="too many"):
            server.test(body=6)
        assert server.test(body=2) == [0, 1]


def test_a_collector_may_wait_for_several_ends():
    step = storey.Collector(expected_completions=2)
    port = FakePort()
    for token, (body, last) in enumerate([("a", False), ("b", False), (None, True), (None, True)]):
        event = Event(body, event_id="1")
        event.streaming_step, event.last_chunk = "maker", last
        give(step, port, token, event)
    assert port.emitted == [([3], ["a", "b"])]
    assert not port.held


# ---- users' own steps


class Odd(storey.MapClass):
    def __init__(self, plus=0, **options):
        super().__init__(**options)
        self.plus = plus

    def do(self, event):
        return event + self.plus if event % 2 else self.filter()


class OddLater(storey.MapClass):
    async def do(self, event):
        if event % 2 == 0:
            self.filter()
        return event


class Named(storey.MapClass):
    def do(self, event):
        return [self.name, self.context.current_function]


class Whole(storey.MapClass):
    def do(self, event):
        event.body = [event.path, event.body]
        return event


def test_a_subclass_of_map_class_runs_its_do():
    assert run([1, 2, 3], ("Odd", {"plus": 10}), ("([event])", {})) == [[11], None, [13]]


def test_an_async_subclass_filters_only_the_event_that_it_means():
    fn = penstock.new_function("f")
    fn.set_topology("flow").to("OddLater", name="s").to("([event])", name="l").respond()
    with fn.to_mock_server(namespace=globals()) as server:
        answers = {}
        threads = [
            threading.Thread(target=lambda number=number: answers.update({number: server.test(body=number)}))
            for number in range(16)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert answers == {number: [number] if number % 2 else None for number in range(16)}


def test_a_subclass_knows_its_name_and_the_context():
    assert run([1], ("Named", {})) == [["s0", "*"]]


def test_a_subclass_gets_the_event_if_it_asks_for_it():
    assert run([1], ("Whole", {"full_event": True})) == [["/", 1]]


def test_a_subclass_without_do_is_refused():
    assert refusal("storey.MapClass") == "step 's': MapClass has no do(); a subclass of MapClass defines it"
    assert "Choice has no select_outlets()" in refusal("storey.Choice")


class Sizes(storey.Choice):
    def select_outlets(self, event):
        return {0: [], 1: ["small"]}.get(event, ["small", "large"])


def test_a_choice_sends_events_to_the_steps_it_names():
    fn = penstock.new_function("f")
    graph = fn.set_topology("flow")
    graph.to("Sizes", name="choice")
    graph.add_step(handler="(['small', event])", name="small", after="choice")
    graph.add_step(handler="(['large', event])", name="large", after="choice").respond()
    with fn.to_mock_server(namespace=globals()) as server:
        assert [server.test(body=number) for number in (0, 1, 2)] == [None, None, ["large", 2]]


# ---- batches and samples


@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers()), max_size=40), st.integers(1, 5))
def test_batches_are_those_of_a_plain_grouping(rows, size):
    rows = [{"k": key, "v": value} for key, value in rows]
    expected, open_batches = [], {}
    for row in rows:
        batch = open_batches.setdefault(row["k"], [])
        batch.append(row)
        if len(batch) == size:
            expected.append(open_batches.pop(row["k"]))
    expected += open_batches.values()
    step = storey.Batch(max_events=size, key_field="k", full_event=False)
    port = feed(step, rows)
    step.finish(port)
    assert port.bodies == expected
    assert not port.held
    assert sorted(token for tokens, _ in port.emitted for token in tokens) == list(range(len(rows)))


def test_a_batch_goes_when_its_time_is_over():
    now = [0.0]
    step = storey.Batch(flush_after_seconds=10, key_field="k", full_event=False, clock=lambda: now[0])
    port = FakePort()
    give(step, port, 0, Event({"k": "a"}))
    now[0] = 4.0
    give(step, port, 1, Event({"k": "b"}))
    assert port.wakes == [10.0]
    now[0] = 10.0
    step.wake(port)
    assert port.bodies == [[{"k": "a"}]]
    assert port.wakes == [10.0, 4.0]
    now[0] = 14.0
    step.wake(port)
    assert port.bodies[1:] == [[{"k": "b"}]]
    assert len(port.wakes) == 2


def test_a_batch_in_a_graph_goes_by_time():
    assert run([1], ("storey.Batch", {"flush_after_seconds": 0.01, "full_event": False})) == [[1]]


def test_a_batch_is_of_events_unless_bodies_are_asked_for():
    (events,) = run([7], ("storey.Batch", {"max_events": 1}))
    assert [event.body for event in events] == [7]


def test_a_key_field_may_be_dropped_or_be_an_attribute_or_a_function():
    dropping = storey.Batch(max_events=1, key_field="k", drop_key_field=True, full_event=False)
    assert feed(dropping, [{"k": 1, "v": 2}]).bodies == [[{"v": 2}]]
    by_path = feed(storey.Batch(max_events=2, key_field="$path", full_event=False), [1, 2], path="/x")
    assert by_path.bodies == [[1, 2]]
    by_parity = storey.Batch(max_events=2, key_field=lambda event: event.body % 2, full_event=False)
    assert feed(by_parity, [1, 2, 3]).bodies == [[1, 3]]


def test_an_event_without_the_key_fails_alone():
    step = storey.Batch(max_events=2, key_field="k", full_event=False)
    port = feed(step, [{"k": 1}, {}, 5, {"k": 1}])
    assert [token for token, _ in port.failed] == [1, 2]
    assert port.bodies == [[{"k": 1}, {"k": 1}]]


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({}, "at least one of flush_after_seconds or max_events must be provided in Batch"),
        ({"max_events": "4"}, "max_events is a whole number, not '4'"),
        ({"max_events": 0}, "max_events is at least 1, not 0"),
        ({"flush_after_seconds": -1}, "flush_after_seconds is a number of seconds from 0 on, not -1"),
        ({"max_events": 2, "key_field": 3}, "key_field is a field's name"),
        ({"max_evens": 2}, "storey.Batch takes no argument 'max_evens'; did you mean 'max_events'?"),
    ],
)
def test_arguments_that_make_no_batch_are_refused(arguments, text):
    assert text in refusal("storey.Batch", **arguments)


@given(bodies, st.integers(2, 5), st.sampled_from(["first", "last"]), st.booleans())
def test_samples_are_those_of_a_plain_count(values, size, period, emit_last):
    expected, counts, left = [], {}, None
    for value in values:
        counts[value] = counts.get(value, 0) % size + 1
        if counts[value] == (1 if period == "first" else size):
            expected.append(value)
            left = None
        else:
            left = value
    if emit_last and left is not None:
        expected.append(left)
    step = storey.SampleWindow(size, period, emit_last, key=lambda event: event.body)
    port = feed(step, values)
    step.finish(port)
    assert port.bodies == expected
    assert not port.held


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"window_size": 1}, "expected window_size > 1, found 1"),
        ({"window_size": 2, "emit_period": "middle"}, "emit_period is EmitPeriod.FIRST or EmitPeriod.LAST"),
    ],
)
def test_windows_of_one_event_and_other_periods_are_refused(arguments, text):
    assert text in refusal("storey.SampleWindow", **arguments)


# ---- ends


def finished(class_name, events, **arguments):
    fn = penstock.new_function("f")
    fn.set_topology("flow").to(class_name, name="s", **arguments)
    with fn.to_mock_server() as server:
        for event in events:
            server.test(body=event)
        return server.wait_for_completion()


def test_a_fold_is_what_waiting_for_completion_returns():
    assert finished("storey.Reduce", [1, 2, 3], initial_value=10, fn=lambda total, body: total + body) == 16


def test_a_fold_does_not_change_its_initial_value():
    start = []
    assert finished("storey.Reduce", [1, 2], initial_value=start, fn=lambda found, body: found.append(body) or found)
    assert start == []


def test_a_table_is_what_waiting_for_completion_returns():
    frame = finished("storey.ReduceToDataFrame", [{"a": 1}, {"a": 2}], insert_id_column_as="id", index="a")
    assert list(frame.index) == [1, 2]
    assert frame["id"].nunique() == 2


def test_rows_become_a_table_in_the_middle():
    (frame,) = run([[[1, 2], [3, 4]]], ("storey.ToDataFrame", {"columns": ["a", "b"], "index": "a"}))
    assert frame["b"].tolist() == [2, 4]


@pytest.mark.parametrize(
    ("step", "text"),
    [
        (storey.Assert().exactly(3), "expected event count == 3, got 2"),
        (storey.Assert().greater_than(2), "expected event count > 2, got 2"),
        (storey.Assert().less_than(2), "expected event count < 2, got 2"),
        (storey.Assert().match_exactly([1]), r"expected exactly \[1\], got \[1, 2\]"),
        (storey.Assert().contains_all_of([1, 5]), "expected all of"),
        (storey.Assert().contains_any_of([5]), "expected any of"),
        (storey.Assert().contains_none_of([2]), "expected none of"),
    ],
)
def test_what_was_expected_of_all_is_checked_at_the_end(step, text):
    port = feed(step, [1, 2])
    assert port.bodies == [1, 2]
    with pytest.raises(AssertionError, match=text):
        step.finish(port)


def test_what_was_expected_of_each_fails_the_event():
    step = storey.Assert().each_event(lambda body: body > 1).exactly(1).greater_or_equal_to(1).less_or_equal_to(1)
    port = feed(step, [1, 2])
    assert [token for token, _ in port.failed] == [0]
    step.finish(port)


# ---- several at a time


def squared(value):
    return value * value


async def squared_later(value):
    return value * value


@pytest.mark.parametrize(
    ("function", "mechanism"),
    [
        (squared, None),
        (squared_later, "asyncio"),
        (squared, "threading"),
        (squared, "naive"),
    ],
)
def test_concurrent_execution_calls_the_function_of_each(function, mechanism):
    arguments = {"event_processor": function, "concurrency_mechanism": mechanism}
    assert run([2, 3], ("storey.ConcurrentExecution", arguments)) == [4, 9]


def test_concurrent_execution_keeps_the_order():
    first = threading.Event()

    def wait_for_second(body):
        if body == 0:
            first.wait()
        else:
            first.set()
        return body

    step = storey.ConcurrentExecution(wait_for_second, "threading", max_in_flight=2)
    port = feed(step, [0, 1])
    step.finish(port)
    step.close()
    assert port.bodies == [0, 1]


def test_one_failure_is_one_events_and_retries_help():
    seen = []

    def fail_once(body):
        seen.append(body)
        if body == 1 or (body == 2 and seen.count(2) == 1):
            raise KeyError(body)
        return body

    step = storey.ConcurrentExecution(fail_once, "threading", retries=1, backoff_factor=0)
    port = feed(step, [1, 2, 3])
    step.finish(port)
    step.close()
    assert port.bodies == [2, 3]
    assert [token for token, _ in port.failed] == [0]


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"event_processor": squared, "concurrency_mechanism": "treading"}, "did you mean 'threading'"),
        ({"event_processor": squared, "concurrency_mechanism": "process_pool", "full_event": True}, "neither full_ev"),
        ({"event_processor": squared_later, "concurrency_mechanism": "process_pool"}, "this one is async"),
        ({"event_processor": squared, "max_in_flight": 0}, "max_in_flight is at least 1"),
    ],
)
def test_wrong_mechanisms_are_refused(arguments, text):
    assert text in refusal("storey.ConcurrentExecution", **arguments)


def test_events_are_joined_with_what_a_server_says():
    def join(body, response):
        return None if response.status == 404 else [body, response.status, response.body]

    with endpoint(lambda call: reply({"got": call.body.decode()}, 404 if call.path == "/no" else 201)) as target:
        arguments = {
            "request_builder": lambda event: storey.HttpRequest("POST", target.url + event.body, event.body),
            "join_from_response": join,
        }
        found = run(["/a", "/no"], ("storey.SendToHttp", arguments))
    assert found == [["/a", 201, '{"got": "/a"}'], None]


def test_a_request_goes_to_the_web_only():
    arguments = {"request_builder": lambda event: storey.HttpRequest("GET", "file:///etc/passwd")}
    with pytest.raises(StepError, match="a request goes to http:// or https://, not to file:"):
        run([1], ("storey.SendToHttp", arguments | {"join_from_response": lambda body, response: body}))


# ---- targets


def test_events_are_appended_to_a_csv_file_and_go_on(tmp_path):
    path = tmp_path / "sub" / "out.csv"
    for _ in range(2):
        step = storey.CSVTarget(str(path), columns=["n", "twice=b", "$path", "where=$path"], header=True)
        port = feed(step, [{"n": 1, "b": 2}, {"n": 3}], path="/p")
        assert port.bodies == [{"n": 1, "b": 2}, {"n": 3}]
        assert port.held == {0, 1}  # until they are written
        step.finish(port)
        assert not port.held
    with path.open(newline="") as file:
        rows = list(csv.reader(file))
    assert rows == [["n", "twice", "path", "where"], *[["1", "2", "/p", "/p"], ["3", "", "/p", "/p"]] * 2]


def test_columns_are_those_of_the_first_dict(tmp_path):
    path = tmp_path / "out.csv"
    step = storey.CSVTarget(str(path), header=True, max_events=2)
    port = feed(step, [{"b": 1, "a": 2}, {"a": 3, "z": 4}, [5, 6], 7])
    step.finish(port)
    assert path.read_text() == "a,b\n2,1\n3,\n5,6\n"
    assert [(token, type(error)) for token, error in port.failed] == [(3, TypeError)]


def test_columns_may_be_given_and_found(tmp_path):
    path = tmp_path / "out.csv"
    step = storey.CSVTarget(str(path), columns=["z=a"], infer_columns_from_data=True, header=True)
    step.finish(feed(step, [{"a": 1, "c": 2, "b": 3}]))
    assert path.read_text() == "a,b,c,z\n1,3,2,1\n"


def test_a_write_that_fails_fails_what_it_would_have_written(tmp_path):
    (tmp_path / "out.csv").mkdir()
    step = storey.CSVTarget(str(tmp_path / "out.csv"), max_events=1)
    port = feed(step, [{"a": 1}])
    assert [(token, type(error)) for token, error in port.failed] == [(0, IsADirectoryError)]


def test_an_older_name_means_the_newer_step(tmp_path):
    path = tmp_path / "out.csv"
    assert run([{"a": 1}], ("storey.WriteToCSV", {"path": str(path), "columns": ["a"]})) == [{"a": 1}]
    assert path.read_text() == "1\n"


def test_events_are_written_to_a_parquet_file(tmp_path):
    path = tmp_path / "out.parquet"
    arguments = {"path": str(path), "columns": [("n", "int"), ("when", "datetime")], "index_cols": [("k", "str")]}
    rows = [{"n": number, "k": str(number), "when": datetime.datetime(2020, 1, 1)} for number in range(3)]
    assert run(rows, ("storey.WriteToParquet", arguments)) == rows
    frame = pandas.read_parquet(path)
    assert frame["n"].tolist() == [0, 1, 2]
    assert frame.index.tolist() == ["0", "1", "2"]


def test_partitions_are_folders(tmp_path):
    step = storey.ParquetTarget(
        str(tmp_path), partition_cols=["$date", "kind", ("$key", 4)], time_field="at", max_events=2
    )
    rows = [{"kind": kind, "at": "2020-02-09T10:00:00", "n": n} for n, kind in enumerate("aab")]
    port = feed(step, rows, key="x")
    step.finish(port)
    assert not port.held
    files = sorted(tmp_path.glob("date=2020-02-09/kind=*/hash4_key=*/*.parquet"))
    assert [pandas.read_parquet(str(file), partitioning=None)["n"].tolist() for file in files] == [[0, 1], [2]]


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"path": "x", "partition_cols": ["$weekday"]}, "partition_cols know $key"),
        ({"path": "x", "partition_cols": ["a"], "index_cols": ["a"]}, "cannot be both"),
        ({"path": "", "columns": ["a"]}, "path is that of a file or folder"),
    ],
)
def test_wrong_arguments_of_a_parquet_target_are_refused(arguments, text):
    assert text in refusal("storey.ParquetTarget", **arguments)
