"""What deploying refuses, what goes along, and what each target makes of a function's settings."""

import json
import sys

import penstock
import pytest
import yaml
from click.testing import CliRunner
from deployments import SOURCE, chain, files_of
from penstock.cli import main
from penstock.errors import GraphError
from penstock.targets import load_target


@pytest.fixture
def write_source(tmp_path, monkeypatch):
    """Write a source that imports another file; return the function in it, and its names."""
    monkeypatch.syspath_prepend(tmp_path)

    def make(text=SOURCE, name="doubles.py"):
        (tmp_path / "shapes.py").write_text("def twice(number):\n    return 2 * number\n")
        (tmp_path / name).write_text(text)
        function, module = load_target(str(tmp_path / name))
        monkeypatch.delitem(sys.modules, module.__name__)
        return function, vars(module)

    return make


def expression():
    fn = penstock.new_function("adds")
    fn.set_topology("flow").to("(event + 1)", name="add").respond()
    return fn


def documents(files, name="kubernetes.yaml"):
    return {(one["kind"], one["metadata"]["name"]): one for one in yaml.safe_load_all(files[name])}


def container(files, name="adds"):
    return documents(files)["Deployment", name]["spec"]["template"]["spec"]["containers"][0]


def test_without_a_graph_there_is_nothing_to_deploy():
    with pytest.raises(GraphError, match="nothing to deploy"):
        files_of(penstock.new_function("f"), "k8s")


def test_a_child_that_is_not_defined_is_named():
    fn = penstock.new_function("f")
    fn.set_topology("flow").to(">>", "q", path="kafka://k/t").to("(event)", name="s", function="later")
    with pytest.raises(GraphError, match="function later is used in steps and is not defined, use the .add_child_func"):
        files_of(fn, "k8s")


def test_a_target_and_an_option_that_are_none_have_suggestions():
    with pytest.raises(GraphError, match="not to 'kserv'; did you mean 'kserve'"):
        files_of(expression(), "kserv")
    with pytest.raises(GraphError, match="takes no option 'imge'; did you mean 'image'"):
        files_of(expression(), "k8s", imge="x")


def test_the_source_goes_along_with_what_it_imports(write_source, tmp_path):
    function, names = write_source()
    (tmp_path / "table.csv").write_text("a,b\n")
    files = files_of(function, "compose", module=names, include=["table.csv"])
    assert {"app/doubles.py", "app/shapes.py", "app/table.csv"} <= set(files)
    assert "shapes" not in files["requirements.txt"].decode()
    assert json.loads(files["app/function.json"])["spec"]["filename"] == "/app/doubles.py"


def test_a_package_goes_along_from_its_top(tmp_path, monkeypatch):
    package = tmp_path / "pack"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "other.py").write_text("FACTOR = 2\n")
    (package / "graphs.py").write_text(
        "from . import other\n" + SOURCE.replace("import shapes", "from pack import other")
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    function, module = load_target("pack.graphs")
    files = files_of(function, "k8s", module=vars(module))
    for name in ("pack", "pack.other", "pack.graphs"):
        monkeypatch.delitem(sys.modules, name)
    assert {"app/pack/__init__.py", "app/pack/other.py", "app/pack/graphs.py"} <= set(files)


def test_names_that_are_in_no_file_are_refused():
    fn = penstock.new_function("f")
    fn.set_topology("flow").to("of_a_notebook").respond()
    with pytest.raises(GraphError, match="step 'of_a_notebook': .* is in no file that could be deployed"):
        files_of(fn, "compose")


def test_what_is_imported_is_required_once(write_source):
    imports = "import json, sklearn, cloudpickle, click"  # click comes with penstock
    function, names = write_source(SOURCE.replace("import json", imports))
    function.with_requirements(["scikit_learn>=1.3"])
    files = files_of(function, "compose", module=names)
    assert files["requirements.txt"].decode().splitlines()[1:] == ["scikit_learn>=1.3", "cloudpickle"]


def test_a_module_of_no_package_is_noted(write_source, tmp_path, capsys):
    function, _ = write_source(SOURCE.replace("def double", "def later():\n    import nowhere_at_all\n\ndef double"))
    function.spec.filename = str(tmp_path / "doubles.py")
    function.deploy("compose", str(tmp_path / "out"))
    assert "note: the module nowhere_at_all is of no package here" in capsys.readouterr().err


def test_a_name_of_a_file_that_goes_along_is_no_module_of_no_package(write_source, tmp_path, capsys):
    function, _ = write_source(SOURCE.replace("import shapes", "import shapes\nfrom shapes import twice"))
    function.spec.filename = str(tmp_path / "doubles.py")
    function.deploy("compose", str(tmp_path / "out"))
    assert "note:" not in capsys.readouterr().err


def test_a_function_that_was_exported_carries_its_source_itself(write_source, tmp_path):
    function, _ = write_source(SOURCE.replace("import json", "import sklearn"))
    function.spec.filename = str(tmp_path / "doubles.py")
    function.export(str(tmp_path / "function.yaml"))
    read, _ = load_target(str(tmp_path / "function.yaml"))
    read.spec.filename = ""  # of the machine that exported it
    files = files_of(read, "compose")
    assert b"def double(body):" in files["app/function.py"]
    assert json.loads(files["app/function.json"])["spec"]["filename"] == "/app/function.py"
    assert b"scikit-learn" in files["requirements.txt"]


def test_a_wheel_is_installed_instead_of_the_release(tmp_path):
    wheel = tmp_path / "penstock-0.1.0-cp311-cp311-linux_x86_64.whl"
    wheel.write_bytes(b"PK")
    files = files_of(expression(), "compose", wheel=str(wheel))
    assert files["requirements.txt"] == b"./wheels/penstock-0.1.0-cp311-cp311-linux_x86_64.whl\n"
    assert files[f"wheels/{wheel.name}"] == b"PK"


def test_models_of_a_volume_stay_where_they_are(tmp_path):
    fn = penstock.new_function("f").mount_volume("/models", claim="models")
    fn.add_model("m", model_path="/models/m.pkl", class_name="penstock.serving.PickleModelServer")
    document = json.loads(files_of(fn, "compose")["app/function.json"])
    assert document["spec"]["graph"]["routes"]["m"]["class_args"]["model_path"] == "/models/m.pkl"


def test_a_folder_of_a_model_goes_along_with_its_spec(tmp_path):
    for name in ("m.bin", "model_spec.yaml"):
        (tmp_path / name).write_text(name)
    fn = penstock.new_function("f")
    fn.add_model("m:v1", model_path=str(tmp_path), class_name="penstock.serving.PickleModelServer")
    fn.add_model("one", model_path=str(tmp_path / "m.bin"), class_name="penstock.serving.PickleModelServer")
    files = files_of(fn, "nuclio")
    for place in ("m_v1", "one"):
        assert files[f"f/models/{place}/model_spec.yaml"] == b"model_spec.yaml"
    routes = json.loads(files["f/serving_spec.json"])["graph"]["routes"]
    paths = {name: route["class_args"]["model_path"] for name, route in routes.items()}
    assert paths == {"m:v1": "/opt/nuclio/models/m_v1", "one": "/opt/nuclio/models/one/m.bin"}


# ---- secrets


@pytest.mark.parametrize("target", ["nuclio", "compose", "k8s", "kserve"])
def test_secrets_are_referred_to_and_their_values_are_nowhere(target, monkeypatch):
    monkeypatch.setenv("TOKEN", "s3cret")
    fn = expression().with_secrets("env", ["TOKEN"]).with_secrets("file", "/run/secrets/all.env")
    fn.set_env_from_secret("OTHER", "service", "key")
    files = files_of(fn, target)
    text = b"".join(files.values())
    assert b"TOKEN" in text
    assert b"OTHER" in text
    assert b"/run/secrets/all.env" in text
    assert b"s3cret" not in text


def test_kubernetes_takes_secrets_from_its_own():
    fn = expression().with_secrets("env", ["TOKEN"])
    reference = {"name": "TOKEN", "valueFrom": {"secretKeyRef": {"name": "adds-secrets", "key": "TOKEN"}}}
    assert reference in container(files_of(fn, "k8s"))["env"]
    assert reference in yaml.safe_load(files_of(fn, "nuclio")["adds/function.yaml"])["spec"]["env"]


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (
            lambda fn: fn.with_secrets("inline", {"TOKEN": "s3cret"}),
            r"secrets TOKEN are given by value.*'env', \['TOKEN'",
        ),
        (lambda fn: fn.set_env("DB_PASSWORD", "s3cret"), "variable DB_PASSWORD holds a secret.*set_env_from_secret"),
        (lambda fn: fn.set_env("BROKER", "amqp://me:s3cret@host"), "variable BROKER holds a secret"),
        (
            lambda fn: fn.add_rabbitmq_trigger("amqp://me:s3cret@h", "x", topics="t"),
            r"rabbitmq: url .*write \$\{NAME\}",
        ),
        (lambda fn: fn.add_trigger("v", {"kind": "v3ioStream", "password": "s3cret"}), "v: password holds a secret"),
        (lambda fn: fn.spec.parameters.update(api_key="s3cret"), "api_key holds a secret.*get_secret"),
        (lambda fn: fn.spec.graph.to("(event)", name="last", token="s3cret"), "token holds a secret"),
    ],
)
def test_a_secret_given_by_value_is_refused_and_not_quoted(spoil, said):
    fn = expression()
    spoil(fn)
    with pytest.raises(GraphError, match=said) as refused:
        files_of(fn, "nuclio")
    assert "s3cret" not in str(refused.value)


# ---- queues and triggers


def test_a_queue_between_functions_needs_a_topic():
    with pytest.raises(GraphError, match="step 'q': the child function 'later' reads this queue in another container"):
        files_of(chain(), "k8s")


@pytest.mark.parametrize("path", ["http://host/x", "rows.jsonl"])
def test_a_queue_of_another_kind_is_refused(path):
    fn = penstock.new_function("f")
    fn.set_topology("flow").to(">>", "q", path=path).to("(event)", name="s", function="later")
    fn.add_child_function("later")
    with pytest.raises(GraphError, match="takes a Kafka topic, not"):
        files_of(fn, "k8s")


def test_a_queue_in_memory_becomes_a_topic_of_the_brokers_named():
    files = files_of(chain(), "k8s", kafka="k1:9092,k2:9092")
    function = json.loads(files["app/function.json"])
    assert function["spec"]["graph"]["steps"]["q"]["path"] == "kafka://k1:9092,k2:9092/chain-q"
    (scaled,) = yaml.safe_load_all(files["keda.yaml"])
    assert scaled["spec"]["scaleTargetRef"] == {"name": "chain-later"}
    assert scaled["spec"]["triggers"][0]["metadata"]["bootstrapServers"] == "k1:9092,k2:9092"
    assert "penstock[kafka]" in files["requirements.txt"].decode()


def test_credentials_of_a_queue_are_the_triggers_too_and_named_only(capsys, tmp_path):
    fn = penstock.new_function("f")
    options = {"sasl_user": "me", "sasl_pass": "${KAFKA_PASS}", "caCert": "${KAFKA_CA}"}
    graph = fn.set_topology("flow").to(">>", "q", path="kafka://k:9092/in", **options)
    graph.to("(event)", name="s", function="later")
    fn.add_child_function("later")
    trigger = yaml.safe_load(files_of(fn, "nuclio")["f-later/function.yaml"])["spec"]["triggers"]["queue"]
    assert trigger["attributes"]["sasl"] == {"user": "me", "password": "${KAFKA_PASS}", "enable": True}
    assert trigger["attributes"]["tls"] == {"enable": True}
    assert trigger["attributes"]["caCert"] == "${KAFKA_CA}"
    fn.deploy("k8s", str(tmp_path / "out"))
    assert "KEDA needs them, too" in capsys.readouterr().err


def test_no_replicas_at_all_are_a_number_of_replicas():
    fn = expression()
    fn.spec.min_replicas, fn.spec.max_replicas = 0, 3
    fn.with_http(worker_timeout=0)
    spec = yaml.safe_load(files_of(fn, "nuclio")["adds/function.yaml"])["spec"]
    assert (spec["minReplicas"], spec["maxReplicas"]) == (0, 3)
    assert spec["triggers"]["http"]["workerAvailabilityTimeoutMilliseconds"] == 0
    assert fn.to_dict()["spec"]["min_replicas"] == 0


def test_compose_brings_kafka_and_its_topics():
    services = yaml.safe_load(files_of(chain(), "compose")["compose.yaml"])["services"]
    assert "--topic chain-q --partitions 4" in services["topics"]["command"][0]
    assert services["chain-later"]["depends_on"] == {"topics": {"condition": "service_completed_successfully"}}
    assert services["chain"]["command"][-2:] == ["--function", "chain"]
    assert "ports" not in services["chain-later"]


def test_each_function_of_several_says_which_it_is():
    files = files_of(chain(), "nuclio", kafka="k:9092")
    for name, role in (("chain", "chain"), ("chain-later", "later")):
        env = yaml.safe_load(files[f"{name}/function.yaml"])["spec"]["env"]
        assert {"name": "SERVING_CURRENT_FUNCTION", "value": role} in env


def test_the_root_function_runs_alone_by_its_own_name():
    with chain().to_mock_server(current_function="chain") as server:
        assert list(server.graph.steps) == ["first", "q", "second"]
        assert server.context.current_function == ""


def test_nuclio_gets_all_kinds_of_triggers_as_they_are():
    fn = expression().with_http(workers=3, host="api.example.com", paths="/adds", worker_timeout=2)
    fn.add_cron_trigger(interval="30s", body="{}")
    fn.add_kafka_trigger("k:9092", "in", group="g")
    fn.add_rabbitmq_trigger("amqp://me:${PASSWORD}@h", "x", queue_name="q")
    fn.add_v3io_stream_trigger("v3io://host/bigdata/in")
    others = {
        "kinesis": {"regionName": "eu-west-1", "streamName": "s", "secretAccessKey": "${AWS_SECRET}"},
        "nats": {"topic": "t"},
        "mqtt": {"subscriptions": [{"topic": "t", "qos": 0}]},
    }
    for kind, attributes in others.items():
        fn.add_trigger(kind, {"kind": kind, "attributes": attributes})
    triggers = yaml.safe_load(files_of(fn, "nuclio")["adds/function.yaml"])["spec"]["triggers"]
    assert triggers["http"]["numWorkers"] == 3
    assert triggers["http"]["attributes"]["ingresses"]["0"]["host"] == "api.example.com"
    assert triggers["cron"]["attributes"] == {"interval": "30s", "event": {"body": "{}"}}
    assert triggers["rabbitmq"]["url"] == "amqp://me:${PASSWORD}@h"
    assert triggers["stream"]["kind"] == "v3ioStream"
    assert {kind: triggers[kind]["attributes"] for kind in others} == others


def test_kafka_triggers_acknowledge_explicitly():
    """Nuclio takes an event for done when its handler fails, so acknowledging is penstock's."""

    def spec_of(*modes):
        fn = expression()
        for number, mode in enumerate(modes):
            fn.add_kafka_trigger("k:9092", f"in{number}", group="g", name=f"kafka{number}")
            if mode:
                fn.spec.config[f"spec.triggers.kafka{number}"]["explicitAckMode"] = mode
        spec = yaml.safe_load(files_of(fn, "nuclio")["adds/function.yaml"])["spec"]
        said = {one["name"]: one["value"] for one in spec["env"]}.get("PENSTOCK_EXPLICIT_ACK")
        return said, [spec["triggers"][f"kafka{number}"] for number in range(len(modes))]

    said, (kafka,) = spec_of("")
    assert (said, kafka["explicitAckMode"]) == ("explicitOnly", "explicitOnly")
    assert kafka["attributes"]["workerAllocationMode"] == "static"
    said, (kafka,) = spec_of("disable")
    assert (said, "workerAllocationMode" in kafka["attributes"]) == ("disable", False)
    assert spec_of("", "disable")[0] is None  # each answers when it is settled


def test_triggers_of_v3io_acknowledge_explicitly_too():
    fn = expression().add_v3io_stream_trigger("v3io://h/box/s", shards=2)
    spec = yaml.safe_load(files_of(fn, "nuclio")["adds/function.yaml"])["spec"]
    (stream,) = (one for one in spec["triggers"].values() if one["kind"] == "v3ioStream")
    assert (stream["explicitAckMode"], stream["attributes"]["workerAllocationMode"]) == ("explicitOnly", "static")
    assert {"name": "PENSTOCK_EXPLICIT_ACK", "value": "explicitOnly"} in spec["env"]


def test_an_asynchronous_trigger_takes_the_asynchronous_handler():
    fn = expression().with_http(async_spec={"maxConnectionsNumber": 100})
    spec = yaml.safe_load(files_of(fn, "nuclio")["adds/function.yaml"])["spec"]
    assert spec["handler"] == "penstock.nuclio:async_handler"


@pytest.mark.parametrize("target", ["compose", "k8s", "kserve"])
def test_triggers_that_only_nuclio_has_are_refused_elsewhere(target):
    fn = expression().add_trigger("bus", {"kind": "nats", "attributes": {"topic": "t"}})
    with pytest.raises(GraphError, match="trigger 'bus': only Nuclio brings events of kind 'nats'"):
        files_of(fn, target)


# ---- settings


def full():
    fn = expression().with_limits(mem="2Gi", cpu="1500m", gpus=1).with_requests(mem="1Gi", cpu="500m")
    fn.mount_volume("/models", claim="models", read_only=True).with_node_selection({"gpu": "a100"}, [{"key": "gpu"}])
    fn.spec.min_replicas, fn.spec.max_replicas = 2, 5
    fn.spec.config["spec.targetCPU"] = 60
    fn.with_commands(["apt-get install -y libgomp1"]).set_env("A", "$1")
    return fn


def test_kubernetes_gets_all_settings():
    fn = full().with_http(host="api.example.com", paths=["/a"], secret="tls", gateway_timeout=20)
    files = files_of(fn, "k8s", namespace="ml", image="registry.example.com/team/adds:7")
    found = documents(files)
    pod = found["Deployment", "adds"]["spec"]["template"]["spec"]
    (made,) = pod["containers"]
    assert made["image"] == "registry.example.com/team/adds:7"
    assert made["resources"]["limits"] == {"memory": "2Gi", "cpu": "1500m", "nvidia.com/gpu": "1"}
    assert made["resources"]["requests"] == {"cpu": "500m", "memory": "1Gi"}
    assert {"name": "volume-0", "mountPath": "/models", "readOnly": True} in made["volumeMounts"]
    assert pod["nodeSelector"] == {"gpu": "a100"}
    assert pod["tolerations"] == [{"key": "gpu"}]
    scaler = found["HorizontalPodAutoscaler", "adds"]["spec"]
    assert (scaler["minReplicas"], scaler["maxReplicas"]) == (2, 5)
    assert scaler["metrics"][0]["resource"]["target"]["averageUtilization"] == 60
    assert "replicas" not in found["Deployment", "adds"]["spec"]
    ingress = found["Ingress", "adds"]
    assert ingress["spec"]["rules"][0]["host"] == "api.example.com"
    assert ingress["spec"]["tls"] == [{"hosts": ["api.example.com"], "secretName": "tls"}]
    assert ingress["metadata"]["annotations"]["nginx.ingress.kubernetes.io/proxy-read-timeout"] == "20"
    assert all(one["metadata"]["namespace"] == "ml" for one in found.values())


def test_nuclio_gets_all_settings():
    fn = full()
    fn.spec.config["spec.eventTimeout"] = "30s"
    spec = yaml.safe_load(files_of(fn, "nuclio")["adds/function.yaml"])["spec"]
    assert (spec["minReplicas"], spec["maxReplicas"], spec["targetCPU"]) == (2, 5, 60)
    assert spec["eventTimeout"] == "30s"
    assert spec["nodeSelector"] == {"gpu": "a100"}
    assert spec["resources"]["limits"]["nvidia.com/gpu"] == 1
    assert spec["volumes"][0]["volumeMount"]["mountPath"] == "/models"
    assert spec["build"]["commands"][-1] == "apt-get install -y libgomp1"


def test_compose_gets_all_settings():
    files = files_of(full().with_http(port=9001), "compose")
    written = yaml.safe_load(files["compose.yaml"])
    made = written["services"]["adds"]
    assert made["deploy"]["resources"]["limits"] == {"cpus": "1.5", "memory": "2g"}
    assert made["deploy"]["resources"]["reservations"]["devices"][0]["count"] == 1
    assert made["deploy"]["replicas"] == 2
    assert made["volumes"] == ["models:/models:ro"]
    assert written["volumes"] == {"models": {}}
    assert made["environment"]["A"] == "$$1"
    assert made["ports"] == ["9001:8080"]
    assert b"RUN apt-get install -y libgomp1\n" in files["Dockerfile"]


def test_kserve_gets_replicas_and_resources():
    found = documents(files_of(full(), "kserve"), "kserve.yaml")
    predictor = found["InferenceService", "adds"]["spec"]["predictor"]
    assert (predictor["minReplicas"], predictor["maxReplicas"]) == (2, 5)
    assert predictor["model"]["resources"]["limits"]["cpu"] == "1500m"
    assert found["ServingRuntime", "adds-runtime"]["spec"]["nodeSelector"] == {"gpu": "a100"}


def test_a_child_with_requirements_of_its_own_has_an_image_of_its_own():
    fn = chain()
    fn.spec.build.base_image = "python:3.11-slim-bookworm"
    fn.spec.function_refs["later"].with_requirements(["spacy==3.8"])
    files = files_of(fn, "compose", image="chain:2")
    services = yaml.safe_load(files["compose.yaml"])["services"]
    assert (services["chain"]["image"], services["chain-later"]["image"]) == ("chain:2", "chain-later:2")
    assert b"spacy==3.8" in files["requirements.later.txt"]
    assert b"spacy" not in files["requirements.txt"]
    assert files["Dockerfile.later"].splitlines()[1] == b"FROM python:3.11-slim-bookworm"


@pytest.mark.parametrize(
    ("image", "policy"),
    [("", "IfNotPresent"), ("r.example.com/team/f", "Always"), ("r.example.com/team/f:1", "IfNotPresent")],
)
def test_an_image_is_pulled_from_its_registry_and_one_without_is_this_machines(image, policy):
    options = {"image": image} if image else {}
    objects = yaml.safe_load_all(files_of(expression(), "k8s", **options)["kubernetes.yaml"])
    (pods,) = (one["spec"]["template"]["spec"] for one in objects if one["kind"] == "Deployment")
    assert pods["containers"][0]["imagePullPolicy"] == policy


def test_another_content_restarts_the_pods():
    def content(fn):
        return documents(files_of(fn, "k8s"))["Deployment", "adds"]["spec"]["template"]["metadata"]["annotations"]

    fn = expression()
    before = content(fn)
    assert content(fn) == before
    fn.spec.parameters["a"] = 1
    assert content(fn) != before


def test_writing_replaces_a_deployment_and_nothing_else(tmp_path):
    fn = expression()
    place = tmp_path / "out"
    assert fn.deploy("compose", str(place)) == str(place)
    (place / "stale.txt").write_text("")
    fn.deploy("k8s", str(place))
    assert not (place / "compose.yaml").exists()
    assert not (place / "stale.txt").exists()
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "work.txt").write_text("")
    with pytest.raises(GraphError, match="has files that are not of a deployment"):
        fn.deploy("k8s", str(tmp_path / "mine"))
    assert (tmp_path / "mine" / "work.txt").exists()


def test_a_graph_that_is_too_large_for_a_config_map_is_refused():
    fn = expression()
    fn.spec.parameters["table"] = "x" * 1_000_000
    with pytest.raises(GraphError, match="a ConfigMap takes 1000000"):
        files_of(fn, "k8s")


# ---- the command line


def run(*arguments):
    result = CliRunner().invoke(main, list(arguments))
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def test_the_command_writes_a_folder_and_names_it(write_source, tmp_path):
    write_source()
    place = tmp_path / "out"
    result = run("deploy", str(tmp_path / "doubles.py"), "--to", "k8s", "--output", str(place), "--namespace", "ml")
    assert result.exit_code == 0, result.output
    assert result.output.splitlines()[-1] == str(place)
    assert "namespace: ml" in (place / "kubernetes.yaml").read_text()
    assert (place / "app/shapes.py").exists()
    sys.modules.pop("doubles")


def test_what_is_wrong_is_one_line_and_exit_1_and_a_wrong_call_exit_2(write_source, tmp_path):
    write_source(SOURCE + "\nfn.set_env('TOKEN', 'x')\n")
    result = run("deploy", str(tmp_path / "doubles.py"), "--to", "k8s", "--output", str(tmp_path / "out"))
    assert result.exit_code == 1
    assert result.output.startswith("error: the environment variable TOKEN holds a secret")
    sys.modules.pop("doubles")
    assert run("deploy", str(tmp_path / "nowhere.py"), "--to", "k8s").exit_code == 2
    assert run("deploy", "x.py", "--to", "heroku").exit_code == 2
