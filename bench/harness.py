"""What the benchmarks share: rows of the table, rounds in turn, servers as processes, the load client."""

from __future__ import annotations

import dataclasses
import gc
import json
import os
import re
import signal
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

HERE = Path(__file__).resolve().parent
PATIENCE = 60  # seconds that the client may take, beyond what it was told
ADDRESS = re.compile(r"answers on http://[^:]+:(\d+)")
SMALL = {"inputs": [{"name": "x", "shape": [1, 4], "datatype": "FP32", "data": [1, 2, 3, 4]}]}


@dataclasses.dataclass
class Row:
    """One row of the table.

    Attributes
    ----------
    name : str
        What is measured.
    value : float
        The median.
    target : float or None
        What it should be; None for a row that only explains another.
    unit : str
        Written behind both; "x" is a ratio.
    at_least : bool
        Whether more is better.
    low, high : float
        The smallest and the greatest of the rounds: the noise.
    note : str
        What the number was made of.
    """

    name: str
    value: float
    target: float | None = None
    unit: str = "x"
    at_least: bool = False
    low: float = 0.0
    high: float = 0.0
    note: str = ""

    @property
    def verdict(self) -> str:
        """Whether the target is reached, or by how much it is not."""
        if self.target is None:
            return ""
        missed = 1 - self.value / self.target if self.at_least else self.value / self.target - 1
        return "reached" if missed <= 0 else f"missed by {missed:.0%}"


def row(name: str, rounds: Sequence[float], target: float | None = None, **more) -> Row:
    """Make a row of what the rounds measured."""
    return Row(name, statistics.median(rounds), target, low=min(rounds), high=max(rounds), **more)


def in_turn(rounds: int, **candidates: Callable[[], float]) -> dict[str, list[float]]:
    """Measure all candidates once a round, so that a slow moment of the machine hits all of them alike.

    The order changes from round to round: none always comes behind the same one.
    """
    measured: dict[str, list[float]] = {name: [] for name in candidates}
    for number in range(rounds):
        for name in list(candidates)[:: -1 if number % 2 else 1]:
            measured[name].append(candidates[name]())
    return measured


def ratios(over: Sequence[float], under: Sequence[float]) -> list[float]:
    """Divide round by round."""
    return [a / b for a, b in zip(over, under, strict=True)]


def per_call(call: Callable[[], object], calls: int) -> float:
    """Return the seconds of one call, over so many, without the collector's pauses."""
    gc.disable()
    try:
        start = time.perf_counter()
        for _ in range(calls):
            call()
        return (time.perf_counter() - start) / calls
    finally:
        gc.enable()


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


@contextmanager
def process(command: Sequence[str], **environment: str):
    """Run a server until the end of the block; its stderr is read by the caller as far as it likes."""
    server = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env={**os.environ, **environment}, cwd=HERE)
    try:
        yield server
    finally:
        server.send_signal(signal.SIGTERM)
        try:
            server.communicate(timeout=10)
        except subprocess.TimeoutExpired:
            server.kill()
            server.communicate()


@contextmanager
def penstock_server(name: str, *options: str):
    """Serve a function of apps.py; gives the process and its port."""
    command = [sys.executable, "-m", "penstock", "serve", str(HERE / f"apps.py:{name}"), "--port", "0", *options]
    with process(command) as server:
        said = server.stderr.readline()
        found = ADDRESS.search(said)
        if found is None:
            raise RuntimeError(f"the server did not start: {said}{server.stderr.read()}")
        yield server, int(found[1])


@contextmanager
def floor_server(build: Path, threads: int):
    """Serve the same model on the C++ floor; gives the process and its port."""
    port = free_port()
    path = os.pathsep.join(filter(None, [str(build / "floor"), os.environ.get("PYTHONPATH")]))
    command = [sys.executable, str(HERE / "floor_app.py"), str(port), str(threads)]
    with process(command, PYTHONPATH=path) as server:
        end = time.monotonic() + 20
        while True:
            try:
                socket.create_connection(("127.0.0.1", port)).close()
                break
            except ConnectionRefusedError:
                if server.poll() is not None or time.monotonic() > end:
                    raise RuntimeError(f"the floor did not start: {server.stderr.read()}") from None
                time.sleep(0.02)
        yield server, port


class Load:
    """The load client, a process of its own: bench/load."""

    def __init__(self, build: Path, folder: Path) -> None:
        self._program = str(build / "load/penstock_load")
        self.folder = folder
        self._bodies: dict[str, Path] = {}

    def body(self, name: str, content: Mapping[str, object]) -> Path:
        """Keep a request's body in a file."""
        if name not in self._bodies:
            self._bodies[name] = self.folder / f"{name}.json"
            self._bodies[name].write_text(json.dumps(content))
        return self._bodies[name]

    def command(
        self,
        port: int,
        path: str,
        connections: int,
        seconds: float,
        *,
        body: Path | str | None = None,
        headers: Mapping[str, object] | None = None,
        rate: float | None = None,
    ) -> list[str]:
        """Return the command line; "-" for the body sends GET, and a rate makes it an open loop (load.cpp)."""
        body = body or self.body("small", SMALL)
        options = [f"header={name}: {value}" for name, value in (headers or {}).items()]
        if rate is not None:
            options.append(f"rate={rate}")
        return [self._program, str(port), path, str(body), str(connections), str(seconds), *options]

    def __call__(self, port, path, connections, seconds, **more) -> dict[str, float]:
        """Send requests for so many seconds; the arguments are those of `command`."""
        command = self.command(port, path, connections, seconds, **more)
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=seconds + PATIENCE)
        if done.returncode != 0:
            raise RuntimeError(done.stderr.strip())
        return json.loads(done.stdout)

    @contextmanager
    def beside(self, *args, **more):
        """Keep sending requests until the end of the block."""
        client = subprocess.Popen(self.command(*args, **more), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            time.sleep(0.5)  # until the server knows which step is slow
            yield
        finally:
            client.kill()
            client.wait()
