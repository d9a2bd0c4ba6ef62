"""The type stub of the extension module: generated, checked in, compared by a test.

``./dev stub`` writes it anew.
"""

import subprocess
import sys
import tempfile
from pathlib import Path

PATH = Path(__file__).parents[2] / "python" / "penstock" / "_core.pyi"


def generate() -> str:
    """Return the stub of the installed ``penstock._core``."""
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run(
            [sys.executable, "-m", "pybind11_stubgen", "penstock._core", "--exit-code", "--output-dir", folder],
            check=True,
            capture_output=True,
            text=True,
        )
        return Path(folder, "penstock", "_core.pyi").read_text()


if __name__ == "__main__":
    PATH.write_text(generate())
