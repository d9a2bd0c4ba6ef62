"""The rows of a server under pressure, or watched: chunks, scrapes, more requests than it can answer."""

from __future__ import annotations

import threading
import urllib.request
from contextlib import contextmanager
from functools import partial
from statistics import median

from apps import CHUNKS
from harness import in_turn, penstock_server, ratios, row
from rows_wire import INFER, costing, of

OVERLOAD = 3  # times what the model can do
CONNECTIONS = 2000  # more than events are admitted, fewer than --max-connections
SCRAPES = 10  # a second


def chunks(load, _build):
    """Measure an answer in chunks from a generator; LitServe's own gate is 3,500 messages a second."""
    with penstock_server("chunks") as (server, port):
        measure = partial(costing, server.pid, partial(load, port, "/", 1, 1.0))
        rounds = in_turn(5, chunks=measure)["chunks"]
    rates = [rate * CHUNKS for rate in of(rounds, "rate")]
    cost = 1000 * median(of(rounds, "cpu_ms")) / CHUNKS
    note = f"{cost:.1f} µs of the server's CPU each; {CHUNKS} chunks an answer, c=1"
    yield row("chunks of a generator over HTTP", rates, 3500, unit="/s", at_least=True, note=note)


def scrape(load, _build):
    """Measure what GET /metrics costs, and what requests notice of it."""
    with penstock_server("twenty") as (server, port):
        load(port, INFER, 1, 0.2)
        cost = in_turn(5, scrape=partial(costing, server.pid, partial(load, port, "/metrics", 1, 0.5, body="-")))
        quick = partial(load, port, INFER, 4, 1.0)

        def watched():
            with scraping(port):
                return quick()

        rounds = in_turn(5, alone=quick, watched=watched)
    milliseconds = of(cost["scrape"], "cpu_ms")
    note = f"{100 * median(milliseconds) / 15_000:.3f} % of a processor when scraped every 15 s"
    yield row("GET /metrics with 20 models: server's CPU", milliseconds, unit="ms", note=note)
    rate = {name: of(measured, "rate") for name, measured in rounds.items()}
    title = f"  rate of requests, c=4, while scraped {SCRAPES} times a second / alone"
    yield row(title, ratios(rate["watched"], rate["alone"]), at_least=True)
    p99 = {name: of(measured, "p99_us") for name, measured in rounds.items()}
    note = f"{median(p99['watched']):.0f} µs, alone {median(p99['alone']):.0f} µs"
    yield row("  their p99 / alone", ratios(p99["watched"], p99["alone"]), note=note)


@contextmanager
def scraping(port):
    """Read the metrics now and then until the end of the block."""
    over = threading.Event()

    def go():
        while not over.wait(1 / SCRAPES):
            urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10).read()

    thread = threading.Thread(target=go)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def overload(load, _build):
    """Offer three times what a model can do, whatever becomes of it: what is done, how soon are others refused."""
    with penstock_server("busy", "--max-connections", str(2 * CONNECTIONS)) as (_, port):
        full = in_turn(3, load=partial(load, port, INFER, 16, 1.0))["load"]
        most = median(of(full, "rate"))
        rounds = in_turn(3, load=partial(load, port, INFER, CONNECTIONS, 4.0, rate=OVERLOAD * most))["load"]
    note = f"{median(of(rounds, 'rate')):.0f} of {most:.0f} a second; {OVERLOAD * most:.0f} were asked for"
    goodput = [rate / most for rate in of(rounds, "rate")]
    yield row(f"{OVERLOAD}x overload: answered / what it can do", goodput, 0.9, at_least=True, note=note)
    waited = median(of(rounds, "p99_us")) / 1e6
    note = f"{median(of(rounds, 'refused')) / 4:.0f} a second; p99 of those answered {waited:.2f} s"
    milliseconds = [time / 1000 for time in of(rounds, "refused_p99_us")]
    yield row(f"{OVERLOAD}x overload: p99 of a refusal (503)", milliseconds, 50, unit="ms", note=note)
