"""What a server says of itself: `/metrics` for Prometheus, and a page for a browser at `/`.

The plan has a step for it, apart from the graph; see `penstock.frontend`, which answers the protocol's calls.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from penstock import model_statistics
from penstock.counts import Counts
from penstock.event import Response

if TYPE_CHECKING:
    from penstock.models import V2ModelServer

METRICS, PAGE = "/metrics", "/"
_INNER = (".choice", ".out", ".self", ".unwrap", ".visits")  # steps of the plan that are a part of one of the graph
_OF_STEP = ("events", "failed", "dropped", "batches", "waiting", "times", "time", "sizes", "batched", "batching")
_PAGE_HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; frame-ancestors 'none'",
    "Vary": "Accept",
    "X-Content-Type-Options": "nosniff",
}


class Inspection:
    """Counts what one graph does, for as long as a server is in front of it.

    Parameters
    ----------
    name : str
        The function's name.
    models : dict of str to V2ModelServer
        The models, by the names that requests call them.
    routers : list
        The graph's routers; ensembles among them count as models.
    """

    def __init__(self, name: str, models: Mapping[str, V2ModelServer], routers: Sequence[Any] = ()) -> None:
        self.name = name or "penstock"
        self._models = models
        self._routers = routers
        self._graph: Any = None
        self._picture: str | None = None
        self._started = time.time()
        self._own: Callable[[], Counts] = dict
        self._total: Callable[[], Counts] | None = None
        self.worker = 0

    def attach(self, graph: Any, own: Callable[[], Counts], *, began: float | None = None) -> None:
        """Say what is served, where the graph's and the server's counts come from, and since when it has been."""
        self._graph = graph
        self._own = own
        self._started = self._started if began is None else began

    def join(self, worker: int, total: Callable[[], Counts]) -> None:
        """Answer for all processes of the server from now on: `total` has what they have counted."""
        self.worker = worker
        self._total = total

    def over(self, choose: Callable[[Any], int]) -> Callable[[Any], int]:
        """Put this ahead of a frontend's choice: 2 for what is asked here."""

        def chosen(event: Any) -> int:
            asked_here = event.method in ("", "GET", "HEAD") and event.path.partition("?")[0] in (METRICS, PAGE)
            return 2 if asked_here else choose(event)

        return chosen

    def answer(self, event: Any) -> Any:
        """Make the answer the event's body."""
        counts = self._total() if self._total is not None else self.counts()
        if event.path.partition("?")[0] == METRICS:
            from penstock.metrics import exposition

            content_type, text = exposition(counts, _header(event, "accept"))
            event.body = Response(body=text, content_type=content_type)
            return event
        from penstock.page import page

        if self._picture is None:
            self._picture = str(self._graph.plot(format="svg", rankdir="LR"))
        written = page(counts, self._models, self._picture)
        event.body = Response(body=written, content_type="text/html; charset=utf-8", headers=_PAGE_HEADERS)
        return event

    def counts(self) -> Counts:
        """Return what this process has counted."""
        found = self._own()
        now = time.time()
        inferences, last = self._inferences()
        inferences = found.get("inferences", inferences)  # of the graphs before this one, too
        process = {
            "pid": os.getpid(),
            "memory": _resident_bytes(),
            "cpu": time.process_time(),
            "started": self._started,
            "uptime": now - self._started,
            "last_inference": last,
        }
        return {
            **found,
            "name": self.name,
            "steps": self._steps(found.get("steps", {})),
            "inferences": inferences,
            "models": {name: int(bool(model.ready)) for name, model in self._models.items()},
            "processes": {str(self.worker): process},
        }

    def statistics(self, names: Sequence[str]) -> dict[str, Any]:
        """Return the protocol's statistics of models, of all processes of the server."""
        if self._total is None:
            inferences, latest = self._inferences()
            inferences = self._own().get("inferences", inferences)
        else:
            counts = self._total()
            inferences = counts.get("inferences", {})
            of_processes = [process.get("last_inference", {}) for process in counts.get("processes", {}).values()]
            latest = {name: max((last.get(name, 0) for last in of_processes), default=0) for name in names}
        told = [model_statistics.statistics(name, inferences.get(name, {}), latest.get(name, 0)) for name in names]
        return {"model_stats": told}

    def inferences(self) -> Counts:
        """Return what this graph's models have counted."""
        return self._inferences()[0]

    def _inferences(self) -> tuple[Counts, dict[str, int]]:
        return model_statistics.counted([*self._models.items(), *((router.name, router) for router in self._routers)])

    def _steps(self, stats: Mapping[str, dict[str, Any]]) -> dict[str, Any]:
        """Return the graph's steps: those that the plan adds to one count for it with what failed or was dropped."""
        steps: dict[str, Any] = {}
        for name, counted in stats.items():
            whole = _whole(name, stats)
            if whole == name and not name.startswith("GET /v2"):
                steps[name] = {key: counted[key] for key in _OF_STEP} | {"model": self._model_of(name)}
            elif whole in steps:
                for key in ("failed", "dropped"):
                    steps[whole][key] += counted[key]
        return steps

    def _model_of(self, step: str) -> str:
        return next((name for name in self._models if step == name or step.endswith("/" + name)), "")


def _whole(name: str, steps: Mapping[str, Any]) -> str:
    """Return the step that a step of the plan is a part of; itself, if it is none."""
    for suffix in _INNER:
        if name.endswith(suffix) and name[: -len(suffix)] in steps:
            return name[: -len(suffix)]
    return name


def _header(event: Any, wanted: str) -> str:
    return next((str(value) for name, value in (event.headers or {}).items() if name.lower() == wanted), "")


def _resident_bytes() -> int:
    try:
        with open("/proc/self/statm", "rb") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:  # no Linux
        import resource

        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
