"""The graph of the storm of rebalances: a slow step, and a batch that is held."""

import asyncio
import logging
import os

import penstock

# Each line names its process, so that several may write to one file.
for handler in logging.getLogger().handlers:
    handler.setFormatter(logging.Formatter(f"{os.getpid()} %(levelname)s %(name)s: %(message)s"))


async def slow(record):
    """Take half a second."""
    await asyncio.sleep(0.5)
    return {"key": record["key"], "seq": int(record["seq"]), "side": "slow", "part": 0}


fn = penstock.new_function(os.environ["NAME"])
graph = fn.set_topology("flow")
graph.to(name="slow", handler="slow").concurrency(200, order="key").to(
    "storey.Batch", "held", max_events=50, flush_after_seconds=2.0, full_event=False
).to(">>", "out", path=os.environ["OUT"], full_event=False)
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
            "revoke_wait": 0.1,
        },
    },
)
