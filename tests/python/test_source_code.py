"""Functions made of a source: files, notebooks, what others have written down, the built-in hub."""

import base64
import json
import pickle
import sys

import penstock
import pytest
from penstock.errors import GraphError
from penstock.hub import FUNCTIONS
from penstock.source_code import load_source, notebook_code

SOURCE = """
import beside

class Inc:
    def do(self, body):
        return body + beside.AMOUNT

def twice(body):
    return 2 * body
"""


def here(body):
    return ["here", body]


def twice(body):
    return "of the caller"


@pytest.fixture
def source(tmp_path, monkeypatch):
    """A file with one beside it; modules made of them are forgotten afterwards."""
    monkeypatch.setattr(sys, "path", list(sys.path))
    before = set(sys.modules)
    (tmp_path / "beside.py").write_text("AMOUNT = 10\n")
    (tmp_path / "my_steps.py").write_text(SOURCE)
    yield tmp_path / "my_steps.py"
    for name in set(sys.modules) - before:
        if str(tmp_path) in str(getattr(sys.modules[name], "__file__", "")):
            del sys.modules[name]


def notebook(path, *cells):
    """Write a notebook with these code cells."""
    listed = [{"cell_type": "code", "source": cell} for cell in cells]
    path.write_text(json.dumps({"cells": [{"cell_type": "markdown", "source": ["# Title"]}, *listed]}))
    return str(path)


def answer(fn, body, namespace=None):
    with fn.to_mock_server(namespace) as server:
        return server.test(body=body)


def test_names_are_found_in_the_source_before_the_caller(source):
    fn = penstock.code_to_function("f", filename=str(source), kind="serving", image="i", requirements=["x"])
    fn.set_topology("flow").to("Inc").to("twice").to("here").respond()
    assert answer(fn, 1) == ["here", 22]
    assert answer(fn, 1, {"twice": lambda body: "of the namespace"}) == ["here", "of the namespace"]
    assert (fn.spec.filename, fn.spec.image, fn.spec.build.requirements) == (str(source), "i", ["x"])
    assert penstock.code_to_function(filename=str(source)).metadata.name == "my-steps"


def test_the_classes_of_a_source_can_be_pickled(source):
    module = load_source(str(source))
    assert module.__name__ == "my_steps"
    assert load_source(str(source)) is module
    assert type(pickle.loads(pickle.dumps(module.Inc()))) is module.Inc


@pytest.mark.parametrize("filename", ["", "./", "."])
def test_without_a_file_the_module_that_makes_the_function_is_the_source(filename):
    fn = penstock.code_to_function("f", filename=filename)
    fn.set_topology("flow").to("here").respond()
    scope = {"fn": fn}
    exec("server = fn.to_mock_server()", scope)  # from a module that has no such name
    with scope["server"] as server:
        assert server.test(body=1) == ["here", 1]


def test_a_relative_source_starts_at_the_workdir(source):
    fn = penstock.new_function("f", command="my_steps.py")
    fn.set_topology("flow").to("Inc").respond()
    with fn.to_mock_server(workdir=str(source.parent)) as server:
        assert server.test(body=1) == 11


def test_the_source_of_a_child_function_is_searched_too(source):
    fn = penstock.new_function("f")
    fn.set_topology("flow").to("(event)").to(">>", "q", path="").to("Inc", function="child", input_path="n").respond()
    fn.add_child_function("child", str(source))
    assert answer(fn, {"n": 1}) == 11


def test_a_notebook_is_its_code_without_magics(tmp_path):
    path = notebook(
        tmp_path / "nb.ipynb",
        "# penstock: ignore\nraise RuntimeError('ignored')",
        "# mlrun: ignore\nraise RuntimeError('ignored')",
        "%%bash\nrm -rf x",
        ["!pip install x\n", "%matplotlib inline\n", "amount = 3\n"],
        "def add(body):\n    if body:\n        !ls\n    return body + amount",
        "# mlrun: end-code",
        "raise RuntimeError('after the end')",
    )
    fn = penstock.code_to_function("f", filename=path)
    fn.set_topology("flow").to("add").respond()
    assert answer(fn, 4) == 7


def test_code_starts_where_a_notebook_says_so():
    cells = ["a = 1", "# mlrun: start-code", "b = 2"]
    assert (
        notebook_code({"cells": [{"cell_type": "code", "source": cell} for cell in cells]})
        == "# mlrun: start-code\nb = 2\n"
    )


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ("1 / 0\n", r"broken.py failed to load \(line 1\): ZeroDivisionError"),
        ("ok = 1\nif ok\n    pass\n", r"broken.py failed to load \(line 2\): SyntaxError"),
        ("\n\nimport no_such_module_here\n", r"broken.py failed to load \(line 3\): ModuleNotFoundError"),
    ],
)
def test_a_source_that_fails_says_where(source, content, text):
    (source.parent / "broken.py").write_text(content)
    fn = penstock.code_to_function("f", filename=str(source.parent / "broken.py"))
    fn.set_topology("flow").to("here").respond()
    with pytest.raises(GraphError, match=text):
        fn.to_mock_server()


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"filename": "/nowhere/a.py"}, "there is no file /nowhere/a.py"),
        ({"filename": "a.txt"}, "filename is a .py or .ipynb file, or '' for this module, not 'a.txt'"),
        ({"filenam": "a.py"}, "code_to_function takes no argument 'filenam'"),
        ({"kind": "job"}, "there is no kind of function 'job', only 'serving'"),
    ],
)
def test_a_source_that_is_none(arguments, text):
    with pytest.raises(GraphError, match=text):
        penstock.code_to_function("f", **arguments)


def test_a_written_function_carries_its_source(source, tmp_path):
    fn = penstock.code_to_function("f", filename=str(source))
    fn.set_topology("flow").to("twice").respond()
    fn.export(str(tmp_path / "function.yaml"))
    code = fn.to_dict()["spec"]["build"]["functionSourceCode"]
    assert base64.b64decode(code).decode() == SOURCE
    source.unlink()
    assert answer(penstock.import_function(str(tmp_path / "function.yaml")), 4) == 8


def test_a_source_is_imported_from_a_file_and_from_a_url(source):
    import fsspec

    for url in (str(source), "memory://steps/remote_steps.py", "memory://steps/remote.ipynb"):
        if url.endswith("steps.py") and "://" in url:
            fsspec.filesystem("memory").pipe("/steps/remote_steps.py", b"def twice(body):\n    return 2 * body\n")
        elif "://" in url:
            cell = {"cell_type": "code", "source": "def twice(body):\n    return 2 * body"}
            fsspec.filesystem("memory").pipe("/steps/remote.ipynb", json.dumps({"cells": [cell]}).encode())
        fn = penstock.import_function(url, new_name="other", project="p")
        fn.set_topology("flow").to("twice").respond()
        assert (fn.metadata.uri, answer(fn, 3)) == ("p/other", 6)


@pytest.mark.parametrize(
    ("url", "text"),
    [
        ("db://p/f", "there is no database of functions here; export it to a file"),
        ("hub://v2_modle_server", "the built-in hub has no 'v2_modle_server'; did you mean 'v2_model_server'"),
        ("f.txt", r"a function is imported from hub://..., a .yaml, .json, .py or .ipynb file, not from 'f.txt'"),
        ("/nowhere/f.yaml", "there is no file /nowhere/f.yaml"),
        ("nofs://x/f.json", "cannot read nofs://x/f.json"),
    ],
)
def test_an_import_that_leads_nowhere(url, text):
    with pytest.raises(GraphError, match=text):
        penstock.import_function(url)


def test_a_file_without_fields_is_no_function(tmp_path):
    (tmp_path / "f.json").write_text("[1]")
    with pytest.raises(GraphError, match="f.json holds no fields, but a list"):
        penstock.import_function(str(tmp_path / "f.json"))
    (tmp_path / "f.yaml").write_text("a: [1\nb: }")
    with pytest.raises(GraphError, match="f.yaml is neither JSON nor YAML"):
        penstock.import_function(str(tmp_path / "f.yaml"))


def test_yaml_that_is_no_json_needs_a_package_that_is_named(tmp_path, run_python):
    (tmp_path / "f.yaml").write_text("kind: serving\nmetadata: {name: f}\n")
    (tmp_path / "g.yaml").write_text('{"kind": "serving", "metadata": {"name": "g"}}')
    run_python(
        "import sys; sys.modules['yaml'] = None\n"
        "import penstock\n"
        f"assert penstock.import_function({str(tmp_path / 'g.yaml')!r}).metadata.name == 'g'\n"
        f"penstock.import_function({str(tmp_path / 'g.yaml')!r}).export({str(tmp_path / 'h.yaml')!r})\n"
        f"assert penstock.import_function({str(tmp_path / 'h.yaml')!r}).metadata.name == 'g'\n"
        "try:\n"
        f"    penstock.import_function({str(tmp_path / 'f.yaml')!r})\n"
        "except penstock.errors.GraphError as error:\n"
        "    assert 'penstock[yaml]' in str(error), error\n"
        "else:\n"
        "    raise SystemExit('it was read')\n"
    )
    assert penstock.import_function(str(tmp_path / "f.yaml")).metadata.name == "f"


def test_every_function_of_the_hub_is_a_class_that_is_there():
    for name in FUNCTIONS:
        class_name = penstock.import_function(f"hub://{name}").spec.default_class.rpartition(".")[2]
        assert issubclass(getattr(penstock.serving, class_name), penstock.V2ModelServer)


def test_the_model_server_of_the_hub_serves_a_model_that_is_pickled(tmp_path):
    from sklearn.linear_model import LinearRegression

    (tmp_path / "model.pkl").write_bytes(pickle.dumps(LinearRegression().fit([[0.0], [1.0]], [0.0, 2.0])))
    fn = penstock.import_function("hub://v2_model_server")
    fn.add_model("model1", model_path=str(tmp_path))
    assert fn.invoke("/v2/models/model1/infer", body={"inputs": [[5.0]]})["outputs"] == pytest.approx([10.0])
