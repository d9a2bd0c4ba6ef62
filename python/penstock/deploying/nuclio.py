"""Nuclio: a folder for each function, with its function.yaml and all that its image needs."""

from __future__ import annotations

import json
from typing import Any

from penstock.deploying import DEPLOYED, yaml_text
from penstock.deploying.content import Files
from penstock.deploying.dockerfile import PLATFORM, commands_of, wheel_of
from penstock.deploying.what import Application, DeployedFunction, locked
from penstock.errors import GraphError
from penstock.function_spec import env_of_secrets
from penstock.spec import without_empty

Fields = dict[str, Any]

FOLDER = "/opt/nuclio"
SPEC = "serving_spec.json"
_NEWEST_PYTHON = 11  # that Nuclio 1.14 has a runtime of
_SETTING = "spec."
_ACKNOWLEDGED = ("kafka-cluster", "v3ioStream")  # the kinds of triggers that take explicit acknowledgements


def files_of(application: Application) -> Files:
    """Write a folder for each function: function.yaml, the spec, the source and its models."""
    spec = serving_spec(application).encode()
    found: Files = {}
    for function in application.functions:
        listed = {
            "function.yaml": yaml_text.dump(function_config(function, application)).encode(),
            SPEC: spec,
            "requirements.txt": "".join(f"{line}\n" for line in function.requirements).encode(),
            "requirements.lock": "".join(f"{line}\n" for line in locked(function)).encode(),
            **application.files,
            **wheel_of(application),
        }
        found |= {f"{function.name}/{name}": content for name, content in listed.items()}
    return found


def serving_spec(application: Application) -> str:
    """Return what the handler is started with."""
    from penstock.function_text import WrittenFunction

    function = WrittenFunction.from_dict(application.document)
    return json.dumps(json.loads(function.serving_spec), indent=2) + "\n"


def function_config(function: DeployedFunction, application: Application) -> Fields:
    """Return a function as Nuclio configures it."""
    settings = function.settings
    spec = settings.spec
    labels = {"nuclio.io/project-name": application.project or "default", **settings.metadata.labels}
    triggers = triggers_of(function)
    values = {DEPLOYED: "1", "PENSTOCK_SPEC_PATH": f"{FOLDER}/{SPEC}", **_acknowledging(triggers), **function.env}
    named = {name: (f"{application.name}-secrets", name) for name in application.secrets} | spec.secret_env
    is_async = any(trigger.get("mode") == "async" for trigger in triggers.values())
    minor = min(int(application.options.python.partition(".")[2] or _NEWEST_PYTHON), _NEWEST_PYTHON)
    fields = {
        "description": spec.description,
        "handler": f"penstock.nuclio:{'async_handler' if is_async else 'handler'}",
        "runtime": f"python:3.{minor}",
        "env": [{"name": name, "value": value} for name, value in values.items()] + env_of_secrets(named),
        "resources": spec.resources,
        "nodeSelector": spec.node_selector,
        "tolerations": spec.tolerations,
        "volumes": _volumes(function, application),
        "minReplicas": spec.min_replicas,
        "maxReplicas": spec.max_replicas,
        "replicas": spec.replicas if spec.min_replicas is None and spec.max_replicas is None else None,
        "readinessTimeoutSeconds": 120,
        "build": _build(function, application),
        "triggers": triggers,
    }
    written = without_empty(fields)
    for path, value in spec.config.items():
        if path.startswith(_SETTING) and not path.startswith("spec.triggers."):
            _set(written, path[len(_SETTING) :].split("."), value)
    named_in = without_empty({"namespace": application.options.namespace})
    return {
        "apiVersion": "nuclio.io/v1",
        "kind": "NuclioFunction",
        "metadata": {"name": function.name, **named_in, "labels": labels},
        "spec": written,
    }


def triggers_of(function: DeployedFunction) -> dict[str, Fields]:
    """Return a function's triggers: its own, HTTP for the one that callers reach, the topic for one that reads it.

    A trigger of Kafka or v3io acknowledges explicitly, as Nuclio marks an event as done even if its handler fails;
    that takes workers that keep their partitions.
    """
    found = {
        name: {key: value for key, value in one.items() if key != "name"} for name, one in function.triggers.items()
    }
    if function.reads is None and not any(trigger["kind"] == "http" for trigger in found.values()):
        found = {"http": {"kind": "http", "numWorkers": 1}} | found
    topic = function.reads
    if topic is not None:
        found["queue"] = {
            "kind": "kafka-cluster",
            "numWorkers": topic.shards,
            "attributes": {
                "brokers": topic.brokers.split(","),
                "topics": [topic.name],
                "consumerGroup": topic.group,
                "initialOffset": "earliest",
                **topic.credentials,
            },
        }
    for trigger in found.values():
        if trigger["kind"] in _ACKNOWLEDGED:
            trigger.setdefault("explicitAckMode", "explicitOnly")
            if trigger["explicitAckMode"] != "disable":
                trigger["attributes"] = trigger["attributes"] | {"workerAllocationMode": "static"}
    return found


def _acknowledging(triggers: dict[str, Fields]) -> dict[str, str]:
    """Tell the handler how records are acknowledged, so that several of a partition are under way at once."""
    modes = {trigger["explicitAckMode"] for trigger in triggers.values() if trigger["kind"] in _ACKNOWLEDGED}
    return {"PENSTOCK_EXPLICIT_ACK": modes.pop()} if len(modes) == 1 else {}


def _build(function: DeployedFunction, application: Application) -> Fields:
    spec = function.settings.spec
    base = next((name for name in (spec.build.base_image, spec.image) if name and not name.startswith(PLATFORM)), "")
    # Packages of wheels that are carried along are found by paths below the folder.
    install = f"cd {FOLDER} && pip install --no-cache-dir -r requirements.txt -c requirements.lock"
    commands = ["@nuclio.postCopy", install, *commands_of(function, application)]
    return without_empty({"baseImage": base, "commands": commands})


def _volumes(function: DeployedFunction, application: Application) -> list[Fields]:
    spec = function.settings.spec
    places = {mount["name"]: mount for mount in spec.volume_mounts}
    found = [{"volume": volume, "volumeMount": places[volume["name"]]} for volume in spec.volumes]
    for number, path in enumerate(application.secret_files):
        name, file = f"secret-file-{number}", path.rpartition("/")[2]
        where = path if path.startswith("/") else f"{FOLDER}/{path.removeprefix('./')}"
        volume = {"name": name, "secret": {"secretName": f"{application.name}-files"}}
        mount = {"name": name, "mountPath": where, "subPath": file, "readOnly": True}
        found.append({"volume": volume, "volumeMount": mount})
    return found


def _set(fields: Fields, path: list[str], value: Any) -> None:
    for key in path[:-1]:
        fields = fields.setdefault(key, {})
        if not isinstance(fields, dict):
            raise GraphError(f"fn.spec.config: '{'.'.join(path)}' leads through '{key}', which is no table")
    fields[path[-1]] = value
