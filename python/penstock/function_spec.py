"""What a function is made of, and how that is written down."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from penstock.errors import GraphError
from penstock.graph import RootFlowStep, graph_from_dict
from penstock.secret_store import SecretStore
from penstock.spec import plain, without_empty
from penstock.steps import RouterStep

if TYPE_CHECKING:
    from penstock.settings import ChildFunction

LOAD_MODES = (None, "sync", "async")


@dataclasses.dataclass
class Metadata:
    """What a function is called."""

    name: str
    project: str = ""
    tag: str = ""
    labels: dict[str, str] = dataclasses.field(default_factory=dict)
    hash: str = ""

    @property
    def uri(self) -> str:
        """The name with project and tag: ``project/name:tag``.

        Examples
        --------
        >>> Metadata("fraud", "bank", "v1").uri
        'bank/fraud:v1'
        """
        return f"{self.project or 'default'}/{self.name}" + (f":{self.tag}" if self.tag else "")


@dataclasses.dataclass
class Build:
    """How the image of a function is built."""

    base_image: str = ""
    commands: list[str] = dataclasses.field(default_factory=list)
    requirements: list[str] = dataclasses.field(default_factory=list)
    source: str = ""
    further: dict[str, Any] = dataclasses.field(default_factory=dict)  # of MLRun, kept

    def to_dict(self) -> dict[str, Any]:
        """Write it down."""
        own = {field.name: getattr(self, field.name) for field in dataclasses.fields(self) if field.name != "further"}
        return self.further | without_empty(own)

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> Build:
        """Read what `to_dict` wrote, or MLRun."""
        known = {field.name for field in dataclasses.fields(cls)} - {"further"}
        further = {key: value for key, value in fields.items() if key not in known}
        return cls(**{key: fields[key] for key in known & set(fields)}, further=further)


@dataclasses.dataclass
class Status:
    """Where a function runs."""

    address: str = ""  # host:port, or a URL


@dataclasses.dataclass
class ServingSpec:
    """What a function is made of.

    Attributes
    ----------
    graph : RootFlowStep or RouterStep, optional
        Set by `set_topology`; a dict that ``graph.to_dict()`` wrote may be set, too.
    parameters : dict
        What ``context.get_param`` returns.
    default_class : str
        The class of models that name none.
    default_content_type : str
        The content type of events that have none.
    error_stream : str
        Where failures are written.
    load_mode : {None, "sync", "async"}
        Whether models load before the function is ready, or while it runs.
    graph_initializer : str or callable, optional
        Called with the server before its graph is made.
    function_refs : dict
        The child functions.
    secret_sources : SecretStore
        Where secrets come from.
    track_models : bool
        Whether models write what they are asked and answer to a stream.
    streaming : bool, optional
        Whether answers may be streamed.
    trusted_model_paths : list of str
        Where, beside the models' own paths, model files that can run code may be loaded from.
    command, filename : str
        The function's source.
    image, build, env, secret_env, resources, replicas, min_replicas, max_replicas, config
        What deployment needs; `secret_env` has for a variable the Kubernetes secret and the key in it.
    volumes, volume_mounts, node_selector, tolerations
        Where it may store and run, as Kubernetes writes it.
    """

    graph: RootFlowStep | RouterStep | None = None
    parameters: dict[str, Any] = dataclasses.field(default_factory=dict)
    default_class: str = ""
    default_content_type: str = ""
    error_stream: str = ""
    load_mode: str | None = None
    graph_initializer: str | Callable[[Any], Any] | None = None
    function_refs: dict[str, ChildFunction] = dataclasses.field(default_factory=dict)
    models: dict[str, Any] = dataclasses.field(default_factory=dict)
    secret_sources: SecretStore = dataclasses.field(default_factory=SecretStore)
    track_models: bool = False
    streaming: bool | None = None
    trusted_model_paths: list[str] = dataclasses.field(default_factory=list)
    description: str = ""
    command: str = ""
    filename: str = ""
    image: str = ""
    build: Build = dataclasses.field(default_factory=Build)
    env: dict[str, str] = dataclasses.field(default_factory=dict)
    secret_env: dict[str, tuple[str, str]] = dataclasses.field(default_factory=dict)
    volumes: list[dict[str, Any]] = dataclasses.field(default_factory=list)
    volume_mounts: list[dict[str, Any]] = dataclasses.field(default_factory=list)
    node_selector: dict[str, str] = dataclasses.field(default_factory=dict)
    tolerations: list[dict[str, Any]] = dataclasses.field(default_factory=list)
    resources: dict[str, Any] = dataclasses.field(default_factory=dict)
    replicas: int | None = None
    min_replicas: int | None = None
    max_replicas: int | None = None
    config: dict[str, Any] = dataclasses.field(default_factory=dict)
    further: dict[str, Any] = dataclasses.field(default_factory=dict)  # of MLRun, kept for who reads it next

    def __setattr__(self, name: str, value: Any) -> None:
        if name == "graph" and isinstance(value, dict):
            value = graph_from_dict(value)
        super().__setattr__(name, value)

    def check(self) -> None:
        """Raise for a value that cannot be."""
        if self.load_mode not in LOAD_MODES:
            raise GraphError(f"load_mode is 'sync' or 'async', not {self.load_mode!r}")

    def to_dict(self) -> dict[str, Any]:
        """Write it down with MLRun's field names; secrets without their values."""
        fields = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        del fields["further"], fields["secret_env"]
        fields |= {
            "graph": self.graph.to_dict() if self.graph is not None else None,
            "function_refs": {name: child.to_dict() for name, child in self.function_refs.items()},
            "secret_sources": self.secret_sources.to_list(),
            "build": self.build.to_dict(),
            "env": [{"name": name, "value": value} for name, value in self.env.items()]
            + env_of_secrets(self.secret_env),
            "graph_initializer": plain(self.graph_initializer),
        }
        told = self.streaming is not None
        written: dict[str, Any] = plain(without_empty(fields))
        return self.further | written | ({"streaming": self.streaming} if told else {})

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> ServingSpec:
        """Read what `to_dict` wrote, or MLRun; child functions are left to the function."""
        known = {field.name for field in dataclasses.fields(cls)} - {"further", "function_refs", "secret_env"}
        given = {key: value for key, value in fields.items() if key in known and value is not None}
        given["secret_sources"] = SecretStore.from_list(given.get("secret_sources") or [])
        given["build"] = Build.from_dict(given.get("build") or {})
        env = given.get("env") or {}
        if not isinstance(env, Mapping):  # MLRun's list; values from elsewhere than Kubernetes secrets are left empty
            given["secret_env"] = {item["name"]: found for item in env if (found := _secret_of(item)) is not None}
            env = {item["name"]: item.get("value") or "" for item in env if item["name"] not in given["secret_env"]}
        given["env"] = dict(env)
        further = {key: value for key, value in fields.items() if key not in known and key != "function_refs"}
        return cls(**given, further=further)


def env_of_secrets(secrets: Mapping[str, tuple[str, str]]) -> list[dict[str, Any]]:
    """Write down environment variables whose values are in Kubernetes secrets.

    Examples
    --------
    >>> env_of_secrets({"TOKEN": ("service", "token")})
    [{'name': 'TOKEN', 'valueFrom': {'secretKeyRef': {'name': 'service', 'key': 'token'}}}]
    """
    return [
        {"name": name, "valueFrom": {"secretKeyRef": {"name": secret, "key": key}}}
        for name, (secret, key) in secrets.items()
    ]


def _secret_of(item: Mapping[str, Any]) -> tuple[str, str] | None:
    reference = (item.get("valueFrom") or {}).get("secretKeyRef")
    return (str(reference["name"]), str(reference["key"])) if reference else None
