"""The flow: the graph of steps as people write it, and how it is read back from a dict."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, cast

from penstock.errors import GraphError
from penstock.resolve import nearest
from penstock.spec import Target, without_empty
from penstock.steps import BaseStep, QueueStep, RouterStep, Self, TaskStep

QUEUE_NAMES = (">>", "$queue")


class RootFlowStep(BaseStep):
    """The flow: the graph of steps. An event enters at the steps that come after no other."""

    kind = "root"

    def __init__(self, engine: str = "async") -> None:
        super().__init__("")
        self.engine = engine
        self.steps: dict[str, BaseStep] = {}
        self._last = ""
        self._graph = self

    def __getitem__(self, name: str) -> BaseStep:
        return self.known(name, "find")

    def __contains__(self, name: object) -> bool:
        return name in self.steps

    def __iter__(self) -> Iterator[str]:
        return iter(self.steps)

    def __len__(self) -> int:
        return len(self.steps)

    def to(self, class_name: Any = None, name: str | None = None, handler: Any = None, **arguments: Any) -> BaseStep:
        """Add a step at which events enter, and return it."""
        return self.add_step(class_name, name, handler, **arguments)

    def add_step(
        self,
        class_name: Any = None,
        name: str | None = None,
        handler: Any = None,
        after: str | BaseStep | list[str] | tuple[str, ...] | None = None,
        before: str | list[str] | None = None,
        *,
        graph_shape: str | None = None,
        function: str | None = None,
        full_event: bool | None = None,
        input_path: str | None = None,
        result_path: str | None = None,
        **class_args: Any,
    ) -> BaseStep:
        """Add a step anywhere in the graph, and return it.

        Parameters
        ----------
        after : str or list of str, optional
            The steps it follows: "$prev" is the one added last; "" or None makes it a step at which events enter.
        before : str or list of str, optional
            The steps that follow it; it takes over what the first of them came after, unless `after` is given.

        Examples
        --------
        >>> graph = RootFlowStep()
        >>> _ = graph.add_step("json.dumps", name="a")
        >>> graph.add_step("json.loads", name="b", after="$prev").after
        ['a']
        """
        follows = self._followed(after)
        precedes = [self.known(item, "before") for item in ([before] if isinstance(before, str) else before or [])]
        step = self._make(class_name, name, handler, class_args)
        for later in precedes:
            if later.name == step.name or later.name in follows:
                raise GraphError(f"graph loop, step {later.name} is specified in before and/or after {step.name}")
        step.function, step.shape = function, graph_shape
        if isinstance(step, TaskStep):
            step.full_event = bool(full_event) or step.full_event
            step.input_path, step.result_path = input_path or step.input_path, result_path or step.result_path
        elif input_path or result_path:
            raise GraphError(f"step '{step.name}': a queue has no input_path and no result_path")
        if precedes and not follows:
            follows = list(precedes[0].after)
        step.after = follows
        for later in precedes:
            kept = [item for item in later.after if item not in follows]
            later.after = [*kept, step.name]
        self.steps[step.name] = step
        step._graph = self
        self._last = step.name
        return step

    def respond(self: Self) -> Self:
        """Refuse: a step responds, not the graph."""
        raise GraphError("respond() belongs to a step, for example graph.to(...).respond()")

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
        return super().error_handler(name, class_name, handler, **arguments)

    def add_handler(self, name: Any, class_name: Any, handler: Any, before: Any, arguments: dict[str, Any]) -> str:
        """Add the step of an error handler, unless only a name is given; return its name."""
        if callable(name):
            name, handler = None, name
        if class_name is None and handler is None:
            if not isinstance(name, str) or not name or before or arguments:
                raise GraphError("error_handler takes the name of a step, or a class_name or handler for a new one")
            return name
        step = self.add_step(class_name, name, handler, **arguments)
        for later in [before] if isinstance(before, str) else before or []:
            self.known(later, "before").after.append(step.name)
        return step.name

    def known(self, name: str, call: str) -> BaseStep:
        """Return the step of that name; `call` says in the error what was being set."""
        if name in self.steps:
            return self.steps[name]
        what = "" if call == "find" else f"cant set {call}, "
        raise GraphError(f"{what}there is no step named {name}{nearest(str(name), self.steps)}")

    def check_one_responder(self) -> None:
        """Raise if more than one step responds."""
        names = [name for name, step in self.steps.items() if step.responder]
        if len(names) > 1:
            raise GraphError(f"there are more than one responder steps in the graph ({','.join(names)})")

    def to_dict(self) -> dict[str, Any]:
        """Write the graph down."""
        steps = {name: step.to_dict() for name, step in self.steps.items()}
        return super().to_dict() | without_empty({"steps": steps, "engine": self.engine})

    @classmethod
    def from_dict(cls, fields: dict[str, Any]) -> RootFlowStep:
        """Read a graph that `to_dict` wrote."""
        return cast(RootFlowStep, graph_from_dict({"kind": cls.kind} | fields))

    def _read(self, fields: dict[str, Any]) -> None:
        super()._read(fields)
        self.engine = fields.get("engine", "async")
        for name, step_fields in fields.get("steps", {}).items():
            step = step_from_dict(name, step_fields)
            step._graph = self
            self.steps[name] = step
            self._last = name

    def _followed(self, after: Any) -> list[str]:
        items = after if isinstance(after, (list, tuple)) else [after]
        names = []
        for item in items:
            if item is None or item == "" or (item == "$prev" and not self.steps):
                continue
            name = item.name if isinstance(item, BaseStep) else self._last if item == "$prev" else item
            names.append(self.known(name, "after").name)
        return names

    def _make(self, class_name: Any, name: str | None, handler: Any, class_args: dict[str, Any]) -> BaseStep:
        if isinstance(class_name, BaseStep):
            step = class_name
            step.name = self._free(name or step.name, step.name)
            return step
        if isinstance(class_name, str) and class_name in QUEUE_NAMES:
            if not name:
                raise GraphError("queue name must be specified")
            return QueueStep(self._free(name, name), **class_args)
        if isinstance(class_name, str) and class_name.startswith("*"):
            target = Target(class_name=class_name[1:])
            return RouterStep(self._free(name, target.default_name or "router"), target, class_args)
        target = Target.of(class_name, handler)
        is_router = getattr(target.class_object, "is_router", False)
        return (RouterStep if is_router else TaskStep)(self._free(name, target.default_name), target, class_args)

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


_KINDS: dict[str, type[BaseStep]] = {
    step_class.kind: step_class for step_class in (TaskStep, RouterStep, QueueStep, RootFlowStep)
}


def step_from_dict(name: str, fields: dict[str, Any]) -> BaseStep:
    """Read one step that `to_dict` wrote."""
    kind = fields.get("kind", "task")
    if kind not in _KINDS:
        raise GraphError(f"step '{name}': there is no kind of step '{kind}'{nearest(kind, _KINDS)}")
    step = _KINDS[kind]()
    step.name = name
    step._read(fields)
    return step


def graph_from_dict(fields: dict[str, Any]) -> RootFlowStep | RouterStep:
    """Read a whole graph, of either topology, that `to_dict` wrote.

    Examples
    --------
    >>> graph = graph_from_dict({"kind": "root", "steps": {"a": {"kind": "task", "handler": "(event)"}}})
    >>> graph["a"].handler
    '(event)'
    """
    default = "root" if "steps" in fields else "router"
    graph = step_from_dict(fields.get("name", ""), {"kind": default} | fields)
    if not isinstance(graph, (RootFlowStep, RouterStep)):
        raise GraphError(f"a graph is of kind root or router, not {graph.kind}")
    return graph
