"""A broker that wants TLS and credentials: what is said of them once holds for all that a function does there."""

import json
import os
import signal
import subprocess
import sys
import time
import uuid

import pytest
import secure
from penstock.errors import StreamError
from penstock.kafka import replay
from served import Served
from topics import Topics

APP = """
import os
import penstock

def double(x):
    if x == "bad":
        raise ValueError("no number")
    return x * 2

fn = penstock.new_function(os.environ["NAME"])
how = eval(os.environ["HOW"])
fn.set_topology("flow").to(name="start", handler="(event)")\\
  .to(">>", "q1", path=os.environ["Q1"], full_event=False, **how, **eval(os.environ.get("READER", "{}")))\\
  .to(name="double", handler="double", function="child")\\
  .to(">>", "out", path=os.environ["OUT"], **how)
fn.add_child_function("child", "./")
fn.spec.error_stream = os.environ.get("ERRORS", "")
"""
TRIGGERED = """
import os
import penstock

how = eval(os.environ["HOW"])
fn = penstock.new_function(os.environ["NAME"])
fn.set_topology("flow").to(name="same", handler="(event)").to(">>", "out", path=os.environ["OUT"], **how)
fn.add_kafka_trigger(os.environ["BROKERS"], os.environ["IN"], group=os.environ["NAME"], **how,
                     **eval(os.environ.get("READER", "{}")))
"""
WRONG = "wrong-secret"


@pytest.fixture(scope="module")
def brokers(tmp_path_factory):
    running = secure.Secure(tmp_path_factory.mktemp("secure"))
    yield running
    running.stop()


@pytest.fixture
def kafka(brokers):
    topics = Topics(brokers.plain, prefix=uuid.uuid4().hex[:8])
    yield topics
    topics.close()


@pytest.fixture
def serve(tmp_path, kafka, brokers):
    """Serve an app whose queues connect as is said; all processes end with the test."""
    started = []

    def start(text, how, *options, at=None, **environment):
        file = tmp_path / "app.py"
        file.write_text(text)
        at = at or brokers.address
        named = {name.upper(): f"kafka://{at}/{kafka.name(name)}" for name in ("q1", "out")}
        environment = {"NAME": kafka.name("f"), "BROKERS": at, "IN": kafka.name("in")} | named | environment
        secrets = {"PASSWORD": secure.PASSWORD, "WRONG": WRONG, "GUEST": secure.GUEST_PASSWORD}
        started.append(Served(file, *options, HOW=repr(how), **secrets, **environment))
        return started[-1]

    yield start
    for served in started:
        served.end()


def in_mlruns_words(brokers):
    return {"sasl_user": secure.USER, "sasl_pass": "${PASSWORD}", "caCert": brokers.ca.read_text()}


def in_nuclios_words(brokers):
    sasl = {"enable": True, "user": secure.USER, "password": "${PASSWORD}", "mechanism": "SCRAM-SHA-512"}
    attributes = {"sasl": sasl, "tls": {"enable": True}, "caCert": brokers.ca.read_text()}
    return {"trigger_args": {"extra_attributes": attributes}}


def in_the_clients_words(brokers, user=secure.USER, password="${PASSWORD}"):
    return {
        "security.protocol": "SASL_SSL",
        "sasl.mechanism": "PLAIN",
        "sasl.username": user,
        "sasl.password": password,
        "ssl.ca.location": str(brokers.ca),
    }


def for_both(brokers):
    return {"client_options": in_the_clients_words(brokers)}


def for_the_writer(brokers):
    return {"producer_options": in_the_clients_words(brokers)}


def bodies(messages):
    return [json.loads(message.value()) for message in messages]


@pytest.mark.parametrize("how", [in_mlruns_words, in_nuclios_words, for_both, for_the_writer])
def test_who_writes_a_queue_and_who_reads_it_connect_alike_however_it_is_said(serve, kafka, brokers, how):
    root = serve(APP, how(brokers), "--function", kafka.name("f"))
    child = serve(APP, how(brokers), "--function", "child")
    assert root.post(1)[0] == 200
    kafka.appears("out")
    assert bodies(kafka.read("out", 1, quiet=0.1)) == [2]
    for served in (root, child):
        code, said = served.stop()
        assert (code, secure.PASSWORD in said) == (0, False)


def test_dead_letters_and_the_error_stream_have_the_credentials_of_the_queue(serve, kafka, brokers):
    errors = brokers.path(kafka.name("errors"))
    reader = repr({"dead_letter": kafka.name("dead")})
    child = serve(APP, in_mlruns_words(brokers), "--function", "child", READER=reader, ERRORS=errors)
    kafka.appears("dead")
    kafka.write("q1", [(b"k", b'"bad"')])
    (letter,) = kafka.read("dead", 1, quiet=0.1)
    assert dict(letter.headers())["penstock.error.message"] == b"no number"
    kafka.appears("errors")
    assert bodies(kafka.read("errors", 1, quiet=0.1))[0]["source"] == "double"
    path = brokers.path(kafka.name("dead"))
    assert json.loads(dlq(brokers, "show", path))["value"] == '"bad"'
    assert dlq(brokers, "replay", path) == "1 sent back\n"
    kafka.read("dead", 2, quiet=0.0)
    assert child.stop()[0] == 0


def test_exactly_once_has_the_credentials_of_the_trigger(serve, kafka, brokers):
    served = serve(TRIGGERED, in_mlruns_words(brokers), READER="{'guarantee': 'exactly_once', 'dead_letter': 'd'}")
    kafka.appears("in")
    kafka.write("in", [(b"k", b"7")])
    kafka.appears("out")
    assert bodies(kafka.read("out", 1, quiet=0.1)) == [7]
    assert served.stop()[0] == 0


def dlq(brokers, what, path):
    settings = in_the_clients_words(brokers)
    given = [word for name, value in settings.items() for word in ("--client", f"{name}={value}")]
    command = [sys.executable, "-m", "penstock", "dlq", what, path, *given]
    secrets = os.environ | {"PASSWORD": secure.PASSWORD}
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=True, env=secrets).stdout


def test_why_a_source_does_not_reach_its_brokers_is_in_the_log_once(serve, kafka, brokers):
    right = in_the_clients_words(brokers)
    wrong = [
        (right | {"sasl.password": "${WRONG}"}, brokers.address, "Authentication failed: Invalid username or password"),
        (right | {"ssl.ca.location": str(brokers.other_ca)}, brokers.address, "certificate verify failed"),
        (right, brokers.plain, "connecting to a PLAINTEXT broker listener?"),
        ({"client.id": "me"}, brokers.address, "the brokers close the connections, as those do that want TLS"),
        (right, "127.0.0.1:9", "Connection refused"),
    ]
    served = [serve(TRIGGERED, {"client_options": how}, at=at) for how, at, _ in wrong]
    first = [one.process.stderr.readline() for one in served]
    began = time.monotonic()
    for one in served:
        one.process.send_signal(signal.SIGINT)
    for one, said, (_, _, why) in zip(served, first, wrong, strict=True):
        rest = one.process.communicate(timeout=20)[1]
        assert one.process.returncode == 0
        assert said.startswith(f"the topics {kafka.name('in')} cannot be seen to for now: ")
        assert why in said
        assert len(rest.splitlines()) < 6
        assert not any(secret in said + rest for secret in (WRONG, secure.PASSWORD))
    assert time.monotonic() - began < 9


def test_who_cannot_write_says_why(serve, kafka, brokers):
    how = in_the_clients_words(brokers, password="${WRONG}")
    served = serve(APP, {"producer_options": how, "timeout": 1}, "--function", kafka.name("f"))
    served.post(1)
    _, said = served.stop()
    assert f"cannot push to the topic {kafka.name('q1')}: " in said
    assert "Authentication failed: Invalid username or password" in said.partition("cannot push")[2]
    assert WRONG not in said


def test_a_file_that_is_missing_is_named_before_anything_is_served(tmp_path):
    missing = {"ssl.ca.location": str(tmp_path / "no-ca.pem"), "security.protocol": "SSL"}
    file = tmp_path / "app.py"
    file.write_text(
        "import penstock\n"
        "fn = penstock.new_function('f')\n"
        "fn.set_topology('flow').to(name='same', handler='(event)')\n"
        f"fn.add_kafka_trigger('127.0.0.1:9', 'in', dead_letter='dead', client_options={missing})\n"
    )
    command = [sys.executable, "-m", "penstock", "serve", str(file), "--port", "0"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 1
    assert done.stderr == f"error: the source of in: ssl.ca.location: there is no file {missing['ssl.ca.location']}\n"


def test_who_looks_at_dead_letters_in_vain_is_told_why(brokers, monkeypatch):
    monkeypatch.setattr(replay, "_ANSWER_SECONDS", 1.0)
    settings = in_the_clients_words(brokers, password=WRONG)
    with pytest.raises(StreamError, match="^cannot read dead: .*Invalid username or password") as raised:
        list(replay.letters_of(brokers.path("dead"), client=settings))
    assert WRONG not in str(raised.value)


def test_transactions_that_nobody_allows_are_said_once_and_do_not_hold_up_the_end(serve, kafka, brokers):
    kafka.make("in")
    kafka.make("out")
    kafka.allow(secure.GUEST, "TOPIC", "GROUP")
    how = {"client_options": in_the_clients_words(brokers, secure.GUEST, "${GUEST}")}
    served = serve(TRIGGERED, how, READER="{'guarantee': 'exactly_once'}")
    said = served.process.stderr.readline()
    assert said.startswith(f"no transactions as {kafka.name('f')}.")
    assert "Transactional Id authorization failed" in said
    began = time.monotonic()
    code, rest = served.stop()
    assert code == 0
    assert time.monotonic() - began < 9
    assert rest.count("no transactions") <= 1
