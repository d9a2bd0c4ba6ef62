"""Counts as Prometheus reads them: made when they are asked for, from what the core has counted anyway."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import accumulate
from typing import Any

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

from penstock._version import __version__
from penstock.counts import Counts

_CODES = (
    *("OK", "CANCELLED", "UNKNOWN", "INVALID_ARGUMENT", "DEADLINE_EXCEEDED", "NOT_FOUND", "ALREADY_EXISTS"),
    *("PERMISSION_DENIED", "RESOURCE_EXHAUSTED", "FAILED_PRECONDITION", "ABORTED", "OUT_OF_RANGE", "UNIMPLEMENTED"),
    *("INTERNAL", "UNAVAILABLE", "DATA_LOSS", "UNAUTHENTICATED"),
)
_OF_STEP = ("step", "model")


def exposition(counts: Counts, accept: str = "") -> tuple[str, bytes]:
    """Write counts in the format that the client accepts; return its content type, and the text.

    Examples
    --------
    >>> _, text = exposition({"name": "shop", "refused": 2})
    >>> print(text.decode().splitlines()[-1])
    penstock_admission_refused_total 2.0
    """
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Counted(counts))
    encode, content_type = choose_encoder(accept)
    text, end, _ = encode(registry).partition(b"# EOF\n")
    return content_type, text + (_histograms(counts["steps"]).encode() if "steps" in counts else b"") + end


class _Counted(Collector):
    def __init__(self, counts: Counts) -> None:
        self._counts = counts

    def collect(self) -> Iterator[Metric]:
        counts = self._counts
        info = GaugeMetricFamily("penstock_info", "What is served.", labels=("function", "version"))
        info.add_metric((counts.get("name", ""), __version__), 1)
        yield info
        yield from _of_processes(counts)
        yield from _of_models(counts)
        if "answers" in counts:
            yield from _of_server(counts)
        if "steps" in counts:
            yield from _of_steps(counts["steps"])
        yield _counter("penstock_admission_refused", "Requests for which there was no room.", counts.get("refused", 0))


def _counter(name: str, text: str, value: float) -> Metric:
    return CounterMetricFamily(name, text, value=value)


def _gauge(name: str, text: str, value: float) -> Metric:
    return GaugeMetricFamily(name, text, value=value)


def _of_processes(counts: Counts) -> Iterator[Metric]:
    processes = counts.get("processes", {})
    yield _gauge("penstock_workers", "Processes that serve.", len(processes))
    yield _counter("penstock_worker_restarts", "Processes that died and were replaced.", counts.get("restarts", 0))
    memory = GaugeMetricFamily("penstock_process_resident_memory_bytes", "Memory in use.", labels=("worker",))
    start = GaugeMetricFamily("penstock_process_start_time_seconds", "When it began, of the epoch.", labels=("worker",))
    uptime = GaugeMetricFamily("penstock_process_uptime_seconds", "How long it has served.", labels=("worker",))
    cpu = CounterMetricFamily("penstock_process_cpu_seconds", "Processor time used.", labels=("worker",))
    for worker, process in processes.items():
        for family, key in ((memory, "memory"), (start, "started"), (uptime, "uptime"), (cpu, "cpu")):
            family.add_metric((worker,), process[key])
    yield from (memory, start, uptime, cpu)


def _of_models(counts: Counts) -> Iterator[Metric]:
    ready = GaugeMetricFamily("penstock_model_ready", "Processes in which the model is ready.", labels=("model",))
    for model, processes in counts.get("models", {}).items():
        ready.add_metric((model,), processes)
    yield ready


def _of_server(counts: Counts) -> Iterator[Metric]:
    requests = CounterMetricFamily("penstock_http_requests", "Requests answered over HTTP.", labels=("status",))
    for hundreds, number in enumerate(counts["answers"]):
        if hundreds > 1:
            requests.add_metric((f"{hundreds}xx",), number)
    yield requests
    calls = CounterMetricFamily("penstock_grpc_requests", "Calls of gRPC that have ended.", labels=("code",))
    for code, number in zip(_CODES, counts["calls"], strict=True):
        calls.add_metric((code,), number)
    yield calls
    yield _gauge("penstock_connections", "Connections that are open.", counts["connections"])
    yield _gauge("penstock_in_flight", "Events that are admitted and not settled.", counts["in_flight"])


def _of_steps(steps: dict[str, dict[str, Any]]) -> Iterator[Metric]:
    for key, name, text in (
        ("events", "penstock_step_events", "Events that the step has handled."),
        ("failed", "penstock_step_failures", "Events that failed in the step."),
        ("dropped", "penstock_step_dropped", "Events that the step has filtered out."),
        ("batches", "penstock_step_batches", "Calls of the step with a batch."),
    ):
        counter = CounterMetricFamily(name, text, labels=_OF_STEP)
        for step, counted in steps.items():
            counter.add_metric((step, counted["model"]), counted[key])
        yield counter
    depth = GaugeMetricFamily("penstock_step_queue_depth", "Events that wait for the step.", labels=_OF_STEP)
    for step, counted in steps.items():
        depth.add_metric((step, counted["model"]), counted["waiting"])
    yield depth


def _histograms(steps: dict[str, dict[str, Any]]) -> str:
    """Write those of the steps, which look the same in all formats.

    They are nine of ten lines, and by way of families and samples a scrape takes more than three times as long.
    """
    labels = {step: f'model="{_escaped(counted["model"])}",step="{_escaped(step)}"' for step, counted in steps.items()}
    times = [(labels[step], counted["times"], counted["time"]) for step, counted in steps.items()]
    sizes = [
        (labels[step], counted["sizes"], counted["batched"]) for step, counted in steps.items() if counted["batching"]
    ]
    text = "Time of the step's calls: one in 16 is measured, and each while they are slow."
    lines = [
        *_lines_of("penstock_step_seconds", text, 1e-6, times),
        *_lines_of("penstock_step_batch_size", "Events in a batch.", 1, sizes),
    ]
    return "".join(f"{line}\n" for line in lines)


def _lines_of(name: str, text: str, unit: float, found: list[tuple[str, list[int], float]]) -> Iterator[str]:
    """Make cumulative buckets: the core's double from one unit on, and the last has no bound."""
    yield f"# HELP {name} {text}"
    yield f"# TYPE {name} histogram"
    bounds: list[str] = []
    for labels, numbers, whole in found:
        bounds = bounds or [*(f"{unit * 2**power:.9g}" for power in range(len(numbers) - 1)), "+Inf"]
        for bound, so_far in zip(bounds, accumulate(numbers), strict=True):
            yield f'{name}_bucket{{le="{bound}",{labels}}} {float(so_far)}'
        yield f"{name}_count{{{labels}}} {float(sum(numbers))}"
        yield f"{name}_sum{{{labels}}} {float(whole)}"


def _escaped(label: str) -> str:
    return label.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")
