"""Docker Compose: every function a service, with Kafka beside them if events go from one to another."""

from __future__ import annotations

import re
from typing import Any

from penstock.deploying import yaml_text
from penstock.deploying.content import Files
from penstock.deploying.dockerfile import PORT, USER, arguments_of, context_of
from penstock.deploying.kubernetes import DRAIN_SECONDS
from penstock.deploying.triggers import served_triggers
from penstock.deploying.what import Application, DeployedFunction
from penstock.errors import GraphError
from penstock.spec import without_empty

Fields = dict[str, Any]

KAFKA = "kafka:9092"
_IMAGE = "apache/kafka:4.0.0"
_TOOLS = "/opt/kafka/bin"
_UNITS = {"Ki": "k", "Mi": "m", "Gi": "g", "K": "k", "M": "m", "G": "g"}


def files_of(application: Application) -> Files:
    """Write the Compose file, and what the images are built from."""
    served_triggers(application, "compose")
    own_kafka = any(topic.brokers == KAFKA for topic in application.topics)
    services = {function.name: service(function, application, own_kafka) for function in application.functions}
    volumes: Fields = {
        mounted["persistentVolumeClaim"]["claimName"]: {}
        for function in application.functions
        for mounted in function.settings.spec.volumes
        if "persistentVolumeClaim" in mounted
    }
    if own_kafka:
        services |= {"kafka": broker(), "topics": topics(application)}
        volumes["kafka"] = {}
    secrets = {_secret(path): {"file": path} for path in application.secret_files}
    written = {"name": application.name, "services": services} | without_empty({"volumes": volumes, "secrets": secrets})
    return {"compose.yaml": yaml_text.dump(written).encode()} | context_of(application)


def service(function: DeployedFunction, application: Application, own_kafka: bool) -> Fields:
    """Return the service that runs a function."""
    spec = function.settings.spec
    waits = {"topics": {"condition": "service_completed_successfully"}} if own_kafka else {}
    port = published_port(function)
    asked: Fields = {name: _escaped(value) for name, value in function.env.items()}
    for name in [*application.secrets, *spec.secret_env]:
        asked[name] = f"${{{name}:?set {name} in the environment or in a file .env}}"
    return {
        "image": function.image,
        "build": {"context": ".", "dockerfile": function.dockerfile},
        "command": arguments_of(function),
        **without_empty({"environment": asked}),
        **({"ports": [f"{port}:{PORT}"]} if function.is_http and function is application.root else {}),
        **without_empty({"depends_on": waits}),
        "restart": "unless-stopped",
        "stop_grace_period": f"{DRAIN_SECONDS}s",
        "user": f"{USER}:{USER}",
        "read_only": True,
        "tmpfs": [f"/tmp:mode=1777,uid={USER},gid={USER}"],  # noqa: S108  # of the container alone
        "cap_drop": ["ALL"],
        "security_opt": ["no-new-privileges:true"],
        **without_empty({"volumes": _mounts(function), "deploy": _deploy(function), "secrets": _files(application)}),
    }


def broker() -> Fields:
    """Return a Kafka of one broker, without a password and for this network only."""
    return {
        "image": _IMAGE,
        "environment": {
            "KAFKA_NODE_ID": "1",
            "KAFKA_PROCESS_ROLES": "broker,controller",
            "KAFKA_LISTENERS": "PLAINTEXT://:9092,CONTROLLER://:9093",
            "KAFKA_ADVERTISED_LISTENERS": f"PLAINTEXT://{KAFKA}",
            "KAFKA_CONTROLLER_LISTENER_NAMES": "CONTROLLER",
            "KAFKA_LISTENER_SECURITY_PROTOCOL_MAP": "CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT",
            "KAFKA_CONTROLLER_QUORUM_VOTERS": "1@kafka:9093",
            "KAFKA_OFFSETS_TOPIC_REPLICATION_FACTOR": "1",
            "KAFKA_TRANSACTION_STATE_LOG_REPLICATION_FACTOR": "1",
            "KAFKA_TRANSACTION_STATE_LOG_MIN_ISR": "1",
            "KAFKA_GROUP_INITIAL_REBALANCE_DELAY_MS": "0",
        },
        "healthcheck": {
            "test": ["CMD", f"{_TOOLS}/kafka-broker-api-versions.sh", "--bootstrap-server", KAFKA],
            "interval": "5s",
            "timeout": "10s",
            "retries": 12,
            "start_period": "20s",
        },
        "volumes": ["kafka:/var/lib/kafka/data"],
        "restart": "unless-stopped",
    }


def topics(application: Application) -> Fields:
    """Return the service that makes the topics, and ends."""
    made = [
        f"{_TOOLS}/kafka-topics.sh --bootstrap-server {KAFKA} --create --if-not-exists "
        f"--topic {topic.name} --partitions {topic.shards} --replication-factor 1"
        for topic in application.topics
        if topic.brokers == KAFKA
    ]
    return {
        "image": _IMAGE,
        "depends_on": {"kafka": {"condition": "service_healthy"}},
        "entrypoint": ["/bin/sh", "-ec"],
        "command": ["".join(f"{line}\n" for line in made)],
        "restart": "no",
    }


def published_port(function: DeployedFunction) -> int:
    """Return the port of this machine that a function is reached at: its HTTP trigger's, else 8080."""
    asked = [
        (trigger.get("attributes") or {}).get("port")
        for trigger in function.triggers.values()
        if trigger["kind"] == "http"
    ]
    return next((int(port) for port in asked if port), PORT)


def _mounts(function: DeployedFunction) -> list[str]:
    places = {mount["name"]: mount for mount in function.settings.spec.volume_mounts}
    found = []
    for volume in function.settings.spec.volumes:
        mount = places[volume["name"]]
        source = (volume.get("persistentVolumeClaim") or {}).get("claimName") or (volume.get("hostPath") or {}).get(
            "path"
        )
        if not source:
            raise GraphError(
                f"function '{function.name}': the volume at {mount['mountPath']} is of Kubernetes; for Compose, mount "
                "a claim= (a named volume) or a host_path="
            )
        found.append(f"{source}:{mount['mountPath']}" + (":ro" if mount.get("readOnly") else ""))
    return found


def _deploy(function: DeployedFunction) -> Fields:
    limits = function.settings.spec.resources.get("limits") or {}
    gpus = limits.get("nvidia.com/gpu")
    most = without_empty({"cpus": _cpus(limits.get("cpu")), "memory": _memory(limits.get("memory"))})
    device = {"driver": "nvidia", "count": int(gpus or 0), "capabilities": ["gpu"]}
    found = without_empty({"limits": most, "reservations": {"devices": [device]} if gpus else None})
    replicas = {"replicas": function.least} if function.least > 1 else {}
    return replicas | without_empty({"resources": found})


def _cpus(text: Any) -> str | None:
    if text is None:
        return None
    given = str(text)
    return f"{int(given[:-1]) / 1000:g}" if given.endswith("m") else given


def _memory(text: Any) -> str | None:
    if text is None:
        return None
    found = re.fullmatch(r"(\d+)(Ki|Mi|Gi|K|M|G)?", str(text))
    if found is None:
        raise GraphError(f"memory is written as 512Mi or 2Gi, not {text!r}")
    return found[1] + _UNITS.get(found[2] or "", "b")


def _escaped(value: str) -> str:
    return value.replace("$", "$$")  # a dollar is Compose's own


def _secret(path: str) -> str:
    return re.sub(r"[^\w.-]", "_", path.rpartition("/")[2])


def _files(application: Application) -> list[Fields]:
    return [
        {"source": _secret(path), "target": path if path.startswith("/") else f"/app/{path.removeprefix('./')}"}
        for path in application.secret_files
    ]
