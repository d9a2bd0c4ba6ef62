"""The entry of a Nuclio function: ``spec.handler: "penstock.nuclio:handler"``, or imported into a module of one's own.

The graph is what `PENSTOCK_SPEC_PATH` (a file), or `SERVING_SPEC_ENV` (JSON, or base64 of gzip of it) has;
`SERVING_CURRENT_FUNCTION` names the child function that runs. A module that imports the handler may have an
`init_context` of its own, which is called first::

    from penstock.nuclio import handler

    def init_context(context):
        context.user_data.rates = load_rates()

Notes
-----
Nuclio looks for `init_context` in the module that the handler names as its own, not in the one that
``spec.handler`` names. So a module that imports `handler` gets one of its own, which leads to both.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from penstock.nuclio.entry import bound, init_context, nuclio_init_hook

if TYPE_CHECKING:
    from collections.abc import Awaitable

    def handler(context: Any, event: Any) -> Any:
        """Answer an event, or a batch of them; the entry of Nuclio's ordinary mode."""

    def async_handler(context: Any, event: Any) -> Awaitable[Any]:
        """Answer an event, without holding up the others; the entry of Nuclio's asynchronous mode."""


__all__ = ["async_handler", "handler", "init_context", "nuclio_init_hook"]


def __getattr__(name: str) -> Any:
    if name not in ("handler", "async_handler"):
        raise AttributeError(f"module 'penstock.nuclio' has no attribute '{name}'")
    caller = sys._getframe(1)
    # At the top of a module, it is an import for that module to have; anybody else just wants a handler.
    importing = caller.f_code.co_name == "<module>"
    return bound(name, caller.f_globals["__name__"] if importing else "")
