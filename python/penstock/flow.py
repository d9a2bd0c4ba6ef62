"""The flow: steps and their order as people write them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, ClassVar

from penstock.base import BaseStep, Self, _has_downstream
from penstock.errors import GraphError
from penstock.kinds import step_from_dict
from penstock.plotting import Plotted
from penstock.resolve import nearest
from penstock.spec import Target, whole, without_empty
from penstock.steps import ErrorStep, QueueStep, RouterStep, TaskStep
from penstock.walks import child_functions, create_streams, queue_links

QUEUE_NAMES = (">>", "$queue")


class FlowStep(Plotted, BaseStep):
    """A graph of steps; inside another flow, one step of it whose events go through all of these.

    An event enters at the steps that come after no other. The results of the steps that none follows are the
    results of the whole.

    Examples
    --------
    >>> inner = FlowStep("inner")
    >>> inner.to("(event + 1)", name="a").to("(event * 2)", name="b").fullname
    'inner/b'
    >>> from penstock.graph import RootFlowStep
    >>> graph = RootFlowStep()
    >>> graph.to(inner).name, graph.add_step("json.dumps", name="text", after="inner").after
    ('inner', ['inner'])
    """

    kind = "flow"
    holds_steps = True
    _written: ClassVar[frozenset[str]] = BaseStep._written | {"steps", "engine", "final_step"}

    def __init__(self, name: str = "", *, engine: str = "async", steps: Iterable[BaseStep] = ()) -> None:
        super().__init__(name)
        self.engine = engine
        self.final_step: str | None = None
        self.steps: dict[str, BaseStep] = {}
        self._awaited: dict[str, list[str]] = {}  # of steps that are not there yet: the error handlers they follow
        self._last = ""
        for step in steps:
            self.insert_step(step.name, step, step.after)

    def __getitem__(self, name: str) -> BaseStep:
        return self.known(name, "find")

    def __setitem__(self, name: str, step: BaseStep) -> None:
        step.name = name
        step._parent = self
        self.steps[name] = step
        self._last = name
        for handler in self._awaited.pop(name, []):
            if handler in self.steps:
                self._lead(handler, [name])

    def __delitem__(self, name: str) -> None:
        """Take a step away; those that followed it follow what it followed."""
        gone = self.known(name, "find")
        del self.steps[name]
        for step in self.steps.values():
            if name in step.after:
                kept = [item for item in step.after if item != name]
                step.after = kept + [item for item in gone.after if item not in kept]
            step.cycle_from = [item for item in step.cycle_from if item != name]
        if self._last == name:
            self._last = next(reversed(self.steps), "")

    def __contains__(self, name: object) -> bool:
        return name in self.steps

    def __iter__(self) -> Iterator[str]:
        return iter(self.steps)

    def __len__(self) -> int:
        return len(self.steps)

    def __bool__(self) -> bool:
        return True

    @property
    def may_cycle(self) -> bool:
        """Whether steps may lead back to steps ahead of them; a nested flow is as the one that it is in."""
        return isinstance(self._parent, FlowStep) and self._parent.may_cycle

    def is_empty(self) -> bool:
        """Tell whether there are no steps."""
        return not self.steps

    def get_children(self) -> list[BaseStep]:
        """Return the steps, in the order in which they were added."""
        return list(self.steps.values())

    def clear_children(self, steps: Iterable[str] | None = None) -> None:
        """Take steps away, all of them if none are named."""
        for name in list(self.steps if steps is None else steps):
            del self[name]

    def list_child_functions(self) -> list[str]:
        """List the child functions that steps name."""
        return child_functions(self)

    def get_queue_links(self) -> dict[str, BaseStep]:
        """Return for each child function the queue that it reads."""
        return queue_links(self)

    def create_queue_streams(self) -> None:
        """Open the stream of every queue that has one, so that it is there."""
        create_streams(self)

    def to(self, class_name: Any = None, name: str | None = None, handler: Any = None, **arguments: Any) -> BaseStep:
        """Add a step at which events enter, and return it."""
        return self.add_step(class_name, name, handler, **arguments)

    def set_flow(self, steps: Sequence[Any], force: bool = False) -> BaseStep:
        """Make the graph of steps one after the other, and return the last; see `BaseStep.set_flow`."""
        if self.steps:
            if not force:
                raise GraphError(_has_downstream())
            self.clear_children()
        return self._chain(steps)

    def add_step(
        self,
        class_name: Any = None,
        name: str | None = None,
        handler: Any = None,
        after: str | BaseStep | Sequence[str | BaseStep] | None = None,
        before: str | Sequence[str] | None = None,
        *,
        graph_shape: str | None = None,
        function: str | None = None,
        full_event: bool | None = None,
        input_path: str | None = None,
        result_path: str | None = None,
        cycle_to: str | Sequence[str] | None = None,
        max_iterations: int | None = None,
        model_endpoint_creation_strategy: Any = None,
        **class_args: Any,
    ) -> BaseStep:
        """Add a step anywhere in the graph, and return it.

        Parameters
        ----------
        after : str or list of str, optional
            The steps it follows: "$prev" is the one added last; "" or None makes it a step at which events enter.
        before : str or list of str, optional
            The steps that follow it; it takes over what the first of them came after, unless `after` is given.
        function : str, optional
            The child function that runs it.
        cycle_to : str or list of str, optional
            Steps ahead of it that its results lead back to.
        max_iterations : int, optional
            How often one event may come to it.

        Examples
        --------
        >>> from penstock.graph import RootFlowStep
        >>> graph = RootFlowStep()
        >>> _ = graph.add_step("json.dumps", name="a")
        >>> graph.add_step("json.loads", name="b", after="$prev").after
        ['a']
        """
        follows = self._followed(after)
        step = self._make(class_name, name, handler, class_args)
        if isinstance(step, TaskStep):
            step._set_paths(full_event, input_path, result_path)
        elif input_path or result_path:
            raise GraphError(f"step '{step.name}': a {step.kind} has no input_path and no result_path")
        elif full_event is not None and isinstance(step, QueueStep):
            step.queue_options["full_event"] = bool(full_event)
        if model_endpoint_creation_strategy is not None:
            kept = getattr(model_endpoint_creation_strategy, "value", model_endpoint_creation_strategy)
            step._further["model_endpoint_creation_strategy"] = str(kept)
        step.function, step.shape = function or step.function, graph_shape or step.shape
        if max_iterations is not None:
            step.max_iterations = whole(step.name, "max_iterations", max_iterations)
        self._place(step, follows, [before] if isinstance(before, str) else before or [])
        if cycle_to:
            try:
                step.cycle_to(cycle_to)
            except GraphError:
                del self[step.name]
                raise
        return step

    def insert_step(
        self, key: str, step: BaseStep, after: Any = None, before: str | Sequence[str] | None = None
    ) -> BaseStep:
        """Put a step that is made already into the graph, and return it."""
        if not isinstance(step, BaseStep):
            raise GraphError(f"insert_step takes a step, not a {type(step).__name__}; see add_step")
        follows = self._followed(after)
        step.name = self._free(key, key)
        self._place(step, follows, [before] if isinstance(before, str) else before or [])
        return step

    def respond(self: Self) -> Self:
        """Answer with the nested flow's results; a whole graph does not respond, one of its steps does."""
        if self._parent is None:
            raise GraphError("respond() belongs to a step, for example graph.to(...).respond()")
        return super().respond()

    def error_handler(
        self: Self,
        name: Any = None,
        class_name: Any = None,
        handler: Any = None,
        *,
        before: Any = None,
        **arguments: Any,
    ) -> Self:
        """Send events that fail in any step without a handler of its own to a step; return the graph."""
        if before:
            raise GraphError("`before` arg can't be specified for graph error handler")
        flow: FlowStep = self  # type: ignore[assignment]  # Self is bound to BaseStep, and this is the flow
        self.on_error = flow.add_handler(name, class_name, handler, None, arguments, base=None)
        return self

    def add_handler(
        self, name: Any, class_name: Any, handler: Any, before: Any, arguments: dict[str, Any], *, base: str | None
    ) -> str:
        """Add the step of an error handler, unless only a name is given; return its name."""
        if callable(name):
            name, handler = None, name
        if class_name is None and handler is None:
            if not isinstance(name, str) or not name or before or arguments:
                raise GraphError("error_handler takes the name of a step, or a class_name or handler for a new one")
            return name
        later = [before] if isinstance(before, str) else list(before or [])
        if later and self.engine == "sync":
            raise GraphError(
                f"step '{later[0]}': the error handler of step '{base}' joins it, and synchronous flow engine "
                "doesnt support branches; use engine='async', or leave before= out"
            )
        last = self._last  # what "$prev" means: a handler is no part of the line
        step = self.add_step(class_name, name, handler, **arguments)
        if isinstance(step, TaskStep) and type(step) is TaskStep:
            step = self._as_handler(step, base)
            step.before = later
        self._lead(step.name, later)
        self._last = last or step.name
        return step.name

    def known(self, name: str, call: str) -> BaseStep:
        """Return the step of that name; `call` says in the error what was being set."""
        if name in self.steps:
            return self.steps[name]
        what = "" if call == "find" else f"cant set {call}, "
        raise GraphError(f"{what}there is no step named {name}{nearest(str(name), self.steps)}")

    def following(self, name: str) -> list[str]:
        """Return the names of the steps that come after one."""
        return [key for key, step in self.steps.items() if name in step.after]

    def drop_following(self, name: str) -> None:
        """Take away all steps that come after one, directly or not."""
        waiting = self.following(name)
        gone: list[str] = []
        while waiting:
            key = waiting.pop()
            if key not in gone:
                gone.append(key)
                waiting.extend(self.following(key))
        for key in gone:
            if key in self.steps:
                del self.steps[key]
        for step in self.steps.values():
            step.cycle_from = [item for item in step.cycle_from if item not in gone]

    def check_one_responder(self) -> None:
        """Raise if more than one step responds, in this flow and those around and inside it."""
        if isinstance(self._parent, FlowStep):
            self._parent.check_one_responder()
            return
        names = list(self._responders())
        if len(names) > 1:
            raise GraphError(f"there are more than one responder steps in the graph ({','.join(names)})")

    def _responders(self) -> Iterator[str]:
        for step in self.steps.values():
            if step.responder:
                yield step.fullname
            if isinstance(step, FlowStep):
                yield from step._responders()

    def to_dict(self) -> dict[str, Any]:
        """Write the graph down."""
        steps = {name: step.to_dict() for name, step in self.steps.items()}
        written = {"steps": steps, "engine": self.engine, "final_step": self.final_step}
        return super().to_dict() | without_empty(written)

    def _read(self, fields: dict[str, Any]) -> None:
        super()._read(fields)
        self.engine = fields.get("engine") or "async"
        self.final_step = fields.get("final_step")
        for name, step_fields in (fields.get("steps") or {}).items():
            self[name] = step_from_dict(name, step_fields)
        for name, step in self.steps.items():
            if isinstance(step, ErrorStep):
                self._lead(name, step.before)

    def _followed(self, after: Any) -> list[str]:
        items = [after] if isinstance(after, (str, BaseStep)) or after is None else after
        names: list[str] = []
        for item in items:
            if item is None or item == "" or (item == "$prev" and not self.steps):
                continue
            name = item.name if isinstance(item, BaseStep) else self._last if item == "$prev" else item
            names.append(self.known(name, "after").name)
        return names

    def _place(self, step: BaseStep, follows: list[str], before: Sequence[str]) -> None:
        precedes = [self.known(item, "before") for item in before]
        for later in precedes:
            if later.name == step.name or later.name in follows:
                raise GraphError(f"graph loop, step {later.name} is specified in before and/or after {step.name}")
        if precedes and not follows:
            follows = list(precedes[0].after)
        step.after = follows
        for later in precedes:
            kept = [item for item in later.after if item not in follows]
            later.after = [*kept, step.name]
        self[step.name] = step

    def _make(self, class_name: Any, name: str | None, handler: Any, class_args: dict[str, Any]) -> BaseStep:
        if isinstance(class_name, BaseStep):
            if handler is not None or class_args:
                raise GraphError(
                    f"step '{class_name.name}' is made already, it takes no {', '.join(class_args) or 'handler'}"
                )
            class_name.name = self._free(name or class_name.name, class_name.name)
            return class_name
        if isinstance(class_name, str) and class_name in QUEUE_NAMES:
            if not name:
                raise GraphError("queue name must be specified")
            if "path" not in class_args:
                raise GraphError(f"step '{name}': path=<stream path or None> must be specified for queues")
            return QueueStep(self._free(name, name), **class_args)
        if isinstance(class_name, str) and class_name.startswith("*"):
            target = Target(class_name=class_name[1:])
            return RouterStep(self._free(name, target.default_name or "router"), target, class_args)
        target = Target.of(class_name, handler)
        told = target.told
        is_router = getattr(target.class_object, "is_router", False) or told.get("kind") == "router"
        kind = RouterStep if is_router else TaskStep
        step = kind(self._free(name or told.get("name"), target.default_name), target, class_args)
        step._set_paths(told.get("full_event"), told.get("input_path"), told.get("result_path"))
        return step

    def _as_handler(self, step: TaskStep, base: str | None) -> ErrorStep:
        made = ErrorStep(step.name, step.target, step.class_args)
        made.base_step = base
        made._set_paths(step.full_event or None, step.input_path, step.result_path)
        made.bodies_only = step.bodies_only
        made.function, made.shape, made.max_iterations = step.function, step.shape, step.max_iterations
        self[step.name] = made
        return made

    def _lead(self, handler: str, before: Iterable[str]) -> None:
        """Have steps follow an error handler; those that are not there yet, as soon as they are."""
        for name in before:
            if name not in self.steps:
                self._awaited.setdefault(name, []).append(handler)
            elif handler not in self.steps[name].after:
                self.steps[name].after.append(handler)

    def _free(self, name: str | None, default: str) -> str:
        wanted = name or default or "step"
        if wanted not in self.steps:
            return wanted
        number = 2
        while f"{wanted}-{number}" in self.steps:
            number += 1
        free = f"{wanted}-{number}"
        if not name and not default:
            return free
        raise GraphError(
            f"there is a step named '{wanted}' already; name this one otherwise, for example name='{free}'"
        )
