"""A virtual environment for each peer, in build/peers, made when it is first asked for."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from pathlib import Path

from peers.catalogue import Peer

HOME = Path(__file__).resolve().parents[2] / "build/peers"
PATIENCE = 1800  # seconds that pip may take


class CannotInstall(Exception):
    """The peer is not to be had here; the text says why."""


def environment(name: str, peer: Peer) -> Path:
    """Return the folder of the peer's environment, made if it is not there as the catalogue has it.

    Raises
    ------
    CannotInstall
        For this Python or platform there are no packages, or pip failed.
    """
    if reason := peer.cannot():
        raise CannotInstall(reason)
    folder = HOME / name
    wanted = repr((sys.version, peer.requirements, peer.pip))
    key, made = hashlib.sha256(wanted.encode()).hexdigest(), folder / ".made"
    if made.exists() and made.read_text() == key:
        return folder
    print(f"installing {peer.title} into {os.path.relpath(folder)} ...", flush=True)
    interpreter = os.path.realpath(sys.executable)
    subprocess.run([interpreter, "-m", "venv", str(folder)], check=True, timeout=PATIENCE)
    command = [str(folder / "bin/python"), "-m", "pip", "install", "--quiet", *peer.pip, *peer.requirements]
    quiet = {"PIP_DISABLE_PIP_VERSION_CHECK": "1", "PIP_NO_INPUT": "1"}
    try:
        subprocess.run(command, check=True, timeout=PATIENCE, capture_output=True, text=True, env=os.environ | quiet)
    except subprocess.TimeoutExpired:
        raise CannotInstall(f"pip took more than {PATIENCE} s") from None
    except subprocess.CalledProcessError as failed:
        errors = [line for line in failed.stderr.splitlines() if line.startswith("ERROR")] or ["pip failed"]
        raise CannotInstall(f"{errors[-1]} (Python {sys.version.split()[0]})") from None
    made.write_text(key)
    return folder
