"""What Prometheus reads: families and labels, and what they count on a server."""

import textwrap

import pytest
from penstock.counts import added, remains, total
from penstock.metrics import exposition
from prometheus_client.openmetrics.parser import text_string_to_metric_families as openmetrics
from prometheus_client.parser import text_string_to_metric_families
from served import JSON, Served

GRAPHS = """
import penstock
from penstock import errors

class Sums(penstock.serving.V2ModelServer):
    def load(self): pass
    def predict(self, body):
        return [sum(row) for row in body["inputs"]]

models = penstock.new_function("shop")
models.add_model("m1", class_name="Sums").batch(max_size=8)
models.add_model("m2:v1", class_name="Sums")

def check(body):
    if body == "wrong":
        raise errors.MLRunBadRequestError("wrong")
    return body

flow = penstock.new_function("flow")
graph = flow.set_topology("flow")
graph.to(check, name="check").to("storey.Filter", name="filter", _fn="(event != 'out')").respond()
"""
STEP = {
    "model": "",
    "events": 4,
    "failed": 1,
    "dropped": 0,
    "batches": 2,
    "waiting": 3,
    "times": [1, 0, 2] + [0] * 23 + [1],
    "time": 40.5,
    "sizes": [0, 2] + [0] * 9 + [1],
    "batched": 2004,
    "batching": True,
}


def samples(text):
    """Every sample by its name and labels."""
    found = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            labels = ",".join(f"{key}={value}" for key, value in sorted(sample.labels.items()) if value)
            found[f"{sample.name}{{{labels}}}" if labels else sample.name] = sample.value
    return found


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    path = tmp_path_factory.mktemp("metrics") / "graphs.py"
    path.write_text(textwrap.dedent(GRAPHS))
    started = []

    def start(name, *options):
        started.append(Served(f"{path}:{name}", *options))
        return started[-1]

    yield start
    for server in started:
        server.end()


def read(server):
    return samples(server.request("/metrics")[2].decode())


def test_a_histogram_is_cumulative_in_seconds_and_ends_without_a_bound():
    _, text = exposition({"steps": {"s": STEP}})
    found = samples(text.decode())
    assert found["penstock_step_seconds_bucket{le=1e-06,step=s}"] == 1
    assert found["penstock_step_seconds_bucket{le=4e-06,step=s}"] == 3
    assert found["penstock_step_seconds_bucket{le=33.554432,step=s}"] == 3
    assert found["penstock_step_seconds_bucket{le=+Inf,step=s}"] == 4
    assert found["penstock_step_seconds_count{step=s}"] == 4
    assert found["penstock_step_seconds_sum{step=s}"] == 40.5


def test_batch_sizes_are_those_of_steps_with_batches():
    _, text = exposition({"steps": {"s": STEP, "t": STEP | {"batching": False}}})
    found = samples(text.decode())
    assert found["penstock_step_batch_size_bucket{le=2,step=s}"] == 2
    assert found["penstock_step_batch_size_bucket{le=1024,step=s}"] == 2
    assert found["penstock_step_batch_size_count{step=s}"] == 3
    assert found["penstock_step_batch_size_sum{step=s}"] == 2004
    assert "penstock_step_batch_size_count{step=t}" not in found


def test_names_are_escaped():
    _, text = exposition({"steps": {'a "quoted"\nname': STEP}})
    assert samples(text.decode())['penstock_step_events_total{step=a "quoted"\nname}'] == 4


def test_openmetrics_says_the_same():
    counts = {"steps": {'a "quoted"\\\nname': STEP, "t": STEP | {"model": "m"}}}
    _, plain = exposition(counts)
    _, text = exposition(counts, "application/openmetrics-text; version=1.0.0")
    assert text.endswith(b"# EOF\n")
    families = list(openmetrics(text.decode().replace('le="1"', 'le="1.0"')))  # as Prometheus reads both
    assert {family.name for family in families} >= {"penstock_step_seconds", "penstock_step_batch_size"}
    found = {sample.name: sample for family in families for sample in family.samples}
    assert found["penstock_step_seconds_sum"].labels == {"step": "t", "model": "m"}
    assert sum(len(family.samples) for family in families) == len(samples(plain.decode()))


@pytest.mark.parametrize(
    ("accept", "content_type"), [("", "text/plain"), ("application/openmetrics-text; version=1.0.0", "openmetrics")]
)
def test_the_client_chooses_the_format(accept, content_type):
    given, text = exposition({"name": "shop"}, accept)
    assert content_type in given
    assert (b"# EOF" in text) == (content_type == "openmetrics")


def test_counts_of_processes_add_up_and_what_a_dead_one_did_remains():
    one = {"name": "f", "refused": 1, "in_flight": 2, "steps": {"s": STEP}, "processes": {"0": {"pid": 1}}}
    whole = total([one, one | {"processes": {"1": {"pid": 2}}}])
    assert (whole["name"], whole["refused"], whole["in_flight"]) == ("f", 2, 4)
    assert whole["steps"]["s"]["times"][2] == 4
    assert whole["processes"] == {"0": {"pid": 1}, "1": {"pid": 2}}
    left = remains(one | {"models": {"m": 1}})
    assert (left["refused"], left["in_flight"], left["steps"]["s"]["waiting"]) == (1, 0, 0)
    assert "processes" not in left
    assert "models" not in left
    assert added({}, left) == left


def test_a_server_counts_requests_by_status_and_model(served):
    server = served("models")
    assert server.post({"inputs": [[1, 2]]}, "/v2/models/m1/infer")[0] == 200
    assert server.post({"inputs": [[1, 2]]}, "/v2/models/m1/infer")[0] == 200
    assert server.post({"inputs": 1}, "/v2/models/m2/versions/v1/infer")[0] == 400
    found = read(server)
    assert found["penstock_http_requests_total{status=2xx}"] == 2
    assert found["penstock_http_requests_total{status=4xx}"] == 1
    assert found["penstock_step_events_total{model=m1,step=m1}"] == 2
    assert found["penstock_step_failures_total{model=m2:v1,step=m2:v1}"] == 1
    assert found["penstock_step_seconds_count{model=m1,step=m1}"] == 2
    assert found["penstock_step_batch_size_count{model=m1,step=m1}"] == 2
    assert found["penstock_model_ready{model=m2:v1}"] == 1
    assert found["penstock_info{function=shop,version=" + server_version() + "}"] == 1
    assert found["penstock_process_resident_memory_bytes{worker=0}"] > 2**20
    assert found["penstock_in_flight"] == 1  # the question itself
    assert not [name for name in found if "GET" in name or ".self" in name]


def test_a_flow_counts_what_fails_and_what_is_filtered_out(served):
    server = served("flow")
    assert [server.post(body)[0] for body in ("in", "out", "wrong")] == [200, 204, 400]
    found = read(server)
    assert found["penstock_step_events_total{step=check}"] == 3
    assert found["penstock_step_failures_total{step=check}"] == 1
    assert found["penstock_step_dropped_total{step=filter}"] == 1
    assert found["penstock_step_queue_depth{step=filter}"] == 0
    assert found["penstock_admission_refused_total"] == 0


def test_metrics_need_the_token_as_all_but_health_does(served):
    server = served("flow", "--token", "s3cret")
    assert server.request("/metrics")[0] == 401
    assert server.request("/metrics", headers={"Authorization": "Bearer s3cret"})[0] == 200
    assert server.request("/v2/health/ready")[0] == 200
    assert server.request("/", '"in"', headers=JSON)[0] == 401


def server_version():
    from penstock import __version__

    return __version__
