"""The command line: targets, what is said, exit codes."""

import importlib
import sys

import pytest
from click.testing import CliRunner
from penstock.cli import main
from penstock.errors import GraphError
from penstock.function import ServingFunction
from penstock.targets import TargetError, load_target

GRAPH = """
import penstock
{before}
def double(body):
    return 2 * body

{name} = penstock.new_function("doubles")
{name}.set_topology("flow").to("double").respond()
"""


@pytest.fixture
def write(tmp_path, monkeypatch):
    """Write a file into a directory of its own; modules made of it are forgotten afterwards."""
    monkeypatch.setattr(sys, "path", list(sys.path))
    before = set(sys.modules)

    def make(file_name, *, name="fn", before=""):
        path = tmp_path / file_name
        path.parent.mkdir(exist_ok=True)
        path.write_text(GRAPH.format(name=name, before=before))
        return str(path)

    yield make
    for name in set(sys.modules) - before:
        if getattr(sys.modules[name], "__file__", None) and str(tmp_path) in str(sys.modules[name].__file__):
            del sys.modules[name]


@pytest.fixture
def served(monkeypatch):
    """What `serve` was called with, instead of serving."""
    calls = []

    def record(self, host="127.0.0.1", port=8080, **options):
        calls.append((self.metadata.name, host, port, options))

    monkeypatch.setattr(ServingFunction, "serve", record)
    return calls


def run(*arguments):
    result = CliRunner().invoke(main, list(arguments))
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def test_a_file_is_a_module_named_after_itself(write):
    function, module = load_target(write("my_graph.py"))
    assert function is module.fn
    assert module.__name__ == "my_graph"
    assert sys.modules["my_graph"] is module


def test_the_only_function_needs_no_name(write):
    function, module = load_target(write("one.py", name="other"))
    assert function is module.other


def test_fn_is_the_first_choice(write):
    path = write("two.py", before='other = penstock.new_function("other")')
    assert load_target(path)[0].metadata.name == "doubles"
    assert load_target(path + ":other")[0].metadata.name == "other"


def test_several_functions_are_listed(write):
    path = write("several.py", name="a", before='b = penstock.new_function("b")')
    with pytest.raises(GraphError, match=r"has several serving functions, name one: .*several.py:b, .*several.py:a"):
        load_target(path)


def test_a_name_that_is_none_lists_those_there_are(write):
    with pytest.raises(GraphError, match="has no serving function 'fm', it has fn; did you mean 'fn'"):
        load_target(write("named.py") + ":fm")


def test_a_module_is_found_by_its_dotted_name(write, tmp_path, monkeypatch):
    write("clipack/graphs.py", name="doubles")
    (tmp_path / "clipack" / "__init__.py").write_text("")
    monkeypatch.chdir(tmp_path)
    importlib.invalidate_caches()
    assert load_target("clipack.graphs:doubles")[0].metadata.name == "doubles"


@pytest.mark.parametrize("target", ["nowhere.py", "no_such_module_at_all", "nowhere/graph.py:fn"])
def test_a_target_that_is_not_there_is_a_wrong_call(target, served):
    with pytest.raises(TargetError, match="there is no"):
        load_target(target)
    result = run("serve", target)
    assert result.exit_code == 2
    assert "Invalid value for TARGET: there is no" in result.output


def test_a_file_of_the_package_s_name_is_told_to_take_another(write):
    result = run("check", write("penstock.py"))
    assert result.exit_code == 2
    assert "penstock.py hides the package penstock, give the file another name" in result.output


@pytest.mark.parametrize("target", [".", "../", "/"])
def test_a_folder_is_no_target(target):
    with pytest.raises(TargetError, match="is a folder; a target is a file in it, or a module"):
        load_target(target)


def test_a_file_that_fails_says_where(write, served):
    result = run("serve", write("broken.py", before="1 / 0"))
    assert result.exit_code == 1
    assert result.output.splitlines()[-1].endswith(
        "broken.py failed to load (line 3 of broken.py): ZeroDivisionError: division by zero"
    )


def test_serve_hands_its_options_on(write, served):
    path = write("options.py")
    assert run("serve", path, "--host", "0.0.0.0", "--port", "9000").exit_code == 0
    ((name, host, port, options),) = served
    assert (name, host, port) == ("doubles", "0.0.0.0", 9000)
    assert options["namespace"] is sys.modules["options"]
    assert options["current_function"] is None


def test_serve_of_a_wrong_graph_is_one_line_and_exit_1(write):
    path = write("wrong.py", before='fn2 = penstock.new_function("f")\nfn2.set_topology("flow").to("dubble").respond()')
    result = run("serve", path + ":fn2", "--port", "0")
    assert result.exit_code == 1
    assert result.output == "error: step 'dubble': there is no class 'dubble'; did you mean 'double'?\n"


@pytest.mark.parametrize(
    "arguments", [("serve",), ("serve", "x.py", "--port", "70000"), ("srve",), ("serve", "--nope")]
)
def test_a_wrong_call_is_exit_2(arguments):
    assert run(*arguments).exit_code == 2


def test_help_has_examples_and_the_version_is_told():
    assert "penstock serve iris.py:fn --port 9000" in run("serve", "--help").output
    assert run("--version").output.startswith("penstock, version ")


def test_the_module_is_the_command_too(run_python):
    done = run_python(
        "import runpy, sys; sys.argv = ['penstock', '--version']; runpy.run_module('penstock', run_name='__main__')"
    )
    assert done.stdout.startswith("penstock, version ")
