"""TLS on both ports, with clients as they are; what is wrong with its files."""

import http.client
import json
import signal
import socket
import ssl
import subprocess
import sys
import textwrap
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import penstock
import pytest
import trustme
from penstock.errors import CertificateError, MLRunInvalidArgumentError
from penstock.http_server import HttpServer
from penstock.serve_options import ServeOptions
from served import Served

GRAPHS = """
import pathlib
import penstock

pathlib.Path(__file__).with_name("loaded").touch()

class Double(penstock.serving.V2ModelServer):
    def load(self):
        pass

    def predict(self, body):
        return body["inputs"] * 2

models = penstock.new_function("models")
models.add_model("double", class_name=Double, model_path="")

echo = penstock.new_function("echo")
echo.set_topology("flow").to(lambda body: body, name="echo").respond()
"""
CLIENTS = Path(__file__).with_name("tls_clients.py")


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tls")
    (folder / "graphs.py").write_text(textwrap.dedent(GRAPHS))
    authority = trustme.CA()
    authority.cert_pem.write_to_path(folder / "ca.pem")
    write(authority.issue_cert("127.0.0.1", "localhost"), folder, "server")
    write(authority.issue_cert("client@example.org"), folder, "client")
    write(trustme.CA().issue_cert("127.0.0.1"), folder, "other")
    return folder


def write(identity, folder, name):
    (folder / f"{name}.pem").write_bytes(b"".join(blob.bytes() for blob in identity.cert_chain_pems))
    identity.private_key_pem.write_to_path(folder / f"{name}.key")


def options_of(files, name="server"):
    return ["--tls-cert", str(files / f"{name}.pem"), "--tls-key", str(files / f"{name}.key")]


@pytest.fixture(scope="module")
def server(files):
    server = Served(f"{files}/graphs.py:models", *options_of(files), "--grpc-port", "0")
    yield server
    server.end()


@pytest.fixture
def serve(files):
    started = []

    def start(*options, name="echo"):
        started.append(Served(f"{files}/graphs.py:{name}", *options_of(files), *options))
        return started[-1]

    yield start
    for server in started:
        server.end()


def trusting(files):
    return ssl.create_default_context(cafile=files / "ca.pem")


@pytest.mark.parametrize("client", ["triton_http", "triton_grpc", "triton_grpc_stream"])
def test_tritonclient_works(server, files, client):
    port = server.port if client == "triton_http" else server.grpc_port
    command = [sys.executable, str(CLIENTS), client, str(port), str(files)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(("option", "version"), [("--http1.1", "1.1"), ("--http2", "2")])
def test_curl_speaks_what_it_wants(server, files, tmp_path, option, version):
    numbers = list(range(300_000))
    request = {"inputs": [{"name": "x", "shape": [len(numbers)], "datatype": "INT64", "data": numbers}]}
    (tmp_path / "body").write_text(json.dumps(request))
    command = ["curl", "-sS", option, "--cacert", str(files / "ca.pem"), "-w", "%{http_version}", "-o"]
    command += [str(tmp_path / "answer"), "--data-binary", f"@{tmp_path / 'body'}"]
    command += [f"https://127.0.0.1:{server.port}/v2/models/double/infer"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=True)
    assert done.stdout == version
    [output] = json.loads((tmp_path / "answer").read_text())["outputs"]
    assert output["data"] == [2 * number for number in numbers]


@pytest.mark.parametrize("http2", [False, True])
def test_httpx_works(server, files, http2):
    with httpx.Client(verify=trusting(files), http2=http2, base_url=f"https://127.0.0.1:{server.port}") as client:
        for _ in range(3):
            answer = client.get("/v2/models/double/ready")
            assert (answer.status_code, answer.json()) == (200, {"name": "double", "ready": True})
            assert answer.http_version == ("HTTP/2" if http2 else "HTTP/1.1")
        assert client.get("/v2/models/none").status_code == 404


def test_many_connections_at_once_are_answered(server, files):
    context = trusting(files)

    def ask(number):
        connection = http.client.HTTPSConnection("127.0.0.1", server.port, timeout=20, context=context)
        body = {"inputs": [{"name": "x", "shape": [1], "datatype": "INT64", "data": [number]}]}
        connection.request("POST", "/v2/models/double/infer", json.dumps(body))
        answer = json.load(connection.getresponse())
        connection.close()
        return answer["outputs"][0]["data"][0]

    with ThreadPoolExecutor(16) as pool:
        assert list(pool.map(ask, range(200))) == [2 * number for number in range(200)]


def test_a_client_without_tls_is_told(server):
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=20)
    connection.request("GET", "/v2/health/live")
    answer = connection.getresponse()
    assert (answer.status, json.load(answer)) == (400, {"error": "this port speaks TLS: ask with https://"})
    with socket.create_connection(("127.0.0.1", server.grpc_port), timeout=20) as plain:
        plain.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
        plain.shutdown(socket.SHUT_WR)
        while plain.recv(1000):
            pass


def test_an_authority_of_clients_lets_in_its_own(serve, files):
    server = serve("--tls-client-ca", str(files / "ca.pem"))
    url = f"https://127.0.0.1:{server.port}/"
    context = trusting(files)
    with pytest.raises(httpx.TransportError):
        httpx.get(url, verify=context)
    context.load_cert_chain(files / "client.pem", files / "client.key")
    assert httpx.post(url, verify=context, json=7).json() == 7


def test_workers_share_the_port(serve, files):
    server = serve("--workers", "2")
    assert server.scheme == "https"
    with httpx.Client(verify=trusting(files)) as client:
        assert client.post(f"https://127.0.0.1:{server.port}/", json=7).json() == 7
    code, said = server.stop()
    assert (code, said) == (0, "penstock: draining\n")


def test_a_drain_closes_what_is_idle_and_what_has_not_begun(serve, files):
    server = serve()
    with (
        socket.create_connection(("127.0.0.1", server.port), timeout=20) as silent,
        socket.create_connection(("127.0.0.1", server.port), timeout=20) as plain,
        trusting(files).wrap_socket(plain, server_hostname="127.0.0.1") as idle,
    ):
        idle.sendall(b"GET /v2/health/live HTTP/1.1\r\nHost: a\r\n\r\n")
        assert idle.recv(1000).startswith(b"HTTP/1.1 200 OK\r\n")
        assert server.stop(signal.SIGTERM) == (0, "penstock: draining\n")
        assert silent.recv(1) == b""


@pytest.mark.parametrize("workers", ["1", "2"])
@pytest.mark.parametrize(
    ("names", "text"),
    [
        (("nothing.pem", "server.key"), "the certificate {0}/nothing.pem cannot be read: No such file or directory"),
        (("server.pem", "other.key"), "the key {0}/other.key is not that of the certificate {0}/server.pem"),
        (
            ("server.pem", "server.pem"),
            "the key {0}/server.pem cannot be used: there is none in it, in the form of PEM",
        ),
    ],
)
def test_wrong_files_are_one_line_before_anything_is_loaded(files, tmp_path, workers, names, text):
    cert, key = names
    (tmp_path / "graphs.py").write_text("raise SystemExit(9)" if workers == "2" else textwrap.dedent(GRAPHS))
    command = [sys.executable, "-m", "penstock", "serve", f"{tmp_path / 'graphs.py'}:models", "--port", "0"]
    command += ["--tls-cert", str(files / cert), "--tls-key", str(files / key), "--workers", workers]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (1, "", f"error: TLS: {text.format(files)}\n")


@pytest.mark.parametrize("given", [{"tls_cert": "a"}, {"tls_key": "a"}, {"tls_client_ca": "a"}])
def test_files_that_belong_together_are_given_together(given):
    with pytest.raises(MLRunInvalidArgumentError, match="tls_cert and tls_key"):
        ServeOptions(**given)


def test_serve_raises_what_is_wrong(files):
    function = penstock.new_function("echo")
    function.set_topology("flow").to(lambda body: body, name="echo").respond()
    with pytest.raises(CertificateError, match="cannot be read"):
        function.serve(port=0, tls_cert=files / "nothing.pem", tls_key=files / "server.key")


def test_a_renewed_certificate_is_shown_without_a_restart(files, tmp_path, monkeypatch):
    function = penstock.new_function("echo")
    function.set_topology("flow").to(lambda body: body, name="echo").respond()
    graph = function.to_mock_server()
    for kind in ("pem", "key"):
        (tmp_path / f"my.{kind}").write_bytes((files / f"server.{kind}").read_bytes())
    monkeypatch.setattr("penstock.certificates.PERIOD", 0.02)
    warned = threading.Event()
    monkeypatch.setattr("penstock.certificates._log.warning", lambda *_: warned.set())
    with HttpServer(
        graph, port=0, options=ServeOptions(tls_cert=tmp_path / "my.pem", tls_key=tmp_path / "my.key")
    ) as http:

        def shown():
            return ssl.get_server_certificate(("127.0.0.1", http.port), timeout=20)

        before = shown()
        (tmp_path / "my.pem").write_bytes((files / "other.pem").read_bytes())
        assert warned.wait(20)  # the key is still the old one
        assert shown() == before
        (tmp_path / "my.key").write_bytes((files / "other.key").read_bytes())
        while shown() == before:
            pass
        assert shown().strip() in (files / "other.pem").read_text()
