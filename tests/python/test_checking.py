"""`penstock check`: all that can be found wrong without running."""

import sys

import penstock
import pytest
from click.testing import CliRunner
from penstock.checking import problems_of
from penstock.cli import main

FILE = """
import penstock

started = []

class Model(penstock.V2ModelServer):
    def __init__(self, context, name, need, **args):
        started.append(name)
        super().__init__(context, name, **args)

class Echo:
    def __init__(self, limit=1):
        started.append(limit)
    def do(self, body):
        return body

fn = penstock.new_function("checked", requirements=["numpy>=1", "no_such_package_here>=3"])
graph = fn.set_topology("flow")
{body}
"""

WRONG = """
graph.to("Ecko", "a").error_handler("catchr").to("Echo", "b", limt=3).to("*", "models")
graph["models"].add_route("m1", class_name="Model", model_path="/nowhere/m.pkl", need=1)
graph["models"].add_route("m2", class_name="Model")
graph.add_step("Echo", "c", after="models", handler="du").to(">>", "q", path="kafak://h/t").to("*", "empty")
graph.add_step("storey.Fliter", "f", after="c", _fn="(event)")
graph.add_step("json.dumps", "behind", after="q", function="enrch")
graph.add_step(handler="lodas", name="text", after="c")
graph["c"].after.append("modelz")
fn.add_child_function("enrich")
fn.with_secrets("env", "NO_SUCH_VARIABLE_HERE").with_secrets("file", "/nowhere/secrets")
fn.spec.error_stream = "filee://x"
fn.spec.graph_initializer = "start"
fn.spec.load_mode = "later"
"""

LINES = [
    "load_mode is 'sync' or 'async', not 'later'",
    "the error handler of step 'a' is to be 'catchr', there is no step of that name",
    "step 'c': cant set after, there is no step named modelz; did you mean 'models'?",
    "router 'empty' has no routes: add some with add_model or add_route before it is started",
    "step 'a': there is no class 'Ecko'; did you mean 'Echo'?",
    "step 'b': Echo takes no argument 'limt'; did you mean 'limit'?",
    "model 'models/m1': there is no file or directory /nowhere/m.pkl",
    "step 'models/m2': Model: missing a required argument: 'need'",
    "step 'c': handler (du) specified but doesnt exist in class Echo; did you mean 'do'?",
    "step 'q': there is no kind of stream 'kafak://'; did you mean 'kafka'?",
    "step 'f': there is no step 'storey.Fliter' in storey; did you mean 'storey.Filter'?",
    "step 'text': there is no handler 'lodas'",
    (
        "function enrch is used in steps and is not defined, use the .add_child_function() to define it; "
        "did you mean 'enrich'?"
    ),
    "child function 'enrich' runs no step: no step has function='enrich'; did you mean 'enrch'?",
    "step 'empty' must specify a function, because it follows a queue step",
    "there is no graph_initializer 'start'",
    "error_stream: there is no kind of stream 'filee://'; did you mean 'file'?",
    "secret 'NO_SUCH_VARIABLE_HERE': no environment variable of that name is set",
    "the file of secrets /nowhere/secrets cannot be read: No such file or directory",
    "the package 'no_such_package_here' is not installed here, it is a requirement of function 'checked'",
]


@pytest.fixture
def check(tmp_path, monkeypatch):
    """Run `penstock check` on a file with this body; return exit code and lines."""
    monkeypatch.setattr(sys, "path", list(sys.path))

    def run(body, name="checked_graph.py"):
        path = tmp_path / name
        path.write_text(FILE.format(body=body) if name.endswith(".py") else body)
        result = CliRunner().invoke(main, ["check", str(path)])
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result.exit_code, result.output.splitlines()

    yield run
    sys.modules.pop("checked_graph", None)


def test_every_problem_is_a_line(check):
    code, lines = check(WRONG)
    assert code == 1
    assert [line for line in LINES if line not in lines] == []
    assert [line for line in lines if line not in LINES and "in different functions" not in line] == []


def test_nothing_is_made_or_run(check):
    check('graph.to("Echo", "a").respond()')
    assert sys.modules["checked_graph"].started == []


def test_a_graph_that_is_fine_is_summed_up(check):
    body = """
fn.spec.build.requirements = ["numpy>=1"]
graph.to("Echo", "a").to("*", "models").add_route("m1", class_name="Model", need=1)
graph["models"].to(">>", "q", path="").to("json.dumps", "text", function="enrich")
fn.add_child_function("enrich")
"""
    assert check(body) == (
        0,
        ["'checked': flow of 4 steps, 1 route, 1 child function; nothing wrong was found"],
    )


@pytest.mark.parametrize(
    ("body", "text"),
    [
        ('graph.to("Echo", "a").to("Echo", "b")\ngraph["a"].after_step("b")', "loop detected in step a"),
        ('graph.engine = "sync"\ngraph.to("Echo", "a")\ngraph.to("Echo", "b")', "sync engine can only have one start"),
        ("fn.spec.graph = None", "no models or steps were set"),
        ("", "no models or steps were set"),
        ('fn.set_topology("router", exist_ok=True)', "no models or steps were set"),
        (
            'graph.to("Echo", "a").to("Echo", "b", function="enrich")\nfn.add_child_function("enrich")',
            "run in different functions: put a queue between them",
        ),
    ],
)
def test_the_shape_of_the_graph_is_checked(check, body, text):
    code, lines = check("fn.spec.build.requirements = []\n" + body)
    assert (code, len(lines)) == (1, 1)
    assert text in lines[0]


def test_a_written_function_is_checked_too(check, tmp_path):
    fn = penstock.new_function("written")
    fn.set_topology("flow").to("json.dumpz", "text")
    assert check(fn.to_json(), "function.yaml") == (
        1,
        ["step 'text': there is no class 'json.dumpz': 'json' has no 'dumpz'; did you mean 'dump' or 'dumps'?"],
    )
    result = CliRunner().invoke(main, ["check", str(tmp_path / "function.yaml") + ":writtn"])
    assert (result.exit_code, "has no serving function 'writtn', it has written; did you mean" in result.output) == (
        1,
        True,
    )


@pytest.mark.parametrize("target", ["nowhere.py", "nowhere.yaml", "no_such_module"])
def test_a_target_that_is_not_there_is_a_wrong_call(target):
    result = CliRunner().invoke(main, ["check", target])
    assert result.exit_code == 2
    assert "there is no" in result.output


def test_a_source_that_fails_is_a_problem(tmp_path):
    (tmp_path / "breaks.py").write_text("1 / 0\n")
    fn = penstock.code_to_function("f", filename=str(tmp_path / "breaks.py"))
    fn.set_topology("flow").to("json.dumps", "text")
    (line,) = problems_of(fn)
    assert line.endswith("breaks.py failed to load (line 1): ZeroDivisionError: division by zero")


def test_models_that_lie_elsewhere_are_looked_for():
    import fsspec

    fsspec.filesystem("memory").pipe("/checked/m.pkl", b"x")
    fn = penstock.new_function("f")
    for name in ("m", "n"):
        fn.add_model(name, f"memory://checked/{name}.pkl", class_name=penstock.V2ModelServer)
    fn.add_model("o", "nofs://o.pkl", class_name=penstock.V2ModelServer)
    lost, unread = problems_of(fn)
    assert lost == "model 'n': there is no file or directory memory://checked/n.pkl"
    assert unread.startswith("model 'o': cannot read nofs://o.pkl: ")


def test_the_framework_of_a_ready_made_server_is_looked_for(tmp_path, monkeypatch):
    (tmp_path / "model.pkl").write_bytes(b"x")
    server = type("Server", (penstock.V2ModelServer,), {"package": "no_such_framework", "extra": "torch"})
    fn = penstock.new_function("f")
    fn.add_model("m", str(tmp_path), class_name=server)
    assert problems_of(fn) == [
        "step 'm': Server needs the package 'no_such_framework': pip install \"penstock[torch]\""
    ]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"on_poison": "x"}, "on_poison is one of stop, dead_letter, skip, not 'x'"),
        ({"shards": "many"}, "shards is a number, not 'many'"),
        ({"max_in_flight": -1}, "max_in_flight is more than 0, not -1"),
        ({"initial_offset": "now"}, "initial_offset is 'earliest' or 'latest', not 'now'"),
        ({"sasl_user": "me", "sasl_pass": "${NO_SUCH}"}, "sasl.password is ${NO_SUCH}, and that variable is not set"),
        ({}, None),
    ],
)
def test_what_a_queue_says_of_its_topic_is_checked(options, said):
    fn = penstock.new_function("f")
    flow = fn.set_topology("flow").to("json.dumps", "a").to(">>", "q", path="kafka:///in", **options)
    flow.to("json.loads", "b", function="child")
    fn.add_child_function("child")
    problems = problems_of(fn)
    assert len(problems) == (said is not None)
    assert all(line.startswith("step 'q': ") and line.endswith(said) for line in problems)


@pytest.mark.parametrize(
    ("trigger", "said"),
    [
        ({"kind": "cron", "attributes": {"schedule": "now"}}, "trigger 't': a schedule has five fields"),
        ({"kind": "cron", "attributes": {"interval": "5"}}, "an interval is a number with"),
        ({"kind": "kafka-cluster", "attributes": {"topics": ["t"]}}, "a Kafka trigger names brokers and topics"),
    ],
)
def test_what_a_trigger_says_is_checked(trigger, said):
    fn = penstock.new_function("f").add_trigger("t", trigger)
    fn.set_topology("flow").to("json.dumps", "a")
    (line,) = problems_of(fn)
    assert said in line
