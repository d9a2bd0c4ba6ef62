"""Model tracking: the records of what models were asked and answered."""

import threading

import penstock
import pytest
from penstock.errors import StepError, StepNotReady
from penstock.serving import GraphServer, V2ModelServer
from penstock.streams import register
from penstock.tracking import Tracker, TrackingStream


class Double(V2ModelServer):
    def load(self):
        pass

    def predict(self, body):
        inputs = body["inputs"]
        if isinstance(inputs, list):
            return [2 * row for row in inputs]
        if isinstance(inputs, dict):
            return {name: array * 2 for name, array in inputs.items()}
        return inputs * 2


class Logged(Double):
    def logged_results(self, request, response, op):
        return [[0]], [f"{op}:{response['outputs'][0]}"]


class Fails(Double):
    def predict(self, body):
        raise KeyError("x")


class Later(Double):
    async def predict(self, body):
        if "bad" in body:
            raise KeyError("x")
        return [2 * row for row in body["inputs"]]


class Measures(Double):
    def predict(self, body):
        self.labels["team"] = "a"
        self.set_metric("rows", len(body["inputs"]))
        return super().predict(body)


def serve(class_name=Double, *, track=True, verbose=False, batch=0, percentage=100, stream=None, **class_args):
    fn = penstock.new_function("f")
    route = fn.add_model("m1:v1", class_name=class_name, **class_args)
    if batch:
        route.batch(batch)
    if track:
        fn.set_tracking(stream, percentage)
    fn.spec.parameters["sampling_seed"] = 7
    return fn.to_mock_server(verbose=verbose)


def infer(server, inputs, operation="infer", **more):
    return server.test(f"/v2/models/m1/versions/v1/{operation}", body={"id": "i1", "inputs": inputs, **more})


def records(server):
    return server.context.stream.output_stream.event_list


def test_each_request_leaves_a_record():
    with serve() as server:
        infer(server, [1, 2], more=5)
        (record,) = records(server)
    assert 0 <= record.pop("microsec") < 60_000_000
    assert record.pop("when").endswith("+00:00")
    assert len(record.pop("endpoint_id")) == 32
    assert record.pop("host")
    timestamp = record["resp"].pop("timestamp")
    assert timestamp
    assert record == {
        "class": "Double",
        "worker": 0,
        "model": "m1",
        "version": "v1",
        "function_uri": "default/f",
        "sampling_percentage": 100.0,
        "request": {"id": "i1", "inputs": [[1], [2]], "more": 5},
        "op": "infer",
        "resp": {"id": "i1", "model_name": "m1", "outputs": [2, 4]},
        "effective_sample_count": 2,
    }


def test_the_same_model_has_the_same_endpoint_id_unless_it_is_given():
    ids = []
    for _ in range(2):
        with serve() as server:
            infer(server, [1])
            ids.append(records(server)[0]["endpoint_id"])
    assert ids[0] == ids[1]
    with serve(model_endpoint_uid="u1") as server:
        infer(server, [1])
        assert records(server)[0]["endpoint_id"] == "u1"


def tensor(data, name="x", shape=None):
    return {"name": name, "shape": shape or [len(data)], "datatype": "FP32", "data": data}


def test_tensors_are_recorded_as_rows():
    with serve() as server:
        infer(server, [tensor([1, 2, 3, 4], shape=[2, 2])])
        infer(server, [tensor([1, 2], "a"), tensor([3, 4], "b")])
        first, second = records(server)
    assert first["request"]["inputs"] == [[1, 2], [3, 4]]
    assert first["resp"]["outputs"] == [[2, 4], [6, 8]]
    assert second["request"]["inputs"] == [[1, 3], [2, 4]]
    assert second["resp"]["outputs"] == {"a": [2, 4], "b": [6, 8]}


def test_labels_and_metrics_are_recorded():
    with serve(Measures) as server:
        infer(server, [1, 2])
        (record,) = records(server)
    assert (record["labels"], record["metrics"]) == ({"team": "a"}, {"rows": 2})


def test_logged_results_replace_inputs_and_outputs():
    with serve(Logged) as server:
        assert infer(server, [1])["outputs"] == [2]
        (record,) = records(server)
    assert (record["request"]["inputs"], record["resp"]["outputs"]) == ([[0]], ["infer:2"])


@pytest.mark.parametrize(("verbose", "text"), [(False, "KeyError: 'x'"), (True, "Traceback (most recent call last)")])
def test_a_failure_leaves_a_record_of_its_own(verbose, text):
    with serve(Fails, verbose=verbose) as server:
        with pytest.raises(StepError):
            infer(server, [1])
        (record,) = records(server)
    assert record["error"].startswith(text)
    assert record["error"].endswith("KeyError: 'x'")
    assert record["request"]["inputs"] == [[1]]
    assert "resp" not in record


def test_a_refused_request_leaves_one_too():
    with serve() as server:
        with pytest.raises(StepError):
            server.test("/v2/models/m1/versions/v1/infer", body={"rows": [1]})
        (record,) = records(server)
    assert "Expected key" in record["error"]


def test_a_model_that_waits_is_tracked():
    with serve(Later) as server:
        infer(server, [1])
        with pytest.raises(StepError):
            infer(server, [1], bad=True)
        answered, failed = records(server)
    assert answered["resp"]["outputs"] == [2]
    assert failed["error"] == "KeyError: 'x'"


@pytest.mark.parametrize("class_name", [Double, Later])
def test_in_a_batch_each_caller_has_a_record(class_name):
    with serve(class_name, batch=8) as server:
        infer(server, [1, 2])
        model = server.compiled.models["m1:v1"]
        bodies = [{"id": "a", "inputs": [1]}, {"rows": 1}, {"id": "b", "inputs": [2, 3]}]
        events = [penstock.Event(body, path="infer", method="POST") for body in bodies]
        answers = model.do_events(events)
        if class_name is Later:
            from penstock.loading import run_coroutine

            run_coroutine(answers)
        found = {
            (record["request"].get("id"), tuple(record.get("resp", {}).get("outputs", ())))
            for record in records(server)
        }
    assert found == {("i1", (2, 4)), ("a", (2,)), (None, ()), ("b", (4, 6))}


def test_a_failed_batch_leaves_a_record_for_each_caller():
    with serve(Fails, batch=8) as server:
        model = server.compiled.models["m1:v1"]
        model.do_events([penstock.Event({"inputs": [1]}, path="infer", method="POST") for _ in range(2)])
        assert [record["error"] for record in records(server)] == ["KeyError: 'x'"] * 2


def test_sampling_drops_rows():
    counts = []
    for _ in range(2):
        with serve(percentage=25) as server:
            infer(server, list(range(1000)))
            (record,) = records(server)
            count = record["effective_sample_count"]
            rows = [row for (row,) in record["request"]["inputs"]]
            assert record["resp"]["outputs"] == [2 * row for row in rows]
            assert len(rows) == count
            assert record["sampling_percentage"] == 25
            counts.append(rows)
    assert 150 < len(counts[0]) < 350
    assert counts[0] == counts[1]


def test_a_sample_without_rows_leaves_no_record():
    with serve(percentage=1e-9) as server:
        infer(server, [1, 2])
        assert records(server) == []


def test_without_tracking_there_is_no_tracker():
    with serve(track=False) as server:
        infer(server, [1])
        model = server.compiled.models["m1:v1"]
        assert model._tracker is None
        assert model._native


def test_a_tracked_model_is_never_passed_by():
    with serve() as server:
        assert not server.compiled.models["m1:v1"]._native


def test_records_go_to_the_stream_that_is_named(tmp_path):
    path = tmp_path / "log.jsonl"
    with serve(stream=str(path)) as server:
        infer(server, [1])
    assert '"outputs":[2]' in path.read_text().replace(" ", "")


def test_outside_of_a_test_the_stream_has_to_be_named():
    fn = penstock.new_function("f")
    fn.add_model("m1", class_name=Double)
    fn.set_tracking()
    server = GraphServer.from_dict(fn.serving_spec)
    with pytest.raises(StepNotReady, match=r"model 'm1': models are tracked, .* write fn.set_tracking\(stream_path\)"):
        server.init_states(None, globals())


class Broken:
    def push(self, records, key=None):
        raise OSError("no disk")

    def close(self):
        pass


def test_a_lost_record_fails_no_request(caplog):
    with serve() as server:
        server.context.stream.output_stream = Broken()
        assert infer(server, [1])["outputs"] == [2]
    assert "a tracking record could not be written to dummy://: OSError: no disk" in caplog.text


def test_records_of_a_model_have_one_key_unless_they_are_spread():
    keys = []

    class Keeps:
        def push(self, records, key=None):
            keys.append(key)

    for shard in (True, False):
        model = Double(name="m", model_endpoint_uid="u1", shard_by_endpoint=shard)
        stream = TrackingStream("dummy://", function_uri="p/f")
        stream.output_stream = Keeps()
        tracker = Tracker(model, stream)
        tracker.answered(tracker.start(), {"inputs": [1]}, {"outputs": [2]}, "infer")
    assert keys == ["u1", None]


class Held:
    """A stream elsewhere, which takes a record when it is let."""

    let = threading.Event()
    taken: list = []  # noqa: RUF012
    closed = False

    def push(self, records, key=None):
        assert self.let.wait(20)
        self.taken.extend(records)

    def close(self):
        self.closed = True


def test_a_slow_stream_holds_up_no_request():
    stream = Held()
    register("held", lambda path, **options: stream)
    with serve(stream="held://far") as server:
        assert infer(server, [1])["outputs"] == [2]
        assert stream.taken == []
        stream.let.set()
    assert [record["resp"]["outputs"] for record in stream.taken] == [[2]]
    assert stream.closed


def test_what_json_cannot_say_is_named():
    class Counts(Double):
        def predict(self, body):
            return [len(item.read()) for item in body["inputs"]]

    with serve(Counts) as server:
        path = "/v2/models/m1/versions/v1/infer"
        assert server.test(path, body=b"abc", content_type="image/png")["outputs"] == [3]
        assert records(server)[0]["request"]["inputs"] == [["<BytesIO>"]]
