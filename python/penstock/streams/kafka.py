"""Streams into Kafka topics."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from penstock.errors import GraphError, StreamError
from penstock.extras import load_extra
from penstock.kafka.settings import address_of, connection_of, from_environment
from penstock.kafka.topics import make
from penstock.streams.records import as_bytes, as_list

if TYPE_CHECKING:
    from penstock.kafka.transactions import Transactions

_SECONDS = 30.0


class KafkaStream:
    """A Kafka topic. A push returns when the brokers have its records, on all replicas that are in sync.

    A topic that is missing is made by the first push.

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
    transactions : Transactions, optional
        What the records are part of; a push returns when the client has them.
    shards : int
        Partitions of a topic that has to be made.
    **options
        Credentials in MLRun's words: ``sasl_user``, ``sasl_pass``, ``sasl``, ``tls``, ``caCert`` ...
    """

    batch_size = 1000  # events that a queue takes at once

    def __init__(
        self,
        path: str,
        *,
        kafka_brokers: str | list[str] | None = None,
        producer_options: dict[str, Any] | None = None,
        timeout: float = _SECONDS,
        transactions: Transactions | None = None,
        shards: int = 1,
        **options: Any,
    ) -> None:
        kafka = load_extra("confluent_kafka", "kafka", f"the stream '{path}'")
        brokers, self.topic = address_of(path, kafka_brokers or (producer_options or {}).get("bootstrap.servers"))
        self._brokers, self._shards = brokers, shards
        self._client = connection_of({**options, "client_options": producer_options})
        self._timeout = timeout
        self._is_there = False
        self._transactions = transactions
        if transactions is not None:
            return
        settings = {
            "bootstrap.servers": brokers,
            "enable.idempotence": True,  # which asks for acks=all
            "message.timeout.ms": int(timeout * 1000),
            "delivery.report.only.error": True,
            **connection_of(options),
            **from_environment(producer_options or {}),
        }
        try:
            self._producer = kafka.Producer(settings, logger=logging.getLogger("penstock.kafka"))
        except kafka.KafkaException as error:
            raise GraphError(f"the stream '{path}': {error}") from None
        self._failures = (kafka.KafkaException, BufferError, TypeError, ValueError)

    def push(self, records: Any, key: Any = None) -> None:
        """Send records to the topic; those of one key go to one partition."""
        failures = self.push_each((record, key, None) for record in as_list(records))
        failed = next((failure for failure in failures if failure is not None), None)
        if failed is not None:
            raise failed

    def push_each(self, records: Iterable[tuple[Any, Any, int | None]]) -> list[StreamError | None]:
        """Send records, each with its key and, if it is to go to a certain one, its partition.

        Returns
        -------
        list
            For each record None, or why the brokers do not have it.
        """
        if not self._is_there:
            self._is_there = make(self._brokers, {self.topic: self._shards}, self._client, timeout=self._timeout)
        if self._transactions is not None:
            return self._push_along(records, self._transactions)
        rows = records if isinstance(records, list) else list(records)
        failures: list[StreamError | None] = [None] * len(rows)
        refused: list[tuple[Any, Any, str]] = []

        def report(error: Any, message: Any) -> None:  # of a failure; there are no reports of success
            refused.append((message.key(), message.value(), error.str()))

        produce, topic = self._producer.produce, self.topic
        for place, (record, key, partition) in enumerate(rows):
            where = -1 if partition is None else partition
            try:
                produce(topic, as_bytes(record), _key(key), where, report)
            except BufferError:
                failures[place] = self._produce_later(as_bytes(record), _key(key), where, report)
            except self._failures as error:
                failures[place] = StreamError(f"cannot push to the topic {topic}: {error}")
        # A little more, so that the client says itself what is late.
        if self._producer.flush(self._timeout + 1.0):
            late = StreamError(f"cannot push to the topic {topic}: no answer within {self._timeout} s")
            return [failure or late for failure in failures]
        for key, value, why in refused:
            self._put_down(failures, rows, (key, value), why)
        return failures

    def _put_down(
        self,
        failures: list[StreamError | None],
        rows: list[tuple[Any, Any, int | None]],
        one: tuple[Any, Any],
        why: str,
    ) -> None:
        """Put a failure down to the first record of that key and value that has none: they are all the same."""
        for place, (record, key, _) in enumerate(rows):
            if failures[place] is None and (_as_key(key), as_bytes(record)) == (one[0], one[1] or b""):
                failures[place] = StreamError(f"cannot push to the topic {self.topic}: {why}")
                return

    def _push_along(
        self, records: Iterable[tuple[Any, Any, int | None]], transactions: Transactions
    ) -> list[StreamError | None]:
        failures: list[StreamError | None] = []
        for record, key, partition in records:
            place = {} if partition is None else {"partition": partition}
            try:
                transactions.produce(self.topic, as_bytes(record), _key(key), **place)
                failures.append(None)
            except (TypeError, ValueError) as error:
                failures.append(StreamError(f"cannot push to the topic {self.topic}: {error}"))
            except StreamError as error:
                failures.append(error)
        return failures

    def _produce_later(self, value: bytes, key: Any, partition: int, report: Any) -> StreamError | None:
        """Put a record into the client's queue, which is full, when there is room."""
        try:
            self._producer.flush(self._timeout)
            self._producer.produce(self.topic, value, key, partition, report)
        except self._failures as error:
            return StreamError(f"cannot push to the topic {self.topic}: {error}")
        return None

    def close(self) -> None:
        """Wait a moment for what another thread may still push; the connections close with the last use."""
        if self._transactions is None:
            self._producer.flush(1.0)


def _key(key: Any) -> Any:
    return key if key is None or isinstance(key, (str, bytes)) else str(key)


def _as_key(key: Any) -> bytes | None:
    key = _key(key)
    return key.encode() if isinstance(key, str) else key
