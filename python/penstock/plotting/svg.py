"""A drawing as SVG that stands on its own: no font, script or style from elsewhere, light and dark."""

from __future__ import annotations

import dataclasses
import math
import re
import unicodedata
from html import escape

from penstock.plotting.layout import BETWEEN_BOXES, Point, lay_out
from penstock.plotting.scene import START, Box, Edge, Scene

_MARGIN = 20.0
_PADDING = 14.0
_HEADER = 30.0  # above the others inside a box; a second line needs more
_TALL, _SHORT = 48.0, 34.0  # with a second line, and without
_LONGEST = 34  # characters; what is cut can be read in the tooltip
_RIM = 4.0  # between the lines of a responder's double border
_NARROW, _WIDE = frozenset("fijlrtI.,:;'|!()[]{}/\\\" "), frozenset("mwMW@%&")
_QUEUES = ("cds", "cylinder")
_ROUND = ("egg", "ellipse", "oval", "circle")
_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")

_LIGHT = ("#dbeafe", "#dcfce7", "#fef3c7", "#f3e8ff", "#ffe4e6", "#ccfbf1")
_DARK = ("#1e3a5f", "#1c4532", "#4a3a10", "#3f2a5c", "#55212c", "#134e4a")
_STYLE = """
.ps-graph{font-family:system-ui,-apple-system,"Segoe UI",Roboto,"Helvetica Neue",Arial,sans-serif}
.ps-back{fill:#ffffff}.ps-box{fill:#f6f8fa;stroke:#57606a;stroke-width:1.2}.ps-rim{fill:none;stroke:#57606a;stroke-width:1.2}
.ps-graph text{fill:#1f2328;font-size:13px;text-anchor:middle}.ps-graph .ps-detail{fill:#59636e;font-size:11px}
.ps-graph .ps-key{text-anchor:start;font-size:11px}.ps-head{font-weight:600}
.ps-router>.ps-box,.ps-flow>.ps-box{fill:#ffffff;stroke-width:1.6}.ps-start>.ps-box,.ps-target>.ps-box{fill:#eaeef2}
.ps-catcher>.ps-box,.ps-catcher>.ps-rim{stroke:#bc4c00}.ps-rest>.ps-box{stroke-dasharray:2 3}
.ps-line{fill:none;stroke:#57606a;stroke-width:1.4}.ps-error .ps-line{stroke:#bc4c00;stroke-dasharray:5 4}
.ps-cycle .ps-line{stroke:#0969da}.ps-tip{fill:#57606a}.ps-error .ps-tip{fill:#bc4c00}.ps-cycle .ps-tip{fill:#0969da}
"""
_STYLE_DARK = """
.ps-back{fill:#16191d}.ps-box{fill:#22272e;stroke:#8b949e}.ps-rim{stroke:#8b949e}
.ps-graph text{fill:#e6edf3}.ps-graph .ps-detail{fill:#9da7b3}
.ps-router>.ps-box,.ps-flow>.ps-box{fill:#16191d}.ps-start>.ps-box,.ps-target>.ps-box{fill:#30363d}
.ps-catcher>.ps-box,.ps-catcher>.ps-rim{stroke:#f0883e}.ps-line{stroke:#8b949e}.ps-tip{fill:#8b949e}
.ps-error .ps-line{stroke:#f0883e}.ps-error .ps-tip{fill:#f0883e}
.ps-cycle .ps-line{stroke:#58a6ff}.ps-cycle .ps-tip{fill:#58a6ff}
"""


@dataclasses.dataclass
class _Drawn:
    """A scene that has its places: size, and where in it the boxes are."""

    width: float
    height: float
    centres: dict[str, Point]
    paths: list[list[Point]]
    sizes: dict[str, tuple[float, float]]
    inner: dict[str, _Drawn]


@dataclasses.dataclass
class _Place:
    """Where a box is on the page."""

    left: float
    top: float
    width: float
    height: float

    def inset(self, by: float) -> _Place:
        return _Place(self.left + by, self.top + by, self.width - 2 * by, self.height - 2 * by)


def to_svg(scene: Scene, *, name: str = "graph", left_to_right: bool = False) -> str:
    """Draw a scene.

    Examples
    --------
    >>> from penstock.plotting.scene import Box
    >>> to_svg(Scene({"a": Box("a", "a")}))[:20]
    '<svg xmlns="http://w'
    """
    drawn = _arrange(scene, left_to_right)
    functions = scene.functions()
    legend = _legend(functions, drawn.height + 2 * _MARGIN)
    width = max(drawn.width + 2 * _MARGIN, *(end for end, _ in legend), 60.0)
    height = drawn.height + 2 * _MARGIN + (30.0 if legend else 0.0)
    size = f'width="{_n(width)}" height="{_n(height)}" viewBox="0 0 {_n(width)} {_n(height)}"'
    style = _STYLE + _tints(functions, _LIGHT)
    dark = _STYLE_DARK + _tints(functions, _DARK)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" class="ps-graph" role="img" aria-label="{_text(name)}" {size}>',
        f"<title>{_text(name)}</title>",
        f"<style>{style}@media (prefers-color-scheme:dark){{{dark}}}</style>",
        f'<rect class="ps-back" width="{_n(width)}" height="{_n(height)}" rx="8"/>',
        *_Painter(functions, left_to_right).scene(scene, drawn, ((width - drawn.width) / 2, _MARGIN)),
        *(part for _, part in legend),
        "</svg>",
    ]
    return "\n".join(parts) + "\n"


def _tints(functions: list[str], colours: tuple[str, ...]) -> str:
    return "".join(
        f".ps-f{number}>.ps-box,.ps-box.ps-f{number}{{fill:{colours[number % len(colours)]}}}"
        for number in range(len(functions))
    )


def _legend(functions: list[str], top: float) -> list[tuple[float, str]]:
    """Name the tints; each part with where it ends."""
    parts, left = [], _MARGIN
    for number, function in enumerate(functions):
        said = "any child function" if function == "*" else f"function {_cut(function)}"
        swatch = f'<rect class="ps-box ps-f{number}" x="{_n(left)}" y="{_n(top)}" width="14" height="14" rx="3"/>'
        words = f'<text class="ps-key" x="{_n(left + 20)}" y="{_n(top + 11)}">{_text(said)}</text>'
        left += 20 + _length(said) + 18
        parts.append((left, f'<g class="ps-legend">{swatch}{words}</g>'))
    return parts


def _arrange(scene: Scene, left_to_right: bool) -> _Drawn:
    inner = {name: _arrange(box.inner, left_to_right) for name, box in scene.boxes.items() if box.inner is not None}
    sizes = {name: _size(box, inner.get(name)) for name, box in scene.boxes.items()}
    if len(scene.boxes) > 1 and not scene.edges:
        return _grid(sizes, inner)
    turned = {name: (height, width) for name, (width, height) in sizes.items()}
    layout = lay_out(turned if left_to_right else sizes, [(edge.tail, edge.head) for edge in scene.edges])
    if left_to_right:
        centres = {name: (y, x) for name, (x, y) in layout.centres.items()}
        paths = [[(y, x) for x, y in path] for path in layout.paths]
        return _Drawn(layout.height, layout.width, centres, paths, sizes, inner)
    return _Drawn(layout.width, layout.height, layout.centres, layout.paths, sizes, inner)


def _grid(sizes: dict[str, tuple[float, float]], inner: dict[str, _Drawn]) -> _Drawn:
    """Place what has no order, such as the routes of a router, in rows."""
    columns = 4 if len(sizes) <= 8 else math.ceil(math.sqrt(len(sizes)))
    wide = max(width for width, _ in sizes.values())
    tall = max(height for _, height in sizes.values())
    gap = BETWEEN_BOXES / 2
    centres = {
        name: ((number % columns) * (wide + gap) + wide / 2, (number // columns) * (tall + gap) + tall / 2)
        for number, name in enumerate(sizes)
    }
    used, rows = min(columns, len(sizes)), math.ceil(len(sizes) / columns)
    return _Drawn(used * (wide + gap) - gap, rows * (tall + gap) - gap, centres, [], sizes, inner)


def _header(box: Box) -> float:
    return _HEADER + (15.0 if box.detail else 0.0)


def _size(box: Box, inner: _Drawn | None) -> tuple[float, float]:
    text = max(_length(_cut(box.label)), 0.85 * _length(_cut(box.detail)))
    if inner is not None and box.inner is not None and box.inner.boxes:
        return max(inner.width, 1.1 * text) + 2 * _PADDING, inner.height + _header(box) + _PADDING
    rim = 2 * _RIM if box.responder else 0.0
    slant = 22.0 if _is_pipe(box) else 0.0
    return max(text + 26 + slant + rim, 64.0), (_TALL if box.detail else _SHORT) + rim


@dataclasses.dataclass
class _Painter:
    """Writes the elements of a scene and of those inside its boxes."""

    functions: list[str]
    left_to_right: bool

    def scene(self, scene: Scene, drawn: _Drawn, origin: Point, prefix: str = "") -> list[str]:
        left, top = origin
        parts = []
        for edge, path in zip(scene.edges, drawn.paths, strict=False):  # what has no paths has no edges
            points = [(x + left, y + top) for x, y in path]
            if edge.tail == edge.head:
                points = _loop(drawn, edge.tail, origin)
            parts.append(_edge(edge, points, self.left_to_right, prefix))
        for name, box in scene.boxes.items():
            x, y = drawn.centres[name]
            width, height = drawn.sizes[name]
            place = _Place(x + left - width / 2, y + top - height / 2, width, height)
            parts += self.box(box, place, drawn.inner.get(name), prefix)
        return parts

    def box(self, box: Box, place: _Place, inner: _Drawn | None, prefix: str) -> list[str]:
        tint = f" ps-f{self.functions.index(box.function)}" if box.function else ""
        marks = f"{' ps-responder' if box.responder else ''}{' ps-catcher' if box.catcher else ''}{tint}"
        step = f' data-step="{_text(prefix + box.name)}"' if not box.name.startswith("$") else ""
        parts = [f'<g class="ps-node ps-{_text(box.kind)}{marks}"{step}><title>{_text(_told(box))}</title>']
        if box.responder:
            parts.append(_outline(box, place, "ps-rim"))
        parts.append(_outline(box, place.inset(_RIM) if box.responder else place, "ps-box"))
        label, detail = _text(_cut(box.label)), _text(_cut(box.detail))
        x, y = place.left + place.width / 2, place.top + place.height / 2
        x -= 4.0 if _is_pipe(box) else 0.0
        if inner is not None and box.inner is not None and box.inner.boxes:
            parts.append(f'<text class="ps-head" x="{_n(x)}" y="{_n(place.top + 20)}">{label}</text>')
            if detail:
                parts.append(f'<text class="ps-detail" x="{_n(x)}" y="{_n(place.top + 35)}">{detail}</text>')
            origin = (x - inner.width / 2, place.top + _header(box))
            parts += self.scene(box.inner, inner, origin, f"{prefix}{box.name}/")
        elif detail:
            parts.append(f'<text x="{_n(x)}" y="{_n(y - 4)}">{label}</text>')
            parts.append(f'<text class="ps-detail" x="{_n(x)}" y="{_n(y + 12)}">{detail}</text>')
        else:
            parts.append(f'<text x="{_n(x)}" y="{_n(y + 4.5)}">{label}</text>')
        return [*parts, "</g>"]


def _loop(drawn: _Drawn, name: str, origin: Point) -> list[Point]:
    (x, y), (width, height) = drawn.centres[name], drawn.sizes[name]
    right = x + origin[0] + width / 2
    return [(right, y + origin[1] + height / 4), (right, y + origin[1] - height / 4)]


def _edge(edge: Edge, points: list[Point], left_to_right: bool, prefix: str) -> str:
    if edge.tail == edge.head:
        (x, low), (_, high) = points
        line = f"M{_n(x)} {_n(low)}C{_n(x + 16)} {_n(low + 6)} {_n(x + 16)} {_n(high - 6)} {_n(x + 6)} {_n(high)}"
        tip, direction = (x, high), (-1.0, 0.0)
    else:
        tip, start = points[-1], points[0]
        forth = 1 if (tip[0] > start[0] if left_to_right else tip[1] > start[1]) else -1
        direction = (float(forth), 0.0) if left_to_right else (0.0, float(forth))
        line = _curve([*points[:-1], (tip[0] - 6 * direction[0], tip[1] - 6 * direction[1])], left_to_right)
    (x, y), (right, down) = tip, direction
    back = (x - 8 * right, y - 8 * down)
    corners = f"{_n(back[0] - 4 * down)},{_n(back[1] - 4 * right)} {_n(back[0] + 4 * down)},{_n(back[1] + 4 * right)}"
    tail, head = ("" if name == START else prefix + name for name in (edge.tail, edge.head))
    said = f"{tail or 'start'} to {head}" + ("" if edge.kind == "flow" else f" ({edge.label or 'on error'})")
    return (
        f'<g class="ps-edge ps-{edge.kind}" data-from="{_text(tail)}" data-to="{_text(head)}">'
        f"<title>{_text(said)}</title>"
        f'<path class="ps-line" d="{line}"/><polygon class="ps-tip" points="{_n(x)},{_n(y)} {corners}"/></g>'
    )


def _curve(points: list[Point], left_to_right: bool) -> str:
    line = [f"M{_n(points[0][0])} {_n(points[0][1])}"]
    for number in range(1, len(points)):
        (x0, y0), (x1, y1) = points[number - 1], points[number]
        if number % 2 == 1:
            line.append(f"L{_n(x1)} {_n(y1)}")
        elif left_to_right:
            middle = _n((x0 + x1) / 2)
            line.append(f"C{middle} {_n(y0)} {middle} {_n(y1)} {_n(x1)} {_n(y1)}")
        else:
            middle = _n((y0 + y1) / 2)
            line.append(f"C{_n(x0)} {middle} {_n(x1)} {middle} {_n(x1)} {_n(y1)}")
    return "".join(line)


def _is_pipe(box: Box) -> bool:
    return box.kind == "queue" or box.shape in _QUEUES


def _outline(box: Box, place: _Place, kind: str) -> str:
    left, top, width, height = place.left, place.top, place.width, place.height
    if _is_pipe(box):
        bulge, right, bottom = 8.0, left + width - 8, top + height
        arc = f"A{_n(bulge)} {_n(height / 2)} 0 0"
        body = f"M{_n(left + bulge)} {_n(top)}H{_n(right)}{arc} 1 {_n(right)} {_n(bottom)}H{_n(left + bulge)}"
        end = "" if kind == "ps-rim" else f"M{_n(right)} {_n(top)}{arc} 0 {_n(right)} {_n(bottom)}"
        return f'<path class="{kind}" d="{body}{arc} 1 {_n(left + bulge)} {_n(top)}Z{end}"/>'
    corner = height / 2 if box.kind in {"start", "target"} or box.shape in _ROUND else 9.0
    tab = ""
    if box.kind == "model_runner" and kind == "ps-box":  # a folder
        tab = f'<path class="ps-box" d="M{_n(left + 10)} {_n(top)}l4 -6h34l4 6Z"/>'
    size = f'width="{_n(width)}" height="{_n(height)}"'
    return f'{tab}<rect class="{kind}" x="{_n(left)}" y="{_n(top)}" {size} rx="{_n(corner)}"/>'


def _told(box: Box) -> str:
    """Say in a tooltip what the box has no room for."""
    said = [box.label]
    said += [box.detail] if box.detail else []
    said += [f"function {box.function}"] if box.function else []
    said += ["answers the caller"] if box.responder else []
    said += ["catches errors"] if box.catcher else []
    said += [box.options] if box.options else []
    return "\n".join(said)


def _cut(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"


def _length(text: str) -> float:
    """Guess how long a text is at 13 px, on the long side: fonts differ."""
    total = 0.0
    for letter in text:
        if letter in _NARROW:
            total += 4.9
        elif letter in _WIDE:
            total += 11.6
        elif unicodedata.east_asian_width(letter) in {"W", "F"}:
            total += 13.6
        elif unicodedata.combining(letter):
            continue
        else:
            total += 9.2 if letter.isupper() else 7.7
    return total


def _text(text: str) -> str:
    return escape(_NOT_XML.sub("\ufffd", text))


def _n(number: float) -> str:
    """Write a coordinate, short, and without a minus before zero."""
    return f"{number + 0.0:.1f}".removesuffix(".0").replace("-0", "-0" if round(number, 1) else "0")
