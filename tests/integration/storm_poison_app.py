"""The graph of the storm of poison: a step that fails with some records."""

import os

import penstock


def check(record):
    """Fail with what is marked."""
    if record["bad"]:
        raise ValueError(f"record {record['n']} is bad")
    return record["n"]


fn = penstock.new_function(os.environ["NAME"])
graph = fn.set_topology("flow")
graph.to(name="check", handler="check").to(">>", "out", path=os.environ["OUT"], full_event=False)
fn.add_trigger(
    "in",
    {
        "kind": "kafka-cluster",
        "attributes": {
            "brokers": [os.environ["BROKERS"]],
            "topics": [os.environ["IN"]],
            "consumerGroup": os.environ["NAME"],
            "dead_letter": os.environ["DEAD"],
        },
    },
)
