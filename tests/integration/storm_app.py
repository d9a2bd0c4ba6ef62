"""The graph of the storm: decode, map, fan-out, flat_map, filter, two kinds of batches, Kafka."""

import os

import penstock


def decode(record):
    """Check a record, and say where it is from."""
    return {"key": record["key"], "seq": int(record["seq"])}


def left(record):
    """Mark what goes the one way."""
    return record | {"side": "left"}


def right(record):
    """Mark what goes the other way."""
    return record | {"side": "right"}


def twice(record):
    """Make two records of one."""
    return [record | {"part": part} for part in (0, 1)]


def wanted(record):
    """Leave out every tenth."""
    return record["seq"] % 10 != 0


def together(records):
    """Handle what has come at once."""
    return records


fn = penstock.new_function(os.environ["NAME"])
graph = fn.set_topology("flow")
graph.to(name="decode", handler="decode").to(name="map", handler="(event)")
for side in ("left", "right"):
    branch = graph.add_step(name=side, handler=side, after="map")
    branch = branch.to("storey.FlatMap", f"{side}-twice", _fn="twice").to(
        "storey.Filter", f"{side}-wanted", _fn="wanted"
    )
    if side == "left":
        branch = branch.to(name="left-together", handler="together").batch(max_size=50, max_delay=0.02)
    else:
        branch = branch.to("storey.Batch", "right-together", max_events=50, flush_after_seconds=0.02, full_event=False)
    branch.to(">>", f"{side}-out", path=os.environ["OUT"], full_event=False)
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
            "commit_interval": float(os.environ.get("COMMIT", "1.0")),
        },
    },
)
