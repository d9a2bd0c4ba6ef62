"""What a queue's path and options, or a trigger, say about a Kafka topic that is read."""

from __future__ import annotations

import contextlib
import dataclasses
import difflib
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from penstock.errors import GraphError

ON_POISON = ("stop", "dead_letter", "skip")
AT_LEAST_ONCE, EXACTLY_ONCE = "at_least_once", "exactly_once"
_OFFSETS = ("earliest", "latest")
_OFTEN = 0.1  # seconds between commits that readers of the output wait for
_OF_CONNECTIONS = ("security.", "sasl.", "ssl.", "enable.ssl.", "client.", "broker.", "socket.")
_OF_TRANSACTIONS = ("transaction.",)
# What the brokers decide in groups of the newer protocol, KIP-848; a client that says so anyway is refused.
_OF_BROKERS = ("partition.assignment.strategy", "session.timeout.ms", "heartbeat.interval.ms")
_REFERENCE = re.compile(r"\$\{(\w+)\}")


@dataclasses.dataclass(frozen=True)
class Reading:
    """How topics are read.

    Attributes
    ----------
    brokers : str
        ``host:port``, several of them separated by commas.
    topics : tuple of str
        The topics.
    group : str
        The consumer group.
    initial_offset : str
        Where a group begins that has committed nothing: "earliest" or "latest".
    dead_letter : str
        The topic that records go to which fail for good; empty for none.
    on_poison : str
        What becomes of such a record: "dead_letter", "skip", or "stop", which holds its partition until somebody
        has looked.
    shards : int
        Partitions of a topic that has to be made.
    max_in_flight : int
        Records of all partitions that may be under way.
    max_uncommitted : int
        Records of one partition that may wait for an earlier one to settle.
    commit_interval : float
        Seconds between commits.
    revoke_wait : float
        Seconds that a rebalance waits for records of partitions that go elsewhere.
    guarantee : str
        "at_least_once" or "exactly_once".
    client : dict
        Further settings of the client, under its own names.
    """

    brokers: str
    topics: tuple[str, ...]
    group: str
    initial_offset: str = "earliest"
    dead_letter: str = ""
    on_poison: str = "stop"
    shards: int = 1
    max_in_flight: int = 4096
    max_uncommitted: int = 10_000
    commit_interval: float = 1.0
    revoke_wait: float = 10.0
    guarantee: str = AT_LEAST_ONCE
    client: Mapping[str, Any] = dataclasses.field(default_factory=dict, repr=False)  # there are passwords in it

    def consumer(self) -> dict[str, Any]:
        """Return the settings of a consumer."""
        settings = {
            "bootstrap.servers": self.brokers,
            "group.id": self.group,
            # Of a group that has been somewhere: what is there no more was deleted, and nothing else is to be missed.
            "auto.offset.reset": "earliest",
            "enable.auto.commit": False,
            "enable.auto.offset.store": False,
            "partition.assignment.strategy": "cooperative-sticky",
            # By default a consumer whose local queue is full sleeps a second.
            "fetch.queue.backoff.ms": 10,
            "queued.max.messages.kbytes": 16_384,
            "topic.metadata.refresh.interval.ms": 10_000,  # until partitions that are added are seen
            "isolation.level": "read_committed",
        } | {key: value for key, value in self.client.items() if not key.startswith(_OF_TRANSACTIONS)}
        decided = _OF_BROKERS if settings.get("group.protocol") == "consumer" else ()
        return {key: value for key, value in settings.items() if key not in decided}

    def producer(self) -> dict[str, Any]:
        """Return the settings of a producer beside this consumer: the same brokers and credentials."""
        return {key: value for key, value in self.client.items() if key.startswith(_OF_CONNECTIONS + _OF_TRANSACTIONS)}


def address_of(path: str, brokers: str | Sequence[str] | None = None) -> tuple[str, str]:
    """Split ``kafka://host:port/topic`` into brokers and topic.

    The brokers of a path that names none are `brokers`, or those of the environment's ``PENSTOCK_KAFKA``.

    Examples
    --------
    >>> address_of("kafka://a:9092,b:9092/paragraphs")
    ('a:9092,b:9092', 'paragraphs')
    >>> address_of("kafka:///paragraphs", ["a:9092"])
    ('a:9092', 'paragraphs')
    """
    hosts, _, topic = path.partition("://")[2].partition("/")
    named = brokers if isinstance(brokers, str) else ",".join(brokers or ())
    found = named or hosts or os.environ.get("PENSTOCK_KAFKA", "")
    if not topic.strip("/") or not found:
        raise GraphError(
            f"the stream '{path}' needs brokers and a topic: kafka://host:port/topic; brokers may be in PENSTOCK_KAFKA"
        )
    return found, topic.strip("/")


# What a queue may say beside the fields of a Reading, in the words of this project, of MLRun and of Nuclio.
_WORDS = (
    *("path", "kafka_brokers", "full_event", "sharding_func", "retention_in_hours", "trigger_args", "timeout"),
    *("producer_options", "client_options", "sasl_user", "sasl_pass", "sasl_mechanism", "sasl", "tls"),
    *("caCert", "accessCertificate", "accessKey", "sessionTimeout", "heartbeatInterval", "maxProcessingTime"),
    *("consumerGroup", "initialOffset", "deadLetter", "onPoison"),
)


def check_words(options: Mapping[str, Any], where: str) -> None:
    """Refuse an option that is nearly one of those that there are: what is misspelt would do nothing.

    Raises
    ------
    GraphError
        There is one.

    Examples
    --------
    >>> check_words({"dead_leter": "q1.dead"}, "the queue")
    Traceback (most recent call last):
    penstock.errors.GraphError: the queue has no option 'dead_leter'; did you mean 'dead_letter'?
    """
    known = {*_WORDS, *(field.name for field in dataclasses.fields(Reading))}
    for name in options.keys() - known:
        if near := difflib.get_close_matches(name, known, 1, cutoff=0.8):
            raise GraphError(f"{where} has no option '{name}'; did you mean '{near[0]}'?")


def of_queue(path: str, options: Mapping[str, Any], *, group: str) -> Reading:
    """Read what a queue says.

    Parameters
    ----------
    path : str
        The queue's path.
    options : dict
        Its options; those that a reader has no use for are passed by.
    group : str
        The consumer group, if the options name none.

    Examples
    --------
    >>> reading = of_queue("kafka://host:9092/q1", {"dead_letter": "q1.dead"}, group="enrich")
    >>> reading.group, reading.on_poison
    ('enrich', 'dead_letter')
    """
    check_words(options, f"the queue of '{path}'")
    brokers, topic = address_of(path, options.get("kafka_brokers"))
    return _reading(brokers, (topic,), {"group": group} | _all_said(options), f"the queue of '{path}'")


def _all_said(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return a queue's options along with what MLRun would hand on to the trigger that reads it."""
    arguments = dict(options.get("trigger_args") or {})
    further = dict(arguments.get("extra_attributes") or {})
    return further | arguments | {key: value for key, value in options.items() if value is not None}


def of_trigger(trigger: Mapping[str, Any], *, group: str) -> Reading:
    """Read a trigger of the kind kafka-cluster, as Nuclio has it.

    Examples
    --------
    >>> attributes = {"brokers": ["host:9092"], "topics": ["in"], "consumerGroup": "g", "initialOffset": "latest"}
    >>> of_trigger({"kind": "kafka-cluster", "attributes": attributes}, group="f").initial_offset
    'latest'
    """
    attributes = dict(trigger.get("attributes") or {})
    brokers, topics = _listed(attributes.get("brokers")), tuple(_listed(attributes.get("topics")))
    where = f"trigger '{trigger.get('name', '')}'"
    if not brokers or not topics:
        raise GraphError(f"{where}: a Kafka trigger names brokers and topics")
    return _reading(",".join(brokers), topics, {"group": group} | attributes, where)


def _reading(brokers: str, topics: tuple[str, ...], said: Mapping[str, Any], where: str) -> Reading:
    dead_letter = str(said.get("dead_letter") or said.get("deadLetter") or "").rpartition("/")[2]
    on_poison = str(said.get("on_poison") or said.get("onPoison") or ("dead_letter" if dead_letter else "stop"))
    if on_poison not in ON_POISON:
        raise GraphError(f"{where}: on_poison is one of {', '.join(ON_POISON)}, not {on_poison!r}")
    if on_poison == "dead_letter" and not dead_letter:
        raise GraphError(f"{where}: say which topic the dead letters go to: dead_letter='topic'")
    guarantee = guarantee_of(said, where)
    initial = str(said.get("initial_offset") or said.get("initialOffset") or "earliest").lower()
    if initial not in _OFFSETS:
        raise GraphError(f"{where}: initial_offset is 'earliest' or 'latest', not {initial!r}")
    reading = Reading(
        brokers,
        topics,
        group=str(said.get("consumerGroup") or said["group"]),
        initial_offset=initial,
        dead_letter=dead_letter,
        on_poison=on_poison,
        guarantee=guarantee,
        commit_interval=_OFTEN if guarantee == EXACTLY_ONCE else Reading.commit_interval,
        client=_client(said),
    )
    numbers: dict[str, Any] = {}
    for name in ("shards", "max_in_flight", "max_uncommitted", "commit_interval", "revoke_wait"):
        if (given := said.get(name)) is not None:
            numbers[name] = _number(given, type(getattr(reading, name)), f"{where}: {name}")
    return dataclasses.replace(reading, **numbers)


def _number(given: Any, kind: type, what: str) -> Any:
    try:
        number = kind(given)
    except (TypeError, ValueError):
        raise GraphError(f"{what} is a number, not {given!r}") from None
    if number <= 0:
        raise GraphError(f"{what} is more than 0, not {number}")
    return number


def guarantee_of(said: Mapping[str, Any], where: str) -> str:
    """Read what is promised of the records.

    Examples
    --------
    >>> guarantee_of({}, "the queue"), guarantee_of({"guarantee": "exactly_once"}, "the queue")
    ('at_least_once', 'exactly_once')
    """
    guarantee = str(said.get("guarantee") or AT_LEAST_ONCE)
    if guarantee not in (AT_LEAST_ONCE, EXACTLY_ONCE):
        raise GraphError(f"{where}: guarantee is {AT_LEAST_ONCE!r} or {EXACTLY_ONCE!r}, not {guarantee!r}")
    return guarantee


def connection_of(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the client's settings of what a queue says about connections, wherever it does.

    Examples
    --------
    >>> sorted(connection_of({"sasl_user": "me", "sasl_pass": "..."}))
    ['sasl.mechanism', 'sasl.password', 'sasl.username', 'security.protocol']
    """
    return _of_connections(_client(_all_said(options)))


def _of_connections(settings: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in settings.items() if key.startswith(_OF_CONNECTIONS)}


def connection_to(path: str, queues: Iterable[Any], triggers: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the client's settings for a topic that says nothing of credentials: who is at its brokers has some.

    Parameters
    ----------
    path : str
        The topic's path.
    queues : iterable of QueueStep
        Queues of Kafka.
    triggers : iterable of dict
        Triggers of the kind kafka-cluster.
    """
    wanted = set(address_of(path)[0].split(","))
    others: list[tuple[Any, Mapping[str, Any]]] = []
    for queue in queues:
        with contextlib.suppress(GraphError):  # one that names no brokers says so itself, where it has to
            others.append((address_of(queue.path, brokers_of(queue.queue_options))[0], queue.queue_options))
    for trigger in triggers:
        attributes = trigger.get("attributes") or {}
        others.append((attributes.get("brokers"), attributes))
    return next((connection_of(said) for brokers, said in others if set(_listed(brokers)) == wanted), {})


def brokers_of(options: Mapping[str, Any]) -> Any:
    """Return the brokers that a queue's writer names beside its path."""
    return options.get("kafka_brokers") or (options.get("producer_options") or {}).get("bootstrap.servers")


def _client(said: Mapping[str, Any]) -> dict[str, Any]:
    """Return the client's settings of what MLRun and Nuclio call them."""
    sasl = dict(said.get("sasl") or {})
    tls = dict(said.get("tls") or {})
    user = said.get("sasl_user") or (sasl.get("user") if sasl.get("enable", True) else None)
    own = _of_connections(said.get("producer_options") or {}) | dict(said.get("client_options") or {})
    settings: dict[str, Any] = {}
    # Who names certificates wants TLS: the password is not to go over the wire for all to read.
    secure = bool(tls.get("enable") or said.get("caCert") or any(name.startswith("ssl.") for name in own))
    if user:
        settings |= {
            "sasl.mechanism": str(said.get("sasl_mechanism") or sasl.get("mechanism") or "PLAIN").upper(),
            "sasl.username": str(user),
            "sasl.password": str(said.get("sasl_pass") or sasl.get("password") or ""),
        }
    if user or secure:
        settings["security.protocol"] = ("SASL_" if user else "") + ("SSL" if secure else "PLAINTEXT")
    if tls.get("insecureSkipVerify"):
        settings["enable.ssl.certificate.verification"] = False
    pems = {"caCert": "ssl.ca.pem", "accessCertificate": "ssl.certificate.pem", "accessKey": "ssl.key.pem"}
    settings |= {its: said[name] for name, its in pems.items() if said.get(name)}
    times = {
        "sessionTimeout": "session.timeout.ms",
        "heartbeatInterval": "heartbeat.interval.ms",
        "maxProcessingTime": "max.poll.interval.ms",
    }
    settings |= {its: _milliseconds(said[name]) for name, its in times.items() if said.get(name)}
    return from_environment(settings | own)


def from_environment(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Put environment variables in place of what is written as ``${NAME}``, as credentials should be.

    Raises
    ------
    GraphError
        One of them is not set.

    Examples
    --------
    >>> from_environment({"linger.ms": 5, "sasl.password": "${NO_SUCH_VARIABLE}"})
    Traceback (most recent call last):
    penstock.errors.GraphError: the setting sasl.password is ${NO_SUCH_VARIABLE}, and that variable is not set
    """
    found = dict(settings)
    for name, value in settings.items():
        if isinstance(value, str) and (reference := _REFERENCE.fullmatch(value)):
            if reference[1] not in os.environ:
                raise GraphError(f"the setting {name} is {value}, and that variable is not set")
            found[name] = os.environ[reference[1]]
    return found


def _milliseconds(value: Any) -> int:
    """Read a time of Nuclio: "10s", "500ms", or seconds."""
    text = str(value).strip()
    for unit, factor in (("ms", 1), ("s", 1000), ("m", 60_000)):
        if text.endswith(unit):
            return int(float(text.removesuffix(unit)) * factor)
    return int(float(text) * 1000)


def _listed(value: Any) -> list[str]:
    return [text for text in value.split(",") if text] if isinstance(value, str) else list(value or [])
