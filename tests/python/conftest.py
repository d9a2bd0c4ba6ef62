"""Fixtures that every test may use."""

import gc
import importlib.util
import os
import signal
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator

import pytest
from hypothesis import HealthCheck, settings

# What pyproject.toml installs for one Python only, and who needs it.
_FRAMEWORKS = {"onnxruntime": "test_frameworks_onnx.py", "xgboost": "test_frameworks_boosting.py"}
collect_ignore = [file for package, file in _FRAMEWORKS.items() if importlib.util.find_spec(package) is None]
# The interpreter of the environment with other people's clients, which `./dev test` makes for the main Python.
if "PENSTOCK_CLIENTS" not in os.environ:
    collect_ignore.append("test_clients.py")

# Whoever runs the tests may ignore these (nohup, a shell's background), and the servers that they start would, too.
signal.signal(signal.SIGHUP, signal.SIG_DFL)
signal.signal(signal.SIGINT, signal.default_int_handler)

# How long data takes to be made says something of the machine, and nothing of penstock.
settings.register_profile("penstock", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("penstock")

# Workers that run side by side (pytest-xdist) take a file each, but these look at what the whole machine shares.
_TOGETHER = "test_runner"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Keep a file's tests in one worker: they share what is slow to start."""
    for item in items:
        file = item.path.name
        item.add_marker(pytest.mark.xdist_group(_TOGETHER if file.startswith(_TOGETHER) else str(item.path)))


@pytest.fixture(scope="module")
def httpx_leftovers() -> Iterator[None]:
    """Collect what httpx leaves to the collector, at the end of a module: it would warn in another one."""
    yield
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()


RunPython = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def run_python() -> RunPython:
    """Run code in a fresh interpreter; the test fails with its output if it does not exit with `code`."""

    def run(program: str, *, code: int = 0, timeout: float = 30) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [sys.executable, "-c", program],
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
            env={**os.environ, "PYTHONWARNINGS": "error"},
        )
        assert done.returncode == code, f"exit {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done

    return run
