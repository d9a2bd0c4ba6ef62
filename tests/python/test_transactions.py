"""How the transactions of a process begin and end; what brokers make of it is in tests/integration."""

import threading
from typing import ClassVar

import confluent_kafka
import pytest
from confluent_kafka import KafkaError, KafkaException
from penstock.errors import StreamError
from penstock.kafka import transactions as module
from penstock.kafka.transactions import Transactions


class Producer:
    """Writes down what it is told; `failures` are raised by the call of that name, one a time."""

    made: ClassVar = []
    failures: ClassVar = {}

    def __init__(self, settings, **_):
        self.id = settings["transactional.id"]
        self.calls = []
        Producer.made.append(self)

    def __getattr__(self, name):
        def call(*given):
            self.calls.append((name, *given[:1]) if name == "produce" else (name,))
            if waiting := Producer.failures.get(name):
                failure = waiting.pop(0)
                if isinstance(failure, threading.Event):
                    failure.wait()
                elif failure is not None:
                    raise failure
            return 0

        return call


class Member:
    """A source with nothing under way."""

    def __init__(self, transactions):
        self.transactions = transactions
        transactions.add(self)

    def group(self):
        return "metadata"


def failure(code, **more):
    return KafkaException(KafkaError(code, "as told", **more))


@pytest.fixture
def transactions(monkeypatch):
    monkeypatch.setattr(confluent_kafka, "Producer", Producer)
    monkeypatch.setattr(module, "_NET_SECONDS", 0.05)
    monkeypatch.setattr(module, "_PATIENCE", 0.2)
    monkeypatch.setattr(module, "_PAUSE", 0.01)
    monkeypatch.setattr(Producer, "made", [])
    monkeypatch.setattr(Producer, "failures", {})
    made = Transactions("h:1", "tests", client={}, interval=0.0)
    made.start()
    yield made
    made.close()


def names(producer):
    return [call[0] for call in producer.calls]


def test_outputs_and_positions_are_committed_together(transactions):
    member = Member(transactions)
    transactions.produce("out", b"1")
    transactions.produce("out", b"2")
    transactions.end()
    transactions.arrive(member, ["mark"])
    assert names(Producer.made[0]) == [
        *("init_transactions", "begin_transaction", "produce", "produce", "flush"),
        *("send_offsets_to_transaction", "commit_transaction"),
    ]
    assert (transactions.done, transactions.undone, transactions.ending) == (1, 0, False)


def test_nothing_is_said_to_the_brokers_when_there_was_nothing(transactions):
    member = Member(transactions)
    transactions.end()
    transactions.arrive(member, [])
    assert names(Producer.made[0]) == ["init_transactions"]
    assert transactions.done == 1


def test_positions_alone_are_a_transaction_too(transactions):
    member = Member(transactions)
    transactions.end()
    transactions.arrive(member, ["mark"])
    assert names(Producer.made[0])[-2:] == ["send_offsets_to_transaction", "commit_transaction"]


def test_the_last_source_that_arrives_ends_it(transactions):
    one, other = Member(transactions), Member(transactions)
    transactions.produce("out", b"1")
    transactions.end()
    transactions.arrive(one, [])
    assert transactions.ending
    transactions.arrive(other, ["mark"])
    assert transactions.done == 1


def test_a_source_that_has_gone_is_not_waited_for(transactions):
    one, other = Member(transactions), Member(transactions)
    transactions.end()
    transactions.arrive(one, [])
    transactions.remove(other)
    assert transactions.done == 1


def test_what_is_undone_takes_no_output_until_all_have_arrived(transactions):
    member = Member(transactions)
    transactions.produce("out", b"1")
    transactions.undo("so that it is")
    with pytest.raises(StreamError, match="being undone"):
        transactions.produce("out", b"2")
    transactions.arrive(member, [])
    assert names(Producer.made[0])[-1] == "abort_transaction"
    assert (transactions.done, transactions.undone) == (0, 1)
    transactions.produce("out", b"2")
    assert names(Producer.made[0])[-2:] == ["begin_transaction", "produce"]


def test_what_the_brokers_refuse_is_undone(transactions):
    member = Member(transactions)
    Producer.failures = {"send_offsets_to_transaction": [failure(KafkaError.ILLEGAL_GENERATION)]}
    transactions.end()
    transactions.arrive(member, ["mark"])
    assert transactions.undoing
    assert transactions.in_doubt
    transactions.arrive(member, [])
    assert names(Producer.made[0])[-1] == "abort_transaction"


def test_a_consumer_that_is_no_member_undoes(transactions):
    member = Member(transactions)

    def nobody():
        raise LookupError("no member")

    member.group = nobody
    transactions.end()
    transactions.arrive(member, ["mark"])
    assert transactions.undoing


def test_what_helps_when_tried_again_is_tried_again(transactions):
    member = Member(transactions)
    Producer.failures = {"commit_transaction": [failure(KafkaError._TIMED_OUT, retriable=True)]}
    transactions.end()
    transactions.arrive(member, ["mark"])
    assert names(Producer.made[0])[-2:] == ["commit_transaction", "commit_transaction"]
    assert transactions.done == 1


def test_a_producer_that_is_fenced_is_made_anew_under_another_name(transactions):
    member = Member(transactions)
    Producer.failures = {"commit_transaction": [failure(KafkaError._FENCED, fatal=True)]}
    transactions.end()
    transactions.arrive(member, ["mark"])
    transactions.arrive(member, [])
    first, second = Producer.made
    assert second.id.startswith(first.id + ".")
    assert names(second) == ["init_transactions"]


def test_a_producer_that_does_not_come_back_is_made_anew(transactions):
    member = Member(transactions)
    stuck = threading.Event()
    Producer.failures = {"send_offsets_to_transaction": [stuck]}
    transactions.end()
    transactions.arrive(member, ["mark"])
    stuck.set()
    assert transactions.undoing
    transactions.arrive(member, [])
    first, second = Producer.made
    assert second.id == first.id
    assert transactions.undone == 1


def test_a_record_that_is_too_large_fails_alone(transactions):
    member = Member(transactions)
    Producer.failures = {"produce": [failure(KafkaError.MSG_SIZE_TOO_LARGE)]}
    with pytest.raises(StreamError, match="out"):
        transactions.produce("out", b"1")
    transactions.produce("out", b"2")
    transactions.end()
    transactions.arrive(member, ["mark"])
    assert transactions.done == 1


def test_any_other_failure_to_write_undoes(transactions):
    Producer.failures = {"produce": [failure(KafkaError._STATE)]}
    with pytest.raises(StreamError):
        transactions.produce("out", b"1")
    assert transactions.undoing


def test_a_full_client_is_waited_for(transactions):
    Producer.failures = {"produce": [BufferError(), None]}
    transactions.produce("out", b"1")
    assert names(Producer.made[0])[-3:] == ["produce", "poll", "produce"]


def test_two_processes_of_a_function_have_two_names(transactions):
    other = Transactions("h:1", "tests", client={}, interval=0.0)
    other.start()
    other.close()
    assert len({producer.id for producer in Producer.made}) == 2
