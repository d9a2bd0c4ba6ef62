"""Plain Kubernetes: Deployments and what makes them reachable, scalable and safe to restart."""

from __future__ import annotations

from typing import Any

from penstock.deploying import yaml_text
from penstock.deploying.content import Files
from penstock.deploying.dockerfile import PORT, USER, arguments_of, context_of
from penstock.deploying.triggers import served_triggers
from penstock.deploying.what import Application, DeployedFunction, registry_of
from penstock.errors import GraphError
from penstock.function_spec import env_of_secrets
from penstock.spec import without_empty

Fields = dict[str, Any]

DOCUMENTS = "/etc/penstock"
DRAIN_SECONDS = 45  # 5 until no more requests come, 30 of penstock's drain, and some to spare
_LARGEST = 1_000_000  # what fits into a ConfigMap, with its other fields
_DEFAULT_REQUESTS = {"cpu": "100m", "memory": "256Mi"}
_TARGET_CPU = 75
_LAG = 100  # events a replica may be behind before there is another one


def files_of(application: Application) -> Files:
    """Write the manifests, and what the images are built from."""
    served_triggers(application, "k8s")
    files = {"kubernetes.yaml": yaml_text.dump(*manifests(application)).encode()}
    scaled = [scaled_object(function, application) for function in application.functions if function.reads]
    if scaled:
        files["keda.yaml"] = yaml_text.dump(*scaled).encode()
    note_credentials(application)
    return files | context_of(application)


def note_credentials(application: Application) -> None:
    """Say what KEDA has to be told by others: the credentials of brokers that ask for some."""
    application.notes += [
        f"function '{function.name}' reads brokers that ask for credentials: KEDA needs them, too, in a "
        f"TriggerAuthentication that the trigger in keda.yaml refers to by authenticationRef"
        for function in application.functions
        if function.reads and function.reads.credentials
    ]


def manifests(application: Application) -> list[Fields]:
    """Return what every cluster takes; KEDA's objects are apart."""
    found = [config_map(application)]
    for function in application.functions:
        found += objects_of(function, application)
    return found


def objects_of(function: DeployedFunction, application: Application) -> list[Fields]:
    """Return the objects of one function."""
    found = [deployment(function, application), disruption_budget(function, application)]
    if function.is_http:
        found.append(service(function, application))
        ingress = ingress_of(function, application)
        found += [ingress] if ingress else []
        if function.most > function.least:
            found.append(autoscaler(function, application))
    return found


def metadata(name: str, application: Application, function: DeployedFunction | None = None) -> Fields:
    """Name an object, with the labels that Kubernetes recommends."""
    labels = {"app.kubernetes.io/name": function.name if function else application.name} | {
        "app.kubernetes.io/part-of": application.name,
        "app.kubernetes.io/managed-by": "penstock",
    }
    return without_empty({"name": name, "namespace": application.options.namespace, "labels": labels})


def config_map(application: Application) -> Fields:
    """Return the ConfigMap that holds the function."""
    if len(application.text) > _LARGEST:
        raise GraphError(
            f"the graph of '{application.name}' is written in {len(application.text)} characters, and a ConfigMap "
            f"takes {_LARGEST}: move constants of the graph into its source"
        )
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": metadata(f"{application.name}-function", application),
        "data": {"function.json": application.text},
    }


def deployment(function: DeployedFunction, application: Application) -> Fields:
    """Return the Deployment of a function."""
    volumes = [
        {"name": "function", "configMap": {"name": f"{application.name}-function"}},
        {"name": "tmp", "emptyDir": {}},
        *function.settings.spec.volumes,
    ]
    if application.secret_files:
        volumes.append({"name": "secret-files", "secret": {"secretName": f"{application.name}-files"}})
    spec = function.settings.spec
    pod = {
        "automountServiceAccountToken": False,
        "terminationGracePeriodSeconds": DRAIN_SECONDS,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": USER,
            "runAsGroup": USER,
            "fsGroup": USER,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "nodeSelector": spec.node_selector,
        "tolerations": spec.tolerations,
        "containers": [container(function, application)],
        "volumes": volumes,
    }
    annotations = {
        "prometheus.io/scrape": "true",
        "prometheus.io/port": str(PORT),
        "prometheus.io/path": "/metrics",
        "penstock.io/content": application.digest,  # another one restarts the pods
    }
    labels = metadata(function.name, application, function)["labels"]
    own = {"app.kubernetes.io/name": function.name, "app.kubernetes.io/part-of": application.name}
    scaled = function.most > function.least or function.reads is not None
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": metadata(function.name, application, function),
        "spec": ({} if scaled else {"replicas": function.least})
        | {
            "selector": {"matchLabels": own},
            "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 0, "maxSurge": 1}},
            "template": {
                "metadata": {"labels": labels, "annotations": annotations},
                "spec": {key: value for key, value in pod.items() if value not in ({}, [])},
            },
        },
    }


def container(function: DeployedFunction, application: Application, name: str = "penstock") -> Fields:
    """Return the container that runs a function."""
    mounts = [
        {"name": "function", "mountPath": DOCUMENTS, "readOnly": True},
        {"name": "tmp", "mountPath": "/tmp"},  # noqa: S108  # of the container alone
        *function.settings.spec.volume_mounts,
        *(
            {"name": "secret-files", "mountPath": _in_app(path), "subPath": path.rpartition("/")[2], "readOnly": True}
            for path in application.secret_files
        ),
    ]
    is_pushed = bool(registry_of(function.image))
    health = {"httpGet": {"path": "/v2/health/live", "port": "http"}, "periodSeconds": 10, "timeoutSeconds": 3}
    return {
        "name": name,
        "image": function.image,
        "imagePullPolicy": "Always" if is_pushed and function.image.endswith(":latest") else "IfNotPresent",
        "args": arguments_of(function, f"{DOCUMENTS}/function.json"),
        "ports": [{"name": "http", "containerPort": PORT, "protocol": "TCP"}],
        **without_empty({"env": environment(function, application)}),
        "resources": resources(function),
        # Models are loaded before the port opens, so it may take its time; from then on it has to answer.
        "startupProbe": health | {"periodSeconds": 2, "failureThreshold": 150},
        "livenessProbe": health | {"failureThreshold": 3},
        "readinessProbe": {
            "httpGet": {"path": "/v2/health/ready", "port": "http"},
            "periodSeconds": 5,
            "timeoutSeconds": 3,
            "failureThreshold": 2,
        },
        # Until everybody knows that the pod is going, requests still come.
        "lifecycle": {"preStop": {"exec": {"command": ["sleep", "5"]}}},
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
        "volumeMounts": mounts,
    }


def environment(function: DeployedFunction, application: Application) -> list[Fields]:
    """Return the environment: values, and references of secrets."""
    named = {name: (f"{application.name}-secrets", name) for name in application.secrets}
    values: list[Fields] = [{"name": name, "value": value} for name, value in function.env.items()]
    return values + env_of_secrets(named | function.settings.spec.secret_env)


def resources(function: DeployedFunction) -> Fields:
    """Return the resources: what was set, with requests that an autoscaler can reckon with."""
    given = function.settings.spec.resources
    limits = {key: str(value) for key, value in (given.get("limits") or {}).items()}
    small = {key: value for key, value in _DEFAULT_REQUESTS.items() if key not in limits}
    return {"requests": small | (given.get("requests") or {})} | without_empty({"limits": limits})


def service(function: DeployedFunction, application: Application) -> Fields:
    """Return the Service of a function."""
    own = {"app.kubernetes.io/name": function.name, "app.kubernetes.io/part-of": application.name}
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": metadata(function.name, application, function),
        "spec": {"selector": own, "ports": [{"name": "http", "port": 80, "targetPort": "http", "protocol": "TCP"}]},
    }


def ingress_of(function: DeployedFunction, application: Application) -> Fields | None:
    """Return the Ingress that a function's HTTP trigger asks for, if it asks for one."""
    rules: list[Fields] = []
    hosts: list[Fields] = []
    marks: Fields = {}
    backend = {"service": {"name": function.name, "port": {"name": "http"}}}
    for trigger in function.triggers.values():
        for asked in (trigger.get("attributes") or {}).get("ingresses", {}).values():
            kind = asked.get("pathType", "ImplementationSpecific")
            paths = [{"path": path, "pathType": kind, "backend": backend} for path in asked.get("paths") or ["/"]]
            rules.append(without_empty({"host": asked.get("host")}) | {"http": {"paths": paths}})
            if asked.get("secretName"):
                hosts.append(without_empty({"hosts": [asked["host"]], "secretName": asked["secretName"]}))
            marks |= trigger.get("annotations") or {}
    if not rules:
        return None
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "Ingress",
        "metadata": metadata(function.name, application, function) | without_empty({"annotations": marks}),
        "spec": without_empty({"tls": hosts}) | {"rules": rules},
    }


def autoscaler(function: DeployedFunction, application: Application) -> Fields:
    """Return the HorizontalPodAutoscaler of a function that callers reach."""
    target = int(function.settings.spec.config.get("spec.targetCPU") or _TARGET_CPU)
    cpu = {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": target}}
    return {
        "apiVersion": "autoscaling/v2",
        "kind": "HorizontalPodAutoscaler",
        "metadata": metadata(function.name, application, function),
        "spec": {
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": function.name},
            "minReplicas": max(1, function.least),
            "maxReplicas": function.most,
            "metrics": [{"type": "Resource", "resource": cpu}],
        },
    }


def disruption_budget(function: DeployedFunction, application: Application) -> Fields:
    """Return the PodDisruptionBudget: one replica at a time may be moved."""
    own = {"app.kubernetes.io/name": function.name, "app.kubernetes.io/part-of": application.name}
    return {
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": metadata(function.name, application, function),
        "spec": {"maxUnavailable": 1, "selector": {"matchLabels": own}},
    }


def scaled_object(function: DeployedFunction, application: Application) -> Fields:
    """Return KEDA's ScaledObject of a function that reads Kafka: more replicas while it is behind."""
    topic = function.reads
    assert topic is not None  # noqa: S101  # who calls has looked
    return {
        "apiVersion": "keda.sh/v1alpha1",
        "kind": "ScaledObject",
        "metadata": metadata(function.name, application, function),
        "spec": {
            "scaleTargetRef": {"name": function.name},
            "minReplicaCount": function.least,
            "maxReplicaCount": function.most if function.most > function.least else max(topic.shards, function.least),
            "cooldownPeriod": 300,
            "triggers": [
                {
                    "type": "kafka",
                    "metadata": {
                        "bootstrapServers": topic.brokers,
                        "consumerGroup": topic.group,
                        "topic": topic.name,
                        "lagThreshold": str(_LAG),
                        "offsetResetPolicy": "earliest",
                    },
                }
            ],
        },
    }


def _in_app(path: str) -> str:
    return path if path.startswith("/") else f"/app/{path.removeprefix('./')}"
