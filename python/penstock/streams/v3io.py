"""Streams of a V3IO platform, through its own client."""

from __future__ import annotations

import logging
import os
from typing import Any

from penstock.errors import GraphError, StreamError
from penstock.extras import load_extra
from penstock.streams.records import as_bytes, as_list

_MOST = 1000  # records that the platform takes in one call


class V3IOStream:
    """A stream of a V3IO platform; records of one key go to one shard.

    Parameters
    ----------
    path : str
        ``v3io://[web API host]/container/path``, or ``container/path``.
    endpoint : str, optional
        The web API's URL; by default the path's host, then the environment's ``V3IO_API``.
    access_key : str, optional
        By default the environment's ``V3IO_ACCESS_KEY``.
    """

    def __init__(self, path: str, *, endpoint: str | None = None, access_key: str | None = None, **_: Any) -> None:
        dataplane = load_extra("v3io.dataplane", "v3io", f"the stream '{path}' is one of V3IO and")
        host, _separator, place = _split(path)
        container, _separator, stream = place.strip("/").partition("/")
        if not stream:
            raise GraphError(
                f"the stream '{path}' is none of V3IO: v3io:///container/path is one; a file ends in .jsonl"
            )
        url = endpoint or (f"https://{host}" if host else os.environ.get("V3IO_API", ""))
        if not url:
            raise GraphError(f"the stream '{path}' needs the V3IO web API's URL: set V3IO_API or give endpoint=")
        self._container, self._stream, self._path = container, stream, path
        try:
            self._client = dataplane.Client(
                logger=logging.getLogger("penstock.v3io"), endpoint=url, access_key=access_key
            )
        except Exception as error:  # whatever its client does not like
            raise GraphError(f"the stream '{path}': {type(error).__name__}: {error}") from error

    def push(self, records: Any, key: Any = None) -> None:
        """Put records into the stream."""
        named = {} if key is None else {"partition_key": str(key)}
        rows = [{"data": as_bytes(record), **named} for record in as_list(records)]
        for start in range(0, len(rows), _MOST):
            try:
                answer = self._client.stream.put_records(self._container, self._stream, rows[start : start + _MOST])
            except Exception as error:  # its client raises what its transport does
                raise StreamError(f"cannot push to {self._path}: {type(error).__name__}: {error}") from error
            if answer.output.failed_record_count:
                raise StreamError(
                    f"cannot push to {self._path}: {answer.output.failed_record_count} records were refused"
                )

    def close(self) -> None:
        """Close the connections."""
        self._client.close()


def _split(path: str) -> tuple[str, str, str]:
    if "://" not in path:
        return "", "", path
    return path.partition("://")[2].partition("/")
