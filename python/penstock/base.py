"""What every step has: a name, what it comes after, the engine's options, a form in which it is written down."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar, cast

from penstock.errors import GraphError
from penstock.kinds import KINDS
from penstock.spec import Options, seconds, whole, without_empty
from penstock.walks import path_to_step

if TYPE_CHECKING:
    from penstock.flow import FlowStep

Self = TypeVar("Self", bound="BaseStep")


class BaseStep:
    """What every step of a graph has: a name, what it comes after, and the engine's options.

    Attributes
    ----------
    after : list of str
        The steps it follows.
    cycle_from : list of str
        The steps that lead back to this one, in a graph that allows cycles.
    max_iterations : int, optional
        How often one event may come to this step.
    function : str, optional
        The child function that runs it.
    on_error : str, optional
        The step that gets the events that fail here.
    responder : bool
        Whether its result answers the caller.
    """

    kind = ""
    holds_steps = False  # True for flows: steps may be added behind its steps
    _written: ClassVar[frozenset[str]] = frozenset(
        {"kind", "name", "comment", "after", "on_error", "responder", "function", "shape", "max_iterations"}
        | {"cycle_from", "engine_options"}
    )

    def __init_subclass__(cls, **arguments: Any) -> None:
        super().__init_subclass__(**arguments)
        if "kind" in vars(cls):
            KINDS[cls.kind] = cls

    def __init__(self, name: str = "") -> None:
        self.name = name
        self.comment: str | None = None
        self.after: list[str] = []
        self.cycle_from: list[str] = []
        self.max_iterations: int | None = None
        self.on_error: str | None = None
        self.responder = False
        self.function: str | None = None
        self.shape: str | None = None
        self.options = Options()
        self._parent: BaseStep | None = None
        self._further: dict[str, Any] = {}  # fields of MLRun that mean nothing here, kept for who reads them next

    def __repr__(self) -> str:
        return f"<{type(self).__name__} '{self.name}'>"

    @property
    def fullname(self) -> str:
        """The step's name with those of the steps that hold it."""
        outer = self._parent.fullname if self._parent is not None else ""
        return (f"{outer}/{self.name}" if outer else self.name).replace(":", "_")

    def to(self, class_name: Any = None, name: str | None = None, handler: Any = None, **arguments: Any) -> BaseStep:
        """Add a step after this one, and return it.

        Parameters
        ----------
        class_name : str, type, callable or object
            The class, or a function; "*Router" for a router, ">>" for a queue, "$remote" for a call over HTTP.
        name : str, optional
            Default: the last part of the class's or function's name.
        handler : str or callable, optional
            The method of the class, or the function; "(event + 1)" is an expression over the body.
        **arguments
            `full_event`, `input_path`, `result_path`, `function`, `cycle_to`, `max_iterations`, and the
            arguments of the class.

        Examples
        --------
        >>> from penstock.graph import RootFlowStep
        >>> graph = RootFlowStep()
        >>> graph.to("(event + 1)", name="add").to("json.dumps", name="text").after
        ['add']
        """
        return self._in_flow("to").add_step(class_name, name, handler, after=self.name, **arguments)

    def set_flow(self, steps: Sequence[Any], force: bool = False) -> BaseStep:
        """Add steps one after the other behind this one, and return the last.

        Parameters
        ----------
        steps : list of dict, step, class, function or str
            What `to` takes: a dict is its arguments by name, everything else its first argument.
        force : bool
            Take away what follows this step now.

        Examples
        --------
        >>> from penstock.graph import RootFlowStep
        >>> graph = RootFlowStep()
        >>> graph.to("(event)", name="a").set_flow([{"handler": "(event + 1)", "name": "b"}, "json.dumps"]).after
        ['b']
        """
        graph = self._in_flow("set_flow")
        if graph.following(self.name):
            if not force:
                raise GraphError(_has_downstream(f"step '{self.name}': "))
            graph.drop_following(self.name)
        return self._chain(steps)

    def _chain(self, steps: Sequence[Any]) -> BaseStep:
        if isinstance(steps, (str, dict)) or not isinstance(steps, Sequence):
            raise GraphError(f"set_flow takes a list of steps, not a {type(steps).__name__}")
        last: BaseStep = self
        for step in steps:
            last = last.to(**step) if isinstance(step, dict) else last.to(step)
        return last

    def path_to_step(self, path: str) -> BaseStep:
        """Find a step below this one by the names that lead to it: ``"router/route"``.

        Raises
        ------
        GraphError
            There is none; the text has the nearest names.
        """
        return path_to_step(self, path)

    def respond(self: Self) -> Self:
        """Answer the caller with this step's result."""
        graph = self._in_flow("respond")
        self.responder = True
        graph.check_one_responder()
        return self

    def error_handler(
        self: Self,
        name: Any = None,
        class_name: Any = None,
        handler: Any = None,
        *,
        before: Any = None,
        **arguments: Any,
    ) -> Self:
        """Send events that fail here to a step; return this step.

        Parameters
        ----------
        name : str
            Alone: the name of a step that is there, or is added later. Else the new step's name.
        class_name, handler, **arguments
            As for `to`: the new step.
        before : str or list of str, optional
            The step that the handler's result goes on to.
        """
        flow = self._in_flow("error_handler")
        self.on_error = flow.add_handler(name, class_name, handler, before, arguments, base=self.name)
        return self

    def after_step(self: Self, *steps: str | BaseStep, append: bool = True) -> Self:
        """Say which steps this one comes after, in addition to what was said or instead."""
        graph = self._in_flow("after_step")
        names = [step.name if isinstance(step, BaseStep) else step for step in steps]
        for name in names:
            graph.known(name, "after")
        kept = self.after if append else []
        self.after = kept + [name for name in names if name not in kept]
        return self

    def cycle_to(self: Self, names: str | BaseStep | Sequence[str | BaseStep]) -> Self:
        """Lead this step's results back to steps ahead of it; return this step.

        Raises
        ------
        GraphError
            The graph does not allow cycles, or there is no such step.

        Examples
        --------
        >>> from penstock.graph import RootFlowStep
        >>> graph = RootFlowStep(allow_cyclic=True, max_iterations=5)
        >>> count = graph.to("(event + 1)", name="count")
        >>> count.to("(event)", name="again").cycle_to("count").name, count.cycle_from
        ('again', ['again'])
        """
        graph = self._in_flow("cycle_to")
        if not graph.may_cycle:
            raise GraphError(
                f"step '{self.name}': cyclic graphs are not allowed, enable allow_cyclic "
                "(fn.set_topology('flow', allow_cyclic=True))"
            )
        listed = [names] if isinstance(names, (str, BaseStep)) else list(names)
        for step in [graph.known(item.name if isinstance(item, BaseStep) else item, "cycle_to") for item in listed]:
            if self.name not in step.cycle_from:
                step.cycle_from.append(self.name)
        return self

    def batch(
        self: Self,
        max_size: int = 32,
        max_delay: float = 0.0,
        *,
        preferred: Sequence[int] = (),
        pad: Any = None,
        adaptive: bool = False,
        target_latency: float | None = None,
        isolate: bool | None = None,
    ) -> Self:
        """Handle several events in one call; return this step.

        Parameters
        ----------
        max_size : int
            The most events of a batch; for a model, rows. A single request may have more: it goes alone.
        max_delay : float
            Seconds that the first of a batch waits for others; 0 takes what is waiting, and waits only for callers
            that are about to come back, if a call takes so long that this is worth it. With `adaptive`, the most.
        preferred : list of int
            Sizes that go at once, and that batches are cut to if more waits.
        pad : bool or number, optional
            Join rows of different lengths, filled up with 0 (True) or with this value; a model's rows only.
        adaptive : bool
            Wait for callers that are about to come back if that is worth it, with a `max_delay`, too.
        target_latency : float, optional
            With `adaptive`: seconds from an event's arrival at the step to its result. Batches stay small
            enough for it, and who would miss it is turned away (503, Retry-After).
        isolate : bool, optional
            When a call for several has failed, call once more for each alone. Default: for models.

        Raises
        ------
        GraphError
            A value is none that makes sense, or does not go with another.

        Examples
        --------
        >>> from penstock.graph import RootFlowStep
        >>> step = RootFlowStep().to("(event)", name="s").batch(max_size=8, preferred=[4, 8], max_delay=0.01)
        >>> step.options.preferred
        (4, 8)
        """
        options, name = self.options, self.name
        options.max_batch_size = whole(name, "max_size", max_size)
        options.max_delay = seconds(name, "max_delay", max_delay, above_zero=False)
        if isinstance(preferred, (str, bytes, int)):
            raise GraphError(f"step '{name}': preferred is a list of sizes, not {preferred!r}")
        options.preferred = tuple(sorted({whole(name, "a preferred size", size) for size in preferred}))
        if options.preferred and options.preferred[-1] > max_size:
            largest = options.preferred[-1]
            raise GraphError(f"step '{name}': the preferred size {largest} is larger than max_size={max_size}")
        if pad is not None and not isinstance(pad, (bool, int, float, str)):
            raise GraphError(f"step '{name}': pad is True or what to fill up with, not {pad!r}")
        options.pad = None if pad is False else pad
        options.adaptive = bool(adaptive)
        if adaptive and preferred:
            raise GraphError(f"step '{name}': adaptive=True chooses the sizes itself, so leave out preferred")
        if target_latency is not None and not adaptive:
            raise GraphError(f"step '{name}': target_latency needs adaptive=True")
        options.target_latency = (
            None if target_latency is None else seconds(name, "target_latency", target_latency, above_zero=True)
        )
        options.isolate = isolate
        return self

    def concurrency(self: Self, calls: int, *, order: str | None = None) -> Self:
        """Let up to `calls` calls of this step run at once; with ``order="key"``, one for each `event.key`."""
        if order not in (None, "key"):
            raise GraphError(f"step '{self.name}': order is 'key' or nothing, not {order!r}")
        self.options.concurrency = whole(self.name, "concurrency", calls)
        self.options.by_key = order == "key"
        return self

    def queue(self: Self, capacity: int = 1024) -> Self:
        """Let up to `capacity` events wait for this step before the steps ahead of it pause."""
        self.options.capacity = whole(self.name, "capacity", capacity)
        return self

    def timeout(self: Self, limit: float) -> Self:
        """Fail an event with 504 after `limit` seconds in this step."""
        self.options.timeout = seconds(self.name, "timeout", limit, above_zero=True)
        return self

    def retry(self: Self, attempts: int = 3, backoff: float = 0.1) -> Self:
        """Call the step up to `attempts` times for an event, at first `backoff` seconds apart, then doubling.

        Where one event at a time is handled, those of the same `event.key` wait meanwhile; others overtake it.
        """
        self.options.retry_attempts = whole(self.name, "attempts", attempts)
        self.options.retry_backoff = seconds(self.name, "backoff", backoff, above_zero=False)
        return self

    def copy(self: Self, copied: bool = True) -> Self:
        """Say whether further branches after this step get a copy of the body (default) or share it."""
        self.options.copy = bool(copied)
        return self

    def to_dict(self) -> dict[str, Any]:
        """Write the step down with MLRun's field names; what says nothing is left out."""
        return self._further | without_empty(
            {
                "kind": self.kind,
                "comment": self.comment,
                "after": list(self.after),
                "cycle_from": list(self.cycle_from),
                "max_iterations": self.max_iterations,
                "on_error": self.on_error,
                "responder": self.responder,
                "function": self.function,
                "shape": self.shape,
                "engine_options": self.options.to_dict(),
            }
        )

    def to_json(self) -> str:
        """Write it down as JSON."""
        from penstock.documents import to_json

        return to_json(self.to_dict())

    def to_yaml(self) -> str:
        """Write it down as YAML."""
        from penstock.documents import to_yaml

        return to_yaml(self.to_dict())

    def export(self: Self, target: str = "graph.yaml") -> Self:
        """Write it to a file or URL, as JSON if that is what the name ends with; return the step."""
        from penstock.documents import write

        write(target, self.to_dict())
        return self

    save = export

    def _read(self, fields: dict[str, Any]) -> None:
        self.comment = fields.get("comment")
        self.after = list(fields.get("after") or [])
        self.cycle_from = list(fields.get("cycle_from") or [])
        self.max_iterations = fields.get("max_iterations")
        self.on_error = fields.get("on_error")
        self.responder = bool(fields.get("responder", False))
        self.function = fields.get("function")
        self.shape = fields.get("shape")
        self.options = Options.from_dict(fields.get("engine_options") or {})
        self._further = {key: value for key, value in fields.items() if key not in self._written}

    def _in_flow(self, call: str) -> FlowStep:
        if self._parent is None or not self._parent.holds_steps:
            raise GraphError(f"step '{self.name}' is not a step of a flow, so .{call}() means nothing here")
        return cast("FlowStep", self._parent)


def _has_downstream(where: str = "") -> str:
    return (
        f"{where}set_flow() called on a step that already has downstream steps. "
        "If you want to overwrite existing steps, set force=True."
    )
