"""Routers, with the answers that users of MLRun know."""

import asyncio
import io
import time
from concurrent.futures import ThreadPoolExecutor

import fsspec
import numpy as np
import penstock
import pytest
from penstock.errors import GraphError, StepError
from penstock.routers import Route
from penstock.serving import BaseModelRouter, ModelRouter, V2ModelServer


class Times(V2ModelServer):
    def load(self):
        self.factor = self.get_param("factor", 2)

    def predict(self, body):
        inputs = body["inputs"]
        return inputs * self.factor if isinstance(inputs, np.ndarray) else [row * self.factor for row in inputs]

    def explain(self, body):
        return [0 for _ in body["inputs"]]


class Failing(Times):
    def predict(self, body):
        raise KeyError("x")


def router(*models, class_name=None, **class_args):
    """Make the mock server of a router with models, each a name or a name and its arguments."""
    fn = penstock.new_function("f")
    fn.set_topology("router", class_name, **class_args)
    for model in models:
        name, arguments = model if isinstance(model, tuple) else (model, {})
        fn.add_model(name, **{"class_name": "Times", **arguments})
    return fn.to_mock_server(namespace=globals())


class Sleepy(Times):
    def predict(self, body):
        time.sleep(body["inputs"][0])
        return body["inputs"]


@pytest.mark.parametrize("class_name", [None, "penstock.serving.VotingEnsemble"])
def test_a_routers_timeout_is_that_of_its_routes(class_name):
    fn = penstock.new_function("f")
    step = fn.set_topology("flow").add_step(class_name=f"*{class_name or ''}", name="router").timeout(0.2)
    step.add_route("m1", class_name="Sleepy")
    step.respond()
    with fn.to_mock_server(namespace=globals()) as running:
        path = "/v2/models/m1/infer" if class_name is None else "/v2/models/infer"
        assert running.test(path, {"inputs": [0.0]})["outputs"] == [0.0]
        with pytest.raises(StepError) as raised:
            running.test(path, {"inputs": [2.0]})
        assert raised.value.status_code == 504


@pytest.fixture
def server():
    with router("m1", "m3:v1") as running:
        yield running


@pytest.mark.parametrize("path", ["/", "/v2/health"])
def test_the_router_says_what_it_is(server, path):
    for method in ("GET", "HEAD"):
        assert server.test(path, method=method) == {"name": "ModelRouter", "version": "v2", "extensions": []}


@pytest.mark.parametrize("path", ["/v2/models/", "/v2/models"])
def test_the_router_lists_its_models(server, path):
    assert server.test(path, method="GET") == {"models": ["m1", "m3:v1"]}


def test_a_model_of_a_version_is_described(server):
    assert server.test("/v2/models/m3/versions/v1", method="GET") == {
        "name": "m3",
        "model_endpoint_uid": "",
        "inputs": [],
        "outputs": [],
    }


def test_the_path_chooses_the_model(server):
    reply = server.test("/v2/models/m1/infer", body={"id": "abc", "inputs": [1, 2]})
    assert {key: reply[key] for key in ("id", "model_name", "outputs")} == {
        "id": "abc",
        "model_name": "m1",
        "outputs": [2, 4],
    }
    assert server.test("/v2/models/m3/versions/v1/infer", body={"inputs": [1]})["model_name"] == "m3"


def test_without_an_operation_infer_is_meant(server):
    assert server.test("/v2/models/m1", body={"inputs": [1]})["outputs"] == [2]


def test_the_body_chooses_where_the_path_does_not(server):
    assert server.test("/", body={"model": "m3:v1", "inputs": [1]})["model_name"] == "m3"
    assert server.test("/", body={"model": "m1", "operation": "explain", "inputs": [1]})["outputs"] == [0]
    assert server.test("/", body={"inputs": [1]})["model_name"] == "m1"


def test_an_unknown_model_is_404_with_the_known_ones(server):
    with pytest.raises(StepError) as caught:
        server.test("/v2/models/m9/infer", body={"inputs": [1]})
    assert str(caught.value) == "failed (404): ValueError: model m9 doesnt exist, available models: m1 | m3:v1"


def test_a_path_that_is_no_models_is_404(server):
    with pytest.raises(StepError, match=r"failed \(404\): .*illegal path prefix /x, must start with /v2/models"):
        server.test("/x", body={"inputs": [1]})
    with pytest.raises(StepError, match=r"failed \(404\)"):
        server.test("/v2/modelsandmore/m1", body={"inputs": [1]})


def test_a_body_that_is_no_request_is_400(server):
    with pytest.raises(StepError) as caught:
        server.test("/", body="zzz")
    assert str(caught.value) == (
        "failed (400): ValueError: Unrecognized request format, caused by: Expecting value: line 1 column 1 (char 0)"
    )


def test_a_query_and_escapes_are_no_part_of_the_name(server):
    assert server.test("/v2/models/m%31/infer?a=b", body={"inputs": [1]})["model_name"] == "m1"


def test_an_image_is_one_input():
    class Reads(Times):
        def predict(self, body):
            return [image.read().decode() for image in body["inputs"]]

    with router(("m1", {"class_name": Reads})) as server:
        assert server.test("/v2/models/m1/infer", body=b"pixels", content_type="image/png")["outputs"] == ["pixels"]


def test_a_route_that_is_no_model_runs_as_a_step_does():
    with router(("m1", {"class_name": None, "handler": "(event['inputs'])"})) as server:
        assert server.test("/v2/models/m1/infer", body={"inputs": [1]}) == [1]


def test_hooks_of_a_router_see_events_on_their_way_in_and_out():
    class Hooked(ModelRouter):
        def preprocess(self, event):
            event.body = {"inputs": [row + 1 for row in event.body["inputs"]]}
            return event

        def postprocess(self, event):
            event.body = event.body["outputs"]
            return event

    with router("m1", class_name=Hooked) as server:
        assert server.test("/v2/models/m1/infer", body={"inputs": [1]}) == [4]


def test_a_router_may_do_its_own_routing():
    class ByKind(ModelRouter):
        def do_event(self, event):
            return self.routes[event.body.pop("kind")].run(event)

    with router("a", ("b", {"factor": 3}), class_name=ByKind) as server:
        assert server.test("/", body={"kind": "b", "inputs": [1]})["outputs"] == [3]
        assert server.test("/", body={"kind": "a", "inputs": [1]})["outputs"] == [2]


def test_its_own_routing_may_end_in_that_of_the_class():
    class Renames(ModelRouter):
        def do_event(self, event):
            event.path = event.path.replace("old", "m1")
            return super().do_event(event)

    with router("m1", class_name=Renames) as server:
        assert server.test("/v2/models/old/infer", body={"inputs": [1]})["model_name"] == "m1"
        assert server.test("/v2/models/", method="GET") == {"models": ["m1"]}


def test_a_router_in_a_flow_hands_on_what_its_route_answers():
    fn = penstock.new_function("f")
    flow = fn.set_topology("flow")
    flow.to("(event)", "a").to("*", "router", result_path="reply").to("(event['reply']['outputs'])", "z").respond()
    flow["router"].add_route("m1", class_name=Times)
    with fn.to_mock_server() as server:
        assert server.test("/v2/models/m1/infer", body={"inputs": [1]}) == [2]


def test_the_catcher_of_a_router_serves_its_routes():
    fn = penstock.new_function("f")
    flow = fn.set_topology("flow")
    flow.to("*", "router").error_handler(name="catcher", handler="(event)").to("(event['outputs'])", "z").respond()
    flow["router"].add_route("m1", class_name=Failing)
    with fn.to_mock_server() as server:
        assert server.test("/v2/models/m1/infer", body={"inputs": [1]}) == {"inputs": [1]}


def some(*names):
    return {name: Route(name, name, None, str, full_event=False) for name in names}


def test_the_core_routes_alone_where_only_names_decide():
    plain = ModelRouter(routes=some("m1", "m3:v9", "m3:v10"))
    assert plain.table == {"m1": 0, "m3:v9": 1, "m3:v10": 2, "m3": 2}

    class Hooked(ModelRouter):
        def preprocess(self, event):
            return event

    assert Hooked(routes=some("m1")).table is None
    assert ModelRouter(routes=some("m1"), input_path="a").table is None


def test_hooks_run_in_the_order_of_mlrun():
    seen = []

    class Hooked(ModelRouter):
        def preprocess(self, event):
            seen.append(("preprocess", event.body))
            event.body = event.body.decode().replace("x", "inputs")
            return event

        def parse_event(self, event):
            seen.append(("parse_event", event.body))
            return super().parse_event(event)

        def postprocess(self, event):
            seen.append(("postprocess", event.body["outputs"]))
            return event

    with router("m1", class_name=Hooked) as server:
        server.test("/v2/models/m1/infer", body=b'{"x": [1]}', content_type="text/plain")
    assert seen == [("preprocess", b'{"x": [1]}'), ("parse_event", '{"inputs": [1]}'), ("postprocess", [2])]


def test_parse_event_may_return_the_request():
    class Parses(ModelRouter):
        def parse_event(self, event):
            return {"inputs": [int(text) for text in event.body.split(b",")]}

    with router("m1", class_name=Parses) as server:
        answer = server.test("/v2/models/m1/infer", body=b"1,2", content_type="text/csv")
        assert answer["outputs"] == [2, 4]
        assert server.test("/v2/models/", method="GET") == {"models": ["m1"]}


def test_a_router_may_call_several_routes():
    class Both(BaseModelRouter):
        def do_event(self, event):
            answers = [route.run(penstock.serving.Event(dict(event.body))).body for route in self.routes.values()]
            event.body = {"name": self.name, "answers": answers}
            return event

    fn = penstock.new_function("f")
    both = fn.set_topology("router", Both)
    both.add_route("add", handler="(event['x'] + 1)")
    both.add_route("double", handler="(event['x'] * 2)")
    with fn.to_mock_server() as server:
        assert server.test(body={"x": 4}) == {"name": "Both", "answers": [5, 8]}


class ByKind(BaseModelRouter):
    async def do_event(self, event):
        await asyncio.sleep(0)
        return await self.routes[event.body["kind"]].run(event)


async def later(event):
    event.body = {"kind": event.body["kind"], "path": event.path}
    return event


async def failing_later(body):
    raise KeyError("x")


def test_a_router_may_be_async_and_await_its_routes():
    fn = penstock.new_function("f")
    kinds = fn.set_topology("router", "ByKind")
    kinds.add_route("good", handler=later, full_event=True)
    kinds.add_route("bad", handler=failing_later)
    with fn.to_mock_server(namespace=globals()) as server:
        assert server.test("/p", body={"kind": "good"}) == {"kind": "good", "path": "/p"}
        with pytest.raises(StepError, match="KeyError: 'x'") as caught:
            server.test(body={"kind": "bad"})
        assert caught.value.step == "bad"


def test_events_of_an_async_router_overlap():
    together = []

    class Meets(BaseModelRouter):
        async def do_event(self, event):
            together.append(event.id)
            while len(together) < 3:
                await asyncio.sleep(0.001)
            return event

    fn = penstock.new_function("f")
    fn.set_topology("router", Meets).add_route("a", handler="(event)")
    with fn.to_mock_server() as server, ThreadPoolExecutor(3) as pool:
        assert sorted(pool.map(lambda number: server.test(body=number), [1, 2, 3])) == [1, 2, 3]


def test_its_own_routing_may_end_in_an_async_route():
    class Renames(ModelRouter):
        def do_event(self, event):
            event.path = event.path.replace("old", "good")
            return super().do_event(event)

        def postprocess(self, event):
            event.body["done"] = True
            return event

    fn = penstock.new_function("f")
    fn.set_topology("router", Renames).add_route("good", handler=later, full_event=True)
    with fn.to_mock_server() as server:
        assert server.test("/v2/models/old/x", body={"kind": "k"}) == {"kind": "k", "path": "x", "done": True}


def test_failures_in_its_own_routing_name_the_route():
    class First(BaseModelRouter):
        def do_event(self, event):
            return self.routes["m1"].run(event)

    with router(("m1", {"class_name": "Failing"}), class_name=First) as server:
        with pytest.raises(StepError) as caught:
            server.test(body={"inputs": [1]})
        assert caught.value.step == "m1"


def test_a_class_that_is_no_router_is_told_what_it_lacks():
    class Nothing:
        def do(self, body):
            return body

    fn = penstock.new_function("f")
    fn.set_topology("flow").to("*Nothing", "n").add_route("a", handler="(event)")
    with pytest.raises(
        GraphError, match=r"'n': Nothing is no router: write do_event\(event\), or subclass ModelRouter"
    ):
        fn.to_mock_server(namespace={"Nothing": Nothing})


@pytest.mark.parametrize("name", ["mlrun.serving.routers.ModelRouter", "mlrun.serving.ModelRouter", "ModelRouter"])
def test_a_router_is_found_by_the_names_of_mlrun(name):
    with router("m1", class_name=name) as server:
        assert server.test("/v2/models/m1/infer", body={"inputs": [1]})["outputs"] == [2]


def test_prefixes_may_be_ones_own():
    with router("m1", url_prefix="/api/", health_prefix="/up") as server:
        assert server.test("/api/m1/infer", body={"inputs": [1]})["outputs"] == [2]
        assert server.test("/up", method="GET") == {"name": "ModelRouter", "version": "v2", "extensions": []}
        with pytest.raises(StepError, match="illegal path prefix /v2/models/m1, must start with /api"):
            server.test("/v2/models/m1", body={"inputs": [1]})


def test_the_request_may_be_within_the_body():
    with router("m1", input_path="in", result_path="out.reply") as server:
        answer = server.test("/v2/models/m1/infer", body={"in": {"inputs": [1]}, "keep": 1})
        assert (answer["keep"], answer["out"]["reply"]["outputs"]) == (1, [2])


def test_nothing_is_put_into_a_request():
    class Shows(Times):
        def predict(self, body):
            return [sorted(body)]

    with router(("m1", {"class_name": Shows})) as server:
        assert server.test("/v2/models/m1/infer", body={"inputs": [1]})["outputs"] == [["inputs"]]


def test_an_image_is_one_input_for_hooks_too():
    class Reads(ModelRouter):
        def do_event(self, event):
            event.body = self.parse_event(event).body["inputs"][0].read()
            return event

    with router("m1", class_name=Reads) as server:
        assert server.test("/", body=b"pixels", content_type="image/png") == b"pixels"


class Opens(Times):
    def predict(self, body):
        return [item.read().decode() if isinstance(item, io.BytesIO) else item for item in body["inputs"]]


def test_a_request_cannot_choose_what_the_server_reads_unless_that_is_allowed():
    text = r"failed \(400\): .*data_url is not allowed here"
    with router("m1", input_path="in") as server, pytest.raises(StepError, match=text):
        server.test("/v2/models/m1/infer", body={"in": {"data_url": "file:///etc/passwd"}})


@pytest.mark.parametrize(
    ("allowed", "url", "text"),
    [
        (True, "file:///etc/passwd", "names a local file"),
        (True, "/etc/passwd", "is a URL such as"),
        (True, "simplecache::file:///etc/passwd", "is a URL such as"),
        (["memory://in/"], "memory://out/x", "is not among those"),
        (["memory://in/"], "memory://in/../out/x", "is a URL such as"),
        (["memory://in/"], "memory://in/%2e%2e/out/x", "is a URL such as"),
        (["memory://in/"], "memory://in/none", "could not be read: FileNotFoundError"),
        (["nowhere://"], "nowhere://in/none", "could not be read"),
        (True, 5, "is a URL such as"),
    ],
)
def test_only_what_is_allowed_is_read(allowed, url, text):
    text = rf"failed \(400\): .*data_url.*{text}"
    with router("m1", allow_data_url=allowed) as server, pytest.raises(StepError, match=text):
        server.test("/v2/models/m1/infer", body={"data_url": url})


def test_an_input_may_be_behind_an_allowed_url():
    fsspec.filesystem("memory").pipe("/in/cat.png", b"a cat")
    with router(("m1", {"class_name": Opens}), allow_data_url=["memory://in/"]) as server:
        body = {"data_url": "memory://in/cat.png", "id": "i"}
        reply = server.test("/v2/models/m1/infer", body=body)
        assert (reply["id"], reply["outputs"]) == ("i", ["a cat"])
        assert server.test("/v2/models/m1/infer", body={"inputs": [3]})["outputs"] == [3]
