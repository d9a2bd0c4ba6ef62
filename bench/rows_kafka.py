"""The row of Kafka: records through three steps from topic to topic, beside a loop of one's own with the same client.

Both decode JSON, call the same three functions, write JSON with acks of all replicas by an idempotent producer, hear of
what is refused, and commit once a second what is with the brokers. Measured between the first and the last record of
the output, in turns that change their order, after one of each that warms the broker and does not count.
"""

from __future__ import annotations

import os
import sys
import tempfile
import threading
import time
import uuid
from collections.abc import Callable
from pathlib import Path

import confluent_kafka
import orjson
import penstock
from harness import in_turn, ratios, row

sys.path.append(str(Path(__file__).resolve().parents[1] / "tests" / "integration"))
import broker
from topics import Topics

RECORDS = 100_000
ROUNDS = 5
PARTITIONS = 4
COMMIT_SECONDS = 1.0  # as the graph's source does it


def grow(body):
    """Do the first step's work."""
    return body | {"x": body["n"] + 1}


def scale(body):
    """Do the second step's work."""
    return body | {"y": body["x"] * 2}


def shrink(body):
    """Do the third step's work."""
    return {"n": body["n"], "y": body["y"]}


def bare(address: str, source: str, target: str, done: threading.Event) -> None:
    """Do it with the client alone."""
    consumer = confluent_kafka.Consumer(
        {
            "bootstrap.servers": address,
            "group.id": uuid.uuid4().hex,
            "enable.auto.commit": False,
            "auto.offset.reset": "earliest",
            "fetch.queue.backoff.ms": 10,
        }
    )
    producer = confluent_kafka.Producer(
        {"bootstrap.servers": address, "enable.idempotence": True, "delivery.report.only.error": True}
    )
    consumer.subscribe([source])
    refused = []

    def report(error, _message):
        refused.append(error)

    commit_at = time.monotonic() + COMMIT_SECONDS
    while not done.is_set():
        messages = consumer.consume(1000, 0.1)
        for message in messages:
            body = shrink(scale(grow(orjson.loads(message.value()))))
            producer.produce(target, orjson.dumps(body), message.key(), -1, report)
        if producer.flush() or refused:
            raise RuntimeError(f"not all is written: {refused}")
        if messages and time.monotonic() > commit_at:
            consumer.commit(asynchronous=True)
            commit_at = time.monotonic() + COMMIT_SECONDS
    consumer.close()


def graph(address: str, source: str, target: str, done: threading.Event) -> None:
    """Do it with penstock, in this process."""
    from penstock.inflow import Inflow

    fn = penstock.new_function(uuid.uuid4().hex)
    steps = fn.set_topology("flow").to(name="grow", handler="grow").to(name="scale", handler="scale")
    steps.to(name="shrink", handler="shrink").to(">>", "out", path=f"kafka://{address}/{target}", full_event=False)
    fn.add_trigger("in", {"kind": "kafka-cluster", "attributes": {"brokers": [address], "topics": [source]}})
    server = fn._server(is_mock=False)
    server.triggers = fn.triggers
    server.init_states(None, [globals()])
    inflow = Inflow(server, lambda _ready: None)
    server.engine.start()
    inflow.start()
    done.wait()
    inflow.halt()
    server.engine.drain(30.0)
    inflow.close()
    server.close()


def kafka():
    """Yield the row."""
    with tempfile.TemporaryDirectory(prefix="penstock-bench-") as folder:
        given = os.environ.get("PENSTOCK_TEST_KAFKA")
        address = given or broker.start(folder)
        try:
            yield from _rows(address)
        finally:
            if not given:
                broker.stop(folder)


def _rows(address: str):
    topics = Topics(address, prefix=uuid.uuid4().hex[:8])
    topics.make("in", PARTITIONS)
    topics.make("out")
    topics.write("in", [(b"k%d" % (n % 1000), orjson.dumps({"n": n})) for n in range(RECORDS)])
    watch = confluent_kafka.Consumer({"bootstrap.servers": address, "group.id": "watch"})
    place = confluent_kafka.TopicPartition(topics.name("out"), 0)

    def when(offset: int) -> float:
        """Return when a record of the output was made."""
        watch.assign([confluent_kafka.TopicPartition(topics.name("out"), 0, offset)])
        while (message := watch.poll(1.0)) is None:
            pass
        return message.timestamp()[1] / 1000

    def rate(run: Callable[..., None]) -> Callable[[], float]:
        def measured() -> float:
            start = watch.get_watermark_offsets(place)[1]
            done = threading.Event()

            def look() -> None:
                while watch.get_watermark_offsets(place)[1] < start + RECORDS:
                    time.sleep(0.02)
                done.set()

            looking = threading.Thread(target=look)
            looking.start()
            run(address, topics.name("in"), topics.name("out"), done)
            looking.join()
            return RECORDS / (when(start + RECORDS - 1) - when(start))

        return measured

    candidates = {"penstock": rate(graph), "bare": rate(bare)}
    in_turn(1, **candidates)  # the broker's first records are its slowest
    rates = in_turn(ROUNDS, **candidates)
    watch.close()
    topics.close()
    compared = ratios(rates["penstock"], rates["bare"])
    note = f"{max(rates['penstock']):,.0f} records/s, the bare loop {max(rates['bare']):,.0f}"
    yield row("Kafka -> 3 steps -> Kafka, acks / bare loop", compared, 0.8, at_least=True, note=note)
