"""What is set on a function beside its graph: environment, requirements, triggers, secrets."""

import json
import logging

import penstock
import pytest
from penstock.errors import GraphError, MLRunInvalidArgumentError
from penstock.function import ServingFunction
from penstock.secret_store import SecretStore


@pytest.fixture
def fn():
    return penstock.new_function("f")


NAMES = ("INLINE", "TWICE", "ENVED", "GONE", "FILED", "QUOTED", "JSONED", "NOT_NAMED")


class Trigger:
    def to_dict(self):
        return {"kind": "kafka-cluster", "attributes": {"topics": ["in"]}}


def test_the_environment_is_set_read_and_cleared(fn):
    assert fn.set_env("A", 1).set_envs({"B": "x"}) is fn
    assert (fn.get_env("A"), fn.get_env("B"), fn.get_env("C", "none")) == ("1", "x", "none")
    assert fn.to_dict()["spec"]["env"] == [{"name": "A", "value": "1"}, {"name": "B", "value": "x"}]
    assert fn.set_env("A", None).get_env("A") is None


def test_requirements_and_commands_are_added_once(fn):
    fn.with_requirements(["a", "b"]).with_requirements(["b", "c"]).with_commands(["x"]).with_commands(["x", "y"])
    assert (fn.spec.build.requirements, fn.spec.build.commands) == (["a", "b", "c"], ["x", "y"])
    fn.with_requirements(["z"], overwrite=True).with_commands(["z"], overwrite=True)
    assert (fn.spec.build.requirements, fn.spec.build.commands) == (["z"], ["z"])
    with pytest.raises(GraphError, match="commands is a list of text"):
        fn.with_commands("pip install x")
    with pytest.raises(GraphError, match="the file of requirements /nowhere.txt cannot be read: No such file"):
        fn.with_requirements("/nowhere.txt")


def test_triggers_are_kept_where_mlrun_keeps_them(fn):
    fn.add_trigger("in", Trigger()).add_cron_trigger("tick", interval="30s", body="x")
    fn.add_kafka_trigger("h1:9092,h2:9092", ["a", "b"], group="g")
    fn.add_v3io_stream_trigger("v3io://host:8081/projects/s/in", shards=4)
    fn.add_rabbitmq_trigger("amqp://h", "ex", queue_name="q")
    assert fn.spec.config["spec.triggers.in"] == {
        "kind": "kafka-cluster",
        "attributes": {"topics": ["in"]},
        "name": "in",
    }
    assert fn.triggers["tick"]["attributes"] == {"interval": "30s", "event": {"body": "x"}}
    assert fn.triggers["kafka"]["attributes"] == {
        "brokers": ["h1:9092", "h2:9092"],
        "topics": ["a", "b"],
        "consumerGroup": "g",
        "initialOffset": "earliest",
    }
    assert fn.triggers["stream"] == {
        "name": "stream",
        "kind": "v3ioStream",
        "url": "http://host:8081",
        "numWorkers": 1,
        "attributes": {
            "containerName": "projects",
            "streamPath": "/s/in",
            "consumerGroup": "serving",
            "seekTo": "earliest",
            "shards": 4,
        },
    }
    assert fn.triggers["rabbitmq"]["attributes"] == {"exchangeName": "ex", "queueName": "q"}


def test_http_is_told_in_the_words_of_nuclio(fn):
    fn.with_http(
        port=30001, host="a.b", paths="/x", canary=20, worker_timeout=10, gateway_timeout=60, extra_attributes={"k": 1}
    )
    trigger = fn.triggers["http"]
    assert (trigger["kind"], trigger["numWorkers"], trigger["maxWorkers"]) == ("http", 8, 8)
    assert trigger["workerAvailabilityTimeoutMilliseconds"] == 10_000
    assert trigger["attributes"] == {
        "port": 30001,
        "ingresses": {"0": {"host": "a.b", "paths": ["/x"], "pathType": "ImplementationSpecific"}},
        "k": 1,
    }
    assert trigger["annotations"]["nginx.ingress.kubernetes.io/canary-weight"] == "20"
    assert trigger["annotations"]["nginx.ingress.kubernetes.io/proxy-read-timeout"] == "60"
    fn.with_http(async_spec={"maxConnectionsNumber": 1000}, trigger_name="later", batching_spec={"batchSize": 4})
    later = fn.triggers["later"]
    assert (later["numWorkers"], later["mode"], later["async"], later["batch"]) == (
        1,
        "async",
        {"maxConnectionsNumber": 1000},
        {"batchSize": 4},
    )


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (lambda fn: fn.with_http(worker_timeout=60, gateway_timeout=60), "gateway_timeout .* must be greater than"),
        (lambda fn: fn.with_http(canary=120), "canary is a percentage"),
        (lambda fn: fn.add_trigger("x", 5), "trigger 'x': it is a dict or an object with to_dict, not a int"),
        (lambda fn: fn.add_trigger("x", {}), "trigger 'x': it says no kind"),
        (lambda fn: fn.add_cron_trigger(), "a cron trigger has a schedule .* or an interval"),
        (lambda fn: fn.add_kafka_trigger("h", "t", initial_offset="first"), "initial_offset is 'earliest' or 'latest'"),
        (lambda fn: fn.add_v3io_stream_trigger("nope"), "a v3io stream is container/path, not 'nope'"),
        (lambda fn: fn.add_rabbitmq_trigger("u", "e"), "reads a queue_name or topics, one of them"),
    ],
)
def test_a_trigger_that_cannot_be(fn, call, text):
    with pytest.raises(GraphError, match=text):
        call(fn)


def test_streamed_answers_need_http(fn):
    assert fn.spec.streaming is None
    fn.set_streaming().with_http()
    with pytest.raises(
        MLRunInvalidArgumentError, match=r"Cannot add non-HTTP trigger 'n' \(kind='cron'\) when streaming"
    ):
        fn.add_trigger("n", {"kind": "cron"})
    other = penstock.new_function("g").add_trigger("n", {"kind": "cron"})
    with pytest.raises(MLRunInvalidArgumentError, match="Found non-HTTP trigger 'n'"):
        other.set_streaming()
    assert other.set_streaming(False).to_dict()["spec"]["streaming"] is False


def test_secrets_come_from_all_their_sources(fn, tmp_path, monkeypatch):
    (tmp_path / "secrets").write_text("# of tests\nFILED=one=1\nexport QUOTED='two'\n\n")
    (tmp_path / "secrets.json").write_text('{"JSONED": "three"}')
    monkeypatch.setenv("ENVED", "four")
    monkeypatch.setenv("NOT_NAMED", "x")
    fn.with_secrets("inline", {"INLINE": "five", "TWICE": "first"}).with_secrets("env", "ENVED, GONE")
    fn.with_secrets("file", tmp_path / "secrets").with_secrets("file", str(tmp_path / "secrets.json"))
    fn.with_secrets("inline", {"TWICE": "last"})
    fn.set_topology("flow").to(name="get", handler=lambda body, context: context.get_secret(body)).respond()
    with fn.to_mock_server() as server:
        assert {key: server.test(body=key) for key in NAMES} == {
            "INLINE": "five",
            "TWICE": "last",
            "ENVED": "four",
            "GONE": None,
            "FILED": "one=1",
            "QUOTED": "two",
            "JSONED": "three",
            "NOT_NAMED": None,
        }
        assert server.context.get_secret("GONE", "none") == "none"


def test_the_values_of_secrets_get_into_no_text(fn, caplog, capsys):
    class Needs:
        def __init__(self, context, api_key):
            raise ValueError("wrong key")

        def do(self, body):
            return body

    caplog.set_level(logging.DEBUG)
    fn.verbose = True
    fn.with_secrets("inline", {"TOKEN": "s3cret"}).with_secrets("env", ["HOME"])
    fn.set_topology("flow").to(Needs, "needs", api_key=fn.spec.secret_sources.get("TOKEN"))
    with pytest.raises(GraphError) as caught:
        fn.to_mock_server()
    fn.spec.graph.clear_children()
    texts = [repr(fn), repr(fn.spec), fn.to_json(), fn.to_yaml(), fn.serving_spec, str(caught.value)]
    texts += [caplog.text, *capsys.readouterr()]
    assert [text for text in texts if "s3cret" in text] == []
    assert "TOKEN" in repr(fn.spec)
    assert json.loads(fn.serving_spec)["secret_sources"] == [
        {"kind": "inline", "source": {"TOKEN": None}},
        {"kind": "env", "source": ["HOME"]},
    ]


@pytest.mark.parametrize(
    ("kind", "source", "text"),
    [
        ("inlne", {}, "secrets come from inline, env, file, not from 'inlne'; did you mean 'inline'"),
        ("vault", {}, "secrets come from inline, env, file, not from 'vault'"),
        ("inline", "A=1", "inline secrets are a dict of names and values, not a str"),
    ],
)
def test_a_source_of_secrets_that_is_none(fn, kind, source, text):
    with pytest.raises(GraphError, match=text):
        fn.with_secrets(kind, source)


def test_a_file_of_secrets_that_cannot_be_read_is_said_without_quoting_it(tmp_path):
    (tmp_path / "broken.json").write_text('{"KEY": s3cret}')
    store = SecretStore()
    store.add("file", tmp_path / "broken.json")
    with pytest.raises(GraphError, match="broken.json is not valid JSON") as caught:
        store.get("KEY")
    assert "s3cret" not in str(caught.value)
    store.add("file", "/nowhere/secrets")
    with pytest.raises(GraphError, match="the file of secrets /nowhere/secrets cannot be read: No such file"):
        store.get("KEY")


def test_what_is_in_a_kubernetes_secret_is_named_only():
    fn = penstock.new_function("f").set_env_from_secret("TOKEN", "service").set_env("A", 1)
    written = fn.to_dict()["spec"]["env"]
    assert written[1] == {"name": "TOKEN", "valueFrom": {"secretKeyRef": {"name": "service", "key": "TOKEN"}}}
    read = ServingFunction.from_dict(fn.to_dict()).spec
    assert (read.env, read.secret_env) == ({"A": "1"}, {"TOKEN": ("service", "TOKEN")})


def test_volumes_and_machines_are_kept():
    fn = penstock.new_function("f").mount_volume("/models", claim="models", read_only=True)
    fn.with_node_selection({"gpu": "a100"}, [{"key": "gpu", "operator": "Exists"}])
    assert fn.spec.volumes == [{"name": "volume-0", "persistentVolumeClaim": {"claimName": "models"}}]
    assert ServingFunction.from_dict(fn.to_dict()).to_dict() == fn.to_dict()
    for wrong in ({"path": "models", "claim": "x"}, {"path": "/x"}, {"path": "/x", "claim": "x", "secret": "y"}):
        with pytest.raises(GraphError, match="takes an absolute path and one of claim="):
            fn.mount_volume(**wrong)
