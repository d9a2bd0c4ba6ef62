"""The process of a local server: serves until it is told to stop, or until who started it is gone."""

from __future__ import annotations

import os
import signal
import sys
import threading


def _follow() -> None:
    """End with the parent: its end of this pipe closes whatever happens to it."""
    while os.read(0, 1):
        pass
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    from penstock.cli import main

    threading.Thread(target=_follow, name="penstock-parent", daemon=True).start()
    main(["serve", *sys.argv[1:]], prog_name="penstock")
