"""The rows of one peer: penstock and the peer run at the same time and are asked in turn."""

from __future__ import annotations

import dataclasses
import http.client
import json
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any

from costs import BATCH, batch_seconds
from grpc_load import GrpcLoad
from harness import HERE, Load, Row, free_port, in_turn, penstock_server, ratios, row
from processes import cpu_seconds, whole

from peers.catalogue import PROTOCOL, SERVERS, Peer, Start

ROUNDS = 5
SECONDS = 1.0  # of each measurement of a round
START = 120  # seconds until the first answer
CALLERS = 16


@dataclasses.dataclass
class Side:
    """A server that is measured."""

    load: Load
    pid: int
    port: int
    grpc_port: int
    path: str
    body: Path

    def http(self, connections: int, seconds: float = SECONDS) -> dict[str, float]:
        """Send requests; the answer has the processor time of 1,000 of them, too."""
        used = cpu_seconds(self.pid)
        measured = self.load(self.port, self.path, connections, seconds, body=self.body)
        return measured | {"cpu": 1000 * (cpu_seconds(self.pid) - used) / measured["answers"]}

    def grpc(self, load: GrpcLoad, connections: int, streams: int) -> dict[str, float]:
        """Send calls; the answer has the processor time of 1,000 of them, too."""
        used = cpu_seconds(self.pid)
        measured = load(self.grpc_port, connections, streams, SECONDS)
        return measured | {"cpu": 1000 * (cpu_seconds(self.pid) - used) / measured["answers"]}


def numbers(answer: Any) -> Iterator[float]:
    """Give all numbers of a JSON answer."""
    if isinstance(answer, dict | list):
        for part in answer.values() if isinstance(answer, dict) else answer:
            yield from numbers(part)
    elif isinstance(answer, int | float):
        yield answer


def wrong_with(port: int, path: str, body: Path) -> str:
    """Say what is wrong with the server's answer; nothing if it is there and computes what it should."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    try:
        connection.request("POST", path, body.read_bytes(), {"Content-Type": "application/json"})
        response = connection.getresponse()
        content = response.read()
    except OSError as error:
        return str(error)
    finally:
        connection.close()
    right = response.status == 200 and 10 in numbers(json.loads(content))
    return "" if right else f"{response.status} {content.decode(errors='replace')}"


@contextmanager
def peer_server(name: str, peer: Peer, venv: Path, load: Load, batched: bool = False) -> Iterator[Side]:
    """Serve the model on the peer until the end of the block."""
    with tempfile.TemporaryDirectory(prefix=f"penstock-peer-{name}-") as text:
        folder = Path(text)
        start = Start(venv, folder, free_port(), free_port(), batched)
        search = [str(HERE), str(SERVERS), str(start.packages())]
        environment = dict(peer.environment) | {
            "PYTHONPATH": ":".join(search),
            "BENCH_MODEL": "batched" if batched else "small",
        }
        command, body, log = peer.command(start), load.body(name, peer.body), folder / "log"
        with whole(command, log, environment=environment, folder=folder) as server:
            end = time.monotonic() + START
            while wrong := wrong_with(start.port, peer.path, body):
                if server.poll() is not None or time.monotonic() > end:
                    said = log.read_text(errors="replace")[-3000:]
                    raise RuntimeError(
                        f"{peer.title} ended, or did not answer rightly within {START} s: {wrong}\n{said}"
                    )
                time.sleep(0.2)
            yield Side(load, server.pid, start.port, start.grpc_port, peer.path, body)


@contextmanager
def penstock(load: Load, function: str) -> Iterator[Side]:
    """Serve the model on penstock."""
    grpc_port = free_port()
    with penstock_server(function, "--grpc-port", str(grpc_port)) as (server, port):
        body = load.body(
            "penstock", {"inputs": [{"name": "x", "shape": [1, 4], "datatype": "FP32", "data": [1, 2, 3, 4]}]}
        )
        if wrong := wrong_with(port, PROTOCOL, body):
            raise RuntimeError(f"penstock does not answer: {wrong}")
        yield Side(load, server.pid, port, grpc_port, PROTOCOL, body)


def of(rounds: list[dict[str, float]], key: str) -> list[float]:
    """Take one figure of each round."""
    return [one[key] for one in rounds]


def small(name: str, peer: Peer, venv: Path, load: Load, folder: Path) -> Iterator[Row]:
    """Compare the 1x4 model over HTTP and, where the peer speaks it, over gRPC."""
    with penstock(load, "small") as ours, peer_server(name, peer, venv, load) as theirs:
        sides = {"ours": ours, "theirs": theirs}
        for side in sides.values():
            side.http(CALLERS, 2.0)  # warm
        alone = in_turn(ROUNDS, **{key: lambda side=side: side.http(1) for key, side in sides.items()})
        many = in_turn(ROUNDS, **{key: lambda side=side: side.http(CALLERS) for key, side in sides.items()})
        calls = {}
        if peer.grpc_at_most is not None:
            grpc = GrpcLoad(folder)
            for side in sides.values():
                grpc.check(side.grpc_port)
                side.grpc(grpc, 4, 4)
            calls = in_turn(ROUNDS, **{key: lambda side=side: side.grpc(grpc, 4, 4) for key, side in sides.items()})
            singles = in_turn(ROUNDS, **{key: lambda side=side: side.grpc(grpc, 1, 1) for key, side in sides.items()})
    at_least = {"target": peer.at_least, "at_least": True}
    p50 = {key: of(rounds, "p50_us") for key, rounds in alone.items()}
    note = f"{median(p50['theirs']):.0f} µs, penstock {median(p50['ours']):.1f} µs"
    yield row(f"{peer.title}, HTTP c=1: p50 / penstock's", ratios(p50["theirs"], p50["ours"]), note=note, **at_least)
    rate = {key: of(rounds, "rate") for key, rounds in many.items()}
    note = f"{median(rate['theirs']) / 1000:.2f} k/s, penstock {median(rate['ours']) / 1000:.1f} k/s"
    title = f"{peer.title}, HTTP c={CALLERS}: penstock's rate / its"
    yield row(title, ratios(rate["ours"], rate["theirs"]), note=note, **at_least)
    yield cpu_row(f"  {peer.title}, HTTP: penstock's CPU per request / its", many)
    if calls:
        yield cpu_row(f"{peer.title}, gRPC: penstock's CPU per call / its", calls, peer.grpc_at_most)
        rate = {key: of(rounds, "rate") for key, rounds in calls.items()}
        note = f"{median(rate['theirs']) / 1000:.2f} k/s, penstock {median(rate['ours']) / 1000:.1f} k/s"
        title = f"  {peer.title}, gRPC c={CALLERS}: penstock's rate / its"
        yield row(title, ratios(rate["ours"], rate["theirs"]), at_least=True, note=note)
        p50 = {key: of(rounds, "p50_us") for key, rounds in singles.items()}
        note = f"{median(p50['theirs']):.0f} µs, penstock {median(p50['ours']):.1f} µs"
        yield row(
            f"  {peer.title}, gRPC c=1: p50 / penstock's", ratios(p50["theirs"], p50["ours"]), at_least=True, note=note
        )


def cpu_row(title: str, rounds: dict[str, list[dict[str, float]]], target: float | None = None) -> Row:
    """Compare the processor time of both, of all their processes."""
    cpu = {key: of(measured, "cpu") for key, measured in rounds.items()}
    note = f"CPU-s per 1,000: penstock {median(cpu['ours']):.4f}, it {median(cpu['theirs']):.3f}"
    return row(title, ratios(cpu["ours"], cpu["theirs"]), target, note=note)


def batched(name: str, peer: Peer, venv: Path, load: Load, _folder: Path) -> Iterator[Row]:
    """Compare dynamic batching, where the peer has it, with a model that costs 11 ms + 0.9 ms a row."""
    if not peer.batches:
        return
    with penstock(load, "patient") as ours, peer_server(name, peer, venv, load, batched=True) as theirs:
        sides = {"ours": ours, "theirs": theirs}
        for side in sides.values():
            side.http(BATCH, 2.0)
        rounds = in_turn(3, **{key: lambda side=side: side.http(BATCH, 3.0) for key, side in sides.items()})
    # A caller asks again at once, so the mean wait gives the rate, and no batch is cut by the end of the time.
    rate = {key: [BATCH / mean * 1e6 for mean in of(measured, "mean_us")] for key, measured in rounds.items()}
    ideal = BATCH / batch_seconds(BATCH)
    note = f"{median(rate['theirs']):.0f} rows/s, penstock {median(rate['ours']):.0f}, ideal {ideal:.0f}"
    title = f"{peer.title}, batches, c={BATCH}: penstock's rate / its"
    yield row(title, ratios(rate["ours"], rate["theirs"]), at_least=True, note=note)
    p95 = {key: [time / 1000 for time in of(measured, "p95_us")] for key, measured in rounds.items()}
    one_batch = batch_seconds(BATCH) * 1000
    note = f"{median(p95['theirs']):.0f} ms, penstock {median(p95['ours']):.0f} ms, one batch {one_batch:.0f} ms"
    title = f"  {peer.title}, batches: p95 / penstock's"
    yield row(title, ratios(p95["theirs"], p95["ours"]), at_least=True, note=note)
