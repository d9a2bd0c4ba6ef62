"""The other side of `penstock.runner.processes`: what runs in a model's process."""

from __future__ import annotations

import importlib
import importlib.util
import io
import multiprocessing
import os
import pickle
import signal
import sys
import threading
from multiprocessing.connection import Connection
from typing import TYPE_CHECKING, Any

from penstock.runner.shared_memory import Packed, Segment, pack, pack_for_trip, unpack

if TYPE_CHECKING:
    from penstock.runner.model import Model


def serve(pipe: Connection, payload: tuple[Any, ...]) -> None:
    """Load the models, then run one for each message until told to end, or the parent is gone."""
    for number in (signal.SIGINT, signal.SIGTERM):  # they reach the parent, too, which drains and then ends us
        signal.signal(number, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, name="penstock-parent", daemon=True).start()
    try:
        models = _load(*payload)
    except BaseException as error:
        _send(pipe, ("broken", _text(error)))
        return
    _send(pipe, ("ready",))
    desk = _Desk(pipe, models)
    while desk.serve_one():
        pass
    for model in models.values():
        model.close()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)  # whatever a model left running; memory that a model keeps need not be taken apart


class _Desk:
    """Takes a message at a time; holds the memory that bodies and results lie in."""

    def __init__(self, pipe: Connection, models: dict[str, Model]) -> None:
        self._pipe = pipe
        self._models = models
        self._asked: Segment | None = None
        self._answered: Segment | None = None
        self._kept: list[Segment] = []  # a model still looks at what lies in them

    def serve_one(self) -> bool:
        """Run one model; tell whether there may be more to come."""
        try:
            message = self._pipe.recv()
        except (EOFError, OSError):
            return False
        if message[0] != "run":
            return False
        name, path, origin, head, spans, segment, answered = message[1:]
        if segment:
            self._drop_asked()
            self._asked = Segment(name=segment)
            _send(self._pipe, ("seen",))
        if not answered:
            self._drop_answered()
        outcome = self._outcome(name, path, origin, head, spans)
        packed = outcome if isinstance(outcome, Packed) else None
        if packed is not None and packed.size:
            if not self._make_room(packed.size):
                return False
            if self._answered is None:
                packed = pack(unpack(packed.head, packed.buffers), inline=True)
            else:
                self._answered.write(packed)
        done = packed is not None
        facts = outcome if packed is None else (packed.head, packed.spans)
        del outcome, packed  # the last that may look at the memory, unless the model does
        let_go = self._asked is None or self._asked.released()
        if self._asked is not None and (self._asked.once or not let_go):
            self._drop_asked()
        if self._answered is not None and self._answered.once:
            self._drop_answered()
        self._kept = [segment for segment in self._kept if not _closed(segment)]
        return _send(self._pipe, (done, let_go, *facts))

    def _outcome(self, name: str, path: str, origin: str, head: bytes, spans: Any) -> Any:
        """Run a model; return what it answered in pickled form, or the parts of its exception."""
        try:
            body = unpack(head, self._asked.views(spans) if self._asked is not None and spans else ())
            return pack_for_trip(self._models[name].run(body, path, origin), "the result")
        except Exception as error:
            return _sendable(error)

    def _make_room(self, size: int) -> bool:
        """Ask for memory unless what is there will do; False when the parent has gone."""
        if self._answered is not None and self._answered.size >= size:
            return True
        self._drop_answered()
        if not _send(self._pipe, ("room", size)):
            return False
        try:
            _, name = self._pipe.recv()
        except (EOFError, OSError):
            return False
        self._answered = Segment(name=name) if name else None
        return True

    def _drop_asked(self) -> None:
        if self._asked is not None and not _closed(self._asked):
            self._kept.append(self._asked)
        self._asked = None

    def _drop_answered(self) -> None:
        if self._answered is not None:
            self._answered.close()
            self._answered = None


def _closed(segment: Segment) -> bool:
    """Close a segment if nothing looks at it."""
    if not segment.released():
        return False
    segment.close()
    return True


def _load(modules: dict[str, str], pieces: dict[str, tuple[bytes, list[bytes]]]) -> dict[str, Model]:
    for name, file in modules.items():
        _import(name, file)
    return {name: _ready(name, head, buffers) for name, (head, buffers) in pieces.items()}


def _ready(name: str, head: bytes, buffers: list[bytes]) -> Model:
    try:
        model: Model = unpack(head, [bytearray(buffer) for buffer in buffers])
        model.init()
    except Exception as error:
        raise RuntimeError(f"model '{name}': failed to load in its process: {_text(error)}") from error
    return model


def _import(name: str, file: str) -> None:
    """Import a module, by its file if its name leads nowhere: a served file is not on the path."""
    try:
        importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is None or not (name == error.name or name.startswith(error.name + ".")):
            raise
        spec = importlib.util.spec_from_file_location(name, file)
        if spec is None or spec.loader is None:
            raise
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module
        spec.loader.exec_module(module)


def _sendable(error: Exception) -> tuple[bytes | None, str, str]:
    """Take an exception apart: pickled, if that leads back to one of its kind, and in words."""
    kind, text = type(error).__name__, str(error)
    error.__traceback__ = None
    try:
        pickled = pickle.dumps(error)
        if type(pickle.load(io.BytesIO(pickled))) is not type(error):  # noqa: S301  # it is our own
            return None, kind, text
    except Exception:
        return None, kind, text
    return pickled, kind, text


def _text(error: BaseException) -> str:
    if isinstance(error, RuntimeError) and error.__cause__ is not None:
        return str(error)
    return f"{type(error).__name__}: {error}"


def _send(pipe: Connection, message: tuple[Any, ...]) -> bool:
    try:
        pipe.send(message)
    except OSError:
        return False
    return True


def _end_with_parent() -> None:
    """End at once when the parent has gone, even in the middle of a model's work."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
