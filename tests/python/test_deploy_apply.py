"""Applying: what the targets' tools are called with; here the tools are scripts that write it down."""

import json
import stat

import penstock
import pytest
import yaml
from deployments import chain
from penstock.errors import DeployError, GraphError

TOOL = """#!/bin/sh
echo "$(basename "$0") $*" >> "{log}"
for last; do :; done
case "$*" in
  *"get function"*) echo '{{"status": {{"state": "ready", "externalInvocationUrls": ["10.0.0.1:30400"]}}}}' ;;
  *jsonpath*) echo "http://adds.example.com" ;;
  *--file*function.yaml*) cat "$6" >> "{log}.yaml" ;;
esac
exit {code}
"""


@pytest.fixture
def tools(tmp_path, monkeypatch):
    """Put docker, kubectl and nuctl that only write down how they are called first on PATH."""
    folder = tmp_path / "bin"
    folder.mkdir()
    log = tmp_path / "calls"

    def make(*names, code=0):
        for name in names:
            path = folder / name
            path.write_text(TOOL.format(log=log, code=code))
            path.chmod(path.stat().st_mode | stat.S_IXUSR)
        monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")
        return lambda: [line.replace(str(tmp_path), "") for line in log.read_text().splitlines()]

    return make


def adds():
    fn = penstock.new_function("adds")
    fn.set_topology("flow").to("(event + 1)", name="add").respond()
    return fn


def test_compose_is_brought_up_and_waited_for(tools, tmp_path):
    calls, fn = tools("docker"), adds().with_http(port=9001)
    assert fn.deploy("compose", str(tmp_path / "out"), apply=True) == "http://127.0.0.1:9001"
    assert calls() == ["docker compose --file /out/compose.yaml up --build --detach --wait"]
    assert fn.status.address == "http://127.0.0.1:9001"


def test_kubernetes_gets_images_objects_and_is_waited_for(tools, tmp_path):
    calls, fn = tools("docker", "kubectl"), chain()
    image = "registry.example.com/chain:3"
    address = fn.deploy("k8s", str(tmp_path / "out"), apply=True, image=image, namespace="ml", kafka="k:9092")
    assert address == "http://chain.ml.svc.cluster.local"
    assert calls() == [
        f"docker build --file /out/Dockerfile --tag {image} /out",
        f"docker push {image}",
        "kubectl apply --namespace ml --filename /out/kubernetes.yaml",
        "kubectl apply --namespace ml --filename /out/keda.yaml",
        "kubectl rollout status --namespace ml deployment/chain --timeout=300s",
        "kubectl rollout status --namespace ml deployment/chain-later --timeout=300s",
    ]


def test_kserve_says_where_it_answers(tools, tmp_path):
    calls, fn = tools("docker", "kubectl"), adds()
    assert fn.deploy("kserve", str(tmp_path / "out"), apply=True) == "http://adds.example.com"
    assert calls()[-2:] == [
        "kubectl wait --for=condition=Ready --timeout=300s inferenceservice/adds",
        "kubectl get inferenceservice/adds --output jsonpath={.status.url}",
    ]


def test_nuclio_gets_the_children_first_and_values_of_variables_in_private(tools, tmp_path, monkeypatch):
    monkeypatch.setenv("RABBIT", 's3c"r\\et')
    calls, fn = tools("nuctl"), chain()
    fn.metadata.project = "bank"
    fn.add_rabbitmq_trigger("amqp://me:${RABBIT}@h", "x", queue_name="q")
    options = {"image": "registry.example.com/team/chain", "namespace": "nuclio", "kafka": "k:9092"}
    assert fn.deploy("nuclio", str(tmp_path / "out"), apply=True, **options) == "http://10.0.0.1:30400"
    deployed = [call for call in calls() if call.startswith("nuctl deploy")]
    assert [call.split()[2] for call in deployed] == ["chain-later", "chain"]
    assert "--namespace nuclio --project-name bank --registry registry.example.com/team" in deployed[0]
    applied = list(yaml.safe_load_all((tmp_path / "calls.yaml").read_text().replace("apiVersion", "---\napiVersion")))
    assert applied[-1]["spec"]["triggers"]["rabbitmq"]["url"] == 'amqp://me:s3c"r\\et@h'
    written = b"".join(path.read_bytes() for path in (tmp_path / "out").rglob("function.yaml"))
    assert b"s3c" not in written
    assert b"${RABBIT}" in written


def test_a_variable_that_is_not_set_is_named(tools, tmp_path, monkeypatch):
    monkeypatch.delenv("RABBIT", raising=False)
    tools("nuctl")
    fn = adds().add_rabbitmq_trigger("amqp://me:${RABBIT}@h", "x", queue_name="q")
    with pytest.raises(GraphError, match=r"refers to \$\{RABBIT\}, and no environment variable"):
        fn.deploy("nuclio", str(tmp_path / "out"), apply=True)


def test_a_tool_that_is_missing_or_fails_is_named_with_its_command(tools, tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(DeployError, match="there is no 'nuctl' on PATH: install it, or run where it is: nuctl deploy"):
        adds().deploy("nuclio", str(tmp_path / "out"), apply=True)
    tools("docker", code=3)
    with pytest.raises(DeployError, match="exit code 3 of: docker compose"):
        adds().deploy("compose", str(tmp_path / "out"), apply=True)


def test_the_dashboard_is_of_nuclio_alone(tmp_path):
    with pytest.raises(GraphError, match="dashboard= is Nuclio's"):
        adds().deploy("k8s", str(tmp_path / "out"), apply=True, dashboard="http://127.0.0.1:1")


def test_the_document_that_is_deployed_serves(tmp_path):
    adds().deploy("compose", str(tmp_path / "out"))
    document = json.loads((tmp_path / "out/app/function.json").read_text())
    assert document["spec"].pop("filename").endswith("/test_deploy_apply.py")
    with penstock.new_function(runtime=document).to_mock_server() as server:
        assert server.test(body=1) == 2
