"""Nuclio's dashboard, here a server that speaks its part: what it is sent, and what is made of its answers."""

import base64
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import penstock
import pytest
from deployments import SOURCE
from penstock.deploying import written
from penstock.deploying.dashboard import deploy_all
from penstock.documents import unpack
from penstock.errors import DeployError, GraphError
from penstock.targets import load_target


class Dashboard(BaseHTTPRequestHandler):
    """Keeps what it is sent; a function passes through the states of `states`."""

    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        """Say nothing."""

    def do_GET(self):
        name = self.path.rpartition("/")[2]
        if name not in self.server.functions:
            return self.answer(404, {"error": "not found"})
        states = self.server.states
        state = states.pop(0) if len(states) > 1 else states[0]
        urls = (
            {"internalInvocationUrls": [f"nuclio-{name}:8080"]}
            if state == "ready"
            else {"message": "no such base image"}
        )
        return self.answer(200, self.server.functions[name] | {"status": {"state": state, **urls}})

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.asked.append((self.command, self.path, dict(self.headers)))
        if self.server.refuse:
            return self.answer(409, {"error": "taken"})
        self.server.functions[body["metadata"]["name"]] = body
        return self.answer(202, None)

    do_PUT = do_POST

    def answer(self, status, body):
        text = b"" if body is None else json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)


@pytest.fixture
def dashboard():
    server = ThreadingHTTPServer(("127.0.0.1", 0), Dashboard)
    server.daemon_threads = True
    server.functions, server.asked, server.states, server.refuse = {}, [], ["building", "ready"], False
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    server.url = f"http://127.0.0.1:{server.server_port}"
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def application(fn, **options):
    return written(fn, "nuclio", module={}, options={"python": "3.11", **options})[0]


def adds():
    fn = penstock.new_function("adds", project="bank")
    fn.set_topology("flow").to("(event + 1)", name="add").respond()
    return fn


def deploy(fn, dashboard, **options):
    said = []
    address = deploy_all(application(fn, **options), dashboard.url, say=said.append, pause=0.0, timeout=20)
    return address, said


def test_a_function_is_created_and_then_updated(dashboard):
    address, said = deploy(adds(), dashboard, namespace="nuclio")
    assert address == "http://nuclio-adds:8080"
    assert said == ["penstock: 'adds' is being built", "penstock: 'adds': building", "penstock: 'adds': ready"]
    deploy(adds(), dashboard, namespace="nuclio")
    assert [(method, path) for method, path, _ in dashboard.asked] == [
        ("POST", "/api/functions"),
        ("PUT", "/api/functions/adds"),
    ]
    headers = {name.lower(): value for name, value in dashboard.asked[0][2].items()}
    assert headers["x-nuclio-project-name"] == "bank"
    assert headers["x-nuclio-function-namespace"] == "nuclio"


def test_what_is_sent_holds_the_source_and_the_spec(dashboard, tmp_path):
    (tmp_path / "alone.py").write_text(SOURCE.replace("import shapes", "").replace("shapes.twice", "2 * "))
    function, _ = load_target(str(tmp_path / "alone.py"))
    function.spec.filename = str(tmp_path / "alone.py")
    deploy(function, dashboard)
    spec = dashboard.functions["doubles"]["spec"]
    assert spec["handler"] == "alone:penstock_handler"
    code = base64.b64decode(spec["build"]["functionSourceCode"]).decode()
    assert "def double(body):" in code
    assert code.endswith("from penstock.nuclio import handler as penstock_handler\n")
    env = {item["name"]: item["value"] for item in spec["env"]}
    assert unpack(env["SERVING_SPEC_ENV"])["graph"]["steps"]["double"]["class_name"] == "double"
    assert spec["build"]["commands"][0].startswith("pip install --no-cache-dir 'penstock==")


def test_a_build_that_fails_says_why(dashboard):
    dashboard.states = ["building", "error"]
    with pytest.raises(DeployError, match=r"could not deploy 'adds' \(error\): no such base image"):
        deploy(adds(), dashboard)


def test_a_refusal_is_told_with_its_answer(dashboard):
    dashboard.refuse = True
    with pytest.raises(DeployError, match='answered 409 to POST .*{"error": "taken"}'):
        deploy(adds(), dashboard)


def test_a_dashboard_that_is_not_there_is_named():
    with pytest.raises(DeployError, match="does not answer at http://127.0.0.1:9/api/functions/adds"):
        deploy_all(application(adds()), "http://127.0.0.1:9", say=print)
    with pytest.raises(GraphError, match="over http or https, not at 'file:///x'"):
        deploy_all(application(adds()), "file:///x", say=print)


def test_more_than_a_source_file_goes_by_nuctl(dashboard, tmp_path):
    fn = penstock.new_function("f")
    for name in ("a", "b"):
        (tmp_path / f"{name}.pkl").write_bytes(b"x")
        fn.add_model(name, model_path=str(tmp_path / f"{name}.pkl"), class_name="penstock.serving.PickleModelServer")
    with pytest.raises(GraphError, match="takes one source file, and 'f' carries models/a/a.pkl"):
        deploy(fn, dashboard)
