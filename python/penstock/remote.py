"""Steps that call something over HTTP: one request for an event, or one for each item of its list."""

from __future__ import annotations

import asyncio
import hashlib
import string
import urllib.parse
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from penstock.errors import BadRequest, GraphError, RemoteError
from penstock.event import is_json
from penstock.http_client import Backoff, HTTPClient, Request, shown
from penstock.paths import get_in, put_in

if TYPE_CHECKING:
    from penstock._core import Event

_WITHOUT_BODY = ("GET", "HEAD")
_KEY = "idempotency-key"
_NAMES = ("event", "context", "endpoint")


class RemoteStep:
    """Sends each event to a URL, and goes on with what it answers. In graphs also ``"$remote"``.

    Any answer but a 2xx fails the event, as does one that comes too late. Failed connections, timeouts and answers
    that may be other ones next time (408, 425, 429, from 500) are tried again, within the event's deadline.

    A target that fails five times in a row, with a timeout or an answer from 500, counts as out: for 30 s nothing is
    sent to it, then one request probes it. Meanwhile callers get 503 at once, and records of streams wait. Each
    request has an ``Idempotency-Key``, the same at each attempt and when the event comes again.

    Parameters
    ----------
    url : str, optional
        The target; `subpath` is added to it.
    subpath : str, optional
        What to add to the URL's path; ``"$path"`` adds the event's own.
    method : str, optional
        By default the event's, else POST. GET and HEAD send no body.
    headers : dict, optional
        Headers to send. Those of the event are not sent on; its id and path are, as ``MLRUN-EVENT-ID`` and ``-PATH``.
    url_expression, body_expression, headers_expression : str, optional
        Python expressions for each event, over `event` (the body, or what is at `input_path`), `context` and
        `endpoint` (`url`). The dict of headers adds to `headers`.
    return_json : bool
        Whether the answer must be JSON; else it is read as JSON if it says so, and stays bytes if not.
    input_path, result_path : str, optional
        Where in the body the request's body is, and where the answer goes, for example "a.b".
    max_in_flight : int
        How many requests run at once.
    retries : int
        How often to try again.
    backoff_factor : float
        Seconds of the first wait; it doubles up to two minutes, and each wait is a random part of it.
    timeout : float, optional
        Seconds that an attempt may take.
    allowed_hosts : list of str, optional
        The only hosts that `url_expression` may lead to; "*.example.com" allows the names below it.

    Examples
    --------
    >>> import penstock
    >>> fn = penstock.new_function("enrich")
    >>> graph = fn.set_topology("flow")
    >>> step = graph.to("RemoteStep", "call", url="https://example.com", subpath="v1/enrich", retries=2)
    """

    def __init__(
        self,
        url: str | None = None,
        *,
        subpath: str | None = None,
        method: str | None = None,
        headers: dict[str, str] | None = None,
        url_expression: str | None = None,
        body_expression: str | None = None,
        return_json: bool = True,
        input_path: str | None = None,
        result_path: str | None = None,
        max_in_flight: int | None = None,
        retries: int | None = None,
        backoff_factor: float | None = None,
        timeout: float | None = None,
        headers_expression: str | None = None,
        allowed_hosts: list[str] | None = None,
        context: Any = None,
        name: str | None = None,
    ) -> None:
        self.name = name or type(self).__name__
        self.context = context
        self.url = url
        self.subpath = subpath
        self.method = method.upper() if method else None
        self.headers = {key: str(value) for key, value in (headers or {}).items()}
        self.return_json = return_json
        self.max_in_flight = 8 if max_in_flight is None else max_in_flight
        self._input_path, self._result_path = input_path, result_path
        self._allowed_hosts = [host.lower() for host in allowed_hosts or []]
        self._url_of = self._expression("url_expression", url_expression)
        self._body_of = self._expression("body_expression", body_expression)
        self._headers_of = self._expression("headers_expression", headers_expression)
        self._check(retries, backoff_factor, timeout)
        backoff = Backoff(6 if retries is None else retries, 1.0 if backoff_factor is None else backoff_factor)
        self.client = HTTPClient(self.name, max_in_flight=self.max_in_flight, timeout=timeout, backoff=backoff)

    async def do_event(self, event: Event) -> Event:
        """Send the event's request; its answer becomes the body, or a part of it."""
        result = await self._ask(event, get_in(event.body, self._input_path))
        event.body = put_in(event.body, self._result_path, result)
        return event

    def close(self) -> None:
        """Close the connections."""
        self.client.close()

    async def _ask(self, event: Event, body: Any, place: str = "") -> Any:
        return self._read(await self.client.send(self._request(event, body, place)))

    def _request(self, event: Event, body: Any, place: str) -> Request:
        method = self.method or str(event.method or "POST").upper()
        headers = dict(self.headers)
        if self._headers_of is not None:
            headers |= {str(key): str(value) for key, value in self._value(self._headers_of, body).items()}
        headers.setdefault("MLRUN-EVENT-ID", _printable(event.id))
        if event.path and event.path != "/":
            headers.setdefault("MLRUN-EVENT-PATH", _printable(event.path))
        url = self._target(event, body)
        if method in _WITHOUT_BODY:
            return Request(method, url, headers, is_patient=is_streamed(event))
        content = body if self._body_of is None else self._value(self._body_of, body)
        typed = content is None or isinstance(content, (str, bytes, bytearray))
        if not typed and not any(key.lower() == "content-type" for key in headers):
            headers["Content-Type"] = "application/json"
        encoded = _encoded(content)
        if not any(key.lower() == _KEY for key in headers):
            made = hashlib.blake2b(f"{method} {url} {place} ".encode() + (encoded or b""), digest_size=8)
            headers["Idempotency-Key"] = f"{_root_of(event)}/{_printable(self.name)}/{made.hexdigest()}"
        return Request(method, url, headers, encoded, is_patient=is_streamed(event))

    def _target(self, event: Event, body: Any) -> str:
        url = self.url or ""
        if self._url_of is not None:
            url = self._value(self._url_of, body)
            self._check_host(url)
        if self.subpath == "$path":
            return _joined(url, event.path or "")
        return _joined(url, self.subpath or "")

    def _value(self, expression: Callable[..., Any], body: Any) -> Any:
        return expression(body, self.context, (self.url or "").rstrip("/"))

    def _read(self, answer: Any) -> Any:
        content: bytes = answer.content
        if not self.return_json and not is_json(answer.headers.get("content-type")):
            return content
        if not content:
            return None
        import orjson

        try:
            return orjson.loads(content)
        except orjson.JSONDecodeError as error:
            status = answer.status_code
            raise RemoteError(
                f"bad http response {status}: its body is no JSON, {error}; return_json=False takes it as bytes",
                answered=status,
            ) from None

    def _expression(self, option: str, text: str | None) -> Callable[..., Any] | None:
        if not text:
            return None
        try:
            code = compile(f"lambda {', '.join(_NAMES)}: ({text})", f"<{option} {text}>", "eval")
        except SyntaxError as error:
            raise GraphError(f"step '{self.name}': {option}={text!r} is not valid Python: {error.msg}") from None
        made: Callable[..., Any] = eval(code, {})  # noqa: S307  # written by the graph's author
        return made

    def _check(self, retries: int | None, backoff_factor: float | None, timeout: float | None) -> None:
        if not self.url and self._url_of is None:
            raise GraphError(f"step '{self.name}': give url= or url_expression=")
        if self.url is not None and not _is_http(self.url):
            raise GraphError(f"step '{self.name}': url is http://host... or https://host..., not {shown(self.url)!r}")
        least_of = (
            ("max_in_flight", self.max_in_flight, 1),
            ("retries", retries, 0),
            ("backoff_factor", backoff_factor, 0),
        )
        for option, value, least in least_of:
            if value is not None and value < least:
                raise GraphError(f"step '{self.name}': {option} is at least {least}, not {value!r}")
        if timeout is not None and timeout <= 0:
            raise GraphError(f"step '{self.name}': timeout is a number of seconds, not {timeout!r}")

    def _check_host(self, url: Any) -> None:
        if not isinstance(url, str) or not _is_http(url):
            raise RemoteError(
                f"cannot invoke url: url_expression gave {_safe(url)}, which is no http:// or https:// URL"
            )
        host = (urllib.parse.urlsplit(url).hostname or "").lower()
        if self._allowed_hosts and not any(_matches(host, allowed) for allowed in self._allowed_hosts):
            raise RemoteError(f"cannot invoke url: {shown(url)}, its host is not among allowed_hosts")


class BatchHttpRequests(RemoteStep):
    """Sends one request for each item of the event's list, several at once; the answers keep the items' order.

    The arguments are those of `RemoteStep`, where `event` in an expression is the item. If an item fails, the event
    does, and the error says which item it was.

    Examples
    --------
    >>> import penstock
    >>> fn = penstock.new_function("ask")
    >>> step = fn.set_topology("flow").to("BatchHttpRequests", "ask", url="https://example.com", method="POST")
    """

    def _check(self, retries: int | None, backoff_factor: float | None, timeout: float | None) -> None:
        if self.url and self._url_of is not None:
            raise GraphError(f"step '{self.name}': cannot set both url and url_expression")
        super()._check(retries, backoff_factor, timeout)

    async def do_event(self, event: Event) -> Event:
        """Send a request for each item; the list of the answers becomes the body, or a part of it."""
        items = get_in(event.body, self._input_path)
        if not isinstance(items, (list, tuple)):
            raise BadRequest(f"{type(self).__name__} {self.name} takes a list, not {type(items).__name__}")
        tasks = [asyncio.ensure_future(self._ask(event, item, str(place))) for place, item in enumerate(items)]
        try:
            if tasks:
                await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
            for index, task in enumerate(tasks):
                if task.done() and (failure := task.exception()) is not None:
                    raise _of_item(failure, index)
        finally:  # the others have nobody to answer to
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        event.body = put_in(event.body, self._result_path, [task.result() for task in tasks])
        return event


def _of_item(failure: BaseException, index: int) -> BaseException:
    """Say which item failed: in the text of our own errors, in a note on others."""
    if isinstance(failure, RemoteError):
        said = type(failure)(f"request {index}: {failure}", answered=failure.answered)
        said.__cause__ = failure.__cause__
        return said
    if hasattr(failure, "add_note"):  # it came with Python 3.11
        failure.add_note(f"request {index} of the batch")
    return failure


def is_streamed(event: Event) -> bool:
    """Tell whether an event is made of a stream's record."""
    return getattr(event, "stream_path", None) is not None


def _root_of(event: Event) -> str:
    """Name what an event is made of, the same whenever that comes again: a record's place, or what the caller says."""
    if is_streamed(event):
        return _printable(f"{event.stream_path}/{event.shard_id}/{event.offset}")
    given = next((value for name, value in (event.headers or {}).items() if str(name).lower() == _KEY), None)
    return _printable(given or event.id)


def _encoded(content: Any) -> bytes | None:
    if content is None:
        return None
    from penstock.render import render  # here, not above: it brings orjson, which a graph that is built needs not

    return render(content)[3]


def _joined(url: str, subpath: str) -> str:
    """Add to a URL's path; what is added stays below it."""
    if not subpath.strip("/"):
        return url
    parts = urllib.parse.urlsplit(url)
    added, _, query = subpath.partition("?")
    if any(urllib.parse.unquote(part) == ".." for part in added.split("/")):
        raise BadRequest(f"the path {added} leads above the remote step's url")
    path = f"{parts.path.rstrip('/')}/{added.lstrip('/')}"
    return urllib.parse.urlunsplit(parts._replace(path=path, query="&".join(filter(None, (parts.query, query)))))


def _printable(text: str) -> str:
    """Percent-encode what a header cannot hold."""
    return urllib.parse.quote(str(text), safe=string.punctuation)


def _is_http(url: str) -> bool:
    try:
        parts = urllib.parse.urlsplit(url)
    except ValueError:
        return False
    return parts.scheme in ("http", "https") and bool(parts.hostname)


def _matches(host: str, allowed: str) -> bool:
    return host.endswith(allowed[1:]) if allowed.startswith("*.") else host == allowed


def _safe(url: Any) -> str:
    return repr(shown(url)) if isinstance(url, str) else f"a {type(url).__name__}"
