"""A local server process: started, asked, started again when it dies, ended."""

import os
import signal
import subprocess
import sys

import penstock
import pytest
from deployments import SOURCE
from penstock.errors import DeployError, FunctionUnreachable, GraphError
from penstock.targets import load_target


@pytest.fixture
def source(tmp_path, monkeypatch):
    """Write a function's source, and return the function; its server ends with the test."""
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "shapes.py").write_text("def twice(number):\n    return 2 * number\n")
    functions = []

    def make(text=SOURCE):
        (tmp_path / "doubles.py").write_text(text)
        function, module = load_target(str(tmp_path / "doubles.py"))
        monkeypatch.delitem(sys.modules, module.__name__)
        monkeypatch.delitem(sys.modules, "shapes", raising=False)
        function.spec.filename = str(tmp_path / "doubles.py")
        functions.append(function)
        return function

    yield make
    for function in functions:
        function.undeploy()


def test_a_deployed_function_is_invoked_where_it_runs(source, capsys):
    fn = source()
    address = fn.deploy(watch=True)
    assert address == fn.status.address
    assert fn.invoke("/", {"x": 21}) == {"x": 42}
    assert f"'doubles' answers on {address}" in capsys.readouterr().err
    fn.undeploy()
    with pytest.raises(FunctionUnreachable):
        fn.invoke(address, {"x": 1}, mock=False)


def test_a_server_that_dies_is_started_again_at_its_address(source, caplog):
    fn = source()
    address = fn.deploy()
    first = fn._local.pid
    os.kill(first, signal.SIGKILL)
    assert fn._local.wait_for_start(2, 30)
    assert fn._local.pid != first
    assert fn._local.address == address
    assert fn.invoke("/", {"x": 1}) == {"x": 2}
    assert "'doubles' ended with -9" in caplog.text


def test_deploying_again_takes_the_place_of_the_first(source):
    fn = source()
    before = fn.deploy()
    fn.spec.parameters["a"] = 1
    after = fn.deploy()
    assert before != after
    assert fn.invoke("/", {"x": 2}) == {"x": 4}
    with pytest.raises(FunctionUnreachable):
        fn.invoke(before, {"x": 1}, mock=False)


def test_environment_and_secrets_reach_the_process_and_no_file(source, tmp_path):
    fn = source(SOURCE.replace('return {"x": shapes.twice(body["x"])}', "import os; return os.environ[body]"))
    fn.set_env("COLOUR", "blue").with_secrets("inline", {"TOKEN": "s3cret"})
    fn.deploy()
    assert fn.invoke("/", '"COLOUR"') == "blue"
    assert fn.invoke("/", '"TOKEN"') == "s3cret"
    with open(os.path.join(fn._local._folder.name, "function.json"), encoding="utf-8") as file:
        assert "s3cret" not in file.read()


def test_a_server_that_does_not_start_says_why(source):
    fn = source(SOURCE.replace('to("double")', 'to("dubble")'))
    with pytest.raises(
        DeployError, match="'doubles' did not start.* there is no class 'dubble'; did you mean 'double'"
    ):
        fn.deploy()
    assert fn.status.address == ""


def test_nothing_to_serve_is_said_before_a_process_starts():
    with pytest.raises(GraphError, match="nothing to deploy"):
        penstock.new_function("f").deploy()
    with pytest.raises(GraphError, match="a local server process takes no option 'prot'; did you mean 'port'"):
        penstock.new_function("f").deploy(prot=1)


def script(tmp_path, main):
    path = tmp_path / "script.py"
    text = SOURCE.replace("import shapes", "").replace("shapes.twice", "2 * ")
    path.write_text(f"{text}\n{main}\n")
    return subprocess.run(
        [sys.executable, "-W", "error", path], check=False, capture_output=True, text=True, timeout=50
    )


def test_the_server_ends_with_the_script_that_started_it(tmp_path):
    main = "if __name__ == '__main__':\n    print(fn.deploy(), fn._local.pid, fn.invoke('/', {'x': 4})['x'])"
    done = script(tmp_path, main)
    assert done.returncode == 0, done.stderr
    _, pid, answer = done.stdout.split()
    assert answer == "8"
    with pytest.raises(ProcessLookupError):
        os.kill(int(pid), 0)


def test_a_script_that_is_killed_takes_its_server_along(tmp_path):
    main = "if __name__ == '__main__':\n    print(fn.deploy(), flush=True); import os; os.kill(os.getpid(), 9)"
    done = script(tmp_path, main)  # returns when the server, too, has let go of the output
    assert done.returncode == -signal.SIGKILL
    with pytest.raises(FunctionUnreachable):
        penstock.new_function("f").invoke(done.stdout.strip(), mock=False)


def test_a_source_that_deploys_whenever_it_is_loaded_is_told_to_wait(tmp_path):
    done = script(tmp_path, "fn.deploy()")
    assert done.returncode == 1
    assert "write `if __name__ == '__main__':` above fn.deploy()" in done.stderr
