"""Topics that a queue needs and that are not there yet."""

from __future__ import annotations

import logging
from typing import Any

from penstock.extras import load_extra
from penstock.kafka.settings import Reading
from penstock.kafka.trouble import Trouble

_SECONDS = 10.0
_logger = logging.getLogger("penstock.kafka")  # which says the same but once in a while


def make_topics(reading: Reading, *, timeout: float = _SECONDS) -> bool:
    """Make the topics that are missing, and that of the dead letters; tell whether the brokers could be asked."""
    wanted = dict.fromkeys(reading.topics, reading.shards)
    if reading.dead_letter:
        wanted.setdefault(reading.dead_letter, 1)
    return make(reading.brokers, wanted, reading.producer(), timeout=timeout)


def make(
    brokers: str, wanted: dict[str, int], client: dict[str, Any] | None = None, *, timeout: float = _SECONDS
) -> bool:
    """Make these topics, with as many partitions, unless they are there; tell whether the brokers could be asked."""
    timeout = min(timeout, _SECONDS)
    load_extra("confluent_kafka", "kafka", f"the stream of '{next(iter(wanted), '')}'")
    from confluent_kafka import KafkaError, KafkaException
    from confluent_kafka.cimpl import NewTopic

    trouble = Trouble()
    admin = _admin(brokers, client, error_cb=trouble)
    try:
        known = admin.list_topics(timeout=timeout).topics
        missing = [NewTopic(topic, shards) for topic, shards in wanted.items() if topic not in known]
        for made in admin.create_topics(missing, request_timeout=timeout).values() if missing else ():
            _heed(made, KafkaError.TOPIC_ALREADY_EXISTS, KafkaException)
    except KafkaException as error:
        admin.poll(0)  # which is when trouble is heard of
        why = trouble.behind(error.args[0].str())
        _logger.error("the topics %s cannot be seen to for now: %s", ", ".join(wanted), why)
        return False
    return True


def largest_record(brokers: str, topic: str, client: dict[str, Any] | None = None, *, timeout: float = _SECONDS) -> int:
    """Ask for the bytes that a topic's records may have; 0 if the brokers do not say."""
    from confluent_kafka import KafkaException
    from confluent_kafka.admin import ConfigResource  # type: ignore[attr-defined]

    resource = ConfigResource(ConfigResource.Type.TOPIC, topic)
    admin = _admin(brokers, client)
    try:
        settings = admin.describe_configs([resource], request_timeout=min(timeout, _SECONDS))[resource].result()
        return int(settings["max.message.bytes"].value)
    except (KafkaException, KeyError, TypeError, ValueError) as error:
        _logger.debug("the topic %s does not say how large its records may be: %s", topic, error)
        return 0


def _admin(brokers: str, client: dict[str, Any] | None, **more: Any) -> Any:
    """Return a client without a log of its own: what it meets, who asks it says."""
    from confluent_kafka.admin import AdminClient

    settings: dict[str, Any] = {"bootstrap.servers": brokers, "log_level": 0, **(client or {}), **more}
    return AdminClient(settings)


def _heed(made: Any, exists: int, failure: type[Exception]) -> None:
    try:
        made.result()
    except failure as error:
        if error.args[0].code() != exists:
            raise
