"""A server process of this machine that is started, watched, started again if it dies, and ended."""

from __future__ import annotations

import atexit
import collections
import json
import logging
import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from penstock.deploying import DEPLOYED, Say
from penstock.deploying.content import own_source, root_of
from penstock.deploying.what import check_steps
from penstock.errors import DeployError

if TYPE_CHECKING:
    from penstock.function import ServingFunction

_ADDRESS = re.compile(r"penstock: '.*' answers on (http://\S+?:(\d+))[, ]")
_RESTARTS = 5  # in a row
_STEADY_SECONDS = 30.0  # a server that ran so long has not failed to start
_STOP_SECONDS = 40.0  # its own drain takes 30
_logger = logging.getLogger("penstock.deploy")


def start(function: ServingFunction, module: Mapping[str, Any], *, say: Say, **options: Any) -> str:
    """Start a server process for a function, in place of the one it has; return its address."""
    check_steps(function)
    server = LocalServer(function, module, say=say, **options)
    before, function._local = function._local, server
    function.status.address = server.address
    if before is not None:
        before.close()
    return server.address


class LocalServer:
    """A server process, and its supervisor.

    Parameters
    ----------
    function : ServingFunction
        What it serves.
    module : dict
        The names of the module that the function was made in.
    say : callable
        Takes a line of what is happening.
    host : str
        Address to listen on.
    port : int
        0 takes a free one, and keeps it.
    timeout : float
        Seconds that it may take until it answers.

    Raises
    ------
    DeployError
        It did not start; the text has what it said last.
    """

    def __init__(
        self,
        function: ServingFunction,
        module: Mapping[str, Any],
        *,
        say: Say,
        host: str = "127.0.0.1",
        port: int = 0,
        timeout: float = 120.0,
    ) -> None:
        self.name = function.metadata.name
        self.address = ""
        self.starts = 0
        self._say = say
        self._host = host
        self._port = port
        self._closing = False
        self._changed = threading.Condition()  # guards what follows, and starts and address
        self._last: collections.deque[str] = collections.deque(maxlen=20)
        self._ended = False
        self._folder = tempfile.TemporaryDirectory(prefix="penstock-deploy-")
        self._environment = self._prepare(function, module)
        began = time.monotonic()
        say(f"penstock: '{self.name}' is starting")
        self._process = self._launch()
        self._supervisor = threading.Thread(target=self._supervise, name=f"penstock-{self.name}", daemon=True)
        self._supervisor.start()
        atexit.register(self.close)
        if not self.wait_for_start(1, timeout):
            said = next((line.removeprefix("error: ") for line in reversed(self._last) if line.strip()), "nothing")
            late = "" if self._ended else f" within {timeout:g} s"
            self.close()
            raise DeployError(f"the server of '{self.name}' did not start{late}; it said: {said}")
        say(f"penstock: '{self.name}' answers on {self.address} after {time.monotonic() - began:.1f} s")

    @property
    def pid(self) -> int:
        """The process that serves at the moment."""
        return self._process.pid

    def wait_for_start(self, number: int, timeout: float | None = None) -> bool:
        """Wait until the server has started for this time; tell whether it has."""
        with self._changed:
            self._changed.wait_for(lambda: self.starts >= number or self._ended, timeout)
            return self.starts >= number

    def close(self) -> None:
        """Have it finish what it took, and end."""
        atexit.unregister(self.close)
        with self._changed:
            self._closing = True
            self._changed.notify_all()
            process = self._process
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
        try:
            process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
        self._supervisor.join()
        self._folder.cleanup()

    def _prepare(self, function: ServingFunction, module: Mapping[str, Any]) -> dict[str, str]:
        """Write the function down; return the environment of the process."""
        source = own_source(function, module)
        document = function.to_dict()
        spec = document["spec"]
        environment = os.environ | function.spec.env | {DEPLOYED: "1"}
        paths = [path for path in sys.path if path]
        if source is not None:
            spec["filename"] = str(source)
            names = module if module.get("__file__") == str(source) else function._globals
            paths.insert(0, str(root_of(source, str(names.get("__name__", "")))))
        for listed in spec.get("secret_sources", []):
            if listed["kind"] == "inline":  # values go to the process alone, never into the file
                listed["kind"], listed["source"] = "env", list(listed["source"])
                values = {name: function.spec.secret_sources.get(name) for name in listed["source"]}
                environment |= {name: str(value) for name, value in values.items() if value is not None}
        Path(self._folder.name, "function.json").write_text(json.dumps(document), encoding="utf-8")
        environment["PYTHONPATH"] = os.pathsep.join(dict.fromkeys(paths))
        return environment

    def _launch(self) -> subprocess.Popen[str]:
        document = os.path.join(self._folder.name, "function.json")
        command = [sys.executable, "-m", "penstock.deploying.supervised", document]
        return subprocess.Popen(  # noqa: S603  # this interpreter, and penstock
            [*command, "--host", self._host, "--port", str(self._port)],
            stdin=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=self._environment,
        )

    def _supervise(self) -> None:
        failures = 0
        while True:
            began = time.monotonic()
            code = self._follow(self._process)
            lasted = time.monotonic() - began
            failures = 1 if lasted > _STEADY_SECONDS else failures + 1
            with self._changed:
                stop = self._closing or not self.starts or failures > _RESTARTS
                if not stop:
                    self._changed.wait_for(lambda: self._closing, 0.1 * 2**failures)
                    stop = self._closing
                self._ended = stop
                self._changed.notify_all()
                if stop:
                    break
                line = f"penstock: '{self.name}' ended with {code} after {lasted:.1f} s, and is started again"
                self._process = self._launch()
            _logger.warning(line)
        if failures > _RESTARTS and not self._closing:
            _logger.error("the server of '%s' ended %d times in a row, and is not started again", self.name, failures)

    def _follow(self, process: subprocess.Popen[str]) -> int:
        """Read what it says, until it ends."""
        assert process.stderr is not None  # noqa: S101  # it is a pipe
        assert process.stdin is not None  # noqa: S101  # it is a pipe
        with process.stderr, process.stdin:
            for line in process.stderr:
                text = line.rstrip("\n")
                found = _ADDRESS.match(text)
                with self._changed:
                    self._last.append(text)
                    if found:
                        self.address, self._port = found[1], int(found[2])
                        self.starts += 1
                        self._changed.notify_all()
                if not found:
                    self._say(text)
                    _logger.info(text)
        return process.wait()
