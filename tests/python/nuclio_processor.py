"""A stand-in for Nuclio's processor: what it does around a Python handler, one process a worker.

It makes the events of HTTP, cron and Kafka triggers with the attributes and types that a real one gives them, hands
them over as a real one does (two sockets; msgpack with its length ahead one way, lines that begin with their kind the
other), and makes of what comes back what a real one sends, traps included.
"""

import base64
import contextlib
import datetime
import json
import os
import queue
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
from pathlib import Path
from urllib.parse import parse_qsl, urlsplit

import msgpack

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


class Connection:
    """A socket to a worker: events one way, one at a time; lines the other."""

    def __init__(self, sock, worker):
        self._sock, self._worker = sock, worker
        self._chunks = []
        self.outputs = queue.Queue()  # of each event: what the handler's output became
        self.durations = []
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def send(self, message):
        data = msgpack.packb(message)
        self._sock.sendall(struct.pack(">I", len(data)) + data)

    def _read(self):
        with contextlib.suppress(OSError), self._sock.makefile("rb") as lines:
            for line in lines:
                self._worker.reading.wait()
                try:
                    self._take(chr(line[0]), line[1:])
                except (ValueError, KeyError):
                    self._worker.torn.append(line)  # a real one logs that, and the caller waits for ever
        self.outputs.put(None)

    def _take(self, kind, content):
        if kind == "s":
            self._worker.started.set()
        elif kind == "l":
            self._worker.logged(json.loads(content))
        elif kind == "m":
            self.durations.append(json.loads(content)["duration"])
        elif kind == "c":
            self._chunks.append(json.loads(content))
        elif kind == "e":
            self.outputs.put(self._chunks)
            self._chunks = []
        elif kind == "r":
            self.outputs.put(json.loads(content))
        else:
            raise ValueError(kind)

    def close(self):
        with contextlib.suppress(OSError):
            self._sock.shutdown(socket.SHUT_RDWR)
        self._sock.close()
        self._thread.join(10)


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
        platform="local",
        number=0,
        **environment,
    ):
        self.trigger, self.raw, self.mode = trigger, raw, mode
        self.logs, self.acks, self.torn, self.called = [], [], [], queue.Queue()
        self.said, self.home = b"", ""
        self.reading, self.started = threading.Event(), threading.Event()
        self.reading.set()
        self._arrived = threading.Condition()
        self._initialized = self._over = False
        self._connections = []
        self._sockets = Path(tempfile.mkdtemp(prefix="nuclio-"))
        control, events = (self._listener(self._sockets / name) for name in ("control", "events"))
        where = str(self._sockets / "events") if mode == "sync" else f"127.0.0.1:{_free_port()}"
        command = [
            sys.executable, "-u", str(WRAPPER), "--handler", handler, "--event-socket-path", where,
            "--control-socket-path", str(self._sockets / "control"), "--platform-kind", platform,
            "--namespace", "nuclio", "--worker-id", str(number), "--trigger-kind", trigger, "--trigger-name", "t",
            "--mode", mode, *(() if raw else ("--decode-event-strings",)), *(("--streams",) if streams else ()),
        ]  # fmt: skip
        env = {key: value for key, value in os.environ.items() if not key.startswith(("SERVING_", "PENSTOCK_"))}
        env |= {
            "PYTHONPATH": str(folder),
            "NUCLIO_PYTHON_PATH": str(folder),
            "PYTHONWARNINGS": "error::ResourceWarning",
        }
        if told:
            env |= {"NUCLIO_FUNCTION_HANDLER": handler, "NUCLIO_FUNCTION_NAME": "f", "NUCLIO_FUNCTION_VERSION": "0"}
        if spec is not None:
            env["SERVING_SPEC_ENV"] = spec
        self.process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            env=env | environment, cwd=folder,
        )  # fmt: skip
        self._listening = threading.Thread(target=self._listen, daemon=True)
        self._listening.start()
        try:
            self._meet(control, events)
        except BaseException:
            self.end()
            raise
        finally:
            control.close()
            events.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.end()

    @staticmethod
    def _listener(path):
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        listener.bind(str(path))
        listener.listen()
        listener.settimeout(0.1)
        return listener

    def _meet(self, control, events):
        """Wait until the worker is ready."""
        self._control = self._accept(control)
        self._control_thread = threading.Thread(target=self._hear, daemon=True)
        self._control_thread.start()
        if self.mode == "sync":
            self._connections.append(Connection(self._accept(events), self))
        with self._arrived:
            self._arrived.wait_for(lambda: self._initialized or self._over, timeout=40)
        if not self._initialized:
            raise self._died()
        if self.mode == "sync" and not self.started.wait(10):
            raise Dead("the worker did not say that it is ready")

    def _accept(self, listener):
        while self.process.poll() is None:
            with contextlib.suppress(TimeoutError):
                sock, _ = listener.accept()
                sock.settimeout(None)
                return sock
        raise self._died()

    def _died(self):
        """Say what the processor's log has of a worker that ended: lines of its logger, and what it printed."""
        code = self.process.wait(10)
        self._listening.join(10)
        lines = "\n".join(line["message"] for line in self.logs if not line["message"].startswith("stand-in:"))
        return Dead(f"exit {code}\n{lines}\n{self.said.decode()}")

    def _listen(self):
        for line in self.process.stdout:
            self.said += line
        with self._arrived:
            self._over = True
            self._arrived.notify_all()

    def _hear(self):
        """Read the control socket."""
        with contextlib.suppress(OSError), self._control.makefile("rb") as lines:
            for line in lines:
                try:
                    message = json.loads(line)
                except ValueError:
                    self.torn.append(line)
                    continue
                with self._arrived:
                    if message["kind"] == "wrapperInitialized":
                        self._initialized = True
                    elif message["kind"] == "streamMessageAck":
                        self.acks.append(message)
                    elif message["kind"] == "log":
                        self.logged(message["attributes"])
                    self._arrived.notify_all()

    def logged(self, line):
        """Take a line of the log."""
        self.logs.append(line)
        said = line["message"]
        if said.startswith("stand-in: init_context is looked up in "):
            self.home = said.rpartition(" ")[2]
        elif said.endswith(" handler has returned"):
            self.called.put(said.split()[1])
        elif said == "stand-in: resumed":
            self.called.put("resumed")
        elif said == "Event has been discarded":
            self.called.put("discarded")

    # --- events -----------------------------------------------------------------------------------------------------

    def _event(self, **given):
        event = {
            "body": b"", "content_type": "", "trigger": {"kind": self.trigger, "name": "t"}, "fields": {},
            "headers": {}, "id": "the-id-of-the-worker", "method": "", "path": "/", "size": 0, "timestamp": 0,
            "url": "", "shard_id": -1, "num_shards": 0, "type": "", "type_version": "", "version": "", "offset": 0,
            "topic": "", "content-type": given.get("content_type", ""),
        } | given  # fmt: skip
        event["size"] = len(event["body"] or b"")
        return event

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
        """Hand an event, or a batch, to the worker; return what `wait` takes."""
        if self.mode == "sync":
            connection = self._connections[0]
        else:  # as many connections as events under way
            host, port = self.process.args[self.process.args.index("--event-socket-path") + 1].split(":")
            connection = Connection(socket.create_connection((host, int(port))), self)
            self._connections.append(connection)
        connection.send(message)
        return connection

    def wait(self, connection, timeout=20):
        """Return what the handler's output became."""
        try:
            output = connection.outputs.get(timeout=timeout)
        except queue.Empty:
            output = None
        if output is None:
            raise Dead(f"no answer; {self.torn or self.said.decode()}")
        return output

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
        self.leave()
        self._listening.join(10)
        self.process.stdout.close()
        shutil.rmtree(self._sockets)

    def leave(self):
        """Close all sockets, as they are when the processor is killed."""
        for connection in self._connections:
            connection.close()
        self._connections.clear()
        if hasattr(self, "_control"):
            with contextlib.suppress(OSError):
                self._control.shutdown(socket.SHUT_RDWR)
            self._control.close()
            self._control_thread.join(10)


def _free_port():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]


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
