"""The first page: who gets it, what it shows, and that nothing in it is taken for HTML."""

import textwrap
from html.parser import HTMLParser

import pytest
from penstock.page import page
from served import Served
from test_metrics import STEP

BROWSER = {"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"}
GRAPHS = """
import penstock

class Sums(penstock.serving.V2ModelServer):
    inputs = [{"name": "x", "datatype": "FP32", "shape": [-1, 4]}]
    def load(self): pass
    def predict(self, body):
        return [sum(row) for row in body["inputs"]]

models = penstock.new_function("shop")
models.add_model("m1", class_name="Sums")

def tell(event):
    event.body = event.path
    return event

flow = penstock.new_function("flow")
flow.set_topology("flow").to(tell, name="<b>&step", full_event=True).respond()
"""
COUNTS = {
    "name": "<script>alert(1)</script>",
    "steps": {"<img src=x>": STEP | {"model": "<m>"}},
    "answers": [0, 0, 1234, 1, 2, 3],
    "calls": [5] + [0] * 16,
    "refused": 7,
    "in_flight": 1,
    "connections": 2,
    "models": {"<m>": 1},
    "processes": {"0": {"pid": 42, "memory": 2**25, "cpu": 0.25, "started": 0.0, "uptime": 3700.0}},
}


class Model:
    inputs = ({"name": "<x>", "datatype": "FP32", "shape": [-1, 4]},)
    outputs = ("plain",)


class Seen(HTMLParser):
    """The tags and the text of a page; every element must be closed."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.words, self.open, self.links = [], [], [], []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.links += [value for name, value in attributes if name in ("href", "src")]
        if tag != "meta":
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.tags.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, text):
        if "style" not in self.open[-1:]:
            self.words += text.split()


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    path = tmp_path_factory.mktemp("page") / "graphs.py"
    path.write_text(textwrap.dedent(GRAPHS))
    started = {}

    def get(name):
        if name not in started:
            started[name] = Served(f"{path}:{name}")
        return started[name]

    yield get
    for server in started.values():
        server.end()


def test_all_names_are_text():
    seen = Seen(page(COUNTS, {"<m>": Model()}, "<svg></svg>"))
    assert not {"script", "img", "m", "x"} & set(seen.tags)
    assert {"<img", "<m>", "<x>", "plain"} <= set(seen.words)
    assert "<script>alert(1)</script>" in seen.words


def test_numbers_are_shown_for_people():
    words = " ".join(Seen(page(COUNTS, {}, "<svg></svg>")).words)
    assert "up for 1 h 1 min" in words
    assert "1,235" in words
    assert "32 MiB" in words
    assert "10.1 s" in words  # of 4 calls that were measured
    assert "1002.0" in words


@pytest.mark.parametrize(("ready", "said"), [(2, "ready inputs"), (1, "ready in 1 of 2 processes"), (0, "not ready")])
def test_a_model_is_ready_when_it_is_in_all_processes(ready, said):
    counts = COUNTS | {"models": {"m": ready}, "processes": dict.fromkeys("01", COUNTS["processes"]["0"])}
    words = " ".join(Seen(page(counts, {"m": Model()}, "")).words)
    assert said.removesuffix(" inputs") in words
    assert ("not ready" in words) == (ready == 0)


def test_a_browser_gets_the_page(served):
    status, headers, content = served("models").request("/", headers=BROWSER)
    assert (status, headers["Content-Type"]) == (200, "text/html; charset=utf-8")
    assert headers["Content-Security-Policy"].startswith("default-src 'none'")
    seen = Seen(content.decode())
    assert {"shop", "m1", "ready", "[-1,"} <= set(seen.words)
    assert "svg" in seen.tags
    assert "script" not in seen.tags
    assert all(link.startswith("/") for link in seen.links)


def test_others_get_what_the_graph_says(served):
    status, headers, content = served("models").request("/", headers={"Accept": "*/*"})
    assert (status, headers["Content-Type"], content["name"]) == (200, "application/json", "ModelRouter")
    assert served("flow").request("/")[2] == b"/"
    assert served("flow").request("/other", headers=BROWSER)[2] == b"/other"


def test_names_of_steps_are_text_on_a_server_too(served):
    seen = Seen(served("flow").request("/", headers=BROWSER)[2].decode())
    assert "<b>&step" in seen.words
    assert "b" not in seen.tags
