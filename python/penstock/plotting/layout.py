"""Where boxes and edges go: layers by the longest path, few crossings, straight lines where there is room.

Everything is laid out from top to bottom; who wants left to right swaps sizes and coordinates.
"""

from __future__ import annotations

import bisect
import dataclasses
import itertools
from collections.abc import Iterable, Mapping, Sequence

Point = tuple[float, float]

BETWEEN_LAYERS = 46.0
BETWEEN_BOXES = 34.0
_BEND_WIDTH = 10.0  # of the lane that an edge keeps free in each layer that it passes
_SWEEPS = 12
_PORTS = 16.0  # between the ends of edges at one side of a box


@dataclasses.dataclass
class Spot:
    """A place in a layer: a box, or where an edge passes through the layer."""

    width: float
    height: float
    layer: int
    is_bend: bool = False
    top: float = 0.0  # of the layer
    bottom: float = 0.0
    up: list[int] = dataclasses.field(default_factory=list)
    down: list[int] = dataclasses.field(default_factory=list)
    x: float = 0.0
    y: float = 0.0


@dataclasses.dataclass
class Layout:
    """Centres of the boxes, and for each edge its points.

    From the first point on, edges are a line to the second, a curve to the third, a line to the fourth, and so on:
    beside boxes they are straight, and curves lie between the layers.
    """

    width: float
    height: float
    centres: dict[str, Point]
    paths: list[list[Point]]


def lay_out(sizes: Mapping[str, tuple[float, float]], edges: Sequence[tuple[str, str]]) -> Layout:
    """Place boxes so that none overlap and edges go around them.

    Parameters
    ----------
    sizes : dict of str to (float, float)
        Width and height of each box.
    edges : list of (str, str)
        From which box to which; loops are allowed, an edge from a box to itself has no points.

    Examples
    --------
    >>> layout = lay_out({"a": (60, 20), "b": (60, 20)}, [("a", "b")])
    >>> layout.centres["a"][0] == layout.centres["b"][0], layout.centres["a"][1] < layout.centres["b"][1]
    (True, True)
    """
    if not sizes:
        return Layout(0.0, 0.0, {}, [[] for _ in edges])
    numbers = {name: number for number, name in enumerate(sizes)}
    pairs = [(numbers[tail], numbers[head]) for tail, head in edges]
    forward, turned = _without_loops(len(numbers), pairs)
    layers = _longest_paths(len(numbers), [pair for pair in forward if pair is not None])
    spots = [Spot(*size, layer) for size, layer in zip(sizes.values(), layers, strict=True)]
    chains = [_chain(spots, pair) for pair in forward]
    rows = _ordered(spots)
    _place(spots, rows)
    paths = _paths(spots, chains)
    for number in turned:
        paths[number].reverse()
    width = max(spot.x + spot.width / 2 for spot in spots)
    height = max(spot.y + spot.height / 2 for spot in spots)
    return Layout(width, height, {name: (spots[at].x, spots[at].y) for name, at in numbers.items()}, paths)


def _without_loops(count: int, pairs: Sequence[tuple[int, int]]) -> tuple[list[tuple[int, int] | None], set[int]]:
    """Turn around the edges that close a loop; an edge from a box to itself becomes None."""
    outgoing: list[list[int]] = [[] for _ in range(count)]
    for number, (tail, head) in enumerate(pairs):
        if tail != head:
            outgoing[tail].append(number)
    forward: list[tuple[int, int] | None] = [None if tail == head else (tail, head) for tail, head in pairs]
    turned: set[int] = set()
    state = [0] * count  # 0 unseen, 1 on the path from the root, 2 done
    for root in range(count):
        if state[root]:
            continue
        state[root] = 1
        path = [(root, iter(outgoing[root]))]
        while path:
            spot, rest = path[-1]
            number = next(rest, -1)
            if number < 0:
                state[spot] = 2
                path.pop()
                continue
            head = pairs[number][1]
            if state[head] == 1:
                forward[number] = (head, spot)
                turned.add(number)
            elif state[head] == 0:
                state[head] = 1
                path.append((head, iter(outgoing[head])))
    return forward, turned


def _longest_paths(count: int, pairs: Iterable[tuple[int, int]]) -> list[int]:
    heads: list[list[int]] = [[] for _ in range(count)]
    waits = [0] * count
    for tail, head in pairs:
        heads[tail].append(head)
        waits[head] += 1
    layers = [0] * count
    ready = [spot for spot in range(count) if not waits[spot]]
    for tail in ready:  # it grows
        for head in heads[tail]:
            layers[head] = max(layers[head], layers[tail] + 1)
            waits[head] -= 1
            if not waits[head]:
                ready.append(head)
    return layers


def _chain(spots: list[Spot], pair: tuple[int, int] | None) -> list[int]:
    """Join two spots, through a bend in each layer between; return the spots on the way."""
    if pair is None:
        return []
    tail, head = pair
    chain = [tail]
    for layer in range(spots[tail].layer + 1, spots[head].layer):
        spots.append(Spot(_BEND_WIDTH, 0.0, layer, is_bend=True))
        chain.append(len(spots) - 1)
    chain.append(head)
    for above, below in itertools.pairwise(chain):
        spots[above].down.append(below)
        spots[below].up.append(above)
    return chain


def _ordered(spots: list[Spot]) -> list[list[int]]:
    """Order each layer: sweeps by the mean place of the neighbours; the order with the fewest crossings is kept."""
    rows: list[list[int]] = [[] for _ in range(1 + max(spot.layer for spot in spots))]
    for number, spot in enumerate(spots):
        rows[spot.layer].append(number)
    best, fewest = [list(row) for row in rows], _crossings(spots, rows)
    for sweep in range(_SWEEPS):
        if not fewest:
            break
        downwards = sweep % 2 == 0
        for row in rows[1:] if downwards else rows[-2::-1]:
            _sort_row(spots, rows, row, downwards)
        crossings = _crossings(spots, rows)
        if crossings < fewest:
            best, fewest = [list(row) for row in rows], crossings
    return best


def _sort_row(spots: list[Spot], rows: list[list[int]], row: list[int], downwards: bool) -> None:
    fixed = rows[spots[row[0]].layer + (-1 if downwards else 1)]
    place = {number: at for at, number in enumerate(fixed)}
    wanted = {}
    for at, number in enumerate(row):
        near = [place[other] for other in (spots[number].up if downwards else spots[number].down)]
        wanted[number] = sum(near) / len(near) if near else float(at)
    row.sort(key=lambda number: wanted[number])


def _crossings(spots: list[Spot], rows: list[list[int]]) -> int:
    total = 0
    for upper, lower in itertools.pairwise(rows):
        place = {number: at for at, number in enumerate(lower)}
        seen: list[int] = []
        for number in upper:
            ends = sorted(place[other] for other in spots[number].down)
            total += sum(len(seen) - bisect.bisect_right(seen, end) for end in ends)
            for end in ends:
                bisect.insort(seen, end)
    return total


def _place(spots: list[Spot], rows: list[list[int]]) -> None:
    top = 0.0
    for row in rows:
        height = max(spots[number].height for number in row)
        for number in row:
            spots[number].y = top + height / 2
            spots[number].top, spots[number].bottom = top, top + height
        top += height + BETWEEN_LAYERS
        _settle(spots, row, [0.0] * len(row))
    for sweep in range(2 * _SWEEPS):
        for row in rows if sweep % 2 == 0 else rows[::-1]:
            _settle(spots, row, [_wanted(spots, number) for number in row])
    for row in rows[::-1]:  # what has one neighbour goes right above it or below it
        _settle(spots, row, [_wanted_of(spots, number, spots[number].down) for number in row])
    for row in rows:
        _settle(spots, row, [_wanted_of(spots, number, spots[number].up) for number in row])
    left = min(spot.x - spot.width / 2 for spot in spots)
    for spot in spots:
        spot.x -= left


def _wanted(spots: list[Spot], number: int) -> float:
    """Return the mean of the neighbours; between two bends an edge is to be straight before all else."""
    return _mean(spots, number, [*spots[number].up, *spots[number].down])


def _wanted_of(spots: list[Spot], number: int, others: list[int]) -> float:
    return _mean(spots, number, others if len(others) == 1 else [])


def _mean(spots: list[Spot], number: int, others: list[int]) -> float:
    spot = spots[number]
    total = weight = 0.0
    for other in others:
        share = 8.0 if spot.is_bend and spots[other].is_bend else 1.0
        total, weight = total + share * spots[other].x, weight + share
    return total / weight if weight else spot.x


def _settle(spots: list[Spot], row: list[int], wanted: list[float]) -> None:
    """Place a layer as near to what is wanted as its order and widths allow (least squares, pooling neighbours)."""
    offsets = [0.0]
    for left, right in itertools.pairwise(row):
        offsets.append(offsets[-1] + (spots[left].width + spots[right].width) / 2 + BETWEEN_BOXES)
    blocks: list[tuple[float, int]] = []
    for place, offset in zip(wanted, offsets, strict=True):
        total, count = place - offset, 1
        while blocks and blocks[-1][0] / blocks[-1][1] > total / count:
            total, count = total + blocks[-1][0], count + blocks[-1][1]
            blocks.pop()
        blocks.append((total, count))
    places = [total / count for total, count in blocks for _ in range(count)]
    for number, place, offset in zip(row, places, offsets, strict=True):
        spots[number].x = place + offset


def _paths(spots: list[Spot], chains: list[list[int]]) -> list[list[Point]]:
    """Give each edge an end of its own at the sides of its boxes, and its points on the way."""
    leaving: dict[int, list[tuple[float, int]]] = {}
    arriving: dict[int, list[tuple[float, int]]] = {}
    for edge, chain in enumerate(chains):
        if chain:
            leaving.setdefault(chain[0], []).append((spots[chain[1]].x, edge))
            arriving.setdefault(chain[-1], []).append((spots[chain[-2]].x, edge))
    starts, ends = _ports(spots, leaving), _ports(spots, arriving)
    paths = []
    for edge, chain in enumerate(chains):
        points: list[Point] = []
        if chain:
            first, last = spots[chain[0]], spots[chain[-1]]
            points += [(starts[edge], first.y + first.height / 2), (starts[edge], first.bottom)]
            for number in chain[1:-1]:
                bend = spots[number]
                points += [(bend.x, bend.top), (bend.x, bend.bottom)]
            points += [(ends[edge], last.top), (ends[edge], last.y - last.height / 2)]
        paths.append(points)
    return paths


def _ports(spots: list[Spot], ends: dict[int, list[tuple[float, int]]]) -> dict[int, float]:
    ports = {}
    for number, edges in ends.items():
        step = min(_PORTS, (spots[number].width - _PORTS) / len(edges))
        for at, (_, edge) in enumerate(sorted(edges)):
            ports[edge] = spots[number].x + step * (at - (len(edges) - 1) / 2)
    return ports
