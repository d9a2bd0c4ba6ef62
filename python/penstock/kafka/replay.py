"""A look at dead letters, and their way back."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Mapping
from typing import Any

from penstock.errors import StreamError
from penstock.extras import load_extra
from penstock.kafka.dead_letters import ATTEMPTS, PREFIX
from penstock.kafka.settings import address_of, from_environment
from penstock.kafka.trouble import Trouble, refusal

_GROUP = "penstock-dlq"
_NET_SECONDS = 30.0
_ANSWER_SECONDS = 10.0  # until it is clear that the brokers are not reached
_JOIN_SECONDS = 60.0  # a member of the group that was killed is missed after 45


def letters_of(
    path: str, *, limit: int | None = None, client: Mapping[str, Any] | None = None
) -> Iterator[dict[str, Any]]:
    """Read dead letters from the first on, without taking them: what they are and what happened to them.

    `client` are further settings of the client, under its own names; ``${NAME}`` stands for an environment variable.
    """
    trouble = Trouble()
    consumer, kafka, topic = _consumer(path, "show", from_environment(client or {}), trouble)
    try:
        ends = _ends(consumer, kafka, topic)
        consumer.assign([kafka.TopicPartition(topic, number, 0) for number in ends])
        for message in _messages(consumer, kafka, limit, ends):
            yield _described(message)
    except kafka.KafkaException as error:
        raise StreamError(trouble.behind(f"cannot read {topic}: {error.args[0].str()}")) from error
    finally:
        consumer.close()


def replay(path: str, *, limit: int | None = None, client: Mapping[str, Any] | None = None) -> int:
    """Send dead letters back to the topics they come from, each once; return how many.

    A letter counts as sent when the brokers have it in its topic. How often it has failed goes along. `client` is as
    that of `letters_of`.
    """
    settings = from_environment(client or {})
    trouble = Trouble()
    consumer, kafka, topic = _consumer(path, "replay", settings, trouble)
    sent = 0
    try:
        producer = kafka.Producer(
            {"bootstrap.servers": address_of(path)[0], "enable.idempotence": True} | settings,
            logger=logging.getLogger("penstock.kafka"),
        )
        ends = _ends(consumer, kafka, topic)
        consumer.subscribe([topic])
        for message in _messages(consumer, kafka, limit, ends):
            _send(producer, message)
            consumer.commit(message, asynchronous=False)
            sent += 1
    except kafka.KafkaException as error:
        raise StreamError(trouble.behind(f"cannot replay {topic}: {error.args[0].str()}")) from error
    finally:
        consumer.close()
    return sent


def _consumer(path: str, what: str, client: dict[str, Any], trouble: Trouble) -> tuple[Any, Any, str]:
    kafka = load_extra("confluent_kafka", "kafka", f"the stream '{path}'")
    brokers, topic = address_of(path)
    settings = {
        "bootstrap.servers": brokers,
        "group.id": f"{_GROUP}-{what}",
        "enable.auto.commit": False,
        "auto.offset.reset": "earliest",
        "enable.partition.eof": True,
        "error_cb": trouble,
    } | client
    try:
        return kafka.Consumer(settings, logger=logging.getLogger("penstock.kafka")), kafka, topic
    except kafka.KafkaException as error:
        raise StreamError(f"{path}: {refusal(error, settings)}") from None


def _ends(consumer: Any, kafka: Any, topic: str) -> dict[int, int]:
    """Return where each partition of a topic ends: letters that come later, as those that fail again, are others."""
    try:
        found = consumer.list_topics(topic, timeout=_ANSWER_SECONDS).topics[topic]
    except kafka.KafkaException:
        consumer.poll(0)  # which is when trouble is heard of
        raise
    if found.error is not None:
        raise StreamError(f"cannot read {topic}: {found.error.str()}")
    return {
        number: consumer.get_watermark_offsets(kafka.TopicPartition(topic, number), timeout=_NET_SECONDS)[1]
        for number in found.partitions
    }


def _messages(consumer: Any, kafka: Any, limit: int | None, ends: Mapping[int, int]) -> Iterator[Any]:
    """Yield messages up to these ends of all partitions that this consumer has."""
    taken, ended = 0, set()
    late_at = time.monotonic() + _JOIN_SECONDS
    while limit is None or taken < limit:
        message = consumer.poll(0.2)
        if message is None:
            if time.monotonic() > late_at:
                raise StreamError("no answer: the brokers are not reached, or somebody else is replaying this topic")
            continue
        late_at = time.monotonic() + _NET_SECONDS
        number = message.partition()
        if message.error() is None:
            end = ends.get(number, 0)
            if message.offset() < end:
                taken += 1
                yield message
            if message.offset() + 1 >= end:
                ended.add(number)
        elif message.error().code() == kafka.KafkaError._PARTITION_EOF:
            ended.add(number)
        else:
            raise StreamError(message.error().str())
        owned = consumer.assignment()
        if owned and all(one.partition in ended for one in owned):
            return


def _described(message: Any) -> dict[str, Any]:
    said = {name: value for name, value in message.headers() or () if name.startswith(PREFIX)}
    facts = {name[len(PREFIX) :]: (value or b"").decode(errors="replace") for name, value in said.items()}
    return {"key": message.key(), "value": message.value(), **facts}


def _send(producer: Any, message: Any) -> None:
    headers = dict(message.headers() or ())
    origin = headers.get(PREFIX + "topic")
    if not origin:
        raise StreamError(
            f"the record at offset {message.offset()} is no dead letter: it does not say where it is from"
        )
    kept = [(name, value) for name, value in message.headers() or () if name == ATTEMPTS or not name.startswith(PREFIX)]
    reports: list[Any] = []
    producer.produce(
        origin.decode(),
        value=message.value(),
        key=message.key(),
        headers=kept,
        on_delivery=lambda error, _message: reports.append(error),
    )
    producer.flush(_NET_SECONDS)
    if reports != [None]:
        said = reports[0].str() if reports else "no answer"
        raise StreamError(f"cannot send a record back to {origin.decode()}: {said}")
