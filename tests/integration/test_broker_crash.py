"""The broker is killed and comes back: nothing is lost, and the flow goes on by itself."""

import threading

import broker
import pytest
from served import Served
from topics import Topics

APP = """
import os
import penstock

fn = penstock.new_function("crash")
fn.set_topology("flow").to(name="double", handler="(event * 2)").to(">>", "out", path=os.environ["OUT"])
fn.add_kafka_trigger(os.environ["BROKERS"], "in", group="crash")
"""


@pytest.mark.timeout(240)
def test_the_flow_goes_on_when_a_killed_broker_is_back(tmp_path):
    address = broker.start(tmp_path / "kafka")
    topics = Topics(address, prefix="t")
    file = tmp_path / "crash.py"
    file.write_text(APP.replace('"in"', repr(topics.name("in"))))
    topics.make("in", 2)
    topics.make("out")
    served = Served(file, OUT=topics.path("out"), BROKERS=address)
    try:
        written = [str(n).encode() for n in range(400)]
        topics.write("in", [(value, value) for value in written[:200]])
        assert len(topics.read("out", 200)) >= 200
        broker.stop(tmp_path / "kafka", kill=True)
        feeder = threading.Thread(target=topics.write, args=("in", [(value, value) for value in written[200:]]))
        feeder.start()
        broker.start(tmp_path / "kafka")
        feeder.join()
        found = topics.values("out", 400, timeout=90, quiet=2.0)
        assert {int(value) for value in found} == {2 * n for n in range(400)}
        assert served.stop()[0] == 0
    finally:
        served.end()
        topics.close()
        broker.stop(tmp_path / "kafka")
