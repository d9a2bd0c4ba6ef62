"""Batches: whose rows share a `predict`, and what each caller gets of it."""

import threading
import time

import numpy as np
import penstock
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from penstock.batch_handlers import alone_after_failure
from penstock.batch_rows import form_of, join, split
from penstock.batches import BatchedModel, Rules, infer_batch
from penstock.errors import GraphError, PenstockError, StepError
from penstock.serving import V2ModelServer


class Seen(V2ModelServer):
    """Adds up each row, and notes what it was given."""

    def load(self):
        self.seen = []

    def predict(self, body):
        self.seen.append(body)
        inputs = body["inputs"]
        if isinstance(inputs, np.ndarray):
            return inputs.reshape(len(inputs), -1).sum(axis=1)
        return [sum(row) if isinstance(row, list) else row for row in inputs]


class Fussy(Seen):
    """Fails as a whole for one bad row."""

    def predict(self, body):
        result = super().predict(body)
        if any(row == [13] for row in np.asarray(body["inputs"]).tolist()):
            raise ValueError("thirteen")
        return result


def loaded(model_class):
    model = model_class(name="m1")
    model.post_init()
    return model


def events(*bodies):
    return [
        penstock.Event(body, path="infer", method="POST", event_id=f"e{place}") for place, body in enumerate(bodies)
    ]


def infer(model, *bodies, **rules):
    answers = infer_batch(model, events(*bodies), Rules(**rules))
    return [answer if isinstance(answer, Exception) else answer.body for answer in answers]


def outputs(replies):
    return [reply if isinstance(reply, Exception) else reply["outputs"] for reply in replies]


def tensor(array, name="x"):
    array = np.asarray(array)
    datatype = {"float32": "FP32", "int64": "INT64"}[array.dtype.name]
    return {"name": name, "shape": list(array.shape), "datatype": datatype, "data": array.reshape(-1).tolist()}


arrays = st.builds(
    lambda rows, width, dtype, start: (np.arange(rows * width) + start).reshape(rows, width).astype(dtype),
    st.integers(1, 6),
    st.integers(1, 3),
    st.sampled_from(["float32", "int64"]),
    st.integers(0, 1000),
)
parameters = st.sampled_from([{}, {"limit": 1}, {"priority": 2}, {"timeout": 1_000_000, "limit": 1}])


@settings(deadline=None)
@given(st.lists(st.tuples(arrays, parameters), min_size=1, max_size=12), st.integers(1, 8))
def test_whoever_shares_a_batch_gets_what_he_would_get_alone(requests, max_rows):
    bodies = [{"id": str(n), "inputs": [tensor(a)], "parameters": p} for n, (a, p) in enumerate(requests)]
    model = loaded(Seen)
    together = infer(model, *bodies, max_rows=max_rows)
    for body, reply in zip(bodies, together, strict=True):
        assert reply == infer(loaded(Seen), body)[0]
    for request in model.seen:
        sharing = [(a, p) for a, p in requests if a.dtype == request["inputs"].dtype]
        assert len(request["inputs"]) <= max_rows or any(len(a) == len(request["inputs"]) for a, _ in sharing)


@settings(deadline=None)
@given(st.lists(st.lists(st.lists(st.integers(0, 9), min_size=1, max_size=3), max_size=4), min_size=1, max_size=8))
def test_plain_rows_are_cut_apart_as_they_were_joined(requests):
    rows = [[[*row, *[0] * (3 - len(row))] for row in request] for request in requests]
    replies = infer(loaded(Seen), *({"inputs": request} for request in rows))
    assert outputs(replies) == [[sum(row) for row in request] for request in rows]


@settings(deadline=None)
@given(st.lists(st.lists(st.lists(st.integers(1, 9), min_size=1, max_size=5), min_size=1), min_size=1, max_size=8))
def test_padding_joins_rows_of_any_length(requests):
    model = loaded(Seen)
    replies = infer(model, *({"inputs": request} for request in requests), pad=True)
    assert outputs(replies) == [[sum(row) for row in request] for request in requests]
    assert len(model.seen) == 1


def test_arrays_are_padded_with_the_value_given():
    joined = join([np.ones((1, 2), "float32"), np.ones((2, 3), "float32")], pad=-1)
    assert joined.tolist() == [[1, 1, -1], [1, 1, 1], [1, 1, 1]]
    assert joined.dtype == "float32"


def test_texts_are_padded_with_empty_ones():
    joined = join([np.array([["a"]], dtype=object), np.array([["b", "c"]], dtype=object)], pad=True)
    assert joined.tolist() == [["a", ""], ["b", "c"]]


def test_without_padding_lengths_are_not_mixed():
    model = loaded(Seen)
    infer(model, {"inputs": [[1]]}, {"inputs": [[1, 2]]}, {"inputs": [[3]]})
    assert [request["inputs"] for request in model.seen] == [[[1], [3]], [[1, 2]]]


def test_max_size_counts_rows_and_a_larger_request_goes_alone():
    model = loaded(Seen)
    infer(model, {"inputs": [1, 2, 3]}, {"inputs": [4, 5]}, {"inputs": list(range(9))}, {"inputs": [6]}, max_rows=4)
    assert [len(request["inputs"]) for request in model.seen] == [4, 2, 9]


def test_texts_and_numbers_are_not_mixed():
    assert form_of([1]) == form_of([2.5]) != form_of(["a"])
    assert form_of([True]) != form_of([1])


def test_what_is_said_to_the_server_keeps_nobody_apart():
    model = loaded(Seen)
    infer(
        model,
        {"inputs": [1], "parameters": {"priority": 1, "limit": 2}},
        {"inputs": [2], "parameters": {"timeout": 5, "limit": 2}},
        {"inputs": [3], "parameters": {"limit": 3}},
    )
    assert [request["inputs"] for request in model.seen] == [[1, 2], [3]]
    assert model.seen[0]["parameters"] == {"limit": 2}


def test_callers_who_ask_for_different_outputs_share_a_batch():
    model = loaded(Seen)
    bodies = [{"inputs": [tensor([[1]])], "outputs": [{"name": name}]} for name in "ab"]
    infer(model, *bodies)
    assert len(model.seen) == 1
    assert "outputs" not in model.seen[0]


def test_a_bad_request_fails_alone():
    model = loaded(Fussy)
    first, bad, last = outputs(infer(model, {"inputs": [[1]]}, {"inputs": [[13]]}, {"inputs": [[2]]}))
    assert (first, last) == ([1], [2])
    assert str(bad) == "thirteen"
    assert [len(request["inputs"]) for request in model.seen] == [3, 1, 1, 1]


def test_a_model_that_shall_not_be_called_twice_fails_all():
    model = loaded(Fussy)
    answers = outputs(infer(model, {"inputs": [[1]]}, {"inputs": [[13]]}, isolate=False))
    assert [str(answer) for answer in answers] == ["thirteen"] * 2
    assert len(model.seen) == 1


def test_tensors_that_predict_wrote_itself_are_cut_by_rows():
    class Written(Seen):
        def predict(self, body):
            inputs = body["inputs"]
            return {"outputs": [tensor(inputs, "one"), tensor(inputs * 2, "two")]}

    bodies = [{"inputs": [tensor(np.full((rows, 2), rows))]} for rows in (1, 2)]
    first, second = outputs(infer(loaded(Written), *bodies))
    assert [(t["name"], t["shape"], t["data"]) for t in first] == [("one", [1, 2], [1, 1]), ("two", [1, 2], [2, 2])]
    assert [(t["name"], t["shape"]) for t in second] == [("one", [2, 2]), ("two", [2, 2])]


def test_as_many_results_as_rows_are_asked_for():
    with pytest.raises(PenstockError, match="predict returned 1 results for 3 rows"):
        split([1], [1, 2])


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({"inputs": [1, 2], "parameters": {"priority": 3}}, (2, 3)),
        ({"inputs": [tensor(np.zeros((4, 2), "float32"))]}, (4, 0)),
        ({"inputs": np.zeros((3, 2))}, (3, 0)),
        ({"inputs": []}, (1, 0)),
        ({"inputs": 5, "parameters": {"priority": "high"}}, (1, 0)),
        ({"inputs": [{"name": "x", "shape": [], "datatype": "FP32"}]}, (1, 0)),
        ({"parameters": {"priority": -1}}, (1, 0)),
        ("text", (1, 0)),
    ],
)
def test_a_request_is_measured_before_it_is_looked_at(body, expected):
    assert BatchedModel(loaded(Seen), Rules()).measure(body)[1:] == expected


def test_a_handler_is_called_for_each_alone_if_told_so():
    def halves(bodies):
        return [10 // body for body in bodies]

    fn = penstock.new_function("f")
    fn.set_topology("flow").to(halves, name="h").batch(8, isolate=True).respond()
    with fn.to_mock_server() as server:
        assert server.test(body=5) == 2
        with pytest.raises(StepError, match="ZeroDivisionError"):
            server.test(body=0)


def test_a_coroutine_is_awaited_for_each_alone_if_told_so():
    async def halves(bodies):
        return [10 // body for body in bodies]

    fn = penstock.new_function("f")
    fn.set_topology("flow").to(halves, name="h").batch(3, 3600, isolate=True).respond()
    with fn.to_mock_server() as server:
        assert together(server, [{"body": body} for body in (5, 0, 2)])[::2] == [2, 5]


def test_all_is_well_where_nothing_fails():
    assert alone_after_failure(lambda bodies: bodies)([1, 2]) == [1, 2]


def test_paths_hold_for_each_body_of_a_batch():
    fn = penstock.new_function("f")
    step = fn.set_topology("flow").to(
        lambda items: [item * 2 for item in items], name="h", input_path="a.b", result_path="c"
    )
    step.batch(2, 3600).respond()
    with fn.to_mock_server() as server:
        replies = together(server, [{"body": {"a": {"b": n}}} for n in (1, 2)])
    assert replies == [{"a": {"b": 1}, "c": 2}, {"a": {"b": 2}, "c": 4}]


def together(server, calls):
    """Make the calls at once, each on a thread of its own; return the answers and what was raised."""
    answers = [None] * len(calls)

    def call(place, arguments):
        try:
            answers[place] = server.test(**arguments)
        except Exception as error:
            answers[place] = error

    threads = [threading.Thread(target=call, args=item) for item in enumerate(calls)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    return answers


class Crowd:
    """A model in batches, whose first call waits until all the others are in the queue."""

    def __init__(self, **batch):
        entered, go = threading.Event(), threading.Event()
        self.seen = seen = []

        class Held(Fussy):
            def predict(self, body):
                if not entered.is_set():
                    entered.set()
                    assert go.wait(60)
                seen.append(np.asarray(body["inputs"]).tolist())
                return super().predict(body)

        self._entered, self._go = entered, go
        self._fn = penstock.new_function("f")
        self._fn.add_model("m1", class_name=Held).batch(**batch)

    def ask(self, *bodies):
        """Return the outputs, or the error, of each; `seen` has the batches after the first."""
        with self._fn.to_mock_server() as server:
            ahead = threading.Thread(target=together, args=(server, [{"path": PATH, "body": {"inputs": [[0]]}}]))
            ahead.start()
            assert self._entered.wait(30)
            answers = []
            calls = [{"path": PATH, "body": body} for body in bodies]
            behind = threading.Thread(target=lambda: answers.extend(together(server, calls)))
            behind.start()
            end = time.monotonic() + 60
            while server.engine.stats()["m1"]["waiting"] < len(calls) and time.monotonic() < end:
                time.sleep(0.001)
            self._go.set()
            ahead.join(60)
            behind.join(60)
        del self.seen[0]
        return [answer["outputs"] if isinstance(answer, dict) else answer for answer in answers]


PATH = "/v2/models/m1/infer"


@pytest.mark.parametrize("options", [{}, {"max_delay": 0.002}, {"adaptive": True}])
def test_a_thousand_callers_each_get_their_own_rows(options):
    crowd = Crowd(max_size=32, **options)
    answers = crowd.ask(*({"inputs": [[number, 1]]} for number in range(1000)))
    assert answers == [[number + 1] for number in range(1000)]
    assert sum(len(batch) for batch in crowd.seen) == 1000
    assert len(crowd.seen) <= 1000 / 8


def test_a_queue_is_cut_by_rows_forms_and_priorities():
    crowd = Crowd(max_size=4)
    crowd.ask(
        {"inputs": [[1], [1], [1]]},
        {"inputs": [[2, 2]]},
        {"inputs": [[3], [3]]},
        {"inputs": [[4, 4, 4]], "parameters": {"priority": 200}},
        {"inputs": [[5]], "parameters": {"priority": 1}},
    )
    assert crowd.seen[0][0] == [5]
    assert crowd.seen[-1] == [[4, 4, 4]]
    assert all(len(batch) <= 4 and len({len(row) for row in batch}) == 1 for batch in crowd.seen)


def test_padded_requests_are_one_batch():
    crowd = Crowd(max_size=8, pad=True)
    assert crowd.ask({"inputs": [[1]]}, {"inputs": [[2, 2]]}, {"inputs": [[3, 3, 3]]}) == [[1], [4], [9]]
    assert len(crowd.seen) == 1


def test_a_preferred_size_is_cut_out_of_what_waits():
    crowd = Crowd(max_size=8, preferred=[4], max_delay=0.001)
    crowd.ask(*({"inputs": [[number]]} for number in range(6)))
    assert [len(batch) for batch in crowd.seen] == [4, 2]


def test_in_a_graph_a_bad_request_fails_alone():
    answers = Crowd(max_size=8).ask({"inputs": [[1]]}, {"inputs": [[13]]}, {"inputs": [[2]]})
    assert answers[::2] == [[1], [2]]
    assert isinstance(answers[1], StepError)


def test_a_batch_that_waits_is_not_waited_for_by_a_lone_caller():
    fn = penstock.new_function("f")
    fn.add_model("m1", class_name=Seen).batch(max_size=32, adaptive=True)
    with fn.to_mock_server() as server:
        for _ in range(50):
            assert server.test(PATH, {"inputs": [[1, 2]]})["outputs"] == [3]
        stats = server.engine.stats()["m1"]
    assert stats["batches"] == stats["events"] == 50
    assert stats["seconds"] < 0.01


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"preferred": [4, 16]}, "the preferred size 16 is larger than max_size=8"),
        ({"preferred": 4}, "preferred is a list of sizes, not 4"),
        ({"preferred": [0]}, "a preferred size is a whole number of at least 1, not 0"),
        ({"pad": []}, "pad is True or what to fill up with"),
        ({"target_latency": 0.1}, "target_latency needs adaptive=True"),
        ({"adaptive": True, "target_latency": 0}, "target_latency is a number of seconds, not 0"),
        ({"adaptive": True, "preferred": [4]}, "adaptive=True chooses the sizes itself, so leave out preferred"),
    ],
)
def test_options_that_make_no_sense_are_refused(options, text):
    step = penstock.new_function("f").set_topology("flow").to("(event)", name="s")
    with pytest.raises(GraphError, match=f"step 's': {text}"):
        step.batch(8, **options)


def test_padding_is_for_models():
    fn = penstock.new_function("f")
    fn.set_topology("flow").to(lambda bodies: bodies, name="s").batch(8, pad=True).respond()
    with pytest.raises(GraphError, match="step 's': pad= is for models"):
        fn.to_mock_server()


def test_the_options_are_written_down_and_read_back():
    fn = penstock.new_function("f")
    step = fn.set_topology("flow").to("(event)", name="s").batch(8, preferred=[8, 4], pad=-1, isolate=False)
    written = step.to_dict()["engine_options"]
    assert written == {"max_batch_size": 8, "preferred": [4, 8], "pad": -1, "isolate": False}
    assert type(step.options).from_dict(written) == step.options


def test_a_scalar_stays_alone():
    class Double(Seen):
        def predict(self, body):
            return body["inputs"] * 2

    fn = penstock.new_function("f")
    fn.add_model("m", class_name=Double).batch(max_size=8)
    scalar = {"name": "x", "shape": [], "datatype": "FP32", "data": [5]}
    with fn.to_mock_server() as server:
        (output,) = server.test("/v2/models/m/infer", body={"inputs": [scalar]})["outputs"]
        assert (output["shape"], output["data"]) == ([], [10])


@pytest.mark.parametrize("later", [False, True])
def test_a_batch_of_one_is_a_list_too(later):
    def divide(bodies):
        assert isinstance(bodies, list)
        return [10 // body if body else ValueError("zero") for body in bodies]

    async def divide_later(bodies):
        return divide(bodies)

    fn = penstock.new_function("f")
    fn.set_topology("flow").to(divide_later if later else divide, "divide").batch(max_size=1).respond()
    with fn.to_mock_server() as server:
        assert [server.test(body=body) for body in (5, 2)] == [2, 5]
        with pytest.raises(StepError, match=r"failed \(500\): ValueError: zero"):
            server.test(body=0)


@pytest.mark.parametrize("size", [1, 4])
@pytest.mark.parametrize("returned", [{"a": 1}, "a", b"a", {1}])
def test_what_holds_no_results_is_none(size, returned):
    fn = penstock.new_function("f")
    fn.set_topology("flow").to(lambda _: returned, "wrong").batch(max_size=size).respond()
    with fn.to_mock_server() as server, pytest.raises(StepError, match="must return a list of results"):
        server.test(body=0)


@pytest.mark.parametrize(("returned", "text"), [([1, 2], "had 1 event, the handler returned 2"), (5, "not iterable")])
def test_a_batch_of_one_has_one_result(returned, text):
    fn = penstock.new_function("f")
    fn.set_topology("flow").to(lambda _: returned, "wrong").batch(max_size=1).respond()
    with fn.to_mock_server() as server, pytest.raises(StepError, match=text):
        server.test(body=0)
