"""The rows over HTTP: penstock, the floor and the client are processes of their own."""

from __future__ import annotations

import random
import re
import time
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from statistics import median

from costs import BATCH, DELAY, batch_seconds
from harness import floor_server, in_turn, penstock_server, ratios, row

INFER = "/v2/models/m/infer"
ROUNDS = 7
SECONDS = 0.5  # of each measurement of a round


def small_model(load, build):
    """Measure a 1x4 FP32 model at one connection and at 16, beside the floor."""
    with ExitStack() as stack:
        _, ours = stack.enter_context(penstock_server("small"))
        _, floor = stack.enter_context(floor_server(build, 1))
        _, floors = stack.enter_context(floor_server(build, 2))
        ports = {"ours": ours, "floor": floor, "floors": floors}
        alone = in_turn(ROUNDS, **{name: partial(load, port, INFER, 1, SECONDS) for name, port in ports.items()})
        many = in_turn(ROUNDS, **{name: partial(load, port, INFER, 16, SECONDS) for name, port in ports.items()})
    p50 = {name: [one["p50_us"] for one in rounds] for name, rounds in alone.items()}
    rate = {name: [one["rate"] / 1000 for one in rounds] for name, rounds in many.items()}
    note = f"{median(p50['ours']):.1f} µs, floor {median(p50['floor']):.1f} µs"
    yield row("HTTP 1x4 FP32, c=1: p50 / floor", ratios(p50["ours"], p50["floor"]), 1.3, note=note)
    note = f"{median(rate['ours']):.1f} k/s, floor {median(rate['floor']):.1f} k/s"
    yield row("HTTP 1x4 FP32, c=16: rate / floor", ratios(rate["ours"], rate["floor"]), 1.1, at_least=True, note=note)
    note = f"{median(rate['floors']):.1f} k/s: two I/O threads that each take the GIL"
    yield row("  rate / floor with two threads", ratios(rate["ours"], rate["floors"]), at_least=True, note=note)


def image(load, _build):
    """Measure a 1x3x224x224 FP32 request in JSON: the whole round trip, so more than the server's share."""
    generator = random.Random(1)
    data = [round(generator.gauss(0, 1), 7) for _ in range(3 * 224 * 224)]
    body = load.body("image", {"inputs": [{"name": "x", "shape": [1, 3, 224, 224], "datatype": "FP32", "data": data}]})
    with penstock_server("image") as (_, port):
        rounds = in_turn(5, image=partial(load, port, INFER, 1, SECONDS, body=body))["image"]
    note = f"{body.stat().st_size / 1e6:.1f} MB in, one number out; with the client's and the kernel's share"
    yield row("HTTP 1x3x224x224 JSON, c=1: p50", [one["p50_us"] / 1000 for one in rounds], 10.0, unit="ms", note=note)


def batching(load, _build):
    """Measure a model that costs 11 ms + 0.9 ms a row, in a closed loop, beside full batches back to back."""
    for name, options, callers in (
        ("batched", f"max_size={BATCH}", BATCH),
        ("batched", f"max_size={BATCH}", 2 * BATCH),
        ("patient", f"max_size={BATCH}, max_delay={DELAY}", BATCH),
        ("adaptive", f"max_size={BATCH}, adaptive=True", BATCH),
    ):
        with penstock_server(name) as (_, port):
            load(port, INFER, BATCH, 1.0)  # an adaptive one learns what a call costs
            rounds = in_turn(2, load=partial(load, port, INFER, callers, 3.0))["load"]
            alone = in_turn(2, load=partial(load, port, INFER, 1, 1.0))["load"]
        yield from batching_rows(f".batch({options})", callers, rounds)
        if callers == BATCH:
            measured = [one["p50_us"] / 1e6 / batch_seconds(1) for one in alone]
            told = DELAY if name == "patient" else 0.0  # that wait is what was asked for
            wait = f", and {told * 1000:.0f} ms to wait" if told else ""
            note = f"one call {batch_seconds(1) * 1000:.1f} ms{wait}"
            title = f"{'  ' if told else ''}.batch({options}), c=1: p50 / one call"
            yield row(title, measured, None if told else 1.05, note=note)


def batching_rows(title, callers, rounds):
    """Give the rate and the p95 of so many callers."""
    one_batch = batch_seconds(BATCH)
    ideal = BATCH / one_batch
    # A caller asks again at once, so the mean wait gives the rate, and no batch is cut by the end of the time.
    rates = [callers / one["mean_us"] * 1e6 for one in rounds]
    note = f"{median(rates):.0f} rows/s; ideal {ideal:.0f}: batches of {BATCH} back to back"
    if callers == BATCH:
        # Two batches would go round, as whoever was just answered is not back when the next one starts.
        note += f"; who never waits gets {one_batch / (batch_seconds(0) + one_batch):.2f} at most"
    yield row(f"{title}, c={callers}: rate / ideal", [rate / ideal for rate in rates], 0.95, at_least=True, note=note)
    note = f"one batch {one_batch * 1000:.1f} ms"
    measured = [one["p95_us"] / 1e6 / one_batch for one in rounds]
    yield row(f"{title}, c={callers}: p95 / one batch", measured, 2.2, note=note)


def added(load, _build):
    """Measure what `.batch` adds to a lone caller's request, where the model costs nothing."""
    with penstock_server("small") as (_, plain), penstock_server("eager") as (_, batched):
        ports = {"plain": plain, "batched": batched}
        rounds = in_turn(ROUNDS, **{name: partial(load, port, INFER, 1, SECONDS) for name, port in ports.items()})
    p50 = {name: [one["p50_us"] for one in measured] for name, measured in rounds.items()}
    extra = [a - b for a, b in zip(p50["batched"], p50["plain"], strict=True)]
    note = f"{median(p50['batched']):.1f} µs, without {median(p50['plain']):.1f} µs"
    yield row(f".batch(max_size={BATCH}) of a 1x4 FP32 model, c=1: p50, above one without", extra, unit="µs", note=note)


def ensemble(load, _build):
    """Measure a voting ensemble of three models that take 20 ms outside the GIL."""
    body = load.body("rows", {"inputs": [[5.1, 3.5, 1.4, 0.2]]})
    with penstock_server("ensemble") as (_, port):
        rounds = in_turn(3, load=partial(load, port, "/v2/models/infer", 1, 1.0, body=body))["load"]
    yield row("ensemble of three 20 ms models: p50", [one["p50_us"] / 1000 for one in rounds], 22.0, unit="ms")


def neighbours(load, _build):
    """Measure the p99 of a quick model while another one sleeps, or spins, all the time."""
    quick, sleep, spin = (f"/v2/models/{name}/infer" for name in ("quick", "sleep", "spin"))
    with penstock_server("mixed") as (_, port):
        for connections in (1, 8):
            measure = partial(load, port, quick, connections, 1.0)

            def beside(path, measure=measure, connections=connections):
                with load.beside(port, path, connections, 60):
                    return measure()

            rounds = in_turn(3, alone=measure, sleep=partial(beside, sleep), spin=partial(beside, spin))
            p99 = {name: [one["p99_us"] for one in of] for name, of in rounds.items()}
            for name, what in (("sleep", "sleeps 0.2 s"), ("spin", "spins 50 ms")):
                note = f"{median(p99[name]):.0f} µs, alone {median(p99['alone']):.0f} µs"
                title = f"p99 of quick requests, c={connections}, while a step {what}"
                yield row(title, ratios(p99[name], p99["alone"]), 2.0, note=note)


def memory(load, _build):
    """Read what an idle server with one NumPy model holds."""
    rounds = []
    for _ in range(3):
        with penstock_server("small") as (server, port):
            load(port, INFER, 1, 0.1)
            time.sleep(0.1)
            status = Path(f"/proc/{server.pid}/status").read_text()
            rounds.append(int(re.search(r"VmRSS:\s+(\d+) kB", status)[1]) / 1024)
    yield row("resident memory, idle server, one NumPy model", rounds, 60.0, unit="MB")
