"""The graph of the storm of drains: it notes what it has taken, and takes a moment for it."""

import os
import time

import penstock

seen = os.open(os.environ["SEEN"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)


def work(body):
    """Handle a request or a record."""
    if "n" in body:
        os.write(seen, b"%d\n" % body["n"])
    time.sleep(body.get("hang", 0.002))
    return body


def is_record(body):
    """Tell records from requests."""
    return "record" in body


fn = penstock.new_function(os.environ["NAME"])
graph = fn.set_topology("flow")
graph.to(name="work", handler="work").concurrency(4).respond()
graph.add_step("storey.Filter", "records", _fn="is_record", after="work").to(
    ">>", "out", path=os.environ["OUT"], full_event=False
)
fn.add_trigger(
    "in",
    {
        "kind": "kafka-cluster",
        "attributes": {
            "brokers": [os.environ["BROKERS"]],
            "topics": [os.environ["IN"]],
            "consumerGroup": os.environ["NAME"],
        },
    },
)
