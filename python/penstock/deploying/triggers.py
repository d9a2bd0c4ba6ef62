"""What brings events to functions that run outside Nuclio: HTTP, the clock, and the topics between them."""

from __future__ import annotations

from penstock.deploying.what import Application
from penstock.errors import GraphError

_SERVED = ("http", "cron", "kafka-cluster")


def served_triggers(application: Application, target: str) -> None:
    """Refuse triggers that only Nuclio has.

    Raises
    ------
    GraphError
        There is one; events that nobody brings would be missed silently.
    """
    for function in application.functions:
        for name, trigger in function.triggers.items():
            if trigger["kind"] not in _SERVED:
                raise GraphError(
                    f"function '{function.name}', trigger '{name}': only Nuclio brings events of kind "
                    f"'{trigger['kind']}'; deploy to nuclio, or take the trigger out for {target}"
                )
