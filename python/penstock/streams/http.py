"""Streams to an HTTP endpoint."""

from __future__ import annotations

import threading
from typing import Any

from penstock.errors import GraphError, StreamError
from penstock.http_client import load_httpx
from penstock.streams.records import as_list, to_json

_SECONDS = 30.0


class HTTPStream:
    """An endpoint that each record is sent to by a POST: as JSON, bytes as they are.

    Parameters
    ----------
    path : str
        The URL.
    headers : dict, optional
        Sent with each record.
    timeout : float
        Seconds that a request may take.
    """

    def __init__(
        self, path: str, *, headers: dict[str, str] | None = None, timeout: float = _SECONDS, **_: Any
    ) -> None:
        httpx = load_httpx("a stream over HTTP")
        try:
            self._url = httpx.URL(path)
        except httpx.InvalidURL as error:
            raise GraphError(f"the stream's URL is wrong: {error}") from error
        if not self._url.host:
            raise GraphError("the stream's URL names no host")
        self._where = f"{self._url.scheme}://{self._url.host}"  # the rest may hold secrets
        self._lock = threading.Lock()  # guards the making and closing of _client
        self._made: Any = None
        self._httpx = httpx
        self._headers = headers
        self._timeout = timeout

    def push(self, records: Any, key: Any = None) -> None:  # noqa: ARG002  # the endpoint has no partitions
        """Send records one after the other; each is taken when the endpoint answers with 2xx."""
        for record in as_list(records):
            raw = isinstance(record, bytes)
            content = record if raw else to_json(record)
            headers = {"content-type": "application/octet-stream" if raw else "application/json"}
            try:
                answer = self._client().post(self._url, content=content, headers=headers)
            except self._httpx.HTTPError as error:
                raise StreamError(f"cannot push to {self._where}: {type(error).__name__}: {error}") from error
            if not answer.is_success:
                raise StreamError(f"cannot push to {self._where}: it answered {answer.status_code}")

    def close(self) -> None:
        """Close the connections; a later push opens new ones."""
        with self._lock:
            client, self._made = self._made, None
        if client is not None:
            client.close()

    def _client(self) -> Any:
        with self._lock:
            if self._made is None:
                self._made = self._httpx.Client(headers=self._headers, timeout=self._timeout)
            return self._made
