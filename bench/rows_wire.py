"""The rows of the wire: gRPC, and tensors of 600 KB. What counts is the processor time of the server."""

from __future__ import annotations

import json
import random
import struct
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from statistics import median

from grpc_load import GrpcLoad, infer_message
from harness import SMALL, free_port, in_turn, penstock_server, ratios, row
from processes import cpu_seconds

INFER = "/v2/models/m/infer"
ROUNDS = 7
SECONDS = 0.5  # of each measurement of a round
SHAPE = [1, 3, 224, 224]
VALUES = 3 * 224 * 224


@contextmanager
def both_fronts(name):
    """Serve over HTTP and gRPC; gives the process and both ports. Nothing of grpcio may be in it."""
    grpc_port = free_port()
    with penstock_server(name, "--grpc-port", str(grpc_port)) as (server, port):
        yield server.pid, port, grpc_port
        if "cygrpc" in Path(f"/proc/{server.pid}/maps").read_text():
            raise RuntimeError("the server has loaded grpcio")


def costing(pid, measure):
    """Add the processor time of the server to what a client measured: milliseconds a request."""
    used = cpu_seconds(pid)
    measured = measure()
    return measured | {"cpu_ms": 1000 * (cpu_seconds(pid) - used) / measured["answers"]}


def of(rounds, key):
    return [one[key] for one in rounds]


def grpc(load, _build):
    """Measure the 1x4 FP32 model over gRPC beside HTTP, served by the same process without grpcio."""
    with both_fronts("small") as (pid, port, grpc_port):
        call = GrpcLoad(load.folder)
        call.check(grpc_port)
        alone = in_turn(
            ROUNDS, grpc=partial(call, grpc_port, 1, 1, SECONDS), http=partial(load, port, INFER, 1, SECONDS)
        )
        many = in_turn(
            ROUNDS,
            grpc=partial(costing, pid, partial(call, grpc_port, 4, 4, 1.0)),
            http=partial(costing, pid, partial(load, port, INFER, 16, 1.0)),
        )
    p50 = {name: of(rounds, "p50_us") for name, rounds in alone.items()}
    note = f"{median(p50['grpc']):.0f} µs, HTTP {median(p50['http']):.1f} µs; the clients differ"
    yield row("gRPC 1x4 FP32, c=1: p50 / HTTP's", ratios(p50["grpc"], p50["http"]), note=note)
    cpu = {name: of(rounds, "cpu_ms") for name, rounds in many.items()}
    note = f"CPU-s per 1,000 calls {median(cpu['grpc']):.4f}, HTTP {median(cpu['http']):.4f}; no grpcio in the process"
    yield row("gRPC 1x4 FP32, c=16: server's CPU per call / HTTP's", ratios(cpu["grpc"], cpu["http"]), note=note)
    rate = {name: of(rounds, "rate") for name, rounds in many.items()}
    note = f"{median(rate['grpc']) / 1000:.1f} k/s, HTTP {median(rate['http']) / 1000:.1f} k/s"
    yield row("  rate / HTTP's", ratios(rate["grpc"], rate["http"]), at_least=True, note=note)


def tensors(load, _build):
    """Measure what 1x3x224x224 FP32 costs the server: binary, over gRPC and as JSON; a classifier, and an echo."""
    generator = random.Random(1)
    values = [round(generator.gauss(0, 1), 7) for _ in range(VALUES)]
    raw = struct.pack(f"<{VALUES}f", *values)
    tensor = SMALL["inputs"][0] | {"shape": SHAPE}
    as_json = load.body("tensor", {"inputs": [tensor | {"data": values}]})
    del tensor["data"]
    tensor["parameters"] = {"binary_data_size": len(raw)}
    head = json.dumps({"inputs": [tensor], "parameters": {"binary_data_output": True}}).encode()
    as_bytes = load.folder / "tensor.bin"
    as_bytes.write_bytes(head + raw)
    binary = {"Inference-Header-Content-Length": len(head), "Content-Type": "application/octet-stream"}
    cases = (("rest", "REST, binary", 0.2), ("grpc", "gRPC", 0.2), ("json", "JSON", 10.0))
    for app, what, judged in (("scores", "in, 1,000 scores out", True), ("echo", "there and back", False)):
        with both_fronts(app) as (pid, port, grpc_port):
            call = GrpcLoad(load.folder, infer_message(SHAPE, raw))
            call.check(grpc_port, b"" if judged else raw[-8:])
            rounds = in_turn(
                ROUNDS,
                rest=partial(costing, pid, partial(load, port, INFER, 1, SECONDS, body=as_bytes, headers=binary)),
                grpc=partial(costing, pid, partial(call, grpc_port, 1, 1, SECONDS)),
                json=partial(costing, pid, partial(load, port, INFER, 1, SECONDS, body=as_json)),
            )
        for name, text, target in cases:
            p50 = median(of(rounds[name], "p50_us")) / 1000
            note = f"{len(raw) / 1e6:.1f} MB as bytes; the kernel's share included; c=1 p50 {p50:.2f} ms"
            title = f"{'' if judged else '  '}1x3x224x224 FP32 {what}, {text}: server's CPU"
            yield row(title, of(rounds[name], "cpu_ms"), target if judged else None, unit="ms", note=note)
