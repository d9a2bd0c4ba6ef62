"""The files that TLS needs: loaded, and loaded anew when they have changed on disk."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable

from penstock._core import Tls, TlsError
from penstock.errors import CertificateError
from penstock.serve_options import ServeOptions

PERIOD = 5.0  # seconds between looks at the files
_log = logging.getLogger("penstock")


def load(options: ServeOptions) -> Tls | None:
    """Load what the options name; None without TLS.

    Raises
    ------
    CertificateError
        A file cannot be read or is not what it should be, or certificate and key do not belong together.
    """
    if options.tls_cert is None or options.tls_key is None:
        return None
    try:
        return Tls(
            certificate=os.fspath(options.tls_cert),
            key=os.fspath(options.tls_key),
            client_ca=os.fspath(options.tls_client_ca or ""),
        )
    except TlsError as error:
        raise CertificateError(str(error)) from None


class Certificates:
    """What a server shows its clients, kept as it is on disk.

    Parameters
    ----------
    options : ServeOptions
        They name the files.

    Raises
    ------
    CertificateError
        See `load`.
    """

    def __init__(self, options: ServeOptions) -> None:
        self._options = options
        self._closed = threading.Event()
        self._seen = self._stamps()
        self.tls = load(options)

    def watch(self, changed: Callable[[Tls], None]) -> None:
        """Call `changed`, on a thread of its own, whenever there is something new."""
        if self.tls is not None:
            threading.Thread(target=self._look, args=(changed,), name="penstock-certificates", daemon=True).start()

    def close(self) -> None:
        """Look no more."""
        self._closed.set()

    def _look(self, changed: Callable[[Tls], None]) -> None:
        while not self._closed.wait(PERIOD):
            now = self._stamps()
            if now == self._seen:
                continue
            self._seen = now
            try:
                tls = load(self._options)
            except CertificateError as error:  # perhaps only one of the files is there yet
                _log.warning("%s; the server goes on with what it had", error)
                continue
            if tls is not None:
                changed(tls)
                _log.info("TLS: the certificate is renewed")

    def _stamps(self) -> list[tuple[int, int, int] | None]:
        paths = [self._options.tls_cert, self._options.tls_key, self._options.tls_client_ca]
        return [_stamp(path) for path in paths if path is not None]


def _stamp(path: str | os.PathLike[str]) -> tuple[int, int, int] | None:
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_mtime_ns, found.st_ino, found.st_size
