"""KServe: the server as a ServingRuntime, the function as an InferenceService; child functions are Deployments."""

from __future__ import annotations

from typing import Any

from penstock import __version__
from penstock.deploying import yaml_text
from penstock.deploying.content import Files
from penstock.deploying.dockerfile import context_of
from penstock.deploying.kubernetes import (
    DRAIN_SECONDS,
    Fields,
    config_map,
    container,
    deployment,
    metadata,
    note_credentials,
    objects_of,
    scaled_object,
)
from penstock.deploying.triggers import served_triggers
from penstock.deploying.what import Application
from penstock.spec import without_empty

_FORMAT = "penstock"
_OURS = ("name", "image", "imagePullPolicy", "args", "ports", "env", "startupProbe", "livenessProbe", "readinessProbe")


def files_of(application: Application) -> Files:
    """Write the runtime, the service and the child functions, and what the images are built from."""
    served_triggers(application, "kserve")
    listed = [config_map(application), runtime(application), inference_service(application)]
    children = application.functions[1:]
    for child in children:
        listed += objects_of(child, application)
    files = {"kserve.yaml": yaml_text.dump(*listed).encode()}
    if children:
        scaled = [scaled_object(child, application) for child in children if child.reads]
        files["keda.yaml"] = yaml_text.dump(*scaled).encode()
    note_credentials(application)
    return files | context_of(application)


def runtime(application: Application) -> Fields:
    """Return the ServingRuntime: how a pod of the function is made."""
    pod: dict[str, Any] = deployment(application.root, application)["spec"]["template"]["spec"]
    made = container(application.root, application, "kserve-container")
    # KServe adds the resources, and the platform below it the lifecycle, of the service.
    serving = {key: made[key] for key in (*_OURS, "securityContext", "volumeMounts") if key in made}
    serving["ports"] = [{"containerPort": port["containerPort"], "protocol": "TCP"} for port in made["ports"]]
    for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
        at = made[probe]["httpGet"]
        serving[probe] = made[probe] | {"httpGet": {"path": at["path"], "port": serving["ports"][0]["containerPort"]}}
    return {
        "apiVersion": "serving.kserve.io/v1alpha1",
        "kind": "ServingRuntime",
        "metadata": metadata(f"{application.name}-runtime", application, application.root),
        "spec": {
            "annotations": {"prometheus.io/port": "8080", "prometheus.io/path": "/metrics"},
            "supportedModelFormats": [{"name": _FORMAT, "version": __version__.partition(".")[0], "autoSelect": False}],
            "protocolVersions": ["v2"],
            "multiModel": False,
            "containers": [serving],
            "volumes": pod["volumes"],
            **without_empty({key: pod.get(key) for key in ("nodeSelector", "tolerations")}),
        },
    }


def inference_service(application: Application) -> Fields:
    """Return the InferenceService: how many pods there are, and what they get."""
    root = application.root
    made = container(root, application)
    return {
        "apiVersion": "serving.kserve.io/v1beta1",
        "kind": "InferenceService",
        "metadata": metadata(application.name, application, root)
        | {"annotations": {"penstock.io/content": application.digest}},
        "spec": {
            "predictor": {
                "minReplicas": root.least,
                "maxReplicas": root.most,
                "timeout": DRAIN_SECONDS,
                "model": {
                    "modelFormat": {"name": _FORMAT},
                    "runtime": f"{application.name}-runtime",
                    "protocolVersion": "v2",
                    "resources": made["resources"],
                },
            }
        },
    }
