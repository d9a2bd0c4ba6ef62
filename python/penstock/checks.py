"""What can be found wrong with a graph without running it or looking a name up."""

from __future__ import annotations

from penstock.errors import GraphError
from penstock.graph import RootFlowStep
from penstock.resolve import nearest
from penstock.steps import ErrorStep, RouterStep

EMPTY = "no models or steps were set, use function.set_topology() and add steps"


class Shape:
    """The edges of a flow: who follows whom, where events enter, who catches errors.

    Making one checks the flow.

    Raises
    ------
    GraphError
        The first thing that is wrong.
    """

    def __init__(self, graph: RootFlowStep) -> None:
        if not graph.steps:
            raise GraphError(EMPTY)
        self._graph = graph
        self.followers: dict[str, list[str]] = {name: [] for name in graph.steps}
        self.returns: dict[str, list[str]] = {name: [] for name in graph.steps}
        self._join()
        self.catchers = {step.on_error for step in graph.steps.values() if step.on_error}
        if graph.on_error:
            self.catchers.add(graph.on_error)
        self._check_steps()
        self.entries = [name for name, step in graph.steps.items() if not step.after and name not in self.catchers]
        self._check_loops()
        graph.check_one_responder()
        if not self.entries:
            raise GraphError("events can enter nowhere: every step comes after another one or is an error handler")
        self.responder = next((name for name, step in graph.steps.items() if step.responder), None)
        if graph.engine == "sync":
            self._check_line()

    def branch(self, start: str) -> list[str]:
        """Return a step and all that come after it, in the order of the graph."""
        reached = {start}
        waiting = [start]
        while waiting:
            for follower in self.followers[waiting.pop()]:
                if follower not in reached:
                    reached.add(follower)
                    waiting.append(follower)
        return [name for name in self._graph.steps if name in reached]

    def answering(self) -> set[str]:
        """Return the steps whose result answers the caller: the responder, and the ends of catchers apart from it."""
        if self.responder is None:
            return set()
        answering = {self.responder}
        for catcher in self.catchers:
            branch = self.branch(catcher)
            if self.responder not in branch:
                answering.update(name for name in branch if not self.followers[name])
        return answering

    def handler_of(self, name: str) -> str | None:
        """Return the error handler that a step's failures go to."""
        step = self._graph.steps[name]
        if step.on_error or not self._graph.on_error:
            return step.on_error
        return None if name in self.branch(self._graph.on_error) else self._graph.on_error

    def _join(self) -> None:
        for name, step in self._graph.steps.items():
            for earlier in step.after:
                if earlier not in self.followers:
                    near = nearest(earlier, self.followers)
                    raise GraphError(f"step '{name}': cant set after, there is no step named {earlier}{near}")
                self.followers[earlier].append(name)
            for later in step.cycle_from:
                if later not in self.returns:
                    near = nearest(later, self.returns)
                    raise GraphError(f"step '{name}': no step named {later} can lead back to it{near}")
                self.returns[later].append(name)

    def _check_steps(self) -> None:
        steps = self._graph.steps
        for owner, handler in [("", self._graph.on_error), *((name, step.on_error) for name, step in steps.items())]:
            if handler and handler not in steps:
                whose = f"step '{owner}'" if owner else "the graph"
                raise GraphError(
                    f"the error handler of {whose} is to be '{handler}', there is no step of that name"
                    f"{nearest(handler, steps)}"
                )
        for name, step in steps.items():
            if isinstance(step, RouterStep):
                check_routes(step, name)
            for later in step.before if isinstance(step, ErrorStep) else []:
                if later not in steps:
                    near = nearest(later, steps)
                    raise GraphError(f"step '{name}': cant set before, there is no step named {later}{near}")

    def _check_loops(self) -> None:
        """Follow errors as well as results: a handler that leads back to the step it serves never ends."""
        done: set[str] = set()
        for start in self._graph.steps:
            path: dict[str, None] = {}
            self._visit(start, path, done)

    def _visit(self, start: str, path: dict[str, None], done: set[str]) -> None:
        waiting: list[tuple[str, bool]] = [(start, False)]
        while waiting:
            name, finished = waiting.pop()
            if finished:
                done.add(name)
                del path[name]
                continue
            if name in done:
                continue
            if name in path:
                loop = [*list(path)[list(path).index(name) :], name]
                raise GraphError(
                    f"Error, loop detected in step {name}, graph must be acyclic (DAG): {' -> '.join(loop)}"
                )
            path[name] = None
            waiting.append((name, True))
            handler = self.handler_of(name)
            waiting.extend((follower, False) for follower in self.followers[name])
            if handler is not None:
                waiting.append((handler, False))

    def _check_line(self) -> None:
        if len(self.entries) > 1:
            starts = ", ".join(self.entries)
            raise GraphError(f"sync engine can only have one starting step (without .after), not several: {starts}")
        for name, step in self._graph.steps.items():
            if len(step.after) > 1 or len(self.followers[name]) > 1:
                raise GraphError(f"synchronous flow engine doesnt support branches use async for step {name}")
        if self.responder is None:
            last = self.entries[0]
            while self.followers[last]:
                last = self.followers[last][0]
            self.responder = last


def check_routes(step: RouterStep, name: str) -> None:
    """Raise if a router has no routes."""
    if not step.routes:
        which = f"router '{name}'" if name else "the router"
        raise GraphError(f"{which} has no routes: add some with add_model or add_route before it is started")
