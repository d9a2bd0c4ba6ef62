"""What is set on a function beside its graph: environment, requirements, triggers, secrets, tracking."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

from penstock import triggers
from penstock.errors import GraphError, MLRunInvalidArgumentError
from penstock.function_spec import Build, Metadata, ServingSpec
from penstock.spec import without_empty

Set = TypeVar("Set", bound="FunctionSettings")
_TRIGGER = "spec.triggers."


class FunctionSettings:
    """The part that functions and child functions share."""

    kind = "serving"
    metadata: Metadata
    spec: ServingSpec

    def set_env(self: Set, name: str, value: Any = None) -> Set:
        """Set an environment variable of the deployed function; None takes it away."""
        if value is None:
            self.spec.env.pop(name, None)
        else:
            self.spec.env[name] = str(value)
        return self

    def set_envs(self: Set, env_vars: Mapping[str, Any]) -> Set:
        """Set several environment variables."""
        for name, value in env_vars.items():
            self.set_env(name, value)
        return self

    def get_env(self, name: str, default: str | None = None) -> str | None:
        """Return an environment variable that was set."""
        return self.spec.env.get(name, default)

    def set_env_from_secret(self: Set, name: str, secret: str, secret_key: str | None = None) -> Set:
        """Have an environment variable of the deployed function filled from a Kubernetes secret.

        Parameters
        ----------
        name : str
            The variable.
        secret : str
            The secret's name.
        secret_key : str, optional
            The key in it, by default the variable's name.
        """
        self.spec.secret_env[name] = (secret, secret_key or name)
        return self

    def mount_volume(
        self: Set,
        path: str,
        *,
        claim: str = "",
        host_path: str = "",
        secret: str = "",
        config_map: str = "",
        read_only: bool = False,
    ) -> Set:
        """Have a volume at a path of the deployed function: of a claim, the host, a secret, or a config map.

        Raises
        ------
        GraphError
            Not exactly one of them is named, or the path is not absolute.
        """
        kinds = {
            "persistentVolumeClaim": {"claimName": claim},
            "hostPath": {"path": host_path},
            "secret": {"secretName": secret},
            "configMap": {"name": config_map},
        }
        given = {kind: fields for kind, fields in kinds.items() if all(fields.values())}
        if len(given) != 1 or not path.startswith("/"):
            raise GraphError(
                f"the volume at '{path}': it takes an absolute path and one of claim=, host_path=, secret=, config_map="
            )
        name = f"volume-{len(self.spec.volumes)}"
        self.spec.volumes.append({"name": name, **given})
        self.spec.volume_mounts.append(without_empty({"name": name, "mountPath": path, "readOnly": read_only}))
        return self

    def with_node_selection(
        self: Set, node_selector: Mapping[str, str] | None = None, tolerations: Sequence[Mapping[str, Any]] = ()
    ) -> Set:
        """Say which machines the deployed function may run on, as Kubernetes writes it."""
        self.spec.node_selector |= dict(node_selector or {})
        self.spec.tolerations += [dict(toleration) for toleration in tolerations]
        return self

    def with_requirements(
        self: Set,
        requirements: Sequence[str] | str | None = None,
        overwrite: bool = False,
        *,
        requirements_file: str = "",
    ) -> Set:
        """Add Python packages that the function needs: a list, or a file of requirements."""
        listed: list[str] = []
        for path in filter(None, [requirements if isinstance(requirements, str) else "", requirements_file]):
            listed += _requirements_of(path)
        if requirements is not None and not isinstance(requirements, str):
            listed += [str(item) for item in requirements]
        kept = [] if overwrite else self.spec.build.requirements
        self.spec.build.requirements = list(dict.fromkeys([*kept, *listed]))
        return self

    def with_commands(self: Set, commands: Sequence[str], overwrite: bool = False) -> Set:
        """Add commands that build the function's image."""
        if isinstance(commands, str) or not all(isinstance(command, str) for command in commands):
            raise GraphError("commands is a list of text, one command each")
        kept = [] if overwrite else self.spec.build.commands
        self.spec.build.commands = [*kept, *(command for command in commands if command not in kept)]
        return self

    def with_limits(self: Set, mem: str | None = None, cpu: str | None = None, gpus: int | None = None) -> Set:
        """Set the most memory, CPUs and GPUs that a replica gets."""
        self.spec.resources["limits"] = without_empty({"memory": mem, "cpu": cpu, "nvidia.com/gpu": gpus})
        return self

    def with_requests(self: Set, mem: str | None = None, cpu: str | None = None) -> Set:
        """Set the memory and CPUs that a replica is promised."""
        self.spec.resources["requests"] = without_empty({"memory": mem, "cpu": cpu})
        return self

    def add_trigger(self: Set, name: str, spec: Any) -> Set:
        """Add a trigger: a dict as Nuclio has it, or an object with `to_dict`.

        Raises
        ------
        MLRunInvalidArgumentError
            Answers are to be streamed, and the trigger is not HTTP.
        """
        trigger = triggers.trigger_of(name, spec)
        if self.spec.streaming and trigger["kind"] != "http":
            raise MLRunInvalidArgumentError(
                f"Cannot add non-HTTP trigger '{name}' (kind='{trigger['kind']}') when streaming is enabled. "
                "Streaming is only supported with HTTP triggers."
            )
        self.spec.config[_TRIGGER + name] = trigger
        return self

    @property
    def triggers(self) -> dict[str, dict[str, Any]]:
        """The triggers by name."""
        return {key[len(_TRIGGER) :]: value for key, value in self.spec.config.items() if key.startswith(_TRIGGER)}

    def with_http(  # noqa: PLR0917  # the order is MLRun's
        self: Set,
        workers: int | None = None,
        port: int | None = None,
        host: str | None = None,
        paths: Sequence[str] | str | None = None,
        canary: int | None = None,
        secret: str | None = None,
        worker_timeout: float | None = None,
        gateway_timeout: float | None = None,
        trigger_name: str = "http",
        annotations: Mapping[str, str] | None = None,
        extra_attributes: Mapping[str, Any] | None = None,
        batching_spec: Any = None,
        async_spec: Any = None,
    ) -> Set:
        """Say how HTTP reaches the deployed function; times are seconds, 8 workers unless it is asynchronous."""
        trigger = triggers.http(
            workers or (1 if async_spec is not None else 8),
            port=port,
            host=host,
            paths=paths,
            canary=canary,
            secret=secret,
            worker_timeout=worker_timeout,
            gateway_timeout=gateway_timeout,
            annotations=annotations,
            extra_attributes=extra_attributes,
            batching_spec=batching_spec,
            async_spec=async_spec,
        )
        return self.add_trigger(trigger_name, trigger)

    def add_cron_trigger(
        self: Set,
        name: str = "cron",
        *,
        schedule: str | None = None,
        interval: str | None = None,
        body: str = "",
        headers: Mapping[str, str] | None = None,
        path: str = "",
        method: str = "",
    ) -> Set:
        """Have the deployed function called by the clock: ``schedule="*/5 * * * *"`` or ``interval="30s"``."""
        event = {"body": body, "headers": dict(headers or {}), "path": path, "method": method}
        return self.add_trigger(name, triggers.cron(schedule, interval, event))

    def add_kafka_trigger(
        self: Set,
        brokers: Sequence[str] | str,
        topics: Sequence[str] | str,
        name: str = "kafka",
        *,
        group: str = "serving",
        initial_offset: str = "earliest",
        workers: int = 1,
        **options: Any,
    ) -> Set:
        """Have the deployed function read Kafka topics; `options` are those of a queue, such as dead_letter."""
        trigger = triggers.kafka(
            brokers, topics, group=group, initial_offset=initial_offset, workers=workers, options=options
        )
        return self.add_trigger(name, trigger)

    def add_v3io_stream_trigger(  # noqa: PLR0917  # the order is MLRun's
        self: Set,
        path: str,
        name: str = "stream",
        group: str = "serving",
        seek_to: str = "earliest",
        shards: int = 1,
        ack_window_size: int | None = None,
        workers: int = 1,
    ) -> Set:
        """Have the deployed function read a stream of v3io."""
        trigger = triggers.v3io_stream(
            path, group=group, seek_to=seek_to, shards=shards, workers=workers, ack_window_size=ack_window_size
        )
        return self.add_trigger(name, trigger)

    def add_rabbitmq_trigger(
        self: Set,
        url: str,
        exchange_name: str,
        name: str = "rabbitmq",
        *,
        queue_name: str | None = None,
        topics: Sequence[str] | str | None = None,
        workers: int = 1,
    ) -> Set:
        """Have the deployed function read RabbitMQ."""
        trigger = triggers.rabbitmq(url, exchange_name, queue_name=queue_name, topics=topics, workers=workers)
        return self.add_trigger(name, trigger)

    def with_secrets(self: Set, kind: str, source: Any) -> Set:
        """Add secrets, which steps get by ``context.get_secret(key)``.

        Parameters
        ----------
        kind : {"inline", "env", "file"}
            A dict of values, names of environment variables, or a file of ``KEY=value`` lines.
        source : dict, str or list of str
            The source itself. Values are never logged or written down: a deployed function needs "env" or "file".
        """
        self.spec.secret_sources.add(kind, source)
        return self

    def set_streaming(self: Set, enabled: bool = True) -> Set:
        """Let answers be streamed.

        Raises
        ------
        MLRunInvalidArgumentError
            The function has a trigger that is not HTTP.
        """
        other = [name for name, trigger in self.triggers.items() if trigger["kind"] != "http"]
        if enabled and other:
            kind = self.triggers[other[0]]["kind"]
            raise MLRunInvalidArgumentError(
                f"Streaming is only supported with HTTP triggers. Found non-HTTP trigger '{other[0]}' (kind='{kind}')"
            )
        self.spec.streaming = enabled
        return self


class ChildFunction(FunctionSettings):
    """A child function: runs the steps of a graph that name it, in a container of its own.

    Attributes
    ----------
    name : str
        What steps call it in ``function=``.
    url : str, optional
        Its source: a .py, .ipynb or .yaml file; "./" or nothing for that of its parent.
    metadata, spec
        As of a function: ``child.spec.build.commands = [...]``.
    """

    def __init__(
        self,
        name: str,
        parent: Metadata,
        *,
        url: str | None = None,
        image: str | None = None,
        requirements: Sequence[str] | str | None = None,
        kind: str = "serving",
    ) -> None:
        self.name = name
        self.kind = kind
        self.url = url
        labels = {"mlrun/parent-function": parent.name}
        self.metadata = Metadata(f"{parent.name}-{name}", parent.project, parent.tag, labels)
        self.spec = ServingSpec(filename=url or "", image=image or "")
        self.set_env("SERVING_CURRENT_FUNCTION", name)
        self.with_requirements(requirements)

    def __repr__(self) -> str:
        return f"<ChildFunction '{self.name}'>"

    @property
    def function_object(self) -> ChildFunction:
        """The child itself, under the name MLRun has for it."""
        return self

    def to_dict(self) -> dict[str, Any]:
        """Write it down as MLRun refers to child functions."""
        spec = self.spec.to_dict()
        metadata = {"name": self.metadata.name, "labels": self.metadata.labels}
        written: dict[str, Any] = {"kind": self.kind, "name": self.name, "url": self.url, "image": self.spec.image}
        written["requirements"] = list(self.spec.build.requirements)
        return without_empty(written) | {"spec": {"kind": self.kind, "metadata": metadata, "spec": spec}}

    @classmethod
    def from_dict(cls, name: str, parent: Metadata, fields: Mapping[str, Any]) -> ChildFunction:
        """Read what `to_dict` wrote, or MLRun."""
        child = cls(name, parent, url=fields.get("url"), kind=fields.get("kind") or "serving")
        inner = (fields.get("spec") or {}).get("spec")
        if inner is not None:
            child.spec = ServingSpec.from_dict(inner)
        child.spec.image = fields.get("image") or child.spec.image
        child.spec.build = child.spec.build if inner is not None else Build()
        return child.set_env("SERVING_CURRENT_FUNCTION", name).with_requirements(fields.get("requirements") or [])


def _requirements_of(path: str) -> list[str]:
    try:
        with open(os.path.expanduser(path), encoding="utf-8") as file:
            lines = [line.partition(" #")[0].strip() for line in file]
    except OSError as error:
        raise GraphError(f"the file of requirements {path} cannot be read: {error.strerror}") from None
    return [line for line in lines if line and not line.startswith("#")]
