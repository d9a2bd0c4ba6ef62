"""What models have done, as the protocol's statistics extension tells it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from penstock.counts import Counts

_REQUESTS = ("success", "fail", "queue")
_PHASES = ("compute_input", "compute_infer", "compute_output")
_CACHE = ("cache_hit", "cache_miss")  # there is none
_NOTHING = (0, 0)


def counted(models: Iterable[tuple[str, Any]]) -> tuple[Counts, dict[str, int]]:
    """Return what adds up of what each model has counted, and when each was asked last; those that count."""
    found = {name: model._stats for name, model in models if getattr(model, "_stats", None) is not None}
    return {name: stats.counts() for name, stats in found.items()}, {name: stats.last for name, stats in found.items()}


def statistics(name: str, counts: Mapping[str, Any], last: int) -> dict[str, Any]:
    """Write one model's counts as the protocol does.

    Examples
    --------
    >>> written = statistics("m:v2", {"inferences": 5, "success": [2, 1000]}, 0)
    >>> written["name"], written["version"], written["inference_count"], written["inference_stats"]["success"]
    ('m', 'v2', 5, {'count': 2, 'ns': 1000})
    """
    base, _, version = name.partition(":")
    executions = counts.get("executions", {})
    requests = {key: counts.get(key, _NOTHING) for key in _REQUESTS}
    phases = {key: executions.get(key, _NOTHING) for key in _PHASES}
    sizes = sorted(counts.get("batches", {}).items(), key=lambda item: int(item[0]))
    return {
        "name": base,
        "version": version,
        "last_inference": last,
        "inference_count": counts.get("inferences", 0),
        "execution_count": phases["compute_infer"][0],
        "inference_stats": _durations(requests | phases | dict.fromkeys(_CACHE, _NOTHING)),
        "response_stats": {number: _durations(ends) for number, ends in counts.get("responses", {}).items()},
        "batch_stats": [{"batch_size": int(size), **_durations(timed)} for size, timed in sizes],
        "memory_usage": [],
    }


def _durations(timed: Mapping[str, Any]) -> dict[str, dict[str, int]]:
    return {key: {"count": count, "ns": ns} for key, (count, ns) in timed.items()}
