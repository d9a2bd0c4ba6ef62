"""One real Kafka broker for all tests of a run, and topics for each of them."""

import os
import uuid

import broker
import pytest
from topics import Topics


@pytest.fixture(scope="session")
def kafka_address(tmp_path_factory):
    if given := os.environ.get("PENSTOCK_TEST_KAFKA"):  # a broker that runs already
        yield given
        return
    directory = tmp_path_factory.mktemp("kafka")
    yield broker.start(directory)
    broker.stop(directory)


@pytest.fixture
def kafka(kafka_address):
    """Topics whose names nobody else uses."""
    topics = Topics(kafka_address, prefix=uuid.uuid4().hex[:8])
    yield topics
    topics.close()
