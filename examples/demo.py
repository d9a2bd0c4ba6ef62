"""Train two models, serve them in a graph, send it requests, and show what they cost: `./dev demo`.

The graph is examples/iris.py. It runs in the mock server first, then in a process of its own behind HTTP.
"""

import argparse
import contextlib
import http.client
import json
import os
import re
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path

import penstock
from rich.console import Console
from rich.text import Text
from train_iris import split, train

HERE = Path(__file__).parent
START_SECONDS = 30
STOP_SECONDS = 35
HOPS = 20
console = Console(highlight=False, soft_wrap=True)


def title(number, text):
    console.print(f"\n[bold cyan]{number}[/]  [bold]{text}[/]")


def line(label, text, style=""):
    console.print(Text(f"   {label:<10}") + Text(text, style=style))


class Failed(Exception):
    """The demo cannot go on; the text is for the person at the terminal."""


class Served:
    """`penstock serve` in a process of its own, on a free port; SIGTERM at the end."""

    def __init__(self, target, **environment):
        command = [sys.executable, "-m", "penstock", "serve", str(target), "--port", "0"]
        # In a session of its own, so that Ctrl-C reaches the demo alone, which then stops the server once.
        self.process = subprocess.Popen(
            command, stderr=subprocess.PIPE, text=True, env={**os.environ, **environment}, start_new_session=True
        )
        try:
            self.url = self._address()
        except BaseException:
            self.process.kill()
            self.process.wait()
            raise

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()

    def _address(self):
        """Read what the server says until it says where it answers; what comes later is shown as it comes."""
        guard = threading.Timer(START_SECONDS, self.process.kill)
        guard.start()
        said = []
        for text in self.process.stderr:
            said.append(text)
            found = re.search(r"answers on (http://\S+)", text)
            if found:
                guard.cancel()
                threading.Thread(target=self._pass_on, daemon=True).start()
                return found[1]
        guard.cancel()
        raise Failed(f"the server did not start (exit {self.process.wait()}):\n{''.join(said)}")

    def _pass_on(self):
        for text in self.process.stderr:
            if text != "penstock: draining\n":  # expected, and told by the demo itself
                sys.stderr.write(text)

    def stop(self):
        """Let it answer what it has, and return its exit code."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            return self.process.wait()


def post(url, body):
    """Send a body as JSON (or bytes as they are); return the status and the answer."""
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return answer.status, json.loads(answer.read())
    except urllib.error.HTTPError as error:
        return error.code, json.loads(error.read())


def train_and_save(folder):
    models = train(folder)
    _, _, rows, classes = split()
    for name, model in models.items():
        found = model.score(rows, classes)
        line(name, f"{type(model).__name__:<24}{found:6.1%} of {len(rows)} rows right that it has not seen")
    line("saved", ", ".join(f"{folder}/{name}/model.pkl" for name in models))


def show_mock(rows):
    import iris

    with iris.fn.to_mock_server(namespace=iris) as server:
        reply = server.test("/", body={"inputs": rows})
    line("graph", "enrich -> pre-process -> ensemble (m1, m2) -> final;  pre-process fails -> catcher")
    line("request", f"server.test('/', {json.dumps({'inputs': rows})})")
    line("answer", json.dumps(reply), "green")
    return reply


def show(url, path, body):
    status, answer = post(url + path, body)
    text = body.decode() if isinstance(body, bytes) else json.dumps(body)
    line("request", f"POST {path}  {text}")
    line(f"{status}", json.dumps(answer), "green" if status == 200 else "yellow")
    return answer


def show_server(url, rows, classes, in_mock):
    import iris

    answer = show(url, "/", {"inputs": rows})
    if answer["names"] != in_mock["names"]:
        raise Failed("the server and the mock server do not agree")
    flowers = [iris.NAMES[number] for number in classes]
    line("names", f"{', '.join(answer['names'])}   (in truth: {', '.join(flowers)})", "bold green")
    console.print()
    tensor = {"name": "measures", "shape": [1, 4], "datatype": "FP32", "data": rows[0]}
    show(url, "/v2/models/m2/infer", {"inputs": [tensor]})
    console.print()
    show(url, "/", {"inputs": [[5.1, 3.5]]})
    line("", "^ pre-process raised, the catcher answered")
    show(url, "/", b'{"inputs": [[5.1,')
    show(url, "/v2/models/m3/infer", {"inputs": rows[:1]})


def step(body):
    return body


def per_call(call, *, seconds=0.25):
    """Return the seconds that a call takes: the median of some runs."""
    times = []
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        start = time.perf_counter()
        for _ in range(500):
            call()
        times.append((time.perf_counter() - start) / 500)
    return statistics.median(times)


def chain(steps):
    """Return the mock server of a chain of trivial steps."""
    function = penstock.new_function("chain")
    last = function.set_topology("flow")
    for number in range(steps):
        last = last.to(step, name=f"step-{number}")
    last.respond()
    return function.to_mock_server()


def per_hop():
    """Return the seconds from step to step: a long chain beside one step, turn by turn, as the machine may be busy."""
    with chain(1) as short, chain(HOPS + 1) as long:
        pairs = [
            (per_call(lambda: short.test(body=1), seconds=0.05), per_call(lambda: long.test(body=1), seconds=0.05))
            for _ in range(5)
        ]
    return statistics.median(longer - shorter for shorter, longer in pairs) / HOPS


def bare_loop():
    handlers = [step] * HOPS

    def call():
        body = 1
        for handler in handlers:
            body = handler(body)

    return per_call(call)


def request_p50(url, body, count=1000):
    """Return the seconds of a request on one connection: the median."""
    connection = http.client.HTTPConnection(url.removeprefix("http://"), timeout=10)
    data = json.dumps(body)
    times = []
    for _ in range(count):
        start = time.perf_counter()
        connection.request("POST", "/", data, {"Content-Type": "application/json"})
        answer = connection.getresponse()
        answer.read()
        times.append(time.perf_counter() - start)
        if answer.status != 200:
            raise Failed(f"a request was answered with {answer.status}")
    connection.close()
    return statistics.median(times)


def show_costs(url, rows, models):
    hop = per_hop()
    bare = bare_loop() / HOPS
    line("hop", f"{hop * 1e9:5.0f} ns   from step to step, over {HOPS} trivial steps")
    line("", f"{bare * 1e9:5.0f} ns   the same functions in a bare Python loop")
    whole = request_p50(url, {"inputs": rows})
    predict = sum(per_call(lambda model=model: model.predict(rows), seconds=0.2) for model in models.values())
    with Served(HERE / "hello.py") as hello:
        empty = request_p50(hello.url, {"x": 21})
    line("request", f"{empty * 1e6:5.0f} µs   HTTP there and back through one trivial step, Python's client included")
    line("", f"{whole * 1e6:5.0f} µs   through the ensemble graph with {len(rows)} rows (p50, one connection)")
    line("", f"{predict * 1e6:5.0f} µs   of this are scikit-learn's: what both models take when called directly")


def keep(served, rows):
    console.print(f"\n[bold green]Serving on {served.url}[/]  until Ctrl-C. In another terminal:")
    console.print(f"   curl {served.url} -d '{json.dumps({'inputs': rows[:1]})}'")
    console.print(f"   curl {served.url}/v2/models/m1")
    while served.process.poll() is None:
        with contextlib.suppress(subprocess.TimeoutExpired):
            served.process.wait(60)
    raise Failed(f"the server ended by itself (exit {served.process.returncode})")


def run(folder, *, keep_serving):
    title(1, "Train two models on the iris data, save them")
    train_and_save(folder)
    os.environ["IRIS_MODELS"] = str(folder)
    _, _, held_out, truth = split()
    chosen = [list(truth).index(number) for number in range(3)]
    rows, classes = held_out[chosen].tolist(), truth[chosen].tolist()

    title(2, "Their graph, examples/iris.py, in the mock server")
    in_mock = show_mock(rows)

    with Served(HERE / "iris.py") as served:
        title(3, f"The same graph over HTTP: penstock serve examples/iris.py, on {served.url}")
        show_server(served.url, rows, classes, in_mock)

        title(4, "What it costs here")
        show_costs(served.url, rows, train(folder))
        if keep_serving:
            keep(served, rows)
        title(5, "SIGTERM: drain and stop")
        code = served.stop()
    line("exit", f"{code}")
    if code:
        raise Failed("the server did not stop in good order")


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--keep", action="store_true", help="leave it serving until Ctrl-C")
    parser.add_argument("--models", metavar="DIR", type=Path, help="save the models here, not in a temporary folder")
    arguments = parser.parse_args()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # as Ctrl-C, so that the server is stopped, too
    with contextlib.ExitStack() as stack:
        folder = arguments.models or stack.enter_context(tempfile.TemporaryDirectory(prefix="penstock-demo-"))
        try:
            run(Path(folder).resolve(), keep_serving=arguments.keep)
        except KeyboardInterrupt:
            console.print("\nstopped")
            return 0 if arguments.keep else 130
        except Failed as error:
            console.print(Text(f"\ndemo: {error}", style="red"))
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
