"""Streams into Kafka topics."""

from __future__ import annotations

import contextlib
import functools
import logging
from collections.abc import Callable, Iterable, Sequence
from itertools import repeat
from typing import TYPE_CHECKING, Any

from orjson import dumps

from penstock.errors import GraphError, StreamError
from penstock.extras import load_extra
from penstock.kafka.settings import address_of, check_words, connection_of, from_environment
from penstock.kafka.topics import largest_record, make
from penstock.kafka.trouble import Trouble, refusal
from penstock.streams.records import OPTIONS, as_bytes, as_list, plain

if TYPE_CHECKING:
    from penstock.kafka.transactions import Transactions

_SECONDS = 30.0
_LARGEST, _SMALLEST = 1_000_000, 1000  # bytes of a record: by default, and as the client's limit


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
        check_words(options, f"the stream '{path}'")
        brokers, self.topic = address_of(path, kafka_brokers or (producer_options or {}).get("bootstrap.servers"))
        self._brokers, self._shards = brokers, shards
        given = from_environment(producer_options or {})
        client = {**(options.get("client_options") or {}), **given}
        self._client = connection_of({**options, "client_options": client})
        self._timeout = timeout
        self._is_there = self._is_dead = False
        self._trouble = Trouble()
        self._transactions = transactions
        self._fatal = kafka.KafkaException
        self._failures = (kafka.KafkaException, StreamError, BufferError, TypeError, ValueError)
        if transactions is not None:
            self._produce: Callable[..., None] = self._produce_along
            return
        settings = {
            "bootstrap.servers": brokers,
            "enable.idempotence": True,  # which asks for acks=all
            "message.timeout.ms": int(timeout * 1000),
            "delivery.report.only.error": True,
            "error_cb": self._trouble,
            **self._client,
            **given,
        }
        self._new_producer = functools.partial(kafka.Producer, logger=logging.getLogger("penstock.kafka"))
        self._settings = settings
        try:
            self._use(self._new_producer(settings))
        except kafka.KafkaException as error:
            raise GraphError(f"the stream '{path}': {refusal(error, settings)}") from None

    def _use(self, producer: Any) -> None:
        self._producer = producer
        self._produce = producer.produce

    def _prepare(self) -> bool:
        """See that the topic is there, and what it takes; tell whether the brokers could be asked."""
        timeout = self._timeout
        if self._is_dead:
            self._use(self._new_producer(self._settings))
            self._is_dead = False
        if not make(self._brokers, {self.topic: self._shards}, self._client, timeout=timeout):
            return False
        if self._transactions is None:
            largest = largest_record(self._brokers, self.topic, self._client, timeout=timeout)
            if 0 < largest < int(self._settings.get("message.max.bytes", _LARGEST)):
                # The brokers would refuse all that was sent with a larger one; the client refuses it alone.
                self._use(self._new_producer(self._settings | {"message.max.bytes": max(largest, _SMALLEST)}))
        return True

    def push(self, records: Any, key: Any = None) -> None:
        """Send records to the topic; those of one key go to one partition."""
        rows = [b"null" if record is None else record for record in as_list(records)]
        failures = self.push_rows(rows, [key] * len(rows))
        failed = next((failure for failure in failures or () if failure is not None), None)
        if failed is not None:
            raise failed

    def push_rows(
        self, records: Sequence[Any], keys: Sequence[Any], partitions: Iterable[int] | None = None
    ) -> list[StreamError | None] | None:
        """Send records, each with its key and, if it is to go to a certain one, its partition.

        None with a key is a tombstone, which says that there is nothing of that key any more. None alone is nothing.

        Returns
        -------
        list or None
            For each record None, or why the brokers do not have it; None if they have them all.
        """
        if not self._is_there:
            self._is_there = self._prepare()
        self._trouble.forget()
        failures: dict[int, StreamError] = {}
        refused: list[tuple[Any, Any, str]] = []

        def report(error: Any, message: Any) -> None:  # of a failure; there are no reports of success
            why = self._trouble.behind(error.str()) if error.name() == "_MSG_TIMED_OUT" else error.str()
            refused.append((message.key(), message.value(), why))

        # This runs for each record of a stream, so it makes few objects and calls.
        produce, topic = self._produce, self.topic
        places = repeat(-1) if partitions is None else partitions
        for row, (record, key, partition) in enumerate(zip(records, keys, places, strict=False)):
            if record is None and key is None:
                continue
            try:
                value = dumps(record, plain, OPTIONS) if type(record) is dict else _value(record)
                produce(topic, value, key if type(key) is bytes else _key(key), partition, report)
            except self._failures as error:
                failure = self._failure(error, record, key, partition, report)
                if failure is not None:
                    failures[row] = failure
        if self._transactions is None and (why := self._flush()):
            silence = self._refusal(why)
            return [failures.get(row, silence) for row in range(len(records))]
        for key, value, why in refused:
            self._put_down(failures, records, keys, (key, value), why)
        return [failures.get(row) for row in range(len(records))] if failures else None

    def _flush(self) -> str:
        """Wait until the client has said what became of each record; return why it has not."""
        try:  # a little longer than it may take, so that the client says itself what is late
            late = self._producer.flush(self._timeout + 1.0)
        except self._fatal as error:
            return self._end_of_client(error)
        return self._trouble.behind(f"no answer within {self._timeout} s") if late else ""

    def _end_of_client(self, error: Any) -> str:
        """Have the next push make a client anew: this one can do nothing more. Return why."""
        self._is_there, self._is_dead = False, True
        return str(error.args[0].str())

    def _put_down(
        self,
        failures: dict[int, StreamError],
        records: Sequence[Any],
        keys: Sequence[Any],
        one: tuple[Any, Any],
        why: str,
    ) -> None:
        """Put a failure down to the first record of that key and value that has none: they are all the same."""
        failure = self._refusal(why)
        wanted = one[0] or None, one[1] or None  # the client makes no difference between nothing and none
        open_rows = [
            row
            for row, sent in enumerate(zip(records, keys, strict=True))
            if row not in failures and any(part is not None for part in sent)
        ]
        for row in open_rows:
            if (_as_key(keys[row]) or None, _value(records[row]) or None) == wanted:
                failures[row] = failure
                return
        failures.update(dict.fromkeys(open_rows, failure))  # its body has changed since: any of them may be the one

    def _failure(self, error: Exception, record: Any, key: Any, partition: int, report: Any) -> StreamError | None:
        """Say why a record is not written; one that the client had no room for is tried again."""
        if isinstance(error, BufferError):
            try:
                self._producer.flush(self._timeout)
                self._producer.produce(self.topic, _value(record), _key(key), partition, report)
            except self._failures as again:
                error = again
            else:
                return None
        if isinstance(error, self._fatal) and error.args[0].name() == "_FATAL":
            return self._refusal(self._end_of_client(error))
        return error if isinstance(error, StreamError) else self._refusal(error)

    def _refusal(self, why: object) -> StreamError:
        return StreamError(f"cannot push to the topic {self.topic}: {why}")

    def _produce_along(self, topic: str, value: Any, key: Any, partition: int, _report: Any) -> None:
        """Write a record as a part of the transaction."""
        if self._transactions is not None:
            self._transactions.produce(topic, value, key, **({} if partition < 0 else {"partition": partition}))

    def close(self) -> None:
        """Wait a moment for what another thread may still push; the connections close with the last use."""
        if self._transactions is None:
            with contextlib.suppress(*self._failures):
                self._producer.flush(1.0)


def _value(record: Any) -> bytes | None:
    return None if record is None else as_bytes(record)


def _key(key: Any) -> Any:
    return key if key is None or isinstance(key, (str, bytes)) else str(key)


def _as_key(key: Any) -> bytes | None:
    key = _key(key)
    return key.encode() if isinstance(key, str) else key
