"""Clients that ask a server without a pause while its graph is replaced: `swap_clients.py HTTP_PORT GRPC_PORT RATE`.

A line on standard input is the version that has been confirmed; at its end what came of it is printed as JSON. Each
answer has three stamps, of three steps, which have to be the same, and none that was confirmed to be replaced before
the request was sent.
"""

import http.client
import json
import sys
import threading
import time

import numpy as np
import tritonclient.grpc as triton

HTTP_CLIENTS, GRPC_CLIENTS = 4, 2
BODY = json.dumps({"inputs": [{"name": "x", "shape": [1, 1], "datatype": "INT32", "data": [0]}]})


class Account:
    """What has come of all requests; `stop` ends them."""

    def __init__(self, rate):
        self.pause = (HTTP_CLIENTS + GRPC_CLIENTS) / rate
        self.confirmed = 1
        self.stop = False
        self.answers = {}
        self.wrong = []
        self.lock = threading.Lock()

    def ask(self, request):
        due = time.monotonic()
        while not self.stop:
            oldest = self.confirmed
            try:
                stamps = request()
            except Exception as error:
                self.note(None, f"{type(error).__name__}: {error}")
            else:
                mixed = len(stamps) != 3 or len(set(stamps)) != 1
                late = stamps[0] < oldest
                self.note(stamps[0], f"{stamps} when {oldest} was confirmed" if mixed or late else None)
            due += self.pause
            time.sleep(max(0.0, due - time.monotonic()))

    def note(self, version, wrong):
        with self.lock:
            if wrong is None:
                self.answers[version] = self.answers.get(version, 0) + 1
            else:
                self.wrong.append(wrong)


def over_http(port):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)

    def request():
        connection.request("POST", "/v2/models/m/infer", BODY, {"Content-Type": "application/json"})
        answer = connection.getresponse()
        content = json.loads(answer.read())
        if answer.status != 200:
            raise RuntimeError(f"{answer.status}: {content}")
        return content["outputs"][0]["data"]

    return request


def over_grpc(port):
    client = triton.InferenceServerClient(f"127.0.0.1:{port}")
    given = triton.InferInput("x", [1, 1], "INT32")
    given.set_data_from_numpy(np.zeros((1, 1), dtype=np.int32))
    return lambda: client.infer("m", [given]).as_numpy("stamps").ravel().tolist()


def main(http_port, grpc_port, rate):
    account = Account(rate)
    requests = [over_http(http_port) for _ in range(HTTP_CLIENTS)]
    requests += [over_grpc(grpc_port) for _ in range(GRPC_CLIENTS)]
    threads = [threading.Thread(target=account.ask, args=(request,)) for request in requests]
    began = time.monotonic()
    for thread in threads:
        thread.start()
    print("begun", flush=True)
    for line in sys.stdin:
        account.confirmed = int(line)
    account.stop = True
    for thread in threads:
        thread.join()
    seconds = time.monotonic() - began
    print(json.dumps({"answers": account.answers, "wrong": account.wrong[:20], "seconds": seconds}))


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
