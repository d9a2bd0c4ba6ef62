"""The engine's promises: order, overlap, batches, time, and an end from any state."""

import asyncio
import threading
import time
import types

import penstock
import pytest
from penstock import engine, pace
from penstock.errors import DeadlineExceeded, GraphError, StepError


def run_flow(build, **options):
    fn = penstock.new_function("engine")
    build(fn.set_topology("flow", **options))
    return fn.to_mock_server()


def in_threads(count, call):
    """Call `call(i)` in `count` threads at once; return the results in order."""
    results = [None] * count
    start = threading.Barrier(count)

    def work(place):
        start.wait()
        try:
            results[place] = call(place)
        except Exception as error:
            results[place] = error

    threads = [threading.Thread(target=work, args=(place,)) for place in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert not any(thread.is_alive() for thread in threads)
    return results


def test_events_of_one_key_stay_in_order_and_those_of_others_overlap():
    seen, running, most = [], set(), []
    lock = threading.Lock()

    def step(event):
        with lock:
            assert event.key not in running
            running.add(event.key)
            most.append(len(running))
        time.sleep(0.002)
        with lock:
            running.discard(event.key)
            seen.append((event.key, event.body))
        return event

    with run_flow(lambda graph: graph.to(step, "step", full_event=True).concurrency(4, order="key")) as server:
        for number in range(20):
            for key in "abc":
                server.engine.submit(penstock.Event(number, key=key))
    for key in "abc":
        assert [body for k, body in seen if k == key] == list(range(20))
    assert max(most) > 1


def test_an_async_step_overlaps_its_events():
    async def wait(body):
        await asyncio.sleep(0.2)
        return body

    with run_flow(lambda graph: graph.to(wait, "wait").respond()) as server:
        start = time.perf_counter()
        assert in_threads(5, lambda place: server.test(body=place + 1)) == [1, 2, 3, 4, 5]
        assert time.perf_counter() - start < 0.3


def test_a_step_handles_one_event_at_a_time_unless_told():
    running, most = [], []

    def step(body):
        running.append(body)
        most.append(len(running))
        time.sleep(0.005)
        running.remove(body)
        return body

    with run_flow(lambda graph: graph.to(step, "step").respond()) as server:
        assert in_threads(6, lambda place: server.test(body=place)) == list(range(6))
    assert max(most) == 1


def test_a_step_with_concurrency_overlaps():
    together = threading.Barrier(3)

    def step(body):
        together.wait(10)  # passes only if three calls are inside at once
        return body

    with run_flow(lambda graph: graph.to(step, "step").concurrency(3).respond()) as server:
        assert in_threads(3, lambda place: server.test(body=place)) == [0, 1, 2]


def test_a_batch_takes_what_is_waiting_and_each_caller_gets_its_own():
    sizes = []
    first = threading.Event()

    def step(bodies):
        sizes.append(len(bodies))
        first.wait(10) if len(sizes) == 1 else None
        return [ValueError(str(body)) if body == 3 else body * 2 for body in bodies]

    with run_flow(lambda graph: graph.to(step, "step").batch(max_size=8).respond()) as server:

        def call(place):
            if place == 5:  # the last to come lets the first batch go
                while server.engine.stats()["step"]["waiting"] < 4:
                    time.sleep(0.001)
                first.set()
            return server.test(body=place)

        results = in_threads(6, call)
    assert [result for place, result in enumerate(results) if place != 3] == [0, 2, 4, 8, 10]
    assert isinstance(results[3], StepError)
    assert str(results[3]) == "failed (500): ValueError: 3"
    assert max(sizes) >= 4


def test_a_batch_that_waits_goes_when_its_time_is_up():
    with run_flow(lambda graph: graph.to(lambda b: b, "step").batch(max_size=100, max_delay=0.05).respond()) as server:
        start = time.perf_counter()
        assert server.test(body=1) == 1
        assert 0.04 < time.perf_counter() - start < 5


def test_a_batch_has_no_timeout():
    with pytest.raises(GraphError, match=r"a step with \.batch\(\) cannot have a \.timeout\(\)"):
        run_flow(lambda graph: graph.to(lambda b: b, "step").batch(max_size=8).timeout(1).respond()).test(body=1)


def test_a_step_that_makes_several_events_has_no_timeout():
    with pytest.raises(GraphError, match=r"step 'many': it makes several events of one, so it cannot have \.timeout"):
        run_flow(lambda graph: graph.to("storey.FlatMap", "many", _fn="([event])").timeout(1))


def test_a_step_that_takes_too_long_fails_its_event_and_not_the_next():
    def step(body):
        time.sleep(body)
        return body

    with run_flow(lambda graph: graph.to(step, "step").timeout(0.1).respond()) as server:
        with pytest.raises(DeadlineExceeded, match="504"):
            server.test(body=0.5)
        assert server.test(body=0.001) == 0.001


def test_a_coroutine_that_takes_too_long_is_ended():
    ended = threading.Event()

    async def step(_):
        try:
            await asyncio.sleep(100)
        except asyncio.CancelledError:
            ended.set()
            raise

    with run_flow(lambda graph: graph.to(step, "step").timeout(0.05).respond()) as server:
        with pytest.raises(DeadlineExceeded):
            server.test(body=1)
        assert ended.wait(10)


def test_a_deadline_ends_the_coroutine_too():
    ended = threading.Event()

    async def step(_):
        try:
            await asyncio.sleep(100)
        finally:
            ended.set()

    with run_flow(lambda graph: graph.to(step, "step").respond()) as server:
        with pytest.raises(DeadlineExceeded):
            server.test(body=1, timeout=0.05)
        assert ended.wait(10)


def test_a_handler_may_ask_another_graph_but_not_its_own():
    with run_flow(lambda graph: graph.to("(event + 1)", name="one").respond()) as other:
        with run_flow(lambda graph: graph.to(lambda b: other.test(body=b), "ask").respond()) as server:
            assert server.test(body=1) == 2
        servers = []
        with run_flow(lambda graph: graph.to(lambda b: servers[0].test(body=b), "ask").respond()) as own:
            servers.append(own)
            with pytest.raises(StepError, match="calls its own graph"):
                own.test(body=1)


def test_an_async_handler_may_not_wait_for_a_graph():
    with run_flow(lambda graph: graph.to("(event + 1)", name="one").respond()) as other:

        async def ask(body):
            return other.test(body=body)

        with (
            run_flow(lambda graph: graph.to(ask, "ask").respond()) as server,
            pytest.raises(StepError, match="would hold up all others"),
        ):
            server.test(body=1)


def test_more_events_than_fit_wait_for_room():
    seen = []
    with run_flow(lambda graph: graph.to(seen.append, "step")) as server:
        for number in range(5000):  # admission is 1,024
            server.test(body=number)
    assert seen == list(range(5000))


def test_a_slow_step_does_not_hold_up_another():
    release = threading.Event()

    def choose(body):
        return body

    def slow(body):
        release.wait(20)
        return body

    def build(graph):
        graph.to(choose, "choose")
        graph.add_step("storey.Filter", name="only-slow", after="choose", _fn="(event == 'slow')").to(slow, "slow")
        graph.add_step("storey.Filter", name="only-quick", after="choose", _fn="(event == 'quick')").to(
            choose, "quick"
        ).respond()

    with run_flow(build) as server:
        assert server.test(body="slow") is None  # nothing of it can still reach the responder
        for _ in range(100):
            assert server.test(body="quick") == "quick"
        release.set()


def test_branches_get_bodies_of_their_own():
    def build(graph):
        graph.to(lambda body: body, "start")
        graph.add_step(handler=lambda body: body.setdefault("seen", []).append("a") or body, name="a", after="start")
        graph.add_step(handler=lambda body: body, name="b", after="start").respond()

    with run_flow(build) as server:
        assert server.test(body={"x": [1]}) == {"x": [1]}


def test_stats_count_each_step_of_a_fused_chain():
    def build(graph):
        plus_one = graph.to("(event + 1)", name="a")
        plus_one.to("storey.Filter", name="b", _fn="(event > 2)").to("(event)", name="c").respond()

    with run_flow(build) as server:
        assert [server.test(body=number) for number in range(4)] == [None, None, 3, 4]
        stats = server.engine.stats()
    assert [stats[name]["events"] for name in "abc"] == [4, 4, 2]
    assert stats["b"]["dropped"] == 2


def test_a_coroutine_that_nobody_waits_for_before_it_begins_gives_its_place_back():
    begun, hold = threading.Event(), threading.Event()

    async def step(body):
        if body == "hold":  # the loop, so that the others cannot begin
            begun.set()
            hold.wait(10)
        return body

    def call(place):
        if place:
            begun.wait(10)
        with pytest.raises(DeadlineExceeded):
            server.test(body=place or "hold", timeout=0.5)

    with run_flow(lambda graph: graph.to(step, "step").concurrency(4).respond()) as server:
        in_threads(4, call)
        hold.set()
        assert [server.test(body=number, timeout=10) for number in range(4)] == [0, 1, 2, 3]
        assert server.engine.drain(10)


def test_a_handler_that_stops_the_loop_stops_no_other():
    async def step(body):
        if body == "stop":
            asyncio.get_running_loop().stop()
        await asyncio.sleep(0)
        return body

    with run_flow(lambda graph: graph.to(step, "step").respond()) as server:
        assert [server.test(body=body, timeout=10) for body in ("stop", "go")] == ["stop", "go"]


def test_a_forked_process_makes_graphs_of_its_own(run_python):
    program = """
import asyncio, os, penstock, warnings
from penstock.errors import GraphClosed

async def step(body):
    await asyncio.sleep(0)
    return body + 1

warnings.simplefilter("ignore")  # Python warns of forks beside threads
fn = penstock.new_function("f")
fn.set_topology("flow").to(step).respond()
server = fn.to_mock_server()
assert server.test(body=1) == 2  # the loop runs
child = os.fork()
if child:
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), server.test(body=2), flush=True)
else:
    try:
        server.test(body=1)
    except GraphClosed as error:
        print(error, flush=True)
    with fn.to_mock_server() as own:
        print(own.test(body=4, timeout=10), flush=True)
    server.wait_for_completion()
"""
    said = "the graph runs in the process that this one was forked from: make a server of its own here"
    assert run_python(program).stdout.splitlines() == [said, "5", "0 3"]


WAITS = ["server.test(body=1)", "server.engine.submit(penstock.Event(1)); server.wait_for_completion()"]


@pytest.mark.parametrize("waits", WAITS)
def test_ctrl_c_ends_the_wait(run_python, waits):
    program = f"""
import asyncio, os, penstock, signal

async def step(body):
    asyncio.get_running_loop().call_later(0.05, os.kill, os.getpid(), signal.SIGINT)
    await asyncio.sleep(100)

fn = penstock.new_function("f")
fn.set_topology("flow").to(step).respond()
server = fn.to_mock_server()
try:
    {waits}
except KeyboardInterrupt:
    print("interrupted")
server.close()
"""
    start = time.monotonic()
    assert run_python(program).stdout == "interrupted\n"
    assert time.monotonic() - start < 20


def test_a_flood_of_failures_is_logged_line_by_line_but_with_few_stacks(monkeypatch, caplog):
    monkeypatch.setattr(engine, "_stacks", engine.Pace(3))
    clock = types.SimpleNamespace(monotonic=lambda: clock.now, now=5.0)
    monkeypatch.setattr(pace, "time", clock)
    for clock.now in (5.0, 5.1, 5.2, 5.3, 5.9, 6.05):
        engine._log_failure("step", "ValueError: no", "7", ValueError("no"))
    assert [record.exc_info is not None for record in caplog.records] == [True, True, True, False, False, True]
    assert all(record.getMessage() == "step 'step' failed on event 7: ValueError: no" for record in caplog.records)
