"""Who may ask a server, its limits, and how they are said."""

import http.client
import signal
import socket
import textwrap
import time
from concurrent.futures import ThreadPoolExecutor

import penstock
import pytest
from click.testing import CliRunner
from penstock.cli import main
from penstock.errors import MLRunInvalidArgumentError
from penstock.serve_options import ServeOptions, tokens_of
from served import JSON, Served

GRAPHS = """
import pathlib
import time
import penstock

def echo(body):
    return body

def hang(body):
    pathlib.Path(body).touch()
    time.sleep(30)

fn = penstock.new_function("echo")
fn.set_topology("flow").to(echo).respond()
hangs = penstock.new_function("hangs")
hangs.set_topology("flow").to(hang).respond()
"""
PAGE = "https://example.org"


@pytest.fixture(scope="module")
def graphs(tmp_path_factory):
    path = tmp_path_factory.mktemp("options") / "graphs.py"
    path.write_text(textwrap.dedent(GRAPHS))
    return path


@pytest.fixture
def serve(graphs):
    started = []

    def start(*options, name="fn", **environment):
        started.append(Served(f"{graphs}:{name}", *options, **environment))
        return started[-1]

    yield start
    for server in started:
        server.end()


def wait_for(condition, seconds=20):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.005)


def status(server, token=None, path="/"):
    headers = JSON if token is None else JSON | {"Authorization": f"Bearer {token}"}
    return server.request(path, "1", headers=headers)[0]


# --- what is said -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"tokn": "x"}, "serve\\(\\) has no option 'tokn'; did you mean 'token'"),
        ({"token": ["a", ""]}, "a token is of visible ASCII characters"),
        ({"token": "two words"}, "a token is of visible ASCII characters"),
        ({"token": "line\n"}, "a token is of visible ASCII characters"),
        ({"cors_origin": "*"}, "an origin is https://host or https://host:port"),
        ({"cors_origin": "https://a.org/"}, "not 'https://a.org/'"),
        ({"cors_origin": "a.org"}, "an origin is https://host"),
        ({"deadline": 0}, "deadline must be more than 0, not 0"),
        ({"max_body": -1}, "max_body must be more than 0, not -1"),
        ({"drain_timeout": -1}, "drain_timeout must be more than 0"),
    ],
)
def test_an_option_that_is_wrong_is_refused_at_once(options, said):
    with pytest.raises(MLRunInvalidArgumentError, match=said):
        ServeOptions.of(**options)


def test_serve_refuses_a_wrong_option_before_it_loads_anything():
    fn = penstock.new_function("f")
    with pytest.raises(MLRunInvalidArgumentError, match="has no option 'max_bdy'; did you mean 'max_body'"):
        fn.serve(port=0, max_bdy=1)


def test_a_token_is_in_no_text_of_the_options():
    assert "s3cret" not in repr(ServeOptions(token="s3cret"))


def test_the_environments_token_counts_if_none_is_given(monkeypatch):
    monkeypatch.setenv("PENSTOCK_TOKEN", "s3cret")
    assert ServeOptions.of().token == ("s3cret",)
    assert ServeOptions.of(token=()).token == ("s3cret",)
    assert ServeOptions.of(token="other").token == ("other",)


def test_a_file_has_a_token_in_each_line(tmp_path):
    path = tmp_path / "tokens"
    path.write_text("# of the shop\none\n\n  two  \n")
    assert tokens_of(path) == ("one", "two")
    path.write_text("# none yet\n")
    with pytest.raises(MLRunInvalidArgumentError, match="has none, so everybody could ask"):
        tokens_of(path)
    with pytest.raises(MLRunInvalidArgumentError, match="cannot be read: No such file"):
        tokens_of(tmp_path / "none")


@pytest.mark.parametrize(
    "arguments",
    [
        ("--token", "two words"),
        ("--cors-origin", "*"),
        ("--max-body", "0"),
        ("--deadline", "0"),
        ("--drain-timeout", "-1"),
        ("--token-file", "no/such/file"),
        ("--log-level", "loud"),
    ],
)
def test_a_wrong_value_is_a_wrong_call(arguments, graphs):
    assert CliRunner().invoke(main, ["serve", f"{graphs}:fn", *arguments]).exit_code == 2


# --- what is done -------------------------------------------------------------------------------------------------


def test_callers_need_one_of_the_tokens(serve, tmp_path):
    path = tmp_path / "tokens"
    path.write_text("from-file\n")
    server = serve("--token", "given", "--token-file", str(path), PENSTOCK_TOKEN="unused")
    assert [status(server, token) for token in ("given", "from-file", "unused", None)] == [200, 200, 403, 401]
    assert server.get("/v2/health/live")[0] == 200
    assert server.get("/v2")[0] == 401
    code, said = server.stop()
    assert (code, "given" in said) == (0, False)


def test_the_token_may_come_from_the_environment(serve):
    server = serve(PENSTOCK_TOKEN="s3cret")
    assert [status(server, token) for token in ("s3cret", None)] == [200, 401]


def test_pages_of_other_origins_are_let_in_by_name(serve):
    server = serve("--cors-origin", PAGE)
    _, headers, _ = server.request("/", "1", headers=JSON | {"Origin": PAGE})
    assert headers["Access-Control-Allow-Origin"] == PAGE
    for origin in ("https://example.com", "http://example.org"):
        _, headers, _ = server.request("/", "1", headers=JSON | {"Origin": origin})
        assert headers["Access-Control-Allow-Origin"] is None
    asked = {"Origin": PAGE, "Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "content-type"}
    code, headers, _ = server.request("/", method="OPTIONS", headers=asked)
    assert (code, headers["Access-Control-Allow-Headers"]) == (204, "content-type")


def test_no_page_is_let_in_by_default(serve):
    _, headers, _ = serve().request("/", "1", headers=JSON | {"Origin": PAGE})
    assert headers["Access-Control-Allow-Origin"] is None


def test_limits_are_as_said(serve):
    server = serve("--max-body", "100", "--max-connections", "2", "--header-timeout", "0.2")
    assert server.request("/", "1" * 100, headers=JSON)[0] != 413
    assert server.request("/", "1" * 101, headers=JSON)[0] == 413
    with socket.create_connection(("127.0.0.1", server.port)) as slow:
        slow.settimeout(20)
        slow.sendall(b"GET / HT")
        assert slow.recv(100).startswith(b"HTTP/1.1 408 ")


def test_a_deadline_is_as_said(serve, tmp_path):
    server = serve("--deadline", "0.1", name="hangs")
    start = time.monotonic()
    assert server.post(str(tmp_path / "entered"))[0] == 504
    assert time.monotonic() - start < 10


def test_a_drain_ends_after_its_time(serve, tmp_path):
    server = serve("--drain-timeout", "0.1", name="hangs")
    entered = tmp_path / "entered"
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(server.post, str(entered))
        wait_for(entered.exists)
        start = time.monotonic()
        code, said = server.stop(signal.SIGTERM)
        assert (code, said) == (75, "penstock: draining\npenstock: stopped with work unsettled\n")
        assert time.monotonic() - start < 10
        with pytest.raises((OSError, http.client.HTTPException)):
            answer.result(20)


def test_more_is_logged_when_asked_for(graphs, tmp_path):
    path = tmp_path / "logs.py"
    path.write_text(
        "import penstock\n"
        "def tell(body, context):\n    context.logger.info('seen', body=body)\n    return body\n"
        "fn = penstock.new_function('logs')\n"
        "fn.set_topology('flow').to(tell).respond()\n"
    )
    for options, seen in (((), False), (("--log-level", "info"), True)):
        server = Served(str(path), *options)
        try:
            assert server.post("a body")[0] == 200
            assert ("INFO penstock.logs: seen" in server.stop()[1]) == seen
        finally:
            server.end()
