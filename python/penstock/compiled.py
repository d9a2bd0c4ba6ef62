"""What compiling a graph gives."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from penstock._core import Plan
    from penstock.inspection import Inspection
    from penstock.kafka.transactions import Transactions
    from penstock.model_control import ModelControl
    from penstock.queues import Inlet


@dataclasses.dataclass
class Compiled:
    """A plan that the core can run, and what a server has to know about it.

    Attributes
    ----------
    plan : Plan
        The core's plan.
    responds : bool
        Whether callers get an answer; else events are only taken.
    models : dict of str to V2ModelServer or ProcessModel
        The models, by the names that requests call them.
    routers : list
        The routers' objects.
    coroutines : bool
        Whether some handler is an async function.
    results : list
        What steps give when the graph ends (a reduction's value); filled when it does.
    streams : dict of str to OutputStream
        What queues write to.
    inlets : list of Inlet
        The streams that bring events.
    closers : list
        What ends the processes of routes; to be called after the graph has ended.
    inspection : Inspection
        What a server's own pages ask.
    transactions : Transactions, optional
        Those of the sources that read exactly once.
    control : ModelControl, optional
        What loads and unloads models while they are served.
    """

    plan: Plan
    responds: bool
    models: dict[str, Any]
    routers: list[Any]
    coroutines: bool
    results: list[Any]
    streams: dict[str, Any]
    inlets: list[Inlet]
    closers: list[Callable[[], None]]
    inspection: Inspection
    transactions: Transactions | None = None
    control: ModelControl | None = None
