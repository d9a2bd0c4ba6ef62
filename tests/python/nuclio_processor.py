"""A stand-in for Nuclio's processor: what it does around a Python handler, one process a worker.

It makes the events of HTTP, cron and Kafka triggers with the attributes and types that a real one gives them, and makes
of what the handler returned what a real one sends, traps included.
"""

import base64
import contextlib
import datetime
import itertools
import json
import os
import pickle
import queue
import signal
import struct
import subprocess
import sys
import threading
from pathlib import Path
from urllib.parse import parse_qsl, urlsplit

WRAPPER = Path(__file__).with_name("nuclio_wrapper.py")


class Dead(Exception):
    """The processor panicked, or would have."""


class Answer:
    """What came back over HTTP."""

    def __init__(self, response):
        self.status = response["status_code"]
        headers = response.get("headers") or {}
        self.headers = {key: value for key, value in headers.items() if isinstance(value, str)}  # others are dropped
        self.raw_headers = headers
        self.content_type = response["content_type"]
        encoded = response["body"]
        self.body = base64.b64decode(encoded) if response["body_encoding"] == "base64" else encoded.encode()
        self.encoding = response["body_encoding"]
        if not isinstance(self.status, int):
            self.status, self.body = 500, b""

    @property
    def json(self):
        return json.loads(self.body)


class Worker:
    """A worker process; a context manager."""

    def __init__(
        self,
        folder,
        handler="penstock.nuclio:handler",
        *,
        spec=None,
        trigger="http",
        mode="sync",
        raw=False,
        streams=False,
        told=True,
        **environment,
    ):
        options = {
            "handler": handler, "worker_id": "0", "trigger_kind": trigger, "trigger_name": "t", "mode": mode,
            "raw": raw, "streams": streams,
        }  # fmt: skip
        env = {key: value for key, value in os.environ.items() if not key.startswith(("SERVING_", "PENSTOCK_"))}
        env |= {"NUCLIO_PYTHON_PATH": str(folder), "PYTHONWARNINGS": "error::ResourceWarning"}
        if told:
            env["NUCLIO_FUNCTION_HANDLER"] = handler
        if spec is not None:
            env["SERVING_SPEC_ENV"] = spec
        self.trigger, self.raw = trigger, raw
        self.process = subprocess.Popen(
            [sys.executable, "-u", str(WRAPPER), json.dumps(options)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=env | environment,
            cwd=folder,
        )
        self.logs, self.acks, self.called = [], [], queue.Queue()
        self.said = b""
        self._numbers = itertools.count()
        self._answers = {}
        self._arrived = threading.Condition()
        self._ready = None
        self._over = False
        self._threads = [threading.Thread(target=target, daemon=True) for target in (self._read, self._listen)]
        for thread in self._threads:
            thread.start()
        with self._arrived:
            self._arrived.wait_for(lambda: self._ready is not None or self._over, timeout=40)
        if self._ready is None:
            self.end()
            raise Dead(self.said.decode())
        self.home = self._ready

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.end()

    def _listen(self):
        for line in self.process.stderr:
            self.said += line

    def _read(self):
        out = self.process.stdout
        while head := out.read(4):
            kind, content = pickle.loads(out.read(struct.unpack(">I", head)[0]))
            with self._arrived:
                if kind == "ready":
                    self._ready = content
                elif kind == "log":
                    self.logs.append(content)
                elif kind == "control":
                    self.acks.append(content)
                elif kind == "called":
                    self.called.put(content)
                else:
                    self._answers[content[0]] = content[1]
                self._arrived.notify_all()
        with self._arrived:
            self._over = True
            self._arrived.notify_all()

    # --- events -----------------------------------------------------------------------------------------------------

    def _event(self, **given):
        event = {
            "body": b"", "content_type": "", "trigger": {"kind": self.trigger, "name": "t"}, "fields": {},
            "headers": {}, "id": "the-id-of-the-worker", "method": "", "path": "/", "size": 0, "timestamp": 0,
            "url": "", "shard_id": -1, "num_shards": 0, "type": "", "type_version": "", "version": "", "offset": 0,
            "topic": "",
        } | given  # fmt: skip
        event["size"] = len(event["body"] or b"")
        return _as_bytes(event) if self.raw else event

    def http_event(self, path="/", body=b"", *, method=None, content_type="", headers=None, **given):
        parts = urlsplit(path)
        now = int(datetime.datetime.now(datetime.timezone.utc).timestamp())
        return self._event(
            path=parts.path,
            fields=dict(parse_qsl(parts.query, keep_blank_values=True)),
            body=body,
            method=method or ("POST" if body else "GET"),
            content_type=content_type,
            headers={key.title(): value for key, value in (headers or {}).items()}
            | ({"Content-Type": content_type} if content_type else {}),
            timestamp=now,
            **given,
        )

    def record(self, offset, body, *, topic="in", partition=0, headers=None, written=1_700_000_000):
        """A record of Kafka: its headers' values are bytes, its path is the topic."""
        return self._event(
            path=topic, topic=topic, body=body, offset=offset, shard_id=partition, headers=headers or {},
            timestamp=written,
        )  # fmt: skip

    # --- calls ------------------------------------------------------------------------------------------------------

    def send(self, message):
        """Hand an event, or a batch, to the worker; return the number of the answer."""
        number = next(self._numbers)
        data = pickle.dumps((number, message))
        self.process.stdin.write(struct.pack(">I", len(data)) + data)
        self.process.stdin.flush()
        return number

    def wait(self, number, timeout=20):
        """Return what the handler's output became."""
        with self._arrived:
            self._arrived.wait_for(lambda: number in self._answers or self._over, timeout=timeout)
            if number not in self._answers:
                raise Dead(self.said.decode())
            return self._answers.pop(number)

    def call(self, message):
        """Hand an event over, and return the answer as HTTP would have it."""
        output = self.wait(self.send(message))
        if isinstance(output, list):  # of a handler that returned a list
            if not output:
                raise Dead("an empty list: the worker is lost for ever")
            output = output[0]
        return Answer(output)

    def request(self, path="/", body=None, **options):
        """Send a request; a body that is no bytes goes as JSON."""
        if body is not None and not isinstance(body, bytes):
            body = json.dumps(body).encode()
            options.setdefault("content_type", "application/json")
        return self.call(self.http_event(path, body or b"", **options))

    def batch(self, messages):
        """Send a batch; return the answers by the events' ids, as the processor tells them apart."""
        output = self.wait(self.send(messages))
        if not isinstance(output, list) or any("event_id" not in one for one in output):
            raise Dead("a batch without the ids of its events ends the processor")
        return {one["event_id"]: Answer(one) for one in output}

    def wait_for_acks(self, count, timeout=20):
        with self._arrived:
            self._arrived.wait_for(lambda: len(self.acks) >= count or self._over, timeout=timeout)
            return list(self.acks)

    def signal(self, number):
        self.process.send_signal(number)

    def drain(self):
        """As at a rebalance: call the drain callback; events are discarded from then on, until `resume`."""
        self.signal(signal.SIGUSR2)
        return self.called.get(timeout=20)

    def resume(self):
        self.signal(signal.SIGCONT)
        if self.called.get(timeout=20) != "resumed":
            raise Dead("the worker did not go on")

    def terminate(self, timeout=20):
        """As at the end: call the termination callback; return the exit code, and the seconds it took."""
        began = datetime.datetime.now()
        self.signal(signal.SIGUSR1)
        code = self.process.wait(timeout)
        return code, (datetime.datetime.now() - began).total_seconds()

    def end(self):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait(10)
        for thread in self._threads:
            thread.join(10)
        for file in (self.process.stdin, self.process.stdout, self.process.stderr):
            with contextlib.suppress(BrokenPipeError):
                file.close()


def _as_bytes(value):
    """What a worker sees that decodes no strings: texts are bytes, keys too."""
    if isinstance(value, str):
        return value.encode()
    if isinstance(value, dict):
        return {_as_bytes(key): _as_bytes(content) for key, content in value.items()}
    return value


class Deployed:
    """A function as one worker, with the calls of `served.Served`."""

    def __init__(self, file, function, current=None):
        folder = Path(file).parent / f"deployed_{current or 'root'}"
        folder.mkdir(exist_ok=True)
        (folder / "golden.py").write_text(Path(file).read_text() + "\nfrom penstock.nuclio import handler\n")
        options = {"SERVING_CURRENT_FUNCTION": current} if current else {}
        self.worker = Worker(folder, "golden:handler", spec=function.serving_spec, **options)

    def request(self, path="/", body=None, *, method=None, headers=None):
        data = body.encode() if isinstance(body, str) else body
        if data is not None and not isinstance(data, bytes):
            data = json.dumps(data).encode()
        kinds = [value for key, value in (headers or {}).items() if key.lower() == "content-type"]
        answer = self.worker.call(
            self.worker.http_event(
                path, data or b"", method=method or ("GET" if body is None else "POST"),
                content_type=kinds[0] if kinds else "", headers=headers,
            )
        )  # fmt: skip
        content = answer.json if answer.content_type == "application/json" else answer.body
        return answer.status, answer.headers, content

    def exchange(self, body, path="/"):
        answer = self.worker.request(path, body.encode(), content_type="application/json")
        return answer.status, answer.content_type, answer.body

    def post(self, body, path="/", **headers):
        json_type = {"Content-Type": "application/json"}
        status, _, content = self.request(path, json.dumps(body), headers=json_type | headers)
        return status, content

    def get(self, path):
        status, _, content = self.request(path)
        return status, content

    def end(self):
        self.worker.end()
