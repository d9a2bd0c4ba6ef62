"""What a drawing shows: boxes and edges read from a graph, whatever they are drawn with."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable, Mapping
from typing import Any

START = "$start"
MOST_ROUTES = 24  # a router of more shows these and says how many it left out
_USER = re.compile(r"//[^/@]*@")


@dataclasses.dataclass
class Box:
    """One step, or what stands ahead of the graph or behind it.

    `kind` is a step's, or "start", "target" or "rest" (the routes that are left out).
    """

    name: str
    label: str
    kind: str = "task"
    detail: str = ""  # the second line: class, function or address
    shape: str = ""  # Graphviz' name, as the user gave it
    function: str = ""  # the child function that it runs in
    responder: bool = False
    catcher: bool = False
    options: str = ""
    inner: Scene | None = None


@dataclasses.dataclass(frozen=True)
class Edge:
    """From one box to another of the same scene; `kind` is "flow", "error" or "cycle"."""

    tail: str
    head: str
    kind: str = "flow"
    label: str = ""


@dataclasses.dataclass
class Scene:
    """Boxes by their names, in the order of the graph, and the edges between them."""

    boxes: dict[str, Box] = dataclasses.field(default_factory=dict)
    edges: list[Edge] = dataclasses.field(default_factory=list)

    def join(self, tail: str, head: str, kind: str = "flow", label: str = "") -> None:
        """Add an edge, once, if both ends are there: a graph that is wrong is drawn, too."""
        edge = Edge(tail, head, kind, label)
        if tail in self.boxes and head in self.boxes and edge not in self.edges:
            self.edges.append(edge)

    def all_boxes(self) -> Iterable[Box]:
        """Go through the boxes, those inside others too."""
        for box in self.boxes.values():
            yield box
            if box.inner is not None:
                yield from box.inner.all_boxes()

    def functions(self) -> list[str]:
        """Return the child functions that are named, in the order of the graph."""
        return list(dict.fromkeys(box.function for box in self.all_boxes() if box.function))


def read(graph: Any, source: Any = None, targets: Any = None) -> Scene:
    """Read a whole graph, of either topology.

    Parameters
    ----------
    graph : RootFlowStep or RouterStep
        The graph.
    source : str or object with a name, optional
        What events come from; by default a mark that says "start".
    targets : list of str or of objects with a name, optional
        What the last steps write to; those with an `after` follow the steps it names.

    Examples
    --------
    >>> from penstock.graph import RootFlowStep
    >>> graph = RootFlowStep()
    >>> _ = graph.to("(event + 1)", name="add").respond()
    >>> [(edge.tail, edge.head) for edge in read(graph).edges]
    [('$start', 'add')]
    """
    start = Box(START, _name_of(source) or "start", "start", shape=str(getattr(source, "shape", None) or ""))
    if not hasattr(graph, "steps"):
        router = _box(graph.name or "router", graph)
        router.label = graph.name or _last(graph.class_name) or "ModelRouter"
        router.detail = "" if router.detail == router.label else router.detail
        scene = Scene({START: start, router.name: router})
        scene.join(START, router.name)
    else:
        scene = _flow(graph, start)
    steps = [name for name, box in scene.boxes.items() if box.kind != "start" and not box.catcher]
    last = [name for name in steps if all(edge.tail != name or edge.kind != "flow" for edge in scene.edges)]
    for target in [] if targets is None else [targets] if isinstance(targets, str) else targets:
        name = _name_of(target)
        scene.boxes[f"$target {name}"] = Box(f"$target {name}", name, "target", shape=str(_shape(target)))
        for tail in _names(getattr(target, "after", None)) or last:
            scene.join(tail, f"$target {name}")
    return scene


def _flow(flow: Any, start: Box | None) -> Scene:
    scene = Scene({START: start} if start else {})
    steps: Mapping[str, Any] = flow.steps
    catchers = {step.on_error for step in [flow, *steps.values()] if isinstance(step.on_error, str)}
    for name, step in steps.items():
        scene.boxes[name] = _box(name, step)
        scene.boxes[name].catcher = name in catchers
    if start and isinstance(flow.on_error, str):
        scene.join(START, flow.on_error, "error", "any step")
    for name, step in steps.items():
        if start and not step.after and name not in catchers:
            scene.join(START, name)
        _join(scene, name, step)
    if getattr(flow, "engine", "") == "sync" and not any(box.responder for box in scene.boxes.values()):
        line = [box for box in scene.boxes.values() if box.kind != "start" and not box.catcher]
        for box in line[-1:]:  # it answers without being told
            box.responder = True
    return scene


def _join(scene: Scene, name: str, step: Any) -> None:
    for tail in _names(step.after):
        scene.join(tail, name)
    for head in _names(getattr(step, "before", None)):
        scene.join(name, head)
    for tail in _names(getattr(step, "cycle_from", None)):
        scene.join(tail, name, "cycle", "again")
    if isinstance(step.on_error, str):
        scene.join(name, step.on_error, "error")


def _box(name: str, step: Any) -> Box:
    box = Box(
        name,
        name,
        step.kind,
        shape=str(_shape(step)),
        function=step.function or "",
        responder=bool(step.responder),
        options=_options(step),
    )
    if step.kind == "queue":
        box.detail = _USER.sub("//", step.path or "")  # an address may carry a password
        return box
    class_name, handler = getattr(step, "class_name", "") or "", getattr(step, "handler", "") or ""
    box.detail = f"{_last(class_name)}.{handler}" if class_name and handler else _last(class_name) or _last(handler)
    if box.detail == box.label:
        box.detail = ""
    routes = getattr(step, "routes", None)
    if getattr(step, "steps", None) is not None:
        box.inner = _flow(step, None)
    elif isinstance(routes, Mapping):
        box.inner = Scene({key: _box(key, routes[key]) for key in list(routes)[:MOST_ROUTES]})
        for route in box.inner.boxes.values():
            route.function = "" if route.function == box.function else route.function
        _say_the_rest(box.inner, len(routes))
    elif step.kind == "model_runner":
        models = _models(step)
        box.inner = Scene({key: Box(key, key, "model") for key in models[:MOST_ROUTES]})
        _say_the_rest(box.inner, len(models))
    return box


def _say_the_rest(scene: Scene, count: int) -> None:
    if count > MOST_ROUTES:
        scene.boxes["$rest"] = Box("$rest", f"and {count - MOST_ROUTES} more", "rest")


def _models(step: Any) -> list[str]:
    models = getattr(step, "models", None) or step.class_args.get("models") or ()
    return [str(name) for name in models] if isinstance(models, (Mapping, list, tuple)) else []


def _options(step: Any) -> str:
    options = getattr(step, "options", None)
    said = options.to_dict() if options is not None else {}
    return ", ".join(f"{key}={value}" for key, value in said.items())


def _last(name: str) -> str:
    """Shorten a dotted name to its last part; expressions stay whole."""
    return name if name.startswith("(") else name.rpartition(".")[2]


def _shape(item: Any) -> str:
    shape = getattr(item, "shape", None)
    return shape if isinstance(shape, str) else ""


def _name_of(item: Any) -> str:
    if item is None or isinstance(item, str):
        return item or ""
    return str(getattr(item, "name", "") or type(item).__name__)


def _names(items: Any) -> list[str]:
    return [items] if isinstance(items, str) else [str(getattr(item, "name", item)) for item in items or ()]
