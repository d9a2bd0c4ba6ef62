"""What a step may ask its context."""

import penstock
import pytest
from penstock.context import GraphContext
from penstock.errors import GraphError


def test_a_step_knows_where_it_runs():
    seen = {}

    class Looks:
        def __init__(self, context):
            seen.update(vars(context), executor=context.executor, project_obj=context.project_obj)

        def do(self, body):
            return body

    fn = penstock.new_function("f", project="p")
    fn.set_topology("flow").to(Looks, "look").respond()
    fn.spec.load_mode = "async"
    fn.spec.trusted_model_paths = ["/models"]
    with fn.to_mock_server(track_models=True, stream_profile="profile") as server:
        assert server.stream_profile == "profile"
    told = ("project", "worker_id", "load_mode", "track_models", "trusted_model_paths", "executor", "project_obj")
    assert {key: seen[key] for key in told} == {
        "project": "p",
        "worker_id": 0,
        "load_mode": "async",
        "track_models": True,
        "trusted_model_paths": ["/models"],
        "executor": None,
        "project_obj": None,
    }
    assert (seen["trigger"], seen["platform"], seen["stream"]) == (None, None, None)


def test_a_resource_is_the_same_for_the_same_uri(tmp_path):
    (tmp_path / "rows.csv").write_text("a,b\n1,2\n")
    context = GraphContext()
    item = context.get_store_resource(str(tmp_path / "rows.csv"))
    assert item.get(encoding="utf-8") == "a,b\n1,2\n"
    assert context.get_store_resource(str(tmp_path / "rows.csv")) is item
    assert context.get_store_resource(str(tmp_path / "rows.csv"), use_cache=False) is not item


def test_a_table_has_a_name():
    context = GraphContext()
    table = {"u1": {"age": 33}}
    context.set_table("users", table)
    assert context.get_table("users") is table
    with pytest.raises(GraphError, match="there is no table 'user'; did you mean 'users'.*context.set_table"):
        context.get_table("user")


def test_other_functions_are_called_by_names_or_urls():
    context = GraphContext(parameters={"endpoints": {"scorer": "http://10.0.0.7"}})
    assert context.get_remote_endpoint("scorer") == "http://10.0.0.7"
    assert context.get_remote_endpoint("https://a/b") == "https://a/b"
    with pytest.raises(GraphError, match="there is no address of a function 'scorr'; did you mean 'scorer'"):
        context.get_remote_endpoint("scorr")


def test_a_line_of_the_log_never_fails_a_step(caplog):
    def step(body, context):
        context.logger.info("so many", body)  # noqa: PLE1205  # that is what is tried
        context.logger.warning("%d of them", "x")
        try:
            body["missing"]
        except TypeError:
            context.logger.exception("no table", at=body)
        return body

    fn = penstock.new_function("logs")
    fn.set_topology("flow").to(step, name="step").respond()
    with fn.to_mock_server() as server, caplog.at_level("INFO"):
        assert server.test(body=5) == 5
    assert "so many (5,)" in caplog.text
    assert "%d of them ('x',)" in caplog.text
    assert "no table (at=5)\nTraceback" in caplog.text
