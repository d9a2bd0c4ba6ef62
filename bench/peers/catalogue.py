"""The peers: what is installed of each, how it is started, what it is asked, and the targets."""

from __future__ import annotations

import dataclasses
import json
import platform
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from costs import BATCH, DELAY
from harness import SMALL

SERVERS = Path(__file__).resolve().parent / "servers"
PROTOCOL = "/v2/models/m/infer"
ROWS = [[1, 2, 3, 4]]


@dataclasses.dataclass(frozen=True)
class Start:
    """What a peer is started with."""

    venv: Path
    folder: Path  # its own, empty
    port: int
    grpc_port: int
    batched: bool

    def program(self, name: str) -> str:
        """Return the path of what the peer's packages have installed."""
        return str(self.venv / "bin" / name)

    def packages(self) -> Path:
        """Return the folder of the peer's packages."""
        return next(self.venv.glob("lib/python3*/site-packages"))


@dataclasses.dataclass(frozen=True)
class Peer:
    """One system.

    Attributes
    ----------
    title, package : str
        Its name, and that of the distribution whose version is reported.
    requirements : tuple of str
        What pip installs, of one major version.
    command : callable
        Makes the command line, and the files that it needs.
    path, body
        Where it is asked, and what.
    at_least : float, optional
        How many times penstock's latency and rate it should take.
    grpc_at_most : float, optional
        The share of its processor time a call over gRPC that penstock may take.
    pip : tuple of str
        Further arguments for pip.
    batches : bool
        Whether it batches.
    platform : str, optional
        The only one that it has packages for.
    environment : mapping
        Variables it is started with.
    """

    title: str
    package: str
    requirements: tuple[str, ...]
    command: Callable[[Start], list[str]]
    path: str = PROTOCOL
    body: Mapping[str, Any] = dataclasses.field(default_factory=lambda: SMALL)
    at_least: float | None = 20.0
    grpc_at_most: float | None = None
    pip: tuple[str, ...] = ()
    batches: bool = False
    platform: str | None = None
    environment: Mapping[str, str] = dataclasses.field(default_factory=dict)

    def cannot(self) -> str | None:
        """Say why it cannot be installed here, if that is known without trying."""
        here = f"{sys.platform} {platform.machine()}"
        return (
            f"it has packages for {self.platform} only, and this is {here}"
            if self.platform not in {None, here}
            else None
        )


def triton(start: Start) -> list[str]:
    """Lay out the model repository, and choose the stub of this Python for the backend."""
    home = start.packages() / "pytriton/tritonserver"
    model = start.folder / "models/m"
    (model / "1").mkdir(parents=True)
    (model / "1/model.py").symlink_to(SERVERS / "triton_app.py")
    stub = home / "backends/python/triton_python_backend_stub"
    if not stub.exists():
        stub.symlink_to(home / "python_backend_stubs/{}.{}".format(*sys.version_info) / stub.name)
    size, shape = (BATCH, "[4]") if start.batched else (0, "[-1, 4]")
    batching = f"dynamic_batching {{ max_queue_delay_microseconds: {DELAY * 1e6:.0f} }}" if start.batched else ""
    answer = shape.replace("4", "1")
    (model / "config.pbtxt").write_text(f"""
        backend: "python" max_batch_size: {size} {batching}
        input [{{ name: "x" data_type: TYPE_FP32 dims: {shape} }}]
        output [{{ name: "y" data_type: TYPE_FP32 dims: {answer} }}]
        instance_group [{{ kind: KIND_CPU count: 1 }}]
    """)
    return [
        str(home / "bin/tritonserver"),
        f"--model-repository={start.folder / 'models'}",
        f"--backend-directory={home / 'backends'}",
        *("--http-address=127.0.0.1", f"--http-port={start.port}"),
        *("--grpc-address=127.0.0.1", f"--grpc-port={start.grpc_port}"),
        *("--allow-metrics=false", "--log-info=false", "--exit-timeout-secs=5"),
    ]


def mlserver(start: Start) -> list[str]:
    """Write its settings; the model in the process of the server, which is the quicker way."""
    settings = {
        "host": "127.0.0.1",
        "http_port": start.port,
        "grpc_port": start.grpc_port,
        "metrics_endpoint": None,
        "parallel_workers": 0,
        "debug": False,
    }
    (start.folder / "settings.json").write_text(json.dumps(settings))
    (start.folder / "model-settings.json").write_text(json.dumps({"name": "m", "implementation": "mlserver_app.Small"}))
    return [start.program("mlserver"), "start", str(start.folder)]


def own_program(app: str) -> Callable[[Start], list[str]]:
    """Start an app that starts its server itself."""
    return lambda start: [start.program("python"), str(SERVERS / app), str(start.port), str(start.grpc_port)]


def module(name: str, *arguments: str) -> Callable[[Start], list[str]]:
    """Start a server that is told what to load."""
    return lambda start: [
        *(start.program("python"), "-m", name, *arguments),
        *("--host", "127.0.0.1", "--port", str(start.port)),
    ]


PEERS: dict[str, Peer] = {
    "granian": Peer(
        "Granian, RSGI by hand",
        "granian",
        ("granian~=2.8", "uvloop", "orjson~=3.9", "numpy<3"),
        module("granian", "--interface", "rsgi", "--loop", "uvloop", "granian_app:app"),
        at_least=1.2,
    ),
    "fastapi": Peer(
        "FastAPI on uvicorn",
        "fastapi",
        ("fastapi<1", "uvicorn[standard]<1", "numpy<3"),
        module("uvicorn", "fastapi_app:app", "--log-level", "warning"),
        at_least=None,
    ),
    "triton": Peer(
        "Triton, Python backend",
        "nvidia-pytriton",
        ("nvidia-pytriton~=0.7.0", "numpy<2"),  # what it was built with
        triton,
        at_least=2.5,
        grpc_at_most=0.2,
        pip=("--no-deps",),  # its Python side is not used
        batches=True,
        platform="linux x86_64",
    ),
    "mlserver": Peer("MLServer", "mlserver", ("mlserver~=1.7",), mlserver, grpc_at_most=0.1),
    "kserve": Peer("KServe", "kserve", ("kserve~=0.21.0",), own_program("kserve_app.py"), grpc_at_most=0.1),
    "litserve": Peer(
        "LitServe",
        "litserve",
        ("litserve~=0.2.19", "numpy<3"),
        own_program("litserve_app.py"),
        path="/predict",
        body={"input": ROWS[0]},
        batches=True,
    ),
    "bentoml": Peer(
        "BentoML",
        "bentoml",
        ("bentoml~=1.4", "numpy<3"),
        module("bentoml", "serve", "bentoml_app:Small"),
        path="/predict",
        body={"x": ROWS},
        batches=True,
        environment={"BENTOML_DO_NOT_TRACK": "True"},
    ),
    "ray": Peer(
        "Ray Serve",
        "ray",
        ("ray[serve]~=2.60", "numpy<3"),
        own_program("ray_app.py"),
        path="/",
        batches=True,
        environment={"RAY_USAGE_STATS_ENABLED": "0"},
    ),
}
