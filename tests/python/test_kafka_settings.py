"""What a queue or a trigger says about the topics that it reads."""

import penstock
import pytest
from penstock.errors import GraphError
from penstock.kafka.dead_letters import attempts_of, headers_of
from penstock.kafka.journal import Journal
from penstock.kafka.settings import address_of, connection_of, of_queue, of_trigger
from penstock.kafka.source import KafkaSource
from penstock.queues import reached_as


def test_brokers_are_the_paths_the_queues_or_the_environments(monkeypatch):
    monkeypatch.setenv("PENSTOCK_KAFKA", "env:9092")
    assert address_of("kafka://path:9092/t") == ("path:9092", "t")
    assert address_of("kafka://path:9092/t", "given:9092") == ("given:9092", "t")
    assert address_of("kafka:///t") == ("env:9092", "t")
    monkeypatch.delenv("PENSTOCK_KAFKA")
    with pytest.raises(GraphError, match="needs brokers and a topic"):
        address_of("kafka:///t")


def test_mlruns_trigger_arguments_are_read():
    options = {"trigger_args": {"extra_attributes": {"initialOffset": "latest", "sessionTimeout": "6s"}}}
    reading = of_queue("kafka://h:1/t", options, group="g")
    assert reading.initial_offset == "latest"
    assert reading.consumer()["session.timeout.ms"] == 6000


def test_a_queue_overrules_its_trigger_arguments():
    options = {"trigger_args": {"group": "theirs"}, "group": "mine"}
    assert of_queue("kafka://h:1/t", options, group="g").group == "mine"


def test_credentials_reach_consumer_and_producer_and_no_text():
    attributes = {
        "brokers": "h:1",
        "topics": ["t"],
        "sasl": {"user": "me", "password": "pass-word", "mechanism": "scram-sha-256"},
        "tls": {"enable": True, "insecureSkipVerify": True},
        "caCert": "PEM",
    }
    reading = of_trigger({"kind": "kafka-cluster", "attributes": attributes}, group="g")
    for settings in (reading.consumer(), reading.producer()):
        assert settings["security.protocol"] == "SASL_SSL"
        assert settings["sasl.mechanism"] == "SCRAM-SHA-256"
        assert settings["sasl.password"] == "pass-word"
        assert settings["ssl.ca.pem"] == "PEM"
        assert settings["enable.ssl.certificate.verification"] is False
    assert "pass-word" not in repr(reading)


def test_offsets_are_never_committed_by_the_client():
    settings = of_queue("kafka://h:1/t", {}, group="g").consumer()
    assert settings["enable.auto.commit"] is False
    assert settings["partition.assignment.strategy"] == "cooperative-sticky"


def test_a_group_of_the_newer_protocol_is_told_nothing_that_the_brokers_decide():
    options = {"client_options": {"group.protocol": "consumer"}, "trigger_args": {"sessionTimeout": "3s"}}
    settings = of_queue("kafka://h:1/t", options, group="g").consumer()
    assert settings["group.protocol"] == "consumer"
    assert not {"partition.assignment.strategy", "session.timeout.ms"} & settings.keys()


def test_settings_of_transactions_are_the_producers():
    reading = of_queue("kafka://h:1/t", {"client_options": {"transaction.timeout.ms": 5000}}, group="g")
    assert reading.producer() == {"transaction.timeout.ms": 5000}
    assert "transaction.timeout.ms" not in reading.consumer()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"on_poison": "ignore"}, "on_poison is one of stop, dead_letter, skip"),
        ({"on_poison": "dead_letter"}, "say which topic"),
        ({"initial_offset": "middle"}, "initial_offset is 'earliest' or 'latest'"),
        ({"guarantee": "at_most_once"}, "guarantee is 'at_least_once' or 'exactly_once', not 'at_most_once'"),
        ({"max_in_flight": 0}, "max_in_flight is more than 0"),
    ],
)
def test_what_makes_no_sense_is_refused(options, said):
    with pytest.raises(GraphError, match=said):
        of_queue("kafka://h:1/t", options, group="g")


def test_a_trigger_without_topics_is_refused():
    with pytest.raises(GraphError, match="trigger 'in': a Kafka trigger names brokers and topics"):
        of_trigger({"name": "in", "attributes": {"brokers": "h:1"}}, group="g")


def test_the_journal_counts_deaths_until_one_record_is_to_blame():
    assert Journal.read(None).died == 0
    assert Journal.read(Journal("end").write()).died == 0
    first = Journal.read(Journal("run").write())
    assert (first.died, first.is_deadly) == (1, False)
    second = Journal.read(Journal("probe", first.died).write())
    assert (second.died, second.is_deadly) == (2, False)
    third = Journal.read(Journal("probe", second.died).write())
    assert (third.died, third.is_deadly) == (3, True)


class Message:
    """What a dead letter is made of."""

    def __init__(self, headers):
        self._headers = headers

    def headers(self):
        return self._headers

    def topic(self):
        return "t"

    def partition(self):
        return 1

    def offset(self):
        return 7

    def timestamp(self):
        return 1, 1000


def test_a_second_failure_replaces_the_first_but_keeps_its_count():
    first = headers_of(Message([("mine", b"1")]), {"type": "KeyError", "message": "'x'"})
    assert first[0] == ("mine", b"1")
    again = Message(first)
    assert attempts_of(again) == 1
    headers = dict(headers_of(again, {"type": "ValueError"}))
    assert headers["penstock.error.attempts"] == b"2"
    assert headers["penstock.error.type"] == b"ValueError"
    assert "penstock.error.message" not in headers


def test_what_is_of_the_environment_is_looked_up_there(monkeypatch):
    monkeypatch.setenv("KAFKA_PASS", "s3cret")
    options = {"sasl_user": "me", "sasl_pass": "${KAFKA_PASS}", "client_options": {"ssl.key.password": "${KAFKA_PASS}"}}
    reading = of_queue("kafka://host/q", options, group="g")
    assert (reading.client["sasl.password"], reading.client["ssl.key.password"]) == ("s3cret", "s3cret")
    monkeypatch.delenv("KAFKA_PASS")
    with pytest.raises(GraphError, match=r"sasl.password is \$\{KAFKA_PASS\}, and that variable is not set"):
        of_queue("kafka://host/q", options, group="g")


def test_who_names_certificates_wants_tls():
    for options in ("client_options", "producer_options"):
        said = {"sasl_user": "me", "sasl_pass": "-", options: {"ssl.ca.location": "ca.pem"}}
        assert connection_of(said)["security.protocol"] == "SASL_SSL"
    assert connection_of({"sasl_user": "me", "sasl_pass": "-"})["security.protocol"] == "SASL_PLAINTEXT"


def test_credentials_that_are_switched_off_are_none():
    assert connection_of({"sasl": {"enable": False, "user": "me", "password": "-"}}) == {}


@pytest.mark.parametrize(
    "options",
    [
        {"trigger_args": {"extra_attributes": {"caCert": "PEM", "maxProcessingTime": "9s"}}},
        {"client_options": {"security.protocol": "SSL", "ssl.ca.pem": "PEM", "group.protocol": "consumer"}},
        {"producer_options": {"security.protocol": "SSL", "ssl.ca.pem": "PEM", "linger.ms": 5}},
    ],
)
def test_reader_and_writer_connect_alike(options):
    expected = {"security.protocol": "SSL", "ssl.ca.pem": "PEM"}
    assert connection_of(options) == expected
    assert of_queue("kafka://host/q", options, group="g").producer() == expected


def test_a_topic_beside_the_graph_is_reached_as_others_at_its_brokers(monkeypatch):
    monkeypatch.setenv("PENSTOCK_KAFKA", "c:1")
    fn = penstock.new_function("f")
    graph = fn.set_topology("flow")
    graph.to(">>", "other", path="kafka://a:1/q", caCert="A").to(">>", "q", path="kafka://a:1,b:1/q", caCert="AB")
    trigger = {"kind": "kafka-cluster", "attributes": {"brokers": ["c:1"], "caCert": "C"}}
    for path, pem in (("kafka://b:1,a:1/errors", "AB"), ("kafka:///errors", "C"), ("kafka://d:1/errors", None)):
        found = reached_as(path, graph, {"in": trigger})
        assert found["producer_options"].get("ssl.ca.pem") == pem
    assert reached_as("failures.jsonl", graph, {"in": trigger}) == {}


def test_a_setting_that_the_client_does_not_know_is_one_clear_line():
    reading = of_queue("kafka://host/q", {"client_options": {"no.such.setting": 1}}, group="g")
    fn = penstock.new_function("f")
    fn.set_topology("flow").to("(event)", name="a")
    with fn.to_mock_server() as server, pytest.raises(GraphError, match=r"the source of q: .*no\.such\.setting"):
        KafkaSource(reading, server.engine.core)


def test_an_option_that_is_misspelt_is_refused_and_one_of_others_is_not():
    with pytest.raises(GraphError, match="no option 'max_inflight'; did you mean 'max_in_flight'"):
        of_queue("kafka://host:1/topic", {"max_inflight": 5}, group="g")
    assert of_queue("kafka://host:1/topic", {"something_of_theirs": 5}, group="g").group == "g"
