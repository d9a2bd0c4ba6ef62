"""An HTTP endpoint in a thread, for tests of what calls one."""

import contextlib
import dataclasses
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclasses.dataclass
class Call:
    method: str
    path: str
    headers: dict
    body: bytes
    port: int  # the caller's: one connection has one

    @property
    def json(self):
        return json.loads(self.body)


@dataclasses.dataclass
class Endpoint:
    url: str
    calls: list


def reply(body=b"", status=200, *, content_type=None, **headers):
    """What a test's function returns for an answer: dicts and lists become JSON."""
    if not isinstance(body, bytes):
        body, content_type = json.dumps(body).encode(), content_type or "application/json"
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    if content_type:
        named["Content-Type"] = content_type
    return status, named, body


@contextlib.contextmanager
def endpoint(answer):
    """Serve `answer(call)`, which returns a `reply`, or None to close the connection without one."""
    calls = []
    lock = threading.Lock()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def handle_any(self):
            length = int(self.headers.get("Content-Length") or 0)
            headers = {name.lower(): value for name, value in self.headers.items()}
            call = Call(self.command, self.path, headers, self.rfile.read(length), self.client_address[1])
            with lock:
                calls.append(call)
            made = answer(call)
            if made is None:
                self.close_connection = True
                return
            status, named, body = made
            self.send_response(status)
            for name, value in {**named, "Content-Length": str(len(body))}.items():
                self.send_header(name, value)
            self.end_headers()
            with contextlib.suppress(ConnectionError):  # the caller may have gone
                self.wfile.write(body)

        do_GET = do_POST = do_PUT = do_DELETE = do_PATCH = do_HEAD = handle_any

        def log_message(self, *_):
            pass

    class Server(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, request, client_address):
            pass  # a caller that goes away is part of some tests

    server = Server(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield Endpoint(f"http://127.0.0.1:{server.server_port}", calls)
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
