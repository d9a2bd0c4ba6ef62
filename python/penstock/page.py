"""The first page: what is served and how it is doing, for a browser. One text, with nothing from elsewhere."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from html import escape
from typing import TYPE_CHECKING, Any

from penstock._version import __version__
from penstock.counts import Counts

if TYPE_CHECKING:
    from penstock.models import V2ModelServer

_STYLE = """
:root{color-scheme:light dark}
body{font:15px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,sans-serif;margin:2rem auto;max-width:64rem;padding:0 1rem}
h1{font-size:1.5rem;margin:0}h2{font-size:1.1rem;margin:2rem 0 .5rem}p{margin:.25rem 0}
table{border-collapse:collapse;width:100%}
th,td{text-align:left;padding:.3rem .8rem .3rem 0;border-bottom:1px solid #8886;vertical-align:top}
td.n,th.n{text-align:right;font-variant-numeric:tabular-nums}th{font-weight:600;font-size:.85rem;opacity:.75}
.picture{overflow:auto;border:1px solid #8886;border-radius:6px;padding:.5rem}
.wrong{color:#c62828;font-weight:600}.wide{overflow-x:auto}code{font-size:.9em}
@media (prefers-color-scheme:dark){.wrong{color:#ff8a80}}
"""
_LINKS = ("/v2", "/v2/models", "/v2/health/ready", "/metrics")


def page(counts: Counts, models: Mapping[str, V2ModelServer], picture: str) -> str:
    """Write the page.

    Parameters
    ----------
    counts : dict
        What the server's processes have counted.
    models : dict of str to V2ModelServer
        The models, by the names that requests call them.
    picture : str
        The graph, as SVG.
    """
    name = escape(counts.get("name", ""))
    links = " · ".join(f'<a href="{link}"><code>{link}</code></a>' for link in _LINKS)
    parts = [
        "<!doctype html>",
        '<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">',
        f"<title>{name} · penstock</title><style>{_STYLE}</style></head><body>",
        f"<header><h1>{name}</h1><p>penstock {escape(__version__)}, {_uptime(counts)}</p><p>{links}</p></header>",
        _section("Requests", ("", "number"), _requests(counts), numbers=1),
    ]
    if models:
        parts.append(_section("Models", ("model", "state", "inputs", "outputs"), _models(counts, models)))
    columns = ("step", "model", "events", "failed", "filtered out", "waiting", "mean time", "mean batch")
    parts += [
        _section("Steps", columns, _steps(counts), numbers=6),
        f'<section><h2>Graph</h2><div class="picture">{picture}</div></section>',
        _section("Processes", ("worker", "pid", "up", "memory", "processor time"), _processes(counts), numbers=4),
        "</body></html>",
    ]
    return "\n".join(parts)


def _section(title: str, columns: tuple[str, ...], rows: Iterable[tuple[str, ...]], *, numbers: int = 0) -> str:
    """Write a table; the last columns, as many as said, are numbers. Cells are HTML."""
    first = len(columns) - numbers
    kinds = ["" if index < first else ' class="n"' for index in range(len(columns))]
    head = "".join(f"<th{kind}>{escape(column)}</th>" for kind, column in zip(kinds, columns, strict=True))
    lines = [
        "<tr>" + "".join(f"<td{kind}>{cell}</td>" for kind, cell in zip(kinds, row, strict=True)) + "</tr>"
        for row in rows
    ]
    return (
        f'<section><h2>{escape(title)}</h2><div class="wide"><table><thead><tr>{head}</tr></thead>'
        f"<tbody>{''.join(lines)}</tbody></table></div></section>"
    )


def _requests(counts: Counts) -> Iterable[tuple[str, ...]]:
    answers, calls = counts["answers"], counts["calls"]
    yield "answered well (2xx, 3xx)", _number(answers[2] + answers[3])
    yield "wrong requests (4xx)", _number(answers[4])
    yield "failures (5xx)", _wrong(answers[5])
    yield "gRPC calls that ended well", _number(calls[0])
    yield "gRPC calls that did not", _wrong(sum(calls[1:]))
    yield "refused for lack of room", _wrong(counts["refused"])
    yield "in flight", _number(counts["in_flight"])
    yield "open connections", _number(counts["connections"])


def _models(counts: Counts, models: Mapping[str, V2ModelServer]) -> Iterable[tuple[str, ...]]:
    processes = len(counts["processes"])
    for name, model in models.items():
        ready = counts["models"].get(name, 0)
        state = "ready" if ready == processes else '<span class="wrong">not ready</span>'
        if 0 < ready < processes:
            state = f'<span class="wrong">ready in {ready} of {processes} processes</span>'
        yield escape(name), state, _tensors(model.inputs), _tensors(model.outputs)


def _steps(counts: Counts) -> Iterable[tuple[str, ...]]:
    for name, step in counts["steps"].items():
        measured, batches = sum(step["times"]), step["batches"]
        yield (
            escape(name),
            escape(step["model"]),
            _number(step["events"]),
            _wrong(step["failed"]),
            _number(step["dropped"]),
            _number(step["waiting"]),
            _duration(step["time"] / measured) if measured else "",
            f"{step['batched'] / batches:.1f}" if step["batching"] and batches else "",
        )


def _processes(counts: Counts) -> Iterable[tuple[str, ...]]:
    for worker, process in sorted(counts["processes"].items(), key=lambda item: int(item[0])):
        memory = f"{process['memory'] / 2**20:.0f} MiB"
        yield worker, str(process["pid"]), _duration(process["uptime"]), memory, _duration(process["cpu"])


def _uptime(counts: Counts) -> str:
    longest = max((process["uptime"] for process in counts["processes"].values()), default=0.0)
    return f"up for {_duration(longest)}"


def _tensors(described: Any) -> str:
    shown = []
    for tensor in described or ():
        if isinstance(tensor, Mapping):
            shape = ", ".join(str(size) for size in tensor.get("shape", ()))
            shown.append(f"{tensor.get('name', '')} {tensor.get('datatype', '')} [{shape}]")
        else:
            shown.append(str(tensor))
    return "<br>".join(escape(text) for text in shown)


def _number(value: float) -> str:
    return f"{value:,}"


def _wrong(value: float) -> str:
    return f'<span class="wrong">{value:,}</span>' if value else "0"


def _duration(seconds: float) -> str:
    for size, unit, digits in ((1e-3, "µs", 0), (1.0, "ms", 1)):
        if seconds < size:
            return f"{seconds / size * 1000:.{digits}f} {unit}"
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, hours = seconds // 60 % 60, seconds // 3600
    return f"{hours:.0f} h {minutes:.0f} min" if hours else f"{minutes:.0f} min {seconds % 60:.0f} s"
