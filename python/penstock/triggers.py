"""Triggers of a function: what brings it events when it is deployed, in the words of Nuclio."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from penstock.errors import GraphError
from penstock.spec import plain, without_empty

_INGRESS_TIMEOUTS = ("proxy-connect-timeout", "proxy-read-timeout", "proxy-send-timeout")


def trigger_of(name: str, given: Any) -> dict[str, Any]:
    """Read a trigger: a dict, or an object that has a `to_dict`.

    Examples
    --------
    >>> trigger_of("tick", {"kind": "cron", "attributes": {"interval": "3s"}})["name"]
    'tick'
    """
    fields = given.to_dict() if callable(getattr(given, "to_dict", None)) else given
    if not isinstance(fields, Mapping):
        raise GraphError(f"trigger '{name}': it is a dict or an object with to_dict, not a {type(given).__name__}")
    if not fields.get("kind"):
        raise GraphError(f"trigger '{name}': it says no kind, for example 'http', 'cron' or 'kafka-cluster'")
    return {**plain(dict(fields)), "name": name}


def http(
    workers: int,
    *,
    port: int | None,
    host: str | None,
    paths: Sequence[str] | str | None,
    canary: int | None,
    secret: str | None,
    worker_timeout: float | None,
    gateway_timeout: float | None,
    annotations: Mapping[str, str] | None,
    extra_attributes: Mapping[str, Any] | None,
    batching_spec: Any,
    async_spec: Any,
) -> dict[str, Any]:
    """Make an HTTP trigger; times are seconds."""
    if gateway_timeout is not None and worker_timeout is not None and gateway_timeout <= worker_timeout:
        raise GraphError(
            f"gateway_timeout ({gateway_timeout} s) must be greater than worker_timeout ({worker_timeout} s)"
        )
    attributes: dict[str, Any] = {"port": port} if port else {}
    marks = dict(annotations or {})
    if host or paths:
        listed = [paths] if isinstance(paths, str) else list(paths or ["/"])
        ingress = {"host": host, "paths": listed, "pathType": "ImplementationSpecific", "secretName": secret}
        attributes["ingresses"] = {"0": without_empty(ingress)}
    if canary is not None:
        if not 0 <= canary <= 100:
            raise GraphError(f"canary is a percentage of 0 to 100, not {canary}")
        marks |= {
            "nginx.ingress.kubernetes.io/canary": "true",
            "nginx.ingress.kubernetes.io/canary-weight": str(canary),
        }
    if gateway_timeout is not None:
        marks |= {f"nginx.ingress.kubernetes.io/{key}": str(int(gateway_timeout)) for key in _INGRESS_TIMEOUTS}
    timeout = None if worker_timeout is None else int(worker_timeout * 1000)
    trigger: dict[str, Any] = {
        "kind": "http",
        "numWorkers": workers,
        "maxWorkers": workers,  # what Nuclio before 1.13 reads
        "workerAvailabilityTimeoutMilliseconds": timeout,
        "attributes": attributes | dict(extra_attributes or {}),
        "annotations": marks,
    }
    if batching_spec is not None:
        trigger["batch"] = plain(batching_spec)
    if async_spec is not None:
        trigger |= {"mode": "async", "async": plain(async_spec)}
    return without_empty(trigger)


def cron(schedule: str | None, interval: str | None, event: Mapping[str, Any]) -> dict[str, Any]:
    """Make a trigger that fires by the clock."""
    if bool(schedule) == bool(interval):
        raise GraphError("a cron trigger has a schedule ('*/5 * * * *') or an interval ('30s'), one of them")
    timing = {"schedule": schedule, "interval": interval, "event": without_empty(dict(event))}
    return {"kind": "cron", "attributes": without_empty(timing)}


def kafka(
    brokers: Sequence[str] | str,
    topics: Sequence[str] | str,
    *,
    group: str,
    initial_offset: str,
    workers: int,
    options: Mapping[str, Any],
) -> dict[str, Any]:
    """Make a trigger that reads Kafka topics; `options` are as a queue has them."""
    if initial_offset not in ("earliest", "latest"):
        raise GraphError(f"initial_offset is 'earliest' or 'latest', not {initial_offset!r}")
    attributes = {
        "brokers": brokers.split(",") if isinstance(brokers, str) else list(brokers),
        "topics": topics.split(",") if isinstance(topics, str) else list(topics),
        "consumerGroup": group,
        "initialOffset": initial_offset,
        **options,
    }
    return {"kind": "kafka-cluster", "numWorkers": workers, "attributes": attributes}


def v3io_stream(
    path: str, *, group: str, seek_to: str, shards: int, workers: int, ack_window_size: int | None
) -> dict[str, Any]:
    """Make a trigger that reads a stream of v3io: ``v3io://host/container/path`` or ``container/path``."""
    address, _, inner = path.rpartition("://")
    host, _, rest = inner.partition("/") if address else ("", "", inner)
    container, _, stream = rest.strip("/").partition("/")
    if not container or not stream:
        raise GraphError(f"a v3io stream is container/path, not {path!r}")
    attributes = {
        "containerName": container,
        "streamPath": f"/{stream}",
        "consumerGroup": group,
        "seekTo": seek_to,
        "shards": shards,
        "ackWindowSize": ack_window_size,
    }
    trigger = {"kind": "v3ioStream", "url": f"http://{host}" if host else None, "numWorkers": workers}
    return without_empty(trigger | {"attributes": without_empty(attributes)})


def rabbitmq(
    url: str, exchange_name: str, *, queue_name: str | None, topics: Sequence[str] | str | None, workers: int
) -> dict[str, Any]:
    """Make a trigger that reads RabbitMQ: a queue, or topics of an exchange."""
    if bool(queue_name) == bool(topics):
        raise GraphError("a RabbitMQ trigger reads a queue_name or topics, one of them")
    listed = [topics] if isinstance(topics, str) else list(topics or [])
    attributes = without_empty({"exchangeName": exchange_name, "queueName": queue_name, "topics": listed})
    return {"kind": "rabbit-mq", "url": url, "numWorkers": workers, "attributes": attributes}
