"""Records that failed for good, in a topic of their own: untouched, with headers that say what happened."""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from penstock.errors import StreamError
from penstock.extras import load_extra
from penstock.kafka.stacks import stack_of

if TYPE_CHECKING:
    from penstock.kafka.transactions import Transactions

PREFIX = "penstock.error."
ATTEMPTS = PREFIX + "attempts"
_TEXT = 1024
_STACK = 8192
_SECONDS = 10.0
_logger = logging.getLogger("penstock")


class DeadLetters:
    """Writes to a dead-letter topic.

    Parameters
    ----------
    brokers : str
        Where the topic is.
    topic : str
        Its name.
    graph, version : str
        What failed, for the headers.
    client : dict, optional
        Further settings of the client, under its own names.
    transactions : Transactions, optional
        What the letters are part of; then they count as written when the transaction has them.
    """

    def __init__(
        self,
        brokers: str,
        topic: str,
        *,
        graph: str = "",
        version: str = "",
        client: dict[str, Any] | None = None,
        transactions: Transactions | None = None,
    ) -> None:
        kafka = load_extra("confluent_kafka", "kafka", "a dead-letter topic")
        self.topic = topic
        self._about = {"graph": graph, "version": version}
        self._transactions = transactions
        if transactions is not None:
            return
        self._failures = (kafka.KafkaException, BufferError)
        self._producer = kafka.Producer(
            {"bootstrap.servers": brokers, "enable.idempotence": True, "message.timeout.ms": int(_SECONDS * 1000)}
            | (client or {}),
            logger=logging.getLogger("penstock.kafka"),
        )

    def send(self, message: Any, failure: dict[str, Any], heard: Callable[[bool], None]) -> None:
        """Send a message with what is known about its failure; `heard` is told whether the brokers have it.

        That is in this call, in one of `look`, or in `close`.
        """
        headers = headers_of(message, failure | self._about)
        if self._transactions is not None:
            heard(self._send_along(message, headers, self._transactions))
            return
        report = functools.partial(_report, heard)
        try:
            self._producer.produce(self.topic, message.value(), message.key(), headers=headers, on_delivery=report)
        except self._failures as error:
            _logger.error("a dead letter could not be sent to %s: %s", self.topic, error)
            heard(False)

    def look(self, timeout: float) -> None:
        """Hear what became of letters; wait so long if there is nothing to hear yet."""
        if self._transactions is None:
            self._producer.poll(timeout)

    def _send_along(self, message: Any, headers: list[tuple[str, bytes]], transactions: Transactions) -> bool:
        try:
            transactions.produce(self.topic, message.value(), message.key(), headers=headers)
        except StreamError as error:
            _logger.error("a dead letter could not be sent: %s", error)
            return False
        return True

    def close(self) -> None:
        """Let go of the connections."""
        if self._transactions is None:
            self._producer.flush(1.0)


def _report(heard: Callable[[bool], None], error: Any, _message: Any) -> None:
    if error is not None:
        _logger.error("a dead letter was refused: %s", error.str())
    heard(error is None)


def headers_of(message: Any, failure: dict[str, Any]) -> list[tuple[str, bytes]]:
    """Return the headers of a dead letter: the message's own, and what happened.

    Those of an earlier failure are replaced; a message that was replayed keeps the count of its attempts.
    """
    own = [(name, value) for name, value in message.headers() or () if not name.startswith(PREFIX)]
    facts = {
        **failure,
        "attempts": attempts_of(message) + int(failure.get("attempts") or 1),
        "topic": message.topic(),
        "partition": message.partition(),
        "offset": message.offset(),
        "timestamp": message.timestamp()[1],
    }
    said = [(PREFIX + name, str(value).encode()) for name, value in facts.items() if value not in ("", None)]
    return own + said


def attempts_of(message: Any) -> int:
    """Return how often a message has failed before."""
    for name, value in message.headers() or ():
        if name == ATTEMPTS and value is not None and value.isdigit():
            return int(value)
    return 0


def failure_of(step: str, kind: str, text: str, cause: BaseException | None, *, reason: str = "") -> dict[str, Any]:
    """Put a failure as the headers say it.

    Examples
    --------
    >>> failure_of("double", "ValueError", "no number", None)["message"]
    'no number'
    """
    stack = "" if cause is None else stack_of(cause)
    return {"step": step, "type": kind, "message": text[:_TEXT], "stack": stack[-_STACK:], "reason": reason}
