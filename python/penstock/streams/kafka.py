"""Streams into Kafka topics."""

from __future__ import annotations

import logging
from typing import Any

from penstock.errors import GraphError, StreamError
from penstock.extras import load_extra
from penstock.streams.records import as_bytes, as_list

_SECONDS = 30.0


class KafkaStream:
    """A Kafka topic. A push returns when the brokers have its records, on all replicas that are in sync.

    Parameters
    ----------
    path : str
        ``kafka://host:port/topic``; several brokers are separated by commas.
    kafka_brokers : str or list of str, optional
        The brokers, if the path names none: ``kafka:///topic``.
    producer_options : dict, optional
        Further settings of the client, under its own names.
    timeout : float
        Seconds that a push may take.
    """

    def __init__(
        self,
        path: str,
        *,
        kafka_brokers: str | list[str] | None = None,
        producer_options: dict[str, Any] | None = None,
        timeout: float = _SECONDS,
        **_: Any,
    ) -> None:
        kafka = load_extra("confluent_kafka", "kafka", f"the stream '{path}'")
        hosts, _separator, topic = path.partition("://")[2].partition("/")
        brokers = ",".join(kafka_brokers) if isinstance(kafka_brokers, list) else kafka_brokers or hosts
        settings = {
            "bootstrap.servers": brokers,
            "enable.idempotence": True,  # which asks for acks=all
            "message.timeout.ms": int(timeout * 1000),
        } | (producer_options or {})
        if not topic.strip("/") or not settings["bootstrap.servers"]:
            raise GraphError(f"the stream '{path}' needs brokers and a topic: kafka://host:port/topic")
        self.topic = topic.strip("/")
        self._timeout = timeout
        try:
            self._producer = kafka.Producer(settings, logger=logging.getLogger("penstock.kafka"))
        except kafka.KafkaException as error:
            raise GraphError(f"the stream '{path}': {error}") from None
        self._failures = (kafka.KafkaException, BufferError)

    def push(self, records: Any, key: Any = None) -> None:
        """Send records to the topic; those of one key go to one partition."""
        reports: list[Any] = []
        added = as_list(records)
        try:
            for record in added:
                self._producer.produce(
                    self.topic,
                    value=as_bytes(record),
                    key=key if key is None or isinstance(key, (str, bytes)) else str(key),
                    on_delivery=lambda error, _: reports.append(error),
                )
            self._producer.flush(self._timeout + 1.0)  # a little more, so that the client says itself what is late
        except self._failures as error:
            raise StreamError(f"cannot push to the topic {self.topic}: {error}") from error
        failed = [error for error in reports if error is not None]
        if failed:
            raise StreamError(f"cannot push to the topic {self.topic}: {failed[0].str()}")
        if len(reports) < len(added):
            raise StreamError(f"cannot push to the topic {self.topic}: no answer within {self._timeout} s")

    def close(self) -> None:
        """Wait a moment for what another thread may still push; the connections close with the last use."""
        self._producer.flush(1.0)
