"""Drawings as text for other programs: Mermaid's flowcharts, Graphviz' DOT."""

from __future__ import annotations

import re
from collections.abc import Mapping

from penstock.plotting.scene import Box, Scene

_TINTS = ("#dbeafe", "#dcfce7", "#fef3c7", "#f3e8ff", "#ffe4e6", "#ccfbf1")
_MERMAID_MARK = re.compile(r"[^\w .,:/+*=()'-]")


def to_mermaid(scene: Scene, *, left_to_right: bool = False) -> str:
    """Write a scene as a flowchart of Mermaid, which many pages for code and notes draw.

    Examples
    --------
    >>> print(to_mermaid(Scene({"a": Box("a", "a", responder=True)})), end="")
    flowchart TB
      n0[["a"]]
    """
    writer = _Mermaid()
    writer.scene(scene, "  ", "")
    functions = scene.functions()
    for number, function in enumerate(functions):
        members = ",".join(writer.tinted.get(function, ()))
        writer.lines.append(f"  classDef f{number} fill:{_TINTS[number % len(_TINTS)]},color:#1f2328")
        writer.lines.append(f"  class {members} f{number}")
    return "\n".join([f"flowchart {'LR' if left_to_right else 'TB'}", *writer.lines]) + "\n"


class _Mermaid:
    def __init__(self) -> None:
        self.lines: list[str] = []
        self.count = 0
        self.tinted: dict[str, list[str]] = {}

    def scene(self, scene: Scene, indent: str, prefix: str) -> None:
        ids = {}
        for name, box in scene.boxes.items():
            ids[name] = f"n{self.count}"
            self.count += 1
            if box.function:
                self.tinted.setdefault(box.function, []).append(ids[name])
            if box.inner is not None and box.inner.boxes:
                self.lines.append(f'{indent}subgraph {ids[name]}["{self.words(box)}"]')
                self.scene(box.inner, indent + "  ", f"{prefix}{name}/")
                self.lines.append(f"{indent}end")
                if box.responder:
                    self.lines.append(f"{indent}style {ids[name]} stroke-width:4px")
            else:
                before, after = _mermaid_shape(box)
                self.lines.append(f'{indent}{ids[name]}{before}"{self.words(box)}"{after}')
        for edge in scene.edges:
            arrow = "-.->" if edge.kind == "error" else "-->"
            label = f"|{edge.label}|" if edge.label else ""
            self.lines.append(f"{indent}{ids[edge.tail]} {arrow}{label} {ids[edge.head]}")

    @staticmethod
    def words(box: Box) -> str:
        second = f"<br/>{_mermaid(box.detail)}" if box.detail else ""
        return _mermaid(box.label) + second


def _mermaid(text: str) -> str:
    """Write what is not plain as Mermaid's entities, so that no text can end its quotes or become markup."""
    return _MERMAID_MARK.sub(lambda mark: f"#{ord(mark[0])};", text)


def _mermaid_shape(box: Box) -> tuple[str, str]:
    if box.kind in {"start", "target"}:
        return "([", "])"
    if box.responder:
        return "[[", "]]"
    return ("[(", ")]") if box.kind == "queue" else ("[", "]")


def to_dot(scene: Scene, *, name: str = "graph", attributes: Mapping[str, str] | None = None) -> str:
    """Write a scene in Graphviz' language.

    Examples
    --------
    >>> print(to_dot(Scene({"a": Box("a", "a")})), end="")
    digraph "graph" {
      node [shape="box" style="rounded,filled" fillcolor="white" fontname="sans-serif"]
      "a" [label="a"]
    }
    """
    return "\n".join([f"digraph {_quoted(name)} {{", *dot_lines(scene, attributes or {}), "}"]) + "\n"


def dot_lines(scene: Scene, attributes: Mapping[str, str]) -> list[str]:
    """Return the lines between the braces; `attributes` are the graph's own."""
    shared = {"shape": "box", "style": "rounded,filled", "fillcolor": "white", "fontname": "sans-serif"}
    lines = [f"  {key}={_quoted(str(value))}" for key, value in attributes.items()]
    return [*lines, f"  node {_attributes(shared)}", *_dot_scene(scene, scene.functions(), "  ", "")]


def _dot_scene(scene: Scene, functions: list[str], indent: str, prefix: str) -> list[str]:
    lines: list[str] = []
    for name, box in scene.boxes.items():
        own = f"{indent}{_quoted(prefix + name)} {_attributes(_dot_box(box, functions))}"
        if box.inner is None or not box.inner.boxes or box.kind == "model_runner":
            lines.append(own)
            continue
        inside = f"{prefix}{name}/"
        lines += [f"{indent}subgraph {_quoted('cluster_' + prefix + name)} {{", f"  {own}"]
        lines += _dot_scene(box.inner, functions, indent + "  ", inside)
        firsts = set(box.inner.boxes) - {edge.head for edge in box.inner.edges}
        lines += [
            f"{indent}  {_quoted(prefix + name)} -> {_quoted(inside + key)}" for key in box.inner.boxes if key in firsts
        ]
        lines.append(f"{indent}}}")
    for edge in scene.edges:
        said = {"style": "dashed"} if edge.kind == "error" else {}
        said |= {"constraint": "false"} if edge.kind == "cycle" else {}
        said |= {"label": edge.label} if edge.label else {}
        marks = f" {_attributes(said)}" if said else ""
        lines.append(f"{indent}{_quoted(prefix + edge.tail)} -> {_quoted(prefix + edge.head)}{marks}")
    return lines


def _dot_box(box: Box, functions: list[str]) -> dict[str, str]:
    shapes = {"start": "egg", "target": "cylinder", "queue": "cds", "router": "doubleoctagon", "model_runner": "folder"}
    count = len(box.inner.boxes) if box.inner is not None and box.kind == "model_runner" else 0
    second = f"{count} models" if count > 1 else box.detail
    said = {"label": f"{box.label}\n{second}" if second else box.label}
    shape = box.shape or shapes.get(box.kind, "")
    said |= {"shape": shape, "style": "filled"} if shape else {}
    said |= {"peripheries": "2"} if box.responder and box.kind != "router" else {}
    said |= {"color": "#bc4c00"} if box.catcher else {}
    said |= {"fillcolor": _TINTS[functions.index(box.function) % len(_TINTS)]} if box.function else {}
    said |= {"penwidth": "2"} if box.responder and box.kind == "router" else {}
    return said


def _attributes(said: Mapping[str, str]) -> str:
    return "[" + " ".join(f"{key}={_quoted(value)}" for key, value in said.items()) + "]"


def _quoted(text: str) -> str:
    r"""Quote a text for DOT, where ``\N`` and its like would be replaced.

    Examples
    --------
    >>> print(_quoted('say "a\\N"'))
    "say \"a\\N\""
    """
    text = text.replace("\\", "\\\\").replace('"', '\\"')
    return '"' + text.replace("\r", "").replace("\n", "\\n") + '"'
