"""The rows that need no wire: hops, calls, streams, and what importing and installing cost."""

from __future__ import annotations

import asyncio
import importlib.metadata
import importlib.util
import statistics
import subprocess
import sys
import threading
import time

import penstock
from harness import Row, in_turn, per_call, ratios, row
from packaging.requirements import Requirement

HOPS = 20
STEPS = 5
ROUNDS = 9
CALLS = 10_000  # of the chains, a round
FIRST_ANSWER = """
fn = penstock.new_function("first")
fn.set_topology("flow").to(lambda body: body, name="step").respond()
server = fn.to_mock_server()
server.test(body=1)
"""
EVENTS = 20_000  # of a stream, a round


def plus_one(body):
    return body + 1


def chain(steps, *, last=plus_one, responds=True):
    """Return a started server whose graph is a chain of trivial steps."""
    function = penstock.new_function("chain")
    step = function.set_topology("flow")
    for number in range(steps - 1):
        step = step.to(plus_one, name=f"step-{number}")
    step = step.to(last, name="last")
    if responds:
        step.respond()
    return function.to_mock_server()


def bare(steps):
    """Return what a person would write instead of a graph."""
    handlers = [plus_one] * steps

    def call(body=0):
        for handler in handlers:
            body = handler(body)
        return body

    return call


def hop():
    """Measure what one more step costs a call, and what it costs in a stream."""
    with chain(HOPS) as long, chain(1) as short:
        events = {server: server.engine.event(0) for server in (long, short)}

        def run(server):
            core, event = server.engine.core, events[server]
            return lambda: per_call(lambda: core.run(event), CALLS)

        for server in (long, short):
            server.test(body=0)
        rounds = in_turn(ROUNDS, long=run(long), short=run(short), bare=lambda: per_call(bare(HOPS), CALLS))
    hops = [(a - b) / (HOPS - 1) for a, b in zip(rounds["long"], rounds["short"], strict=True)]
    loops = [whole / HOPS for whole in rounds["bare"]]
    note = f"{statistics.median(hops) * 1e9:.0f} ns, and {statistics.median(loops) * 1e9:.0f} ns in the loop"
    yield row(f"hop in a chain of {HOPS} handlers / bare Python loop", ratios(hops, loops), 1.6, note=note)

    streams = in_turn(5, long=lambda: stream(HOPS), short=lambda: stream(1))
    hops = [(a - b) / (HOPS - 1) for a, b in zip(streams["long"], streams["short"], strict=True)]
    note = f"{statistics.median(hops) * 1e9:.0f} ns; {EVENTS} events submitted by one thread, run by another"
    yield row("  the same, streamed", ratios(hops, loops[: len(hops)]), note=note)


def call():
    """Measure `server.test` through five steps beside a call of the five, and beside storey's round trip."""
    with chain(STEPS) as server:
        server.test(body=0)
        candidates = {
            "test": lambda: per_call(lambda: server.test(body=0), 3000),
            "bare": lambda: per_call(bare(STEPS), 3000),
        }
        if storey_there():
            candidates |= {"sync": storey_sync_call, "loop": storey_async_call}
        rounds = in_turn(ROUNDS if len(candidates) == 2 else 5, **candidates)
    extra = [(a - b) * 1e6 for a, b in zip(rounds["test"], rounds["bare"], strict=True)]
    yield row(f"server.test through {STEPS} steps, above calling the {STEPS}", extra, 4.0, unit="µs")
    for name, source in (("sync", "SyncEmitSource"), ("loop", "AsyncEmitSource")):
        if name in rounds:
            note = f"{statistics.median(rounds[name]) * 1e6:.0f} µs; storey alone, as MLRun uses it, not MLRun"
            measured = ratios(rounds[name], rounds["test"])
            yield row(f"  storey's {source} round trip / server.test", measured, at_least=True, note=note)


def throughput():
    """Measure a stream of events through five steps beside storey."""
    candidates = {"penstock": lambda: stream(STEPS)}
    if storey_there():
        candidates["storey"] = storey_stream
    rounds = in_turn(3, **candidates)
    note = f"{1e-3 / statistics.median(rounds['penstock']):.0f} k events/s"
    if "storey" not in rounds:
        yield row("streamed throughput", [1e-3 / seconds for seconds in rounds["penstock"]], unit="k/s", note=note)
        return
    note += f", and {1e-3 / statistics.median(rounds['storey']):.1f} k/s (AsyncEmitSource, unique step names)"
    measured = ratios(rounds["storey"], rounds["penstock"])
    yield row(f"streamed throughput through {STEPS} steps / storey", measured, 50.0, at_least=True, note=note)


def stream(steps):
    """Return the seconds an event of a stream takes: submitted by this thread, counted at the last step."""
    done = threading.Event()
    seen = 0

    def last(body):
        nonlocal seen
        seen += 1
        if seen == EVENTS:
            done.set()
        return body

    with chain(steps, last=last, responds=False) as server:
        engine = server.engine
        engine.start()
        start = time.perf_counter()
        for number in range(EVENTS):
            engine.submit(engine.event(number))
        if not done.wait(60):
            raise RuntimeError(f"{EVENTS - seen} events of {EVENTS} are lost")
        return (time.perf_counter() - start) / EVENTS


def storey_there():
    return importlib.util.find_spec("storey") is not None


def storey_steps(*ends):
    import storey

    # Names that are unique: else storey looks for a free one at every event.
    return [*(storey.Map(plus_one, name=f"step-{number}") for number in range(STEPS)), *ends]


def storey_stream(events=2000):
    import storey

    async def run():
        source = storey.AsyncEmitSource()
        flow = storey.build_flow([source, *storey_steps(storey.Reduce(0, lambda count, _: count + 1))])
        controller = flow.run()
        start = time.perf_counter()
        for number in range(events):
            await controller.emit(number)
        await controller.terminate()
        if await controller.await_termination() != events:
            raise RuntimeError("storey has lost events")
        return (time.perf_counter() - start) / events

    return asyncio.run(run())


def storey_async_call(events=1000):
    import storey

    async def run():
        controller = storey.build_flow([storey.AsyncEmitSource(), *storey_steps(storey.Complete())]).run()
        await controller.emit(0)
        start = time.perf_counter()
        for _ in range(events):
            await controller.emit(0)
        seconds = (time.perf_counter() - start) / events
        await controller.terminate()
        await controller.await_termination()
        return seconds

    return asyncio.run(run())


def storey_sync_call(events=500):
    import storey

    controller = storey.build_flow([storey.SyncEmitSource(), *storey_steps(storey.Complete())]).run()
    controller.emit(0).await_result()
    seconds = per_call(lambda: controller.emit(0).await_result(), events)
    controller.terminate()
    controller.await_termination()
    return seconds


def importing():
    """Measure `import penstock` in fresh processes, after NumPy and without it."""
    program = "import numpy, time; start = time.perf_counter(); import penstock\n"

    def measure(text):
        text += "print(time.perf_counter() - start)"
        return float(subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, check=True).stdout)

    measure(program)  # compiles
    rounds = in_turn(9, bare=lambda: measure(program), first=lambda: measure(program + FIRST_ANSWER))
    milliseconds = {name: [1000 * seconds for seconds in of] for name, of in rounds.items()}
    yield row("import penstock, beside NumPy's own", milliseconds["bare"], 150.0, unit="ms")
    yield row("  until the first answer of a graph of one step", milliseconds["first"], unit="ms")


def installed():
    """Count the packages that the base install brings beside NumPy, and what they weigh."""
    wanted, found = ["penstock"], {}
    while wanted:
        name = wanted.pop()
        try:
            distribution = importlib.metadata.distribution(name)
        except importlib.metadata.PackageNotFoundError:
            return  # run from a tree: there is nothing installed to weigh
        key = distribution.metadata["Name"].lower().replace("_", "-")
        if key in found or key == "numpy":
            continue
        found[key] = sum(size(path) for path in distribution.files or [])
        for text in distribution.requires or []:
            requirement = Requirement(text)
            if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
                wanted.append(requirement.name)
    names = ", ".join(sorted(found))
    yield Row("base install, beside NumPy", len(found), 10, unit="packages", note=names)
    yield Row("  their size", sum(found.values()) / 1e6, 40, unit="MB")


def size(path):
    located = path.locate()
    return located.stat().st_size if located.is_file() else 0
