"""From a graph to a picture in the format that was asked for."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

from penstock.errors import GraphError, MissingExtra
from penstock.extras import load_extra
from penstock.plotting.scene import Scene, read
from penstock.plotting.svg import to_svg
from penstock.plotting.texts import dot_lines, to_dot, to_mermaid
from penstock.resolve import nearest

TEXTS = {"svg": "svg", "mermaid": "mermaid", "mmd": "mermaid", "dot": "dot", "gv": "dot"}
_DRAWN = ("png", "pdf", "jpg", "jpeg", "gif", "ps", "eps", "webp")  # by Graphviz


class Drawing:
    """A picture as text: `str` gives it, a notebook shows it.

    Attributes
    ----------
    format : str
        "svg", "mermaid" or "dot".
    text : str
        The picture in that form.
    """

    def __init__(self, text: str, form: str, svg: str) -> None:
        self.format = form
        self.text = text
        self._svg = svg

    def __str__(self) -> str:
        return self.text

    def __repr__(self) -> str:
        return f"<Drawing as {self.format}, {len(self.text)} characters>"

    def _repr_svg_(self) -> str:
        return self._svg


def plot(
    graph: Any,
    filename: str | os.PathLike[str] | None = None,
    format: str | None = None,  # noqa: A002  # the name is MLRun's
    source: Any = None,
    targets: Any = None,
    **attributes: Any,
) -> Any:
    """Draw a graph; see `Plotted.plot`."""
    form = _form(filename, format)
    scene = read(graph, source, targets)
    name = getattr(graph, "name", "") or "graph"
    if form in _DRAWN or (form is None and _can_draw()):
        return _graphviz(scene, name, attributes, filename, form)
    left_to_right = str(attributes.get("rankdir", "TB")).upper() in {"LR", "RL"}
    svg = to_svg(scene, name=name, left_to_right=left_to_right)
    form = TEXTS[form or "svg"]
    text = svg
    if form == "mermaid":
        text = to_mermaid(scene, left_to_right=left_to_right)
    elif form == "dot":
        text = to_dot(scene, name=name, attributes=attributes)
    if filename is not None:
        Path(filename).write_text(text, encoding="utf-8")
    return Drawing(text, form, svg)


def _form(filename: Any, given: str | None) -> str | None:
    """Return the format: as given, else the file's suffix; None if neither says anything."""
    form = (given or ("" if filename is None else Path(filename).suffix)).lstrip(".").lower()
    if form and form not in TEXTS and form not in _DRAWN:
        known = [*TEXTS, *_DRAWN]
        raise GraphError(f"there is no format '{form}', but {', '.join(known)}{nearest(form, known)}")
    return form or (None if filename is None else "svg")


def _can_draw() -> bool:
    """Tell whether Graphviz and its Python package are installed."""
    import importlib.util

    return importlib.util.find_spec("graphviz") is not None and shutil.which("dot") is not None


def _graphviz(scene: Scene, name: str, attributes: dict[str, Any], filename: Any, form: str | None) -> Any:
    graphviz = load_extra("graphviz", "plot", f"format {form} (svg and mermaid need nothing)")
    digraph = graphviz.Digraph(name, body=[f"{line}\n" for line in dot_lines(scene, attributes)])
    if form is not None:
        digraph.format = form
    if filename is not None:
        try:
            Path(filename).write_bytes(digraph.pipe())
        except graphviz.ExecutableNotFound as error:
            raise MissingExtra(
                f"format {form} needs Graphviz' program 'dot' beside penstock[plot] (on Debian: apt-get install "
                "graphviz); svg and mermaid need nothing"
            ) from error
    return digraph
