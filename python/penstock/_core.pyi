"""
penstock's compiled core.
"""
from __future__ import annotations
import collections.abc
import typing
__all__: list[str] = ['ChunkSource', 'Chunks', 'Continuation', 'Core', 'DROPPED', 'Event', 'InferenceStats', 'Offsets', 'Plan', 'PlanBuilder', 'Port', 'Server', 'Source', 'Tls', 'TlsError', 'Watchdog', 'forbid_waiting', 'set_hooks', 'set_main_thread', 'split_messages']
class Event:
    """
    What goes through a graph: a body, and what is known about it. Takes further attributes.
    """
    body: typing.Any
    headers: typing.Any
    key: typing.Any
    offset: typing.Any
    terminated: bool
    time: typing.Any
    trigger: typing.Any
    def __copy__(self) -> Event:
        ...
    def __deepcopy__(self, arg0: dict) -> Event:
        ...
    def __getattr__(self, arg0: str) -> typing.Any:
        ...
    def __init__(self, body: typing.Any = None, *, content_type: typing.Any = None, headers: typing.Any = None, method: typing.Any = None, path: typing.Any = '/', event_id: typing.Any = None, key: typing.Any = None, trigger: typing.Any = None, offset: typing.Any = None, time: typing.Any = None) -> None:
        ...
    def __repr__(self) -> str:
        ...
    def __setattr__(self, arg0: str, arg1: typing.Any) -> None:
        ...
    @property
    def _waited(self) -> int:
        """
        Nanoseconds that it has waited for a model's step.
        """
    @property
    def content_type(self) -> str:
        ...
    @content_type.setter
    def content_type(self, arg1: typing.Any) -> None:
        ...
    @property
    def error(self) -> typing.Any:
        """
        The text of the failure that led here.
        """
    @error.setter
    def error(self, arg1: typing.Any) -> None:
        ...
    @property
    def id(self) -> str:
        ...
    @id.setter
    def id(self, arg1: typing.Any) -> None:
        ...
    @property
    def method(self) -> str:
        ...
    @method.setter
    def method(self, arg1: typing.Any) -> None:
        ...
    @property
    def origin_state(self) -> typing.Any:
        """
        The step that failed.
        """
    @origin_state.setter
    def origin_state(self, arg1: typing.Any) -> None:
        ...
    @property
    def path(self) -> str:
        ...
    @path.setter
    def path(self, arg1: typing.Any) -> None:
        ...
    @property
    def processing_time(self) -> typing.Any:
        """
        What storey calls `time`.
        """
    @processing_time.setter
    def processing_time(self, arg1: typing.Any) -> None:
        ...
class InferenceStats:
    """
    What a model has done; times are in nanoseconds.
    """
    def __init__(self) -> None:
        ...
    def answered(self, rows: typing.SupportsInt | typing.SupportsIndex, waited: typing.SupportsInt | typing.SupportsIndex, begun: typing.SupportsInt | typing.SupportsIndex, prepared: typing.SupportsInt | typing.SupportsIndex, inferred: typing.SupportsInt | typing.SupportsIndex, end: typing.SupportsInt | typing.SupportsIndex) -> None:
        """
        A request had an execution to itself.
        """
    def counts(self) -> dict:
        """
        All that adds up, as pairs of count and time; sizes and numbers are texts.
        """
    def executed(self, rows: typing.SupportsInt | typing.SupportsIndex, begun: typing.SupportsInt | typing.SupportsIndex, prepared: typing.SupportsInt | typing.SupportsIndex, inferred: typing.SupportsInt | typing.SupportsIndex, end: typing.SupportsInt | typing.SupportsIndex) -> None:
        ...
    def failed(self, waited: typing.SupportsInt | typing.SupportsIndex, taken: typing.SupportsInt | typing.SupportsIndex) -> None:
        ...
    def response(self, number: typing.SupportsInt | typing.SupportsIndex, end: str, infer: typing.SupportsInt | typing.SupportsIndex, output: typing.SupportsInt | typing.SupportsIndex) -> None:
        """
        The n-th of a stream; `end` is success, fail, empty or cancel.
        """
    def succeeded(self, rows: typing.SupportsInt | typing.SupportsIndex, waited: typing.SupportsInt | typing.SupportsIndex, taken: typing.SupportsInt | typing.SupportsIndex) -> None:
        """
        A request shared its execution with others.
        """
    @property
    def last(self) -> int:
        """
        When a request ended last, in milliseconds since the epoch; 0 if none has.
        """
class Port:
    """
    How a step that holds events sends them on; from any thread.
    """
    def drop(self, tokens: collections.abc.Sequence[typing.SupportsInt | typing.SupportsIndex]) -> None:
        """
        They were filtered out.
        """
    def emit(self, tokens: collections.abc.Sequence[typing.SupportsInt | typing.SupportsIndex], value: typing.Any, *, keep: bool = False, outlet: typing.SupportsInt | typing.SupportsIndex | None = None) -> None:
        """
        One event goes on for all of these: with `value` as its body, or as the event that `value` is.
        """
    def fail(self, tokens: collections.abc.Sequence[typing.SupportsInt | typing.SupportsIndex], error: typing.Any) -> None:
        """
        They failed here.
        """
    def wake_after(self, seconds: typing.SupportsFloat | typing.SupportsIndex) -> None:
        """
        Have `wake` called once, in the step's turn.
        """
class Chunks:
    """
    An answer that comes in chunks: an iterator.
    """
    def __iter__(self) -> typing.Any:
        ...
    def __next__(self) -> typing.Any:
        ...
class ChunkSource:
    """
    Where an async generator's chunks go.
    """
    def send(self, item: typing.Any, then: collections.abc.Callable) -> None:
        """
        Send one on; `then` is called when the next is wanted, or none is any more.
        """
    @property
    def over(self) -> bool:
        ...
class Plan:
    """
    A graph that has been checked and can be run, once.
    """
    @property
    def steps(self) -> list[str]:
        ...
class PlanBuilder:
    """
    Collects the steps of a graph; durations are in seconds.
    """
    def __init__(self) -> None:
        ...
    def add_step(self, name: str, kind: str, target: typing.Any = None, *, full_event: bool = False, input_path: str | None = None, result_path: str | None = None, concurrency: typing.SupportsInt | typing.SupportsIndex = 1, capacity: typing.SupportsInt | typing.SupportsIndex = 1024, batch_size: typing.SupportsInt | typing.SupportsIndex = 1, batch_delay: typing.SupportsFloat | typing.SupportsIndex = 0.0, timeout: typing.SupportsFloat | typing.SupportsIndex = 0.0, responder: bool = False, copy: bool = True, gather: typing.SupportsInt | typing.SupportsIndex = -1, prefix: str = '', table: collections.abc.Mapping[str, typing.SupportsInt | typing.SupportsIndex] | None = None, by_key: bool = False, label: str = '', attempts: typing.SupportsInt | typing.SupportsIndex = 1, backoff: typing.SupportsFloat | typing.SupportsIndex = 0.0, preferred: collections.abc.Sequence[typing.SupportsInt | typing.SupportsIndex] = [], adaptive: bool = False, target_latency: typing.SupportsFloat | typing.SupportsIndex = 0.0, ragged: bool = False, stamp: bool = False, eager: bool = False) -> int:
        """
        Add a step; returns its number.
        """
    def compile(self) -> Plan:
        """
        Check it all. Raises ValueError with what is wrong.
        """
    def connect(self, source: typing.SupportsInt | typing.SupportsIndex, target: typing.SupportsInt | typing.SupportsIndex, *, returns: bool = False) -> None:
        """
        The order of calls numbers the outlets; one that `returns` closes a loop.
        """
    def entry(self, step: typing.SupportsInt | typing.SupportsIndex) -> None:
        """
        Events enter here; with several, each gets one.
        """
    def frontend(self, step: typing.SupportsInt | typing.SupportsIndex) -> None:
        """
        Protocol calls that are no inference go here.
        """
    def on_error(self, source: typing.SupportsInt | typing.SupportsIndex, handler: typing.SupportsInt | typing.SupportsIndex) -> None:
        ...
class Continuation:
    """
    How a coroutine's end is told to the core.
    """
    def reject(self, error: typing.Any) -> None:
        ...
    def resolve(self, result: typing.Any) -> None:
        ...
class Core:
    """
    One running graph.
    """
    def __init__(self, plan: Plan, on_failure: typing.Any = None) -> None:
        """
        `on_failure(step, text, event_id, cause, body)` hears of each failure that no error handler took.
        """
    def close(self) -> None:
        ...
    def drain(self, timeout: typing.SupportsFloat | typing.SupportsIndex) -> bool:
        """
        Take no more events and wait until the threads lent have settled all; whether they have.
        """
    def lend(self, spawn: collections.abc.Callable) -> None:
        """
        Lend this thread until the core is closed; `spawn` starts one more and tells whether it could.
        """
    def retarget(self, step: typing.SupportsInt | typing.SupportsIndex, target: typing.Any) -> None:
        """
        Have a step of this number call something else from now on, in place of what it was made with.
        """
    def run(self, event: Event, timeout: typing.SupportsFloat | typing.SupportsIndex | None = None, nothing: typing.Any = None) -> typing.Any:
        """
        The answer's body; `nothing` if nothing answers.
        """
    def stats(self) -> dict:
        """
        What each step has done; bucket i of `times` ends at 2**i us, of `sizes` at 2**i.
        """
    def submit(self, event: Event) -> None:
        """
        Returns when the event is admitted.
        """
    @property
    def in_flight(self) -> int:
        ...
    @property
    def refused(self) -> int:
        """
        Requests that found no room.
        """
class TlsError(ValueError):
    pass
class Tls:
    """
    What a server shows to clients that want to talk in private. Raises TlsError if a file is wrong.
    """
    def __init__(self, *, certificate: str, key: str, client_ca: str = '') -> None:
        ...
class Server:
    """
    The server of a core: HTTP, and gRPC on a port of its own. Raises OSError if it cannot listen.
    """
    def __init__(self, core: Core, *, host: str, port: typing.SupportsInt | typing.SupportsIndex, io_threads: typing.SupportsInt | typing.SupportsIndex = 2, responds: bool = True, deadline: typing.SupportsFloat | typing.SupportsIndex = 30.0, grpc_port: typing.SupportsInt | typing.SupportsIndex | None = None, reuse_port: bool = False, limits: dict = {}, tokens: collections.abc.Sequence[str] = [], origins: collections.abc.Sequence[str] = [], tls: Tls | None = None) -> None:
        ...
    def drain(self, timeout: typing.SupportsFloat | typing.SupportsIndex) -> bool:
        """
        Answer what has come, take no more; whether all was answered.
        """
    def release(self, core: Core) -> None:
        """
        Let a core go that was replaced and has been closed.
        """
    def replace(self, core: Core, *, responds: bool, timeout: typing.SupportsFloat | typing.SupportsIndex) -> bool:
        """
        Have requests enter another core; false if not all that were in hand have entered the former one in time.
        """
    def set_ready(self, ready: bool) -> None:
        ...
    def set_tls(self, tls: Tls) -> None:
        """
        For connections to come.
        """
    def start(self) -> None:
        ...
    def stats(self) -> dict:
        """
        Answers over HTTP by the hundreds of their status, calls of gRPC by code, connections.
        """
    def stop(self) -> None:
        ...
    @property
    def grpc_port(self) -> int | None:
        ...
    @property
    def port(self) -> int:
        ...
class Offsets:
    """
    How far one assignment of a stream's partition is settled.
    """
    def __init__(self, next: typing.SupportsInt | typing.SupportsIndex) -> None:
        ...
    def deliver(self, offset: typing.SupportsInt | typing.SupportsIndex) -> int:
        """
        One record more, behind all others; returns what it is settled by.
        """
    def due(self) -> int | None:
        """
        The position to commit, if it has moved since this was asked last.
        """
    def not_written(self) -> None:
        """
        The position was not committed: it is due again.
        """
    def retract(self) -> None:
        """
        The last delivered was not taken: it will come again.
        """
    def revoke(self) -> None:
        ...
    def settle(self, delivery: typing.SupportsInt | typing.SupportsIndex) -> bool:
        """
        False if that is too late, or was done before.
        """
    @property
    def late(self) -> int:
        """
        Settlements that came when it was revoked.
        """
    @property
    def open(self) -> int:
        """
        Delivered from the position on.
        """
    @property
    def position(self) -> int:
        ...
    @property
    def revoked(self) -> bool:
        ...
    @property
    def unsettled(self) -> int:
        ...
class Source:
    """
    Where the records of a stream enter a running graph; for one thread.
    """
    def __init__(self, core: Core, entry: str | None = None, max_bytes: typing.SupportsInt | typing.SupportsIndex = 67108864) -> None:
        """
        They enter at the step `entry`, else where all events do; not before those in flight weigh less.
        """
    def admit(self, offsets: Offsets, offset: typing.SupportsInt | typing.SupportsIndex, body: typing.Any, fields: typing.Any, origin: typing.Any, size: typing.SupportsInt | typing.SupportsIndex) -> bool:
        """
        Admit a record; tells whether there was room for it.
        """
    def admit_messages(self, offsets: Offsets, messages: list, loads: typing.Any, unread: typing.Any, bears: typing.SupportsInt | typing.SupportsIndex = 1) -> tuple:
        """
        Admit a partition's messages: they have key(), value() and offset(). `loads` makes a value a body; of what it cannot, `unread` makes one, or says why not: (message, error). After `bears` that cannot be read it goes no further. Returns how many have been taken, and those of them that cannot be read, whose offsets are open: (message, delivery, error).
        """
    def take_failed(self) -> list:
        """
        The records that failed, each once: (origin, offsets, delivery, step, status, kind, message, cause). Their offsets stay open.
        """
    def wait(self, low: typing.SupportsInt | typing.SupportsIndex, timeout: typing.SupportsFloat | typing.SupportsIndex, failures: typing.SupportsInt | typing.SupportsIndex = 1) -> None:
        """
        Wait until at most `low` records are in flight, so many have failed, or `wake` is called.
        """
    def wake(self) -> None:
        ...
    @property
    def in_flight(self) -> int:
        ...
class Watchdog:
    """
    Ends the process when nobody has called `beat` for so many seconds.
    """
    def __init__(self, seconds: typing.SupportsFloat | typing.SupportsIndex, signal: typing.SupportsInt | typing.SupportsIndex, code: typing.SupportsInt | typing.SupportsIndex) -> None:
        """
        `signal` is sent to this process first: its handler writes the stacks.
        """
    def beat(self) -> None:
        ...
    def close(self) -> None:
        ...
def forbid_waiting(reason: str) -> None:
    """
    From now on `Core.run` on this thread raises RuntimeError.
    """
def set_hooks(**kwargs) -> None:
    """
    What Python does for the core; see penstock.engine.
    """
def set_main_thread(ident: typing.SupportsInt | typing.SupportsIndex) -> None:
    """
    On the thread of this `threading.get_ident()`, waiting ends when a signal handler raises.
    """
def split_messages(messages: list) -> list:
    """
    Put messages that come from one place in a row together: ((topic, partition), messages), or (error, []).
    """
DROPPED: object
