"""The lane over CPython: handlers of every kind at once, two I/O threads, five Python callers.

    python bench/lane.py [--seconds 10] [--exits 30] [--build build/bench/bench]

Shows that nothing is lost (every call is answered exactly once, with its own value), that the interpreter may exit
at any moment, and what a quick step's p99 is beside steps that sleep or spin; with --build, also rate and latency
over HTTP beside a server that takes the GIL for every request. The short form is tests/python/test_lane.py.
"""

from __future__ import annotations

import argparse
import asyncio
import http.client
import itertools
import json
import random
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path
from statistics import median

import penstock

CALLERS = 5
CLIENTS = 4  # HTTP connections, each a thread of a process of its own
SLEEP, SPIN, LATE = 0.2, 0.05, 0.05
# How often each kind is asked for in the mix, and how it is answered.
MIX = {"quick": 800, "wait": 80, "nested": 60, "raises": 40, "own": 20, "sleep": 6, "spin": 6, "late": 6}
STATUS = {"raises": 500, "own": 500, "late": 504}


class Kinds:
    """A router with one handler of every kind; each notes the calls that it gets.

    The handlers take ``{"n": number}`` and return ``{"n": number, "by": kind}``.
    """

    def __init__(self):
        self.seen = {kind: [] for kind in MIX}
        inner = penstock.new_function("inner")
        inner.set_topology("flow").to(lambda body: body, name="inner").respond()
        self.inner = inner.to_mock_server()
        function = penstock.new_function("lane")
        router = function.set_topology("router")
        for kind in MIX:
            route = router.add_route(kind, class_name=Handler(kind, self), handler=f"do_{kind}")
            if kind == "late":
                route.timeout(LATE)
            elif kind in ("sleep", "nested"):
                route.concurrency(4)
        self.server = function.to_mock_server()

    def ask(self, kind, number, **options):
        """Call from Python, as `test` does it."""
        return self.server.test(f"/v2/models/{kind}/infer", {"n": number}, **options)

    def close(self):
        self.server.wait_for_completion()
        self.inner.wait_for_completion()


class Handler:
    def __init__(self, kind, kinds):
        self.kind = kind
        self.kinds = kinds

    def answer(self, body):
        """Note the call, and answer it."""
        self.kinds.seen[self.kind].append(body["n"])
        return {"n": body["n"], "by": self.kind}

    def do_quick(self, body):
        return self.answer(body)

    def do_sleep(self, body):
        time.sleep(SLEEP)
        return self.answer(body)

    def do_spin(self, body):
        end = time.perf_counter() + SPIN
        while time.perf_counter() < end:
            pass
        return self.answer(body)

    async def do_wait(self, body):
        await asyncio.sleep(0.005)
        return self.answer(body)

    def do_nested(self, body):
        return self.answer(self.kinds.inner.test(body=body))

    def do_own(self, body):
        self.answer(body)
        return self.kinds.ask("quick", -1)  # would wait for itself

    def do_late(self, body):
        answer = self.answer(body)  # noted first: nobody waits for the end
        time.sleep(2 * LATE)
        return answer

    def do_raises(self, body):
        self.answer(body)
        raise ValueError(body["n"])


def is_right(kind, number, status, body):
    """Tell whether an answer is the one to this question."""
    if status != STATUS.get(kind, 200):
        return False
    return kind in STATUS or body == {"n": number, "by": kind}


def drawn(seed):
    """Draw kinds of the mix for ever."""
    generator = random.Random(seed)
    while True:
        yield from generator.choices(list(MIX), list(MIX.values()), k=100)


def ask_until(end, seed, ask, asked, wrong):
    """Ask in the mix until then; note what was asked, and the answers that are not right."""
    for step, kind in enumerate(drawn(seed)):
        if time.monotonic() > end:
            return
        number = seed * 1_000_000_000 + step
        asked[kind].append(number)
        status, body = ask(kind, number)
        if not is_right(kind, number, status, body):
            wrong.append([kind, number, status, str(body)])


def calling(kinds):
    """Return how a Python caller asks."""

    def ask(kind, number):
        answer = kinds.ask(kind, number, silent=True)
        return (answer.status_code, answer.body) if isinstance(answer, penstock.Response) else (200, answer)

    return ask


def posting(port):
    """Return how a client asks, on a connection of its own."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)

    def ask(kind, number):
        body = json.dumps({"n": number})
        connection.request("POST", f"/v2/models/{kind}/infer", body, {"Content-Type": "application/json"})
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read())

    return ask


def all_ask(asks, first_seed, seconds):
    """Let every one ask in the mix on a thread of its own; return what was asked, and what was wrong."""
    asked = {kind: [] for kind in MIX}
    wrong = []
    end = time.monotonic() + seconds
    threads = [
        threading.Thread(target=ask_until, args=(end, first_seed + index, ask, asked, wrong))
        for index, ask in enumerate(asks)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return asked, wrong


def mixed(seconds, seed=1):
    """Run all kinds at once, called from Python and over HTTP.

    Returns counts: asked and run by kind; `wrong` answers; calls `lost` (asked but never run) and `repeated`.
    """
    from penstock.serve import HttpServer

    kinds = Kinds()
    with HttpServer(kinds.server, host="127.0.0.1", port=0) as server:
        client = subprocess.Popen(
            [sys.executable, __file__, "--client", str(server.port), "--seconds", str(seconds), "--seed", str(seed)],
            stdout=subprocess.PIPE,
            text=True,
        )
        asked, wrong = all_ask([calling(kinds)] * CALLERS, CLIENTS + seed * 100, seconds)
        theirs, theirs_wrong = json.loads(client.communicate(timeout=seconds + 60)[0])
    kinds.inner.wait_for_completion()
    result = {"asked": {}, "wrong": wrong + theirs_wrong, "lost": {}, "repeated": {}}
    for kind in MIX:
        wanted, seen = Counter(asked[kind] + theirs[kind]), Counter(kinds.seen[kind])
        result["asked"][kind] = wanted.total()
        result["lost"][kind] = (wanted - seen).total()
        result["repeated"][kind] = (seen - wanted).total()
    return result


def quick_beside(kind, seconds):
    """Return the p99 (seconds) and the count of quick calls of one caller while four others ask for `kind`."""
    kinds = Kinds()
    end = time.monotonic() + seconds
    others = []
    if kind is not None:

        def ask_on():
            while time.monotonic() < end:
                kinds.ask(kind, 0)

        others = [threading.Thread(target=ask_on) for _ in range(CALLERS - 1)]
        for thread in others:
            thread.start()
        time.sleep(0.5)  # until the step is known to be slow
    times = []
    for number in itertools.count():
        start = time.perf_counter()
        kinds.ask("quick", number)
        times.append(time.perf_counter() - start)
        if time.monotonic() > end:
            break
    for thread in others:
        thread.join()
    kinds.close()
    times.sort()
    return times[int(0.99 * (len(times) - 1))], len(times)


def exit_while_busy(phase):
    """Run a process that exits at some moment of the mix; return its exit code, what it said, and its seconds."""
    start = time.monotonic()
    done = subprocess.run(
        [sys.executable, __file__, "--exit-after", str(phase)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return done.returncode, done.stdout + done.stderr, time.monotonic() - start - phase


def be_exited(phase):
    """Be that process: callers and connections go on asking while the main thread returns."""
    from penstock.serve import HttpServer

    kinds = Kinds()
    server = HttpServer(kinds.server, host="127.0.0.1", port=0)
    wrong = []

    def ask_on(seed, ask):
        asked = {kind: [] for kind in MIX}
        # From the exit on, answers are refusals, and connections may end.
        with suppress(penstock.errors.PenstockError, OSError, http.client.HTTPException, ValueError):
            ask_until(time.monotonic() + 60, seed, ask, asked, wrong)

    for index in range(CALLERS):
        threading.Thread(target=ask_on, args=(index, calling(kinds)), daemon=True).start()
    for index in range(2):
        threading.Thread(target=ask_on, args=(CALLERS + index, posting(server.port)), daemon=True).start()
    time.sleep(phase)
    if wrong:
        print(wrong[:3])


def show_exits(count, seed):
    generator = random.Random(seed)
    bad, slowest = [], 0.0
    for _ in range(count):
        phase = generator.uniform(0, 0.4)
        code, said, seconds = exit_while_busy(phase)
        slowest = max(slowest, seconds)
        if code or said:
            bad.append((phase, code, said))
    print(f"exit while busy: {count} times, {len(bad)} not clean, the slowest took {slowest:.2f} s with its start")
    for phase, code, said in bad[:3]:
        print(f"  after {phase:.3f} s: exit {code}: {said[:2000]}")


def show_mixed(seconds, seed):
    result = mixed(seconds, seed)
    count = sum(result["asked"].values())
    print(
        f"mixed for {seconds:g} s: {count} calls, {len(result['wrong'])} wrong answers, "
        f"{sum(result['lost'].values())} lost, {sum(result['repeated'].values())} repeated"
    )
    print("  " + ", ".join(f"{kind} {number}" for kind, number in result["asked"].items()))
    for wrong in result["wrong"][:5]:
        print("  wrong:", wrong)


def show_quick(rounds=3):
    measured = {kind: [] for kind in (None, "sleep", "spin")}
    for _ in range(rounds):
        for kind, of in measured.items():
            of.append(quick_beside(kind, 2.0)[0] * 1e6)
    alone = median(measured[None])
    print(
        f"p99 of quick calls from Python: alone {alone:.1f} µs, beside four callers of a step that "
        f"sleeps {median(measured['sleep']):.1f} µs, that spins {median(measured['spin']):.1f} µs"
    )


def show_http(build):
    import rows_http
    from harness import Load
    from targets import show

    with tempfile.TemporaryDirectory() as folder:
        load = Load(build.resolve(), Path(folder))
        for measure in (rows_http.small_model, rows_http.neighbours):
            for row in measure(load, build.resolve()):
                show(row)


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--exits", type=int, default=30)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--build", type=Path, help="where bench/floor and bench/load are built")
    parser.add_argument("--client", type=int, metavar="PORT", help=argparse.SUPPRESS)
    parser.add_argument("--exit-after", type=float, metavar="SECONDS", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.client is not None:
        asks = [posting(arguments.client) for _ in range(CLIENTS)]
        print(json.dumps(all_ask(asks, arguments.seed * 100, arguments.seconds)))
    elif arguments.exit_after is not None:
        be_exited(arguments.exit_after)
    else:
        show_mixed(arguments.seconds, arguments.seed)
        show_exits(arguments.exits, arguments.seed)
        show_quick()
        if arguments.build:
            show_http(arguments.build)


if __name__ == "__main__":
    main()
