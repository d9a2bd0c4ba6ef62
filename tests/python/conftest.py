"""Fixtures that every test may use."""

import importlib.util
import os
import signal
import subprocess
import sys
from collections.abc import Callable

import pytest

# What pyproject.toml installs for one Python only, and who needs it.
_FRAMEWORKS = {"onnxruntime": "test_frameworks_onnx.py", "xgboost": "test_frameworks_boosting.py"}
collect_ignore = [file for package, file in _FRAMEWORKS.items() if importlib.util.find_spec(package) is None]
# The interpreter of the environment with other people's clients, which `./dev test` makes for the main Python.
if "PENSTOCK_CLIENTS" not in os.environ:
    collect_ignore.append("test_clients.py")

# Whoever runs the tests may ignore these (nohup, a shell's background), and the servers that they start would, too.
signal.signal(signal.SIGHUP, signal.SIG_DFL)
signal.signal(signal.SIGINT, signal.default_int_handler)

# Workers that run side by side (pytest-xdist) take a file each, but these look at what the whole machine shares.
_TOGETHER = "test_runner"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Keep a file's tests in one worker: they share what is slow to start."""
    for item in items:
        file = item.path.name
        item.add_marker(pytest.mark.xdist_group(_TOGETHER if file.startswith(_TOGETHER) else str(item.path)))


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
