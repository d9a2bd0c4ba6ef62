"""`penstock serve` as a process, for tests."""

import http.client
import json
import os
import re
import signal
import subprocess
import sys

ADDRESS = re.compile(
    r"penstock: '(?P<name>[^']+)' answers on (?P<scheme>https?)://(?P<host>[^:]+):(?P<port>\d+)"
    r"(, gRPC on port (?P<grpc>\d+))?"
)
JSON = {"Content-Type": "application/json"}


class Served:
    """`python -m penstock serve` on a free port; kill it after the test with `end`."""

    def __init__(self, target, *options, **environment):
        self.process = subprocess.Popen(
            [sys.executable, "-m", "penstock", "serve", str(target), "--port", "0", *options],
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONWARNINGS": "error", **environment},
        )
        first = self.process.stderr.readline()
        found = ADDRESS.match(first)
        if found is None:
            raise AssertionError(first + self.process.communicate(timeout=10)[1])
        self.name, self.port = found["name"], int(found["port"])
        self.scheme = found["scheme"]
        self.grpc_port = int(found["grpc"] or 0)
        self.url = f"{self.scheme}://127.0.0.1:{self.port}"

    def connect(self):
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)

    def request(self, path="/", body=None, *, method=None, headers=None):
        """Send one request, text and bytes as they are; return status, headers and body, the latter read if JSON."""
        data = body if body is None or isinstance(body, (str, bytes)) else json.dumps(body)
        connection = self.connect()
        try:
            connection.request(method or ("GET" if body is None else "POST"), path, data, headers or {})
            answer = connection.getresponse()
            content = answer.read()
        finally:
            connection.close()
        if answer.getheader("Content-Type") == "application/json":
            content = json.loads(content)
        return answer.status, answer.headers, content

    def exchange(self, body, path="/"):
        """Send a text as JSON; return status, type and bytes of the answer."""
        connection = self.connect()
        try:
            connection.request("POST", path, body.encode(), JSON)
            answer = connection.getresponse()
            return answer.status, answer.getheader("Content-Type", "").partition(";")[0], answer.read()
        finally:
            connection.close()

    def post(self, body, path="/", **headers):
        """Send a body as JSON; return status and body of the answer."""
        status, _, content = self.request(path, json.dumps(body), headers=JSON | headers)
        return status, content

    def get(self, path):
        """Return status and body."""
        status, _, content = self.request(path)
        return status, content

    def stop(self, number=signal.SIGTERM):
        """Send a signal; return the exit code and what was said from here on."""
        self.process.send_signal(number)
        _, said = self.process.communicate(timeout=40)
        return self.process.returncode, said

    def end(self):
        """Leave nothing behind."""
        if self.process.poll() is None:
            self.process.kill()
        self.process.communicate(timeout=10)
