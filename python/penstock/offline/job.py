"""A graph as an offline job: rows in, answers out, and on where it was stopped."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from penstock.errors import GraphClosed, GraphError, MLRunInvalidArgumentError, StepError, describe
from penstock.offline.inputs import Inputs
from penstock.offline.outputs import output_of
from penstock.offline.progress import Progress
from penstock.offline.state import Report, State

if TYPE_CHECKING:
    from penstock._core import Event
    from penstock.function import ServingFunction
    from penstock.server import GraphServer

_LONGEST_NAME = 63
_ROWS = 1000  # between two checkpoints, at most
_SECONDS = 1.0  # the same
_NOTHING = object()


class Job:
    """A function's graph as an offline job; made by ``fn.to_job()``.

    Parameters
    ----------
    function : ServingFunction
        The function.
    name : str, optional
        By default the function's, with "-batch".
    namespace : module, dict, or a list of them, optional
        Where class and handler names are looked up.

    Raises
    ------
    MLRunInvalidArgumentError
        The function has child functions, or streams its answers, or the name is too long.
    """

    def __init__(self, function: ServingFunction, name: str | None = None, *, namespace: Any = None) -> None:
        own = function.metadata.name
        if function.spec.function_refs:
            children = ", ".join(function.spec.function_refs)
            raise MLRunInvalidArgumentError(
                f"function '{own}' has child functions ({children}); a job runs in one process, so take them out"
            )
        if function.spec.streaming:
            raise MLRunInvalidArgumentError(
                f"function '{own}' streams its answers, which a job cannot write; call fn.set_streaming(False)"
            )
        self.name = name or f"{own}-batch"
        if len(self.name) > _LONGEST_NAME:
            raise MLRunInvalidArgumentError(
                f"the job's name '{self.name}' is longer than {_LONGEST_NAME} characters; give a shorter one: "
                "fn.to_job('name')"
            )
        self._function = function
        self._namespace = namespace

    def __repr__(self) -> str:
        return f"<Job '{self.name}'>"

    def run(
        self,
        input: str | Sequence[str],  # noqa: A002  # the word that people look for
        output: str,
        *,
        path: str = "/",
        batch: int = 1,
        as_lists: bool = False,
        nest_under_inputs: bool = False,
        concurrency: int = 16,
        restart: bool = False,
        stopped: Callable[[], bool] = lambda: False,
        progress: bool = False,
    ) -> Report:
        r"""Send all rows through the graph, and write the answers in the rows' order.

        Parameters
        ----------
        input : str or list of str
            CSV (with a header), Parquet or JSON lines: files or patterns.
        output : str
            A .csv, .parquet or .jsonl file. Failures go beside it, to ``.errors.jsonl``, and how far it is to
            ``.checkpoint.json``, from where the next run goes on.
        path : str
            The path of the events; for a model of a router ``/v2/models/NAME/infer``.
        batch : int
            Rows in an event's body; from 2 on the body is a list of rows.
        as_lists : bool
            Rows are lists of values, not dicts.
        nest_under_inputs : bool
            The body is ``{"inputs": rows}``.
        concurrency : int
            Events under way at once.
        restart : bool
            Begin anew, over whatever there is.
        stopped : callable
            Asked often; the job stops at a checkpoint when this is True.
        progress : bool
            Say on standard error how far it is.

        Returns
        -------
        Report
            What came of it.

        Raises
        ------
        GraphError
            The graph or the input is wrong, or the output is there already.

        Examples
        --------
        >>> import pathlib, penstock, tempfile
        >>> fn = penstock.new_function("double")
        >>> _ = fn.set_topology("flow").to("({'m': 2 * event['n']})", name="double").respond()
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     rows, out = pathlib.Path(folder, "rows.csv"), pathlib.Path(folder, "out.jsonl")
        ...     _ = rows.write_text("n\n1\n2\n")
        ...     report = fn.to_job().run(str(rows), str(out))
        ...     report.rows, out.read_text()
        (2, '{"m":2}\n{"m":4}\n')
        """
        if batch < 1 or concurrency < 1:
            raise GraphError("batch and concurrency are at least 1")
        inputs, answers = Inputs(input), output_of(output)
        if inputs.has(output):
            raise GraphError(f"the output {output} is one of the inputs, which would be lost")
        shape: dict[str, Any] = {
            "path": path,
            "batch": batch,
            "as_lists": as_lists,
            "nest_under_inputs": nest_under_inputs,
        }
        state = State(answers, {"input": inputs.stamp(), "function": self._function.metadata.name, **shape})
        state.begin(restart=restart)
        shown = Progress(inputs.count() if progress else None, state.report.rows, shown=progress)
        server = self._server(state)
        try:
            with shown:
                asker = _Asker(server, state, concurrency, stopped, listed=batch > 1 or nest_under_inputs)
                asker.ask_all(_events(inputs.rows(state.report.rows), **shape), shown)
            report = state.report
            report.result = server.wait_for_completion()
            is_end = report.finished and report.result is not None and not asker.responds
            state.write([state.form(report.result)] if is_end else [], 0, asker.unheard(set()))
            if report.finished:
                state.finish()
            return report
        finally:
            state.close()
            server.close()

    def _server(self, state: State) -> GraphServer:
        function = self._function
        server = function._server(is_mock=False, current_function="*")
        tell = server._failed

        def failed(step: str, text: str, event_id: str, cause: BaseException | None, body: Any) -> None:
            tell(step, text, event_id, cause, body)
            state.unanswered(step, text, event_id)

        server._failed = failed  # type: ignore[method-assign]  # failures that no caller hears of are the job's, too
        try:
            server.init_states(None, [self._namespace, *function._sources("*", None)])
            server.init_object()
        except BaseException:
            server.close()
            raise
        return server


def _events(
    rows: Iterator[Any], *, path: str, batch: int, as_lists: bool, nest_under_inputs: bool
) -> Iterator[tuple[Event, int]]:
    """Make events of rows, with how many rows are in each."""
    from penstock._core import Event

    def event_of(some: list[Any]) -> tuple[Event, int]:
        shaped = [list(row.values()) if isinstance(row, dict) else row for row in some] if as_lists else some
        body = shaped if batch > 1 or nest_under_inputs else shaped[0]
        return Event({"inputs": body} if nest_under_inputs else body, path=path, method="POST"), len(some)

    some: list[Any] = []
    for row in rows:
        some.append(row)
        if len(some) == batch:
            yield event_of(some)
            some = []
    if some:
        yield event_of(some)


class _Asker:
    """Threads that take events in order and wait for their answers, a stretch between two checkpoints at a time."""

    def __init__(
        self, server: GraphServer, state: State, threads: int, stopped: Callable[[], bool], *, listed: bool
    ) -> None:
        compiled = server.compiled
        assert compiled is not None  # noqa: S101  # init_states has run
        self.responds = compiled.responds
        self._engine = server.engine
        self._state = state
        self._threads = threads
        self._stopped = stopped
        self._listed = listed  # whether a body is a list of rows
        self._lock = threading.Lock()  # guards the next three
        self._events: Iterator[tuple[Event, int]] = iter(())
        self._asked: list[list[Any]] = []  # of each event: how many rows, and what came of it
        self._more = True
        self._fault: BaseException | None = None
        self._first = 0

    def ask_all(self, events: Iterator[tuple[Event, int]], shown: Progress) -> None:
        """Ask for all, until the job is stopped."""
        from concurrent.futures import ThreadPoolExecutor

        self._events = events
        with ThreadPoolExecutor(self._threads, thread_name_prefix="penstock-job") as pool:
            while self._more and not self._stopped():
                self._asked, self._first = [], self._state.report.rows
                end = time.monotonic() + _SECONDS
                for worker in [pool.submit(self._ask, end) for _ in range(self._threads)]:
                    worker.result()
                self._write()
                shown.show(self._state.report.rows, self._state.report.failed)
                if self._fault is not None:
                    raise self._fault
        self._state.report.finished = not self._more

    def _ask(self, end: float) -> None:
        while (taken := self._take(end)) is not None:
            event, place = taken
            try:
                place[1] = self._answer(event, place[2])
            except (StepError, GraphClosed) as error:
                place[1] = error

    def _answer(self, event: Event, row: int) -> Any:
        event.id = str(row)
        if self.responds:
            return _checked(self._engine.run(event, None, _NOTHING))
        self._engine.submit(event)
        return _NOTHING

    def _take(self, end: float) -> tuple[Event, list[Any]] | None:
        with self._lock:
            full = len(self._asked) >= _ROWS or time.monotonic() >= end
            if not self._more or self._fault is not None or (full and self._asked) or self._stopped():
                return None
            try:
                taken = next(self._events, None)
            except Exception as error:  # the input is wrong from here on; what was read before is done
                self._fault = error
                return None
            if taken is None:
                self._more = False
                return None
            event, rows = taken
            place = [rows, _NOTHING, self._first + _rows_of(self._asked) + 1]
            self._asked.append(place)
            return event, place

    def _write(self) -> None:
        report, answers, failures, rows = self._state.report, [], [], 0
        for number, answer, row in self._asked:
            rows += number
            if answer is _NOTHING:
                report.filtered += number if self.responds else 0
                continue
            try:
                if isinstance(answer, (StepError, GraphClosed)):
                    raise answer
                answers += [self._state.form(one) for one in (_of_rows(answer, number) if self._listed else [answer])]
            except Exception as error:
                failures.append(_failure(error, row, number))
                report.failed += number
        failures += self.unheard({failure["row"] for failure in failures})
        self._state.write(answers, rows, failures)

    def unheard(self, heard: set[int]) -> list[dict[str, Any]]:
        """Return the failures that nobody was told of: on branches that answer nobody, or all without a responder."""
        found = []
        for step, text, event_id in self._state.unheard():
            row = int(event_id) if event_id.isdigit() else 0
            if row not in heard:
                found.append({"row": row, "step": step, "error": text})
                self._state.report.failed += not self.responds
        return found


def _failure(error: Exception, row: int, rows: int) -> dict[str, Any]:
    """Tell of a failure as the file of errors has it."""
    _, kind, message = describe(error)
    said = f"{kind}: {message}" if kind else message
    return {"row": row, **({"rows": rows} if rows > 1 else {}), "step": getattr(error, "step", ""), "error": said}


def _rows_of(asked: list[list[Any]]) -> int:
    """Return how many rows were asked about; all events but the last have as many."""
    return asked[0][0] * len(asked) if asked else 0


def _checked(answer: Any) -> Any:
    """Refuse an answer that says that it is a failure, as callers over HTTP would see it."""
    status = getattr(answer, "status_code", 200)
    if hasattr(answer, "body") and status >= 300:
        raise StepError(str(answer.body), status_code=status)
    if hasattr(answer, "gi_frame"):
        return list(answer)
    return answer


def _of_rows(answer: Any, rows: int) -> list[Any]:
    """Give each row of an event its own answer, if the answer is a list of as many, or a model's outputs are."""
    listed: Any = answer.get("outputs") if isinstance(answer, dict) else answer
    listed = listed.tolist() if hasattr(listed, "tolist") else listed
    return listed if isinstance(listed, list) and len(listed) == rows else [answer]
