"""Where models run: each by the mechanism that its author chose."""

from __future__ import annotations

import asyncio
import os
import threading
import weakref
from collections.abc import Mapping
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any

from penstock.errors import GraphError, StepNotReady
from penstock.runner.entries import NAIVE
from penstock.runner.model import ASYNCIO, Model, check_runnable
from penstock.runner.step import runners_of
from penstock.runner.threads import ThreadPool

if TYPE_CHECKING:
    from penstock.resolve import Resolver
    from penstock.runner.processes import ProcessPool
    from penstock.runner.shared import SharedModels

_POOL = "process_pool"
_DEDICATED = "dedicated_process"
_MAX_THREADS = 32
_MAX_PROCESSES = 16  # where the system does not say how many CPUs it has


class Executors:
    """Runs models, each by its mechanism; making one loads them all.

    Parameters
    ----------
    models : mapping of str to Model
        The models by name.
    mechanisms : mapping of str to str
        How each runs.
    bounds : object
        Has `max_processes`, `max_threads` and `pool_factor`.
    name : str
        For the names of threads and processes.

    Raises
    ------
    StepNotReady
        A model could not be loaded, or has not the method for its mechanism.
    """

    def __init__(self, models: Mapping[str, Model], mechanisms: Mapping[str, str], bounds: Any, name: str) -> None:
        for key, model in models.items():
            check_runnable(model, mechanisms[key])
        threads = (bounds.max_threads or _MAX_THREADS) * bounds.pool_factor
        self._processes_most = (bounds.max_processes or os.cpu_count() or _MAX_PROCESSES) * bounds.pool_factor
        self._models = models
        self._mechanisms = mechanisms
        self._threads = ThreadPool(threads, f"{name}-model")
        self._line = ThreadPool(1, f"{name}-line")  # for models in line beside others that are not
        self._pools: dict[str, ProcessPool] = {}
        self._loaded: list[Model] = []
        self.closed = False
        try:
            self._start(name)
        except BaseException:
            self.close()
            raise

    def in_line(self, model: str) -> bool:
        """Whether a model runs on the thread of its caller."""
        return self._mechanisms[model] == NAIVE

    def out_of_process(self, model: str) -> bool:
        """Whether a model runs in another process, on a copy of its body."""
        return model in self._pools

    def pids(self) -> list[int]:
        """Return the ids of the processes that run."""
        return sorted({pid for pool in self._pools.values() for pid in pool.pids})

    def run_in_line(self, model: str, body: Any, path: str, origin: str) -> Any:
        """Run a model on this thread."""
        return self._models[model].run(body, path, origin)

    async def run(self, model: str, body: Any, path: str, origin: str) -> Any:
        """Run a model where it belongs."""
        mechanism = self._mechanisms[model]
        if mechanism == ASYNCIO:
            return await self._models[model].run_async(body, path, origin)
        future: Future[Any]
        if model in self._pools:
            future = self._pools[model].submit(model, body, path, origin)
        else:
            threads = self._line if mechanism == NAIVE else self._threads
            future = threads.submit(self._models[model].run, body, path, origin)
        return await asyncio.wrap_future(future)

    def close(self) -> None:
        """End threads and processes, and close the models that run here."""
        self.closed = True
        self._threads.close()
        self._line.close()
        for pool in set(self._pools.values()):
            pool.close()
        for model in self._loaded:
            model.close()
        self._loaded = []

    def _start(self, name: str) -> None:
        pooled = {key: model for key, model in self._models.items() if self._mechanisms[key] == _POOL}
        for key, model in self._models.items():
            if self._mechanisms[key] == _DEDICATED:
                self._pools[key] = _process_pool({key: model}, 1, f"{name}-{key}")
            elif key not in pooled:
                self._loaded.append(model)
                _load(key, model)
        if pooled:
            self._pools |= dict.fromkeys(pooled, _process_pool(pooled, self._processes_most, f"{name}-processes"))


def _process_pool(models: Mapping[str, Model], count: int, name: str) -> ProcessPool:
    from penstock.runner.processes import ProcessPool

    return ProcessPool(models, count, name)


def _load(name: str, model: Model) -> None:
    try:
        model.init()
    except GraphError:
        raise
    except Exception as error:
        raise StepNotReady(f"model '{name}': failed to load: {type(error).__name__}: {error}") from error


class SharedExecutors:
    """The shared models of one running graph; closed with the last runner that uses them."""

    def __init__(self, shared: SharedModels, root: Any, context: Any, resolver: Resolver) -> None:
        models = {name: entry.make(resolver) for name, entry in shared.models.items()}
        for step in runners_of(root):
            for name, entry in step.models.items():
                if entry.shared in models:
                    models[entry.shared].artifacts[name] = entry.artifact
        for model in models.values():
            model.context = context
        mechanisms = {name: entry.mechanism for name, entry in shared.models.items()}
        self.executors = Executors(models, mechanisms, shared, "penstock-shared")
        self._users = 0

    def join(self) -> None:
        """Count one more user."""
        self._users += 1

    def leave(self) -> None:
        """Count one user less; the last one closes."""
        with _lock:
            self._users -= 1
            last = self._users == 0
        if last:
            self.executors.close()


_lock = threading.Lock()  # guards the counts, and what follows
_of_contexts: weakref.WeakKeyDictionary[Any, SharedExecutors] = weakref.WeakKeyDictionary()


def shared_executors(root: Any, context: Any, resolver: Resolver) -> SharedExecutors:
    """Return the running shared models of a context's graph; they start with the first runner that asks."""
    with _lock:
        running = _of_contexts.get(context)
        if running is None or running.executors.closed:
            running = SharedExecutors(root.shared, root, context, resolver)
            _of_contexts[context] = running
        running.join()
        return running
