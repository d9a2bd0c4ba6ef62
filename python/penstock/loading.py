"""Models that load on a thread of their own, and coroutines that load them."""

from __future__ import annotations

import inspect
import threading
import time
from collections.abc import Callable, Coroutine, Iterable
from typing import TYPE_CHECKING, Any

from penstock.context import GraphLogger
from penstock.errors import GraphError, ModelNotReady, PenstockError

if TYPE_CHECKING:
    from penstock.models import V2ModelServer

_STREAM_SECONDS = 250.0  # how long an event of a stream waits: nobody would send it again
_LOOK_SECONDS = 0.1
_PLAIN_HOOKS = ("preprocess", "validate", "postprocess", "logged_results")


def has_coroutines(model_class: type) -> bool:
    """Tell whether events may wait in a coroutine of a model."""
    names = ["predict", "explain", *(name for name in dir(model_class) if name.startswith("op_"))]
    return any(inspect.iscoroutinefunction(getattr(model_class, name)) for name in names)


def check_hooks(model: V2ModelServer) -> None:
    """Refuse async functions where nothing waits for them.

    Raises
    ------
    GraphError
        A hook is one.
    """
    for hook in _PLAIN_HOOKS:
        if inspect.iscoroutinefunction(getattr(model, hook)):
            raise GraphError(
                f"model '{model.name}': {hook} is an async function; "
                "only load, predict, explain and op_xx may be, so write it as a plain def"
            )


def watch(models: Iterable[V2ModelServer], tell: Callable[[bool], None]) -> None:
    """Call `tell` with False if some models are still being loaded, and with True once all of them are ready."""
    watched = list(models)
    loading = [model._loading for model in watched if model._loading is not None]
    if not loading:
        return
    tell(False)
    for one in loading:
        one.then(lambda: tell(True) if all(model.ready for model in watched) else None)


def await_loaded(models: Iterable[V2ModelServer], *, unless: Callable[[], bool]) -> None:
    """Wait for models that load on threads of their own, until they have, or until `unless`.

    Raises
    ------
    ModelNotReady
        One did not load.
    """
    for model in models:
        loading = getattr(model, "_loading", None)  # what runs in a process of its own is loaded
        while loading is not None and not loading.ended and not unless():
            loading.wait(_LOOK_SECONDS)
        if loading is not None and loading.ended:
            loading.check_loaded()


def run_coroutine(coroutine: Coroutine[Any, Any, Any]) -> Any:
    """Run a coroutine on penstock's asyncio loop, where those of the graph run, and wait for it."""
    import asyncio

    from penstock.engine import loop

    return asyncio.run_coroutine_threadsafe(coroutine, loop.start()).result()


class Loading:
    """A model that is being loaded; requests are refused meanwhile.

    Parameters
    ----------
    model : V2ModelServer
        The model; its `load_now` runs on a new thread.
    """

    def __init__(self, model: V2ModelServer) -> None:
        self._model = model
        self._ended = threading.Event()
        self._error: Exception | None = None
        self._then: list[Callable[[], None]] = []
        self._lock = threading.Lock()  # guards _then, until it is called
        self._logger: Any = getattr(model.context, "logger", None) or GraphLogger("penstock")
        threading.Thread(target=self._run, name=f"penstock-load-{model.name}", daemon=True).start()

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until the model is loaded; tell whether it is."""
        self._ended.wait(timeout)
        return self._model.ready

    def then(self, call: Callable[[], None]) -> None:
        """Have a function called when loading has ended, well or not; now, if it has."""
        with self._lock:
            if not self._ended.is_set():
                self._then.append(call)
                return
        call()

    def check(self, event: Any) -> None:
        """Refuse an event as long as the model is not loaded; one of a stream waits instead.

        Raises
        ------
        ModelNotReady
            The model is not loaded.
        """
        if self._is_of_stream(event):
            self._ended.wait(_STREAM_SECONDS)
        self.check_loaded()

    @property
    def ended(self) -> bool:
        """Whether loading is over, well or not."""
        return self._ended.is_set()

    def check_loaded(self) -> None:
        """Refuse as long as the model is not loaded.

        Raises
        ------
        ModelNotReady
            It is not; the text says why, if it failed.
        """
        if self._model.ready:
            return
        name = self._model.name
        if self._error is None:
            raise ModelNotReady(f"model {name} is not ready yet")
        raise ModelNotReady(f"model {name} is not ready, {self._error}") from self._error

    def _run(self) -> None:
        began = time.monotonic()
        try:
            self._model.load_now()
        except PenstockError as error:
            self._error = error
            self._logger.error(str(error), exc_info=error.__cause__)
        else:
            self._logger.info(f"model {self._model.name} is loaded", seconds=round(time.monotonic() - began, 3))
        finally:
            with self._lock:
                self._ended.set()
            for call in self._then:
                call()

    @staticmethod
    def _is_of_stream(event: Any) -> bool:
        trigger = getattr(event, "trigger", None)
        kind = trigger.get("kind") if isinstance(trigger, dict) else getattr(trigger, "kind", trigger)
        return bool(kind) and kind != "http"
