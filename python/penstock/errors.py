"""What penstock raises, and the status each failure has on the wire.

The HTTP classes keep the names and codes that users of MLRun know, so that ``mlrun.errors.X`` works after
``import penstock as mlrun``.
"""

from __future__ import annotations

_LONGEST_MESSAGE = 32_000  # characters; what follows is cut, an error is not a channel for bodies


class PenstockError(Exception):
    """The base of everything that penstock raises itself."""

    status_code: int = 500
    kind: str | None = None  # the class name shown to the caller, where it differs from the Python one


class GraphError(PenstockError, ValueError):
    """The graph is wrong: found while it is built, compiled or started, before any event."""

    status_code = 400


class NameNotFound(GraphError, ImportError):
    """A class or handler name that leads nowhere."""


class MissingExtra(GraphError, ImportError):
    """A package that is only needed for this is not installed; the text names the extra that brings it."""


class StepNotReady(GraphError, RuntimeError):
    """A step's class could not be made, or its model could not be loaded."""


class ModelFileNotFound(StepNotReady, FileNotFoundError):
    """The `model_path` of a model has no such file."""


class UntrustedModelFile(StepNotReady, PermissionError):
    """A model file that can run code lies outside of what the graph names."""


class ModelRunnerError(PenstockError, RuntimeError):
    """Models of a model runner failed.

    Attributes
    ----------
    models_errors : dict of str to str
        What each of them said.
    """

    def __init__(self, message: str, *, models_errors: dict[str, str] | None = None) -> None:
        super().__init__(message)
        self.models_errors = models_errors or {}


class ModelNotRunnable(StepNotReady, ModelRunnerError):
    """A model has not the method that its execution mechanism calls."""


class StepError(PenstockError, RuntimeError):
    """An event failed in a step.

    Attributes
    ----------
    step : str
        The name of the step that failed.
    status_code : int
        The status a caller over HTTP gets.
    reason : str
        The text without the leading ``failed (500):``.
    """

    def __init__(self, reason: str, *, step: str = "", status_code: int = 500) -> None:
        super().__init__(f"failed ({status_code}): {reason}")
        self.step = step
        self.status_code = status_code
        self.reason = reason


class DeadlineExceeded(StepError, TimeoutError):
    """The event's deadline, or the step's `.timeout()`, passed."""


class StreamingError(StepError):
    """An answer that comes in chunks broke off; `reason` is the failure's text."""


class QueueFull(PenstockError, RuntimeError):
    """The graph had no room for the event, which was not taken."""

    status_code = 503


class GraphClosed(PenstockError, RuntimeError):
    """The graph was closed or drained before: it takes no events."""

    status_code = 503


class StreamError(PenstockError, OSError):
    """A stream did not take a record."""

    status_code = 502


class ModelNotReady(PenstockError, RuntimeError):
    """The model is still being loaded, or could not be loaded."""

    status_code = 503
    kind = "RuntimeError"


class RemoteError(PenstockError, RuntimeError):
    """The target of a remote step answered wrongly, or not at all.

    Attributes
    ----------
    answered : int, optional
        The status of its answer, if there was one.
    """

    status_code = 502
    kind = "RuntimeError"

    def __init__(self, message: str, *, answered: int | None = None) -> None:
        super().__init__(message)
        self.answered = answered


class RemoteUnreachable(RemoteError, ConnectionError):
    """The target of a remote step cannot be reached, or the connection broke."""

    kind = "OSError"


class RemoteTimeout(RemoteError, TimeoutError):
    """The target of a remote step took too long."""

    status_code = 504
    kind = "TimeoutError"


class RemoteCut(RemoteError):
    """The target of a remote step has failed so often that nothing is sent to it for a while.

    Attributes
    ----------
    retry_after : float
        Seconds after which it may be asked again.
    """

    status_code = 503

    def __init__(self, message: str, *, answered: int | None = None, retry_after: float = 1.0) -> None:
        super().__init__(message, answered=answered)
        self.retry_after = retry_after


class PortInUse(PenstockError, OSError):
    """Another process listens on the port."""


class CertificateError(PenstockError, ValueError):
    """A file that TLS needs cannot be used; the text says which and why."""


class DeployError(PenstockError, RuntimeError):
    """A function could not be deployed: a tool failed or is not there, or the server did not start."""


class FunctionUnreachable(PenstockError, OSError):
    """Nobody answers at a function's address."""

    status_code = 503


class BadRequest(PenstockError, ValueError):
    """penstock refused the request before any step of the user ran on it."""

    status_code = 400
    kind = "ValueError"


class BadBody(BadRequest):
    """The body is not what its content type says."""

    kind = ""


class ModelNotFound(BadRequest):
    """No model of that name; the text lists the known ones."""

    status_code = 404


class PathNotFound(BadRequest):
    """Nothing is served at that path."""

    status_code = 404


class NotOffered(BadRequest):
    """The protocol has it, penstock does not."""

    status_code = 501
    kind = ""


class MLRunBaseError(PenstockError):
    """The base of the errors with MLRun's names."""


class MLRunValueError(MLRunBaseError, ValueError):
    """A wrong value, without a status of its own."""


class MLRunHTTPStatusError(MLRunBaseError):
    """An error with a status; raise a subclass in a step to choose what the caller gets."""

    @property
    def error_status_code(self) -> int:
        """The status, under the name MLRun gives it."""
        return self.status_code


class MLRunBadRequestError(MLRunHTTPStatusError):
    """400: the request makes no sense."""

    status_code = 400


class MLRunInvalidArgumentError(MLRunHTTPStatusError, ValueError):
    """400: an argument has a wrong value."""

    status_code = 400


class MLRunInvalidArgumentTypeError(MLRunHTTPStatusError, TypeError):
    """400: an argument has a wrong type."""

    status_code = 400


class MLRunModelLimitExceededError(MLRunHTTPStatusError, ValueError):
    """400: more models than a router takes."""

    status_code = 400


class MLRunUnauthorizedError(MLRunHTTPStatusError):
    """401: the caller has not said who it is."""

    status_code = 401


class MLRunAccessDeniedError(MLRunHTTPStatusError):
    """403: this caller may not."""

    status_code = 403


class MLRunNotFoundError(MLRunHTTPStatusError):
    """404: there is no such thing."""

    status_code = 404


class MLRunMethodNotAllowedError(MLRunHTTPStatusError):
    """405: not with this method."""

    status_code = 405


class MLRunConflictError(MLRunHTTPStatusError):
    """409: it conflicts with what is there."""

    status_code = 409


class MLRunPreconditionFailedError(MLRunHTTPStatusError):
    """412: a condition of the request does not hold."""

    status_code = 412


class MLRunUnprocessableEntityError(MLRunHTTPStatusError):
    """422: well formed, but not usable."""

    status_code = 422


class MLRunInternalServerError(MLRunHTTPStatusError):
    """500: the server's own fault."""

    status_code = 500


class MLRunRuntimeError(MLRunHTTPStatusError, RuntimeError):
    """500: a failure at run time."""

    status_code = 500


class MLRunNotImplementedServerError(MLRunHTTPStatusError):
    """501: the operation is not offered."""

    status_code = 501


class MLRunServiceUnavailableError(MLRunHTTPStatusError):
    """503: not now."""

    status_code = 503


class MLRunTimeoutError(MLRunHTTPStatusError, TimeoutError):
    """504: it took too long."""

    status_code = 504


_OF_THE_CORE: dict[str, type[PenstockError]] = {"QueueFull": QueueFull, "GraphClosed": GraphClosed}
_TIMED_OUT = 504


def refuse(error: BaseException) -> None:
    """Mark an exception that a `validate` raised: the caller is at fault, so its status is 400."""
    if not isinstance(error, PenstockError):
        error._penstock_status = 400  # type: ignore[attr-defined]  # rides on the user's own exception


def blame(error: BaseException, step: str) -> None:
    """Note on an exception which step raised it, where another step hands it on."""
    error._penstock_step = step  # type: ignore[attr-defined]  # rides on the user's own exception


def text_of(error: BaseException) -> str:
    """Say what an exception says, and what caused it, on one line where it has one."""
    texts: list[str] = []
    cause: BaseException | None = error
    while cause is not None and len(texts) < 8:
        try:
            text = str(cause)
        except Exception:  # the exception's own __str__ is broken; it still has to be reported
            text = "<no text>"
        if text and text not in "".join(texts):
            texts.append(text)
        cause = cause.__cause__
    return ", caused by: ".join(texts)[:_LONGEST_MESSAGE]


def describe(error: BaseException) -> tuple[int, str, str]:
    """Say what an exception means on the wire: status, kind, message.

    Examples
    --------
    >>> describe(KeyError("x"))
    (500, 'KeyError', "'x'")
    >>> describe(ModelNotFound("model m9 doesnt exist"))
    (404, 'ValueError', 'model m9 doesnt exist')
    """
    kind = type(error).__name__
    if isinstance(error, StepError):  # a graph called from a step: its text already has the first error's kind
        return error.status_code, "", error.reason
    if isinstance(error, PenstockError):
        return error.status_code, kind if error.kind is None else error.kind, text_of(error)
    return getattr(error, "_penstock_status", 500), kind, text_of(error)


def make_error(step: str, status: int, kind: str, message: str, cause: BaseException | None) -> BaseException:
    """Build what the caller of a failed event sees; `cause` is the exception that the step raised.

    Examples
    --------
    >>> make_error("scale", 500, "KeyError", "'x'", None)
    StepError("failed (500): KeyError: 'x'")
    """
    if cause is None and kind in _OF_THE_CORE:
        return _OF_THE_CORE[kind](message)
    reason = f"{kind}: {message}" if kind else message
    error_class = DeadlineExceeded if cause is None and status == _TIMED_OUT else StepError
    error = error_class(reason, step=step, status_code=status)
    error.__cause__ = cause
    if cause is not None and step and hasattr(cause, "add_note"):  # add_note came with Python 3.11
        note = f"in step '{step}'"
        if note not in getattr(cause, "__notes__", ()):
            cause.add_note(note)
    return error
