"""A test's own topics: what it writes to them, and what it finds in them."""

import contextlib
import time

import confluent_kafka
from confluent_kafka.admin import (
    AclBinding,
    AclOperation,
    AclPermissionType,
    AdminClient,
    NewPartitions,
    NewTopic,
    ResourcePatternType,
    ResourceType,
)


class Topics:
    def __init__(self, address, *, prefix):
        self.address = address
        self.quiet = None
        self._prefix = prefix
        self._admin = AdminClient({"bootstrap.servers": address, "log_level": 0})
        self._producer = confluent_kafka.Producer(
            {"bootstrap.servers": address, "linger.ms": 5, "log_level": 0, "enable.idempotence": True}
        )

    def name(self, name):
        return f"{self._prefix}-{name}"

    def path(self, name):
        return f"kafka://{self.address}/{self.name(name)}"

    def make(self, name, partitions=1, **settings):
        topic = NewTopic(self.name(name), partitions, config=settings)
        for made in self._admin.create_topics([topic]).values():
            made.result()
        return self.path(name)

    def appears(self, name):
        """Wait for a topic that somebody else makes."""
        end = time.monotonic() + 30
        while self.name(name) not in self._admin.list_topics(timeout=10).topics:
            assert time.monotonic() < end
            time.sleep(0.05)

    def allow(self, user, *kinds):
        """Have a user do all with what begins with the prefix; kinds are those of Kafka, such as TOPIC."""
        bindings = [
            AclBinding(
                *(ResourceType[kind], self._prefix, ResourcePatternType.PREFIXED),
                *(f"User:{user}", "*", AclOperation.ALL, AclPermissionType.ALLOW),
            )
            for kind in kinds
        ]
        for done in self._admin.create_acls(bindings).values():
            done.result()

    def drop(self, name):
        for dropped in self._admin.delete_topics([self.name(name)]).values():
            dropped.result()
        end = time.monotonic() + 30
        while self.name(name) in self._admin.list_topics(timeout=10).topics:  # the brokers take a moment to
            assert time.monotonic() < end
            time.sleep(0.05)

    def grow(self, name, partitions):
        """Have a topic have as many partitions."""
        for grown in self._admin.create_partitions([NewPartitions(self.name(name), partitions)]).values():
            grown.result()

    def partitions(self, name):
        return len(self._admin.list_topics(self.name(name), timeout=10).topics[self.name(name)].partitions)

    def end(self, name):
        """Return how many messages a topic has had."""
        consumer = confluent_kafka.Consumer({"bootstrap.servers": self.address, "group.id": "reader"})
        try:
            known = consumer.list_topics(self.name(name), timeout=10).topics[self.name(name)].partitions
            ends = [confluent_kafka.TopicPartition(self.name(name), number) for number in known]
            return sum(consumer.get_watermark_offsets(end, timeout=10)[1] for end in ends)
        finally:
            consumer.close()

    def write(self, name, records):
        """Write (key, value) or (key, value, headers) to a topic."""
        for key, value, *headers in records:
            self._producer.produce(self.name(name), value, key, headers=headers[0] if headers else None)
            self._producer.poll(0)
        assert self._producer.flush(120) == 0  # a broker may be on its way back

    def write_to(self, name, values):
        """Write a value to each of these partitions, with a client that knows of them."""
        producer = confluent_kafka.Producer({"bootstrap.servers": self.address, "log_level": 0})
        while len(producer.list_topics(self.name(name), timeout=10).topics[self.name(name)].partitions) <= max(values):
            time.sleep(0.05)
        for partition, value in values.items():
            producer.produce(self.name(name), value, partition=partition)
        assert producer.flush(30) == 0

    def read(self, name, count, *, timeout=30.0, quiet=0.5):
        """Return the topic's messages: `count` of them, and what comes within a moment beyond."""
        messages = []
        self.quiet = None
        for message in self.messages(name, timeout=timeout):
            messages.append(message)
            if len(messages) >= count:
                self.quiet = quiet
        return messages

    def messages(self, name, *, timeout):
        """Yield the topic's messages, until there are none for `self.quiet` seconds, or the time is up."""
        consumer = confluent_kafka.Consumer(
            {
                "bootstrap.servers": self.address,
                "group.id": "reader",
                "enable.auto.commit": False,
                "auto.offset.reset": "earliest",
                "fetch.queue.backoff.ms": 10,
                "log_level": 0,
            }
        )
        end = time.monotonic() + timeout
        try:
            partitions = []
            while not partitions and time.monotonic() < end:
                known = consumer.list_topics(self.name(name), timeout=10).topics[self.name(name)].partitions
                partitions = [confluent_kafka.TopicPartition(self.name(name), number, 0) for number in known]
            consumer.assign(partitions)
            while time.monotonic() < end:
                message = consumer.poll(0.2 if self.quiet is None else self.quiet)
                if message is None and self.quiet is not None:
                    return
                if message is not None and message.error() is None:
                    yield message
        finally:
            consumer.close()

    def values(self, name, count, **options):
        return [message.value() for message in self.read(name, count, **options)]

    def committed(self, name, group, partition=0):
        """Return how far a group is, and what it wrote beside that."""
        consumer = confluent_kafka.Consumer({"bootstrap.servers": self.address, "group.id": group})
        try:
            found = consumer.committed([confluent_kafka.TopicPartition(self.name(name), partition)], timeout=10)[0]
        finally:
            consumer.close()
        return found.offset, found.metadata

    def settled(self, name, group, *, timeout=30.0):
        """Wait until a group has said where it begins."""
        end = time.monotonic() + timeout
        while time.monotonic() < end:
            with contextlib.suppress(confluent_kafka.KafkaException):  # nobody coordinates the group yet
                if self.committed(name, group)[0] >= 0:
                    return
            time.sleep(0.05)
        raise AssertionError("the group has not begun")

    def close(self):
        self._producer.flush(5)
