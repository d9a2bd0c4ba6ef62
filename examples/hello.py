"""The smallest graph: `penstock serve examples/hello.py`, then `curl localhost:8080 -d '{"x": 21}'`."""

import penstock


def double(body):
    return {"x": body["x"] * 2}


fn = penstock.new_function("hello")
fn.set_topology("flow").to(double).respond()
