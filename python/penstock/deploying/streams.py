"""What carries events between functions: queues become Kafka topics that every container reaches."""

from __future__ import annotations

import dataclasses
from typing import Any

from penstock.errors import GraphError
from penstock.streams import scheme_of
from penstock.walks import queue_links

_HERE = ("localhost", "127.0.0.1", "[::1]")


@dataclasses.dataclass(frozen=True)
class Topic:
    """A Kafka topic that a function reads.

    Attributes
    ----------
    name : str
        The topic.
    brokers : str
        Where its brokers are: "host:port", several with commas.
    group : str
        The consumer group.
    shards : int
        Its partitions.
    credentials : dict
        How its brokers are reached, in the words of Nuclio's triggers; secrets as ``${NAME}``.
    """

    name: str
    brokers: str
    group: str
    shards: int = 4
    credentials: dict[str, Any] = dataclasses.field(default_factory=dict)


def attach(document: dict[str, Any], graph: Any, function: str, *, kafka: str, brokers: str) -> dict[str, Topic]:
    """Find the topic that each child function reads; queues in memory become topics of the brokers given.

    Parameters
    ----------
    document : dict
        The graph as `to_dict` writes it; paths of queues are changed.
    graph : RootFlowStep or RouterStep
        The graph.
    function : str
        The function's name.
    kafka : str
        Brokers that the target brings along; "" if it brings none.
    brokers : str
        Brokers that whoever deploys has named.

    Raises
    ------
    GraphError
        A queue between functions has no stream that containers share.
    """
    if not hasattr(graph, "following"):  # a router: its models run in it
        return {}
    found: dict[str, Topic] = {}
    for child, queue in queue_links(graph).items():
        options = dict(queue.queue_options)  # type: ignore[attr-defined]  # it is a queue
        path = queue.path or ""  # type: ignore[attr-defined]  # it is a queue
        scheme = scheme_of(path)
        hosts, _, topic = path.partition("://")[2].partition("/")
        named = options.get("kafka_brokers") or hosts
        named = ",".join(named) if isinstance(named, list) else named
        if scheme in ("memory", "dummy"):
            topic, named = f"{function}-{queue.name}", brokers or kafka
        elif scheme != "kafka":
            raise GraphError(
                f"step '{queue.name}': the child function '{child}' reads it in another container, which takes a "
                f"Kafka topic, not '{path}': write path='kafka://host:port/topic'"
            )
        elif named.partition(":")[0] in _HERE:
            named = brokers or kafka or named
        if not named or named.partition(":")[0] in _HERE:
            raise GraphError(
                f"step '{queue.name}': the child function '{child}' reads this queue in another container, where "
                f"'{path or 'memory'}' is not: write path='kafka://host:port/topic', or say where Kafka is by kafka="
            )
        group = str(options.get("group") or f"{function}-{child}")
        found[child] = Topic(topic.strip("/"), named, group, int(options.get("shards") or 4), _credentials(options))
        step = document["steps"][queue.name]
        step["path"] = f"kafka://{named}/{topic.strip('/')}"
        step["options"] = {key: value for key, value in (step.get("options") or {}).items() if key != "kafka_brokers"}
        step["options"]["group"] = group  # said, so that who scales the readers looks at the same one
    return found


def _credentials(options: dict[str, Any]) -> dict[str, Any]:
    sasl = dict(options.get("sasl") or {})
    given = {"user": "sasl_user", "password": "sasl_pass", "mechanism": "sasl_mechanism"}
    sasl |= {own: options[name] for own, name in given.items() if options.get(name)}
    found: dict[str, Any] = {"sasl": {**sasl, "enable": True}} if sasl.get("user") else {}
    found |= {name: options[name] for name in ("caCert", "accessCertificate", "accessKey") if options.get(name)}
    tls = dict(options.get("tls") or {}) | ({"enable": True} if options.get("caCert") else {})
    return found | ({"tls": tls} if tls else {})
