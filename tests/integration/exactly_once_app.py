"""The graph of the transactional storm: Kafka, three steps, Kafka; some records fail and become dead letters.

CONTROL breaks the promise on purpose: the storm has to see it.
"""

import os
import signal

import confluent_kafka
import penstock
from penstock.kafka.exactly_once import TransactionalCommits
from penstock.kafka.source import KafkaSource
from penstock.kafka.transactions import Transactions


def decode(record):
    """Check a record."""
    return int(record)


def wanted(number):
    """Refuse some for good."""
    if number % 97 == 96:
        raise ValueError("not wanted")
    return number


def count_rebalances(assign):
    """Leave a mark for each."""

    def counted(self, consumer, partitions):
        with open(os.environ["REBALANCES"], "ab", buffering=0) as marks:
            marks.write(b".")
        assign(self, consumer, partitions)

    return counted


def commit_outside(self, member, marks):
    """Tell the group how far it is after the transaction, and beside it."""
    late, self.late = getattr(self, "late", None), marks
    if late:
        member.consumer.commit(offsets=late, asynchronous=True)


def nobody(self):
    """Say the group's name, and not who one is in it."""
    settings = {"bootstrap.servers": os.environ["BROKERS"], "group.id": os.environ["NAME"]}
    return confluent_kafka.Consumer(settings).consumer_group_metadata()


def frozen_before(send):
    """Freeze once, when that is wanted, at the worst of moments: what has been written is about to be committed."""

    def maybe(self, member, marks):
        try:
            os.unlink(os.environ["FREEZE"])
        except FileNotFoundError:
            pass
        else:
            os.kill(os.getpid(), signal.SIGSTOP)
        send(self, member, marks)

    return maybe


KafkaSource._assign = count_rebalances(KafkaSource._assign)
if os.environ.get("CONTROL") == "offsets":
    Transactions._send_offsets = commit_outside
if os.environ.get("CONTROL") == "group":
    TransactionalCommits.group = nobody
Transactions._send_offsets = frozen_before(Transactions._send_offsets)

fn = penstock.new_function(os.environ["NAME"])
graph = fn.set_topology("flow").to(name="decode", handler="decode").to(name="wanted", handler="wanted")
graph.to(name="same", handler="(event)").to(">>", "out", path=os.environ["OUT"], full_event=False)
fn.add_trigger(
    "in",
    {
        "kind": "kafka-cluster",
        "attributes": {
            "brokers": [os.environ["BROKERS"]],
            "topics": [os.environ["IN"]],
            "consumerGroup": os.environ["NAME"],
            "sessionTimeout": "3s",
            "heartbeatInterval": "500ms",
            "guarantee": "exactly_once",
            "dead_letter": os.environ["DEAD"],
            "client_options": {"transaction.timeout.ms": 10_000},
        },
    },
)
