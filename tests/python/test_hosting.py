"""Steps of the real storey package as steps of a graph."""

import asyncio
import gc
import inspect
import sys
import threading

import pytest

if sys.version_info[:2] not in ((3, 11), (3, 12)):
    pytest.skip("storey is installed on Python 3.11 and 3.12 only", allow_module_level=True)

import penstock
import storey
from fake_port import FakePort, give
from penstock import natives, storey_steps
from penstock.errors import GraphError, StepError
from penstock.event import Event
from penstock.hosting import StoreyHost
from penstock.hosting_loop import host_loop
from storey.dtypes import _termination_obj as termination


class Double(storey.MapClass):
    def do(self, event):
        return 2 * event if event else self.filter()


class DoubleLater(storey.MapClass):
    async def do(self, event):
        await asyncio.sleep(0)
        return 2 * event if event else self.filter()


class Path(storey.MapClass):
    def do(self, event):
        event.body = [event.path, event.body]
        return event


class Flow(storey.Flow):
    """What a person writes who overrides storey's own hooks."""

    def _init(self):
        super()._init()
        self.started = 1

    async def _do(self, event):
        if event is termination:
            return await self._do_downstream(event)
        body = event.body
        if body == "fail":
            raise KeyError("x")
        made = {"drop": [], "twice": [1, 2]}.get(body, [[self.name, self.started, body]])
        for event.body in made:
            await self._do_downstream(event)
        return None


class Deaf(Flow):
    """Fails after it has sent something on."""

    async def _do(self, event):
        await super()._do(event)
        if event is not termination:
            raise ValueError("afterwards")


class Keeping(storey.Flow):
    """Keeps its events for ever, and sends on twice with a pause between."""

    def _init(self):
        super()._init()
        self.kept = []

    async def _do(self, event):
        if event is termination:
            return await self._do_downstream(event)
        self.kept.append(event)
        for _ in range(2):
            await self._do_downstream(event)
            await asyncio.sleep(0.001)
        return None


class Renaming(Flow):
    async def _do(self, event):
        if event is not termination:
            event.key, event.mark = "k", "set"
        return await self._do_downstream(event)


class Marks(Flow):
    async def _do(self, event):
        if event is not termination:
            event.body = [event.key, getattr(event, "mark", None)]
        return await self._do_downstream(event)


class Slow(storey.ConcurrentExecution):
    pass


class OwnBatch(storey.Batch):
    pass


class Chosen(storey.Choice):
    def select_outlets(self, event):
        return event["to"]


class Selective(Flow):
    async def _do(self, event):
        return await self._do_downstream(event)

    def select_outlets(self, event):
        return event["to"]


class Fold(storey.Reduce):
    pass


def caught(event):
    event.body = [event.origin_state, event.error]
    return event


def mock(*steps):
    fn = penstock.new_function("f")
    step = fn.set_topology("flow")
    for number, (class_name, arguments) in enumerate(steps):
        step = step.to(class_name, name=f"s{number}", **arguments)
    step.respond()
    return fn.to_mock_server(namespace=globals())


def hosted(*steps, bodies=(), outlets=()):
    """Run bodies through hosted steps with a port that writes down; returns the port and what the end gives."""
    host = natives.host(*steps, outlets=outlets)
    port = FakePort()
    for token, body in enumerate(bodies):
        give(host, port, token, Event(body))
    result = host.finish(port)
    host.close()
    return port, result


# ---- natively


def test_native_steps_have_storeys_names_and_arguments():
    import storey.steps

    graph_says = {"full_event", "recovery_step", "termination_result_fn", "max_iterations"}
    places = (storey, storey.steps, storey.flow, storey.dataframe)
    for name in set(storey_steps.__all__) - {"Partitioned"}:
        theirs = next((getattr(place, name) for place in places if hasattr(place, name)), None)
        assert theirs is not None, name
        if name in ("EmitPeriod", "HttpResponse", "Flatten"):
            continue
        arguments = set(inspect.signature(theirs).parameters) - {"args", "kwargs", *graph_says}
        known = natives._arguments_of(getattr(storey_steps, name)) if name != "HttpRequest" else arguments
        assert arguments <= known, name


@pytest.mark.parametrize("class_name", ["Double", "DoubleLater"])
def test_a_subclass_of_storeys_map_class_runs_natively(class_name):
    with mock((class_name, {}), ("([event])", {})) as server:
        assert [server.test(body=number) for number in (1, 0, 3)] == [[2], None, [6]]
        assert "penstock-storey" not in {thread.name for thread in threading.enumerate()}


def test_its_filter_means_one_event_whatever_others_do():
    with mock(("DoubleLater", {}), ("([event])", {})) as server:
        answers = {}
        threads = [
            threading.Thread(target=lambda number=number: answers.update({number: server.test(body=number % 2)}))
            for number in range(16)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert answers == {number: [2] if number % 2 else None for number in range(16)}


def test_it_gets_the_event_if_it_asks_for_it():
    with mock(("Path", {"full_event": True})) as server:
        assert server.test("/p", body=1) == ["/p", 1]


@pytest.mark.parametrize(
    ("step", "kind"),
    [
        (storey.Map(abs), "map"),
        (storey.Filter(bool), "filter"),
        (storey.FlatMap(list), "flat_map"),
        (storey.Extend(dict), "extend"),
        (Double(), "map"),
        (Chosen(), "select"),
    ],
)
def test_plain_steps_of_storey_are_lowered(step, kind):
    assert natives.lower(step)[0] == kind


@pytest.mark.parametrize(
    "step", [Flow(), Slow(abs), OwnBatch(2, full_event=False), storey.Map(abs, recovery_step=Flow())]
)
def test_others_are_not(step):
    assert natives.lower(step) is None


def test_an_object_of_storeys_is_a_step_with_its_paths():
    with mock((storey.Map(abs, input_path="a", result_path="b"), {})) as server:
        assert server.test(body={"a": -1}) == {"a": -1, "b": 1}


def test_a_choice_of_storeys_sends_events_where_it_says():
    fn = penstock.new_function("f")
    graph = fn.set_topology("flow")
    graph.to("Chosen", name="choice")
    graph.add_step(handler="('a')", name="a", after="choice").respond()
    graph.add_step(handler="('b')", name="b", after="choice")
    with fn.to_mock_server(namespace=globals()) as server:
        assert [server.test(body={"to": to}) for to in (["a"], ["b"], [], ["a", "b"])] == ["a", None, None, "a"]


# ---- in storey


def test_a_flow_with_hooks_of_its_own_runs_in_storey():
    with mock(("Flow", {}), ("(event)", {})) as server:
        assert server.test(body=5) == ["s0", 1, 5]
        assert server.test(body="drop") is None
        assert server.test(body="twice") == 1
        assert server.test(body=6) == ["s0", 1, 6]


def test_a_failure_is_one_events():
    with mock(("Flow", {})) as server:
        with pytest.raises(StepError, match="KeyError: 'x'") as caught:
            server.test(body="fail")
        assert (caught.value.step, type(caught.value.__cause__)) == ("s0", KeyError)
        assert server.test(body=6) == ["s0", 1, 6]


def test_a_failure_goes_to_the_error_handler():
    fn = penstock.new_function("f")
    graph = fn.set_topology("flow")
    graph.to("Flow", name="f").error_handler("catcher").to("(event)", name="end").respond()
    graph.add_step(handler="caught", name="catcher", full_event=True, after="")
    with fn.to_mock_server(namespace=globals()) as server:
        assert server.test(body="fail") == ["f", "KeyError: 'x'"]


def test_each_event_that_is_sent_on_stands_for_the_one_that_came():
    port, _ = hosted(Flow(name="f"), bodies=["twice", "drop", 7])
    assert port.emitted == [([0], 1), ([0], 2), ([2], ["f", 1, 7])]
    assert port.dropped == [1]
    assert not port.held


def test_a_step_that_keeps_its_events_holds_none_back():
    host = natives.host(Keeping())
    port = FakePort()
    give(host, port, 0, Event(5))
    host_loop.submit(_until(lambda: not port.held)).result(5)
    assert port.emitted == [([0], 5), ([0], 5)]
    host.finish(port)
    host.close()


def test_what_was_sent_before_a_failure_has_gone_on():
    port, _ = hosted(Deaf(name="f"), bodies=["twice", 7])
    assert [tokens for tokens, _ in port.emitted] == [[0], [0], [1]]
    assert [(token, str(error)) for token, error in port.failed] == [(0, "afterwards"), (1, "afterwards")]
    assert not port.held


def test_what_a_step_sets_on_the_event_stays_with_it():
    with mock(("Renaming", {}), ("(event)", {}), ("Marks", {})) as server:
        assert server.test(body=1) == ["k", "set"]


def test_a_batch_of_storeys_stands_for_all_its_events():
    port, _ = hosted(OwnBatch(2, full_event=False), bodies=[1, 2, 3])
    assert port.emitted == [([0, 1], [1, 2]), ([2], [3])]
    port, _ = hosted(OwnBatch(2, full_event=True), bodies=[1, 2])
    assert [event.body for event in port.bodies[0]] == [1, 2]
    assert port.emitted[0][0] == [0, 1]


def test_a_batch_of_storeys_goes_by_its_own_timer():
    with mock(("OwnBatch", {"flush_after_seconds": 0.01, "full_event": False})) as server:
        assert server.test(body=1) == [1]


def test_what_a_worker_sends_late_stands_for_its_event():
    port, _ = hosted(Slow(lambda body: body + 1, max_in_flight=2), bodies=[1, 2, 3])
    assert port.emitted == [([0], 2), ([1], 3), ([2], 4)]


def test_a_worker_outlives_a_failure():
    async def invert(body):
        await asyncio.sleep(0)
        return 1 / body

    port, _ = hosted(Slow(invert, max_in_flight=4), bodies=[1, 0, 2, 4])
    assert port.emitted == [([0], 1.0), ([2], 0.5), ([3], 0.25)]
    assert [(token, type(error)) for token, error in port.failed] == [(1, ZeroDivisionError)]


def test_a_worker_that_dies_is_replaced():
    class Dying(Slow):
        async def _handle_completed(self, event, completed):
            if event.body == "die":
                raise asyncio.CancelledError
            await super()._handle_completed(event, completed)

    host = natives.host(Dying(lambda body: body, max_in_flight=4))
    port = FakePort()
    give(host, port, 0, Event("die"))
    host_loop.submit(_until(lambda: 0 not in port.held)).result(5)
    give(host, port, 1, Event("live"))
    host.finish(port)
    host.close()
    assert port.failed[0][0] == 0
    assert port.emitted == [([1], "live")]
    assert not port.held


async def _until(condition):
    while not condition():
        await asyncio.sleep(0)


def chunks(body):
    yield from range(body)


class Streaming(storey.MapClass):
    """A generator in a step with a hook of its own."""

    def _init(self):
        super()._init()

    def do(self, event):
        yield from range(event)


def test_a_stream_of_storeys_comes_as_a_generator():
    port, _ = hosted(Streaming(), bodies=[3])
    assert [list(body) for body in port.bodies] == [[0, 1, 2]]
    assert not port.held


def test_a_chain_runs_in_one_host():
    port, _ = hosted(storey.Map(lambda body: body + 1), Flow(name="f"), bodies=[1])
    assert port.bodies == [["f", 1, 2]]


def test_a_step_that_selects_reaches_those_that_follow():
    fn = penstock.new_function("f")
    graph = fn.set_topology("flow")
    graph.to("Selective", name="choice")
    graph.add_step(handler="('a')", name="a", after="choice").respond()
    graph.add_step(handler="('b')", name="b", after="choice")
    with fn.to_mock_server(namespace=globals()) as server:
        assert server.test(body={"to": ["a"]}) == "a"
        assert server.test(body={"to": ["b"]}) is None
        assert server.test(body={"to": ["b", "a"]}) == "a"
        with pytest.raises(StepError, match="Invalid outlet 'c'"):
            server.test(body={"to": ["c"]})


def test_the_result_of_a_terminal_step_is_that_of_waiting():
    fn = penstock.new_function("f")
    fn.set_topology("flow").to("Fold", name="r", initial_value=0, fn=lambda total, body: total + body)
    with fn.to_mock_server(namespace=globals()) as server:
        for number in (1, 2, 3):
            server.test(body=number)
        assert server.wait_for_completion() == 6


def aggregate(**options):
    return {
        "aggregates": [storey.FieldAggregator("n", "n", ["sum", "count"], storey.SlidingWindows(["1h"], "10m"))],
        "table": storey.Table("test", storey.NoopDriver()),
        "key_field": "user",
        **options,
    }


def test_aggregations_run_in_storey():
    with mock(("storey.AggregateByKey", aggregate())) as server:
        answers = [server.test(body={"user": user, "n": n}) for user, n in [("a", 1), ("a", 2), ("b", 5)]]
    assert [answer["n_sum_1h"] for answer in answers] == [1, 3, 5]
    assert [answer["n_count_1h"] for answer in answers] == [1, 2, 1]


def test_a_table_keeps_no_event_back():
    class Flushing(storey.AggregateByKey):
        async def _do(self, event):
            self._table._init_flush_task()  # from then on, the table keeps its events
            return await super()._do(event)

    host = natives.host(Flushing(**aggregate(emit_policy=storey.EmitAfterMaxEvent(3))))
    port = FakePort()
    for token in range(3):
        give(host, port, token, Event({"user": "a", "n": 1}))
    host_loop.submit(_until(lambda: not port.held)).result(5)
    assert port.dropped == [0, 1]
    assert port.emitted[0][0] == [2]
    assert port.bodies[0]["n_sum_1h"] == 3
    host.finish(port)
    host.close()


class Answer(storey.ParallelExecutionRunnable):
    def run(self, body, path, origin_name=None):
        return body + self.name


def test_parallel_execution_runs_in_storey():
    runnables = {
        "runnables": [Answer("a"), Answer("b")],
        "execution_mechanism_by_runnable_name": {"a": "naive", "b": "thread_pool"},
    }
    with mock(("storey.ParallelExecution", runnables)) as server:
        assert server.test(body="x") == {"a": "xa", "b": "xb"}


def test_a_table_of_storeys_takes_events_in_and_gives_them_out():
    table = storey.Table("test", storey.NoopDriver())

    def keyed(event):
        event.key = event.body["k"]
        return event

    writing = {"table": table, "columns": ["n"]}
    joining = {"table": table, "key_extractor": lambda body: body["k"], "attributes": ["n"]}
    fn = penstock.new_function("f")
    graph = fn.set_topology("flow")
    graph.to(handler=keyed, full_event=True, name="keyed").to("storey.Persist", name="write", **writing).to(
        "(dict(k=event['k']))", name="key"
    ).to("storey.JoinWithTable", name="read", **joining).respond()
    with fn.to_mock_server() as server:
        assert server.test(body={"k": "a", "n": 5}) == {"k": "a", "n": 5}


# ---- the end


def test_the_thread_is_there_while_it_has_users():
    host = natives.host(Flow())
    assert "penstock-storey" not in {thread.name for thread in threading.enumerate()}
    give(host, FakePort(), 0, Event(1))
    assert "penstock-storey" in {thread.name for thread in threading.enumerate()}
    host.close()
    assert "penstock-storey" not in {thread.name for thread in threading.enumerate()}


def test_an_event_after_the_end_is_refused():
    host = natives.host(Flow())
    port = FakePort()
    host.finish(port)
    give(host, port, 1, Event(1))
    host.close()
    assert "has ended" in str(port.failed[0][1])


def test_a_host_that_is_not_drained_lets_its_step_go():
    class Waiting(Flow):
        async def _do(self, event):
            await asyncio.Event().wait()

    host = natives.host(Waiting())
    port = FakePort()
    give(host, port, 0, Event(1))
    host.close()
    del host
    gc.collect()
    assert "penstock-storey" not in {thread.name for thread in threading.enumerate()}


def test_termination_comes_exactly_once():
    ends = []

    class Counting(Flow):
        async def _do(self, event):
            if event is termination:
                ends.append(self._termination_received)
            return await super()._do(event)

    _, result = hosted(Counting(), bodies=[1])
    assert (ends, result) == ([1], None)


def test_arguments_that_look_misspelt_are_refused():
    with pytest.raises(GraphError) as caught:
        natives.build("storey.AggregateByKey", aggregate(key_feild="user"))
    assert str(caught.value).endswith("takes no argument 'key_feild'; did you mean 'key_field'?")


def test_the_host_is_a_stage():
    host = StoreyHost(Flow())
    assert callable(host.take)
    host.close()
