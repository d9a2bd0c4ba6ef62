"""Fixtures that every test may use."""

import os
import subprocess
import sys
from collections.abc import Callable

import pytest

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
