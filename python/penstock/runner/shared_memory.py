"""Values between two processes: what is large lies in memory that both see, the rest goes through a pipe.

Pickle's fifth protocol hands out the memory of arrays apart from the rest, so that it is copied once, not pickled.
A `Segment` is made by the parent, seen by the child, and loses its name as soon as both have it: from then on it
goes with the processes, whatever ends them.
"""

from __future__ import annotations

import ctypes
import io
import os
import pickle
import sys
import weakref
from collections.abc import Callable, Sequence
from multiprocessing.shared_memory import SharedMemory
from typing import Any

_LEAST = 16 * 1024  # bytes; what is smaller is faster through the pipe
_KEPT = 64 * 1024 * 1024  # bytes; a segment that is larger serves one event only, not to hold the memory
_ALIGNMENT = 64  # bytes; what vector instructions like


class Packed:
    """A value in pickled form: a `head`, and the buffers that it left out.

    Examples
    --------
    >>> import numpy as np
    >>> packed = pack({"x": np.zeros(100_000)})
    >>> len(packed.head) < 300, packed.size
    (True, 800000)
    """

    __slots__ = ("buffers", "head", "size", "spans")

    def __init__(self, head: bytes, buffers: list[memoryview]) -> None:
        self.head = head
        self.buffers = buffers
        self.spans: list[tuple[int, int]] = []
        end = 0
        for buffer in buffers:
            start = -(-end // _ALIGNMENT) * _ALIGNMENT
            end = start + buffer.nbytes
            self.spans.append((start, buffer.nbytes))
        self.size = end


class _Pickler(pickle.Pickler):
    def reducer_override(self, item: Any) -> Any:
        """Lay out an array that is a slice of another one, as its memory could not be copied in one piece."""
        numpy = sys.modules.get("numpy")
        if numpy is None or type(item) is not numpy.ndarray or item.nbytes < _LEAST or item.dtype.hasobject:
            return NotImplemented
        if item.flags.c_contiguous or item.flags.f_contiguous:
            return NotImplemented
        return numpy.ascontiguousarray(item).__reduce_ex__(5)


def pack(
    value: Any, dump: Callable[[Any, Callable[[Any], bool]], bytes] | None = None, *, inline: bool = False
) -> Packed:
    """Pickle a value, large buffers apart unless `inline`; `dump` is another way to pickle it."""
    buffers: list[memoryview] = []

    def apart(buffer: pickle.PickleBuffer) -> bool:
        raw = buffer.raw()
        if inline or raw.nbytes < _LEAST:
            return True
        buffers.append(raw)
        return False

    if dump is not None:
        return Packed(dump(value, apart), buffers)
    file = io.BytesIO()
    _Pickler(file, protocol=5, buffer_callback=apart).dump(value)
    return Packed(file.getvalue(), buffers)


def pack_for_trip(value: Any, what: str) -> Packed:
    """Pickle a value that goes to another process.

    Raises
    ------
    TypeError
        It cannot be pickled; the text says what it is.
    """
    try:
        return pack(value)
    except Exception as error:
        kind = type(value).__name__
        raise TypeError(
            f"{what}, of type {kind}, cannot be sent between processes: {type(error).__name__}: {error}"
        ) from error


class Segment:
    """Memory that two processes see.

    Parameters
    ----------
    size : int
        Bytes; to make one.
    name : str
        To see one that the other process made.

    Raises
    ------
    OSError
        There is not that much memory of this kind.
    """

    def __init__(self, size: int = 0, *, name: str = "") -> None:
        self._memory: SharedMemory | None = SharedMemory(name) if name else _reserved(size)
        self._anchors: list[weakref.ref[Any]] = []
        self._named = not name
        self.size = self._memory.size
        self._whole = ctypes.c_char * self.size

    @property
    def name(self) -> str:
        """What the other process finds it by, until `forget_name`."""
        return "" if self._memory is None else self._memory.name

    @property
    def once(self) -> bool:
        """Whether it is too large to be kept for the next event."""
        return self.size > _KEPT

    def forget_name(self) -> None:
        """Take its name away: it goes when both processes let go of it."""
        if self._named and self._memory is not None:
            self._named = False
            self._memory.unlink()

    def write(self, packed: Packed) -> None:
        """Copy the buffers of a value in; it is large enough for them."""
        if self._memory is not None and self._memory.buf is not None:
            for (start, size), buffer in zip(packed.spans, packed.buffers, strict=True):
                self._memory.buf[start : start + size] = buffer

    def views(self, spans: Sequence[tuple[int, int]]) -> list[memoryview]:
        """Return the buffers as they lie here; `released` tells when nothing looks at them any more."""
        if self._memory is None or self._memory.buf is None:
            return []
        anchor = self._whole.from_buffer(self._memory.buf)  # every array over a view keeps it alive
        self._anchors.append(weakref.ref(anchor))
        whole = memoryview(anchor).cast("B")
        return [whole[start : start + size] for start, size in spans]

    def copies(self, spans: Sequence[tuple[int, int]]) -> list[bytearray]:
        """Return the buffers as memory of the caller's own."""
        if self._memory is None or self._memory.buf is None:
            return []
        return [bytearray(self._memory.buf[start : start + size]) for start, size in spans]

    def released(self) -> bool:
        """Tell whether nothing looks at the memory any more."""
        self._anchors = [anchor for anchor in self._anchors if anchor() is not None]
        return not self._anchors

    def close(self) -> None:
        """Let go of the memory; while something looks at it, it only loses its name."""
        self.forget_name()
        if self._memory is not None and self.released():
            memory, self._memory = self._memory, None
            memory.close()


def _reserved(size: int) -> SharedMemory:
    """Make memory that is really there: writing to what is only promised kills the process where it runs out."""
    memory = SharedMemory(create=True, size=size)
    path = f"/dev/shm/{memory.name}"  # noqa: S108  # where Linux has it
    if os.path.exists(path):
        try:
            file = os.open(path, os.O_RDWR)
            try:
                os.posix_fallocate(file, 0, size)
            finally:
                os.close(file)
        except OSError:
            memory.close()
            memory.unlink()
            raise
    return memory


def unpack(head: bytes, buffers: Sequence[Any] = ()) -> Any:
    """Read a value back.

    Examples
    --------
    >>> unpack(pack({"a": 1}).head)
    {'a': 1}
    """
    return pickle.loads(head, buffers=buffers)  # noqa: S301  # from a process of our own, over a pipe of its own
