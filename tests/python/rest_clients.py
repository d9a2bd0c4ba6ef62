"""What tritonclient sees over REST; each check is run in a process of its own: `rest_clients.py PORT CHECK`."""

import sys

import numpy as np
import tritonclient.http as triton
from tritonclient.utils import InferenceServerException


def given(name, array, datatype, *, binary=True):
    made = triton.InferInput(name, list(array.shape), datatype)
    made.set_data_from_numpy(array, binary_data=binary)
    return made


def refused(call):
    try:
        call()
    except InferenceServerException as error:
        return error.status(), error.message()
    raise AssertionError("it was not refused")


def every_datatype(client):
    for datatype, dtype in {
        "BOOL": "bool", "UINT8": "uint8", "UINT16": "uint16", "UINT32": "uint32", "UINT64": "uint64",
        "INT8": "int8", "INT16": "int16", "INT32": "int32", "INT64": "int64",
        "FP16": "float16", "FP32": "float32", "FP64": "float64",
    }.items():  # fmt: skip
        array = np.arange(6).reshape(2, 3).astype(dtype)
        for binary in (True, False) if datatype != "FP16" else (True,):
            result = client.infer("echo", [given("x", array, datatype, binary=binary)], request_id=datatype)
            out = result.as_numpy("OUT")
            assert out.dtype == array.dtype, (datatype, out.dtype)
            assert (out == array).all(), datatype
            assert result.get_response()["id"] == datatype


def bytes_of_any_kind(client):
    array = np.array([b"plain", b"\xff\xfe\x00", b""], dtype=object)
    assert client.infer("echo", [given("x", array, "BYTES")]).as_numpy("OUT").tolist() == array.tolist()
    text = np.array(["é", "b"], dtype=object)
    for binary in (True, False):
        outputs = [triton.InferRequestedOutput("OUT", binary_data=binary)]
        out = client.infer("echo", [given("x", text, "BYTES", binary=binary)], outputs=outputs).as_numpy("OUT")
        assert [item.decode() if isinstance(item, bytes) else item for item in out] == text.tolist()
    outputs = [triton.InferRequestedOutput("OUT", binary_data=False)]
    status, text = refused(lambda: client.infer("echo", [given("x", array, "BYTES")], outputs=outputs))
    assert "binary_data" in text, (status, text)


def mixed_inputs(client):
    inputs = [
        given("a", np.array([1.5], "float32"), "FP32"),
        given("b", np.array([2, 3], "int32"), "INT32", binary=False),
        given("c", np.array([b"x"], dtype=object), "BYTES"),
    ]
    outputs = [triton.InferRequestedOutput("B"), triton.InferRequestedOutput("A", binary_data=False)]
    result = client.infer("echo", inputs, outputs=outputs)
    assert [output["name"] for output in result.get_response()["outputs"]] == ["B", "A"]
    assert result.as_numpy("B").tolist() == [2, 3]
    assert result.as_numpy("A").tolist() == [1.5]
    assert result.as_numpy("C") is None


def empty_tensors(client):
    for binary in (True, False):
        out = client.infer("echo", [given("x", np.zeros((0, 4), "float32"), "FP32", binary=binary)]).as_numpy("OUT")
        assert out.shape == (0, 4)


def several_outputs(client):
    rows = given("x", np.array([[1, 2], [3, 4]], "float32"), "FP32")
    for model in ("sums", "hooked"):
        result = client.infer(model, [rows])
        assert result.as_numpy("sum").tolist() == [3, 7]
        assert result.as_numpy("half").dtype == np.float16
        assert result.as_numpy("brain").astype("float32").tolist() == [3, 7]
        assert result.as_numpy("text").tolist() == [b"sum 3", b"sum 7"]
        assert result.get_output("brain")["datatype"] == "BF16"
    assert result.get_response()["parameters"] == {"hooked": True}


def numbers_that_are_none(client):
    rows = given("x", np.array([[np.inf, 1], [-np.inf, 1], [np.nan, 1]], "float32"), "FP32")
    for model in ("sums", "hooked"):  # the second one's answers pass through Python
        assert str(client.infer(model, [rows]).as_numpy("sum").tolist()) == "[inf, -inf, nan]"
        asked = [triton.InferRequestedOutput("sum", binary_data=False)]
        assert client.infer(model, [rows], outputs=asked).get_output("sum")["data"] == [None, None, None]


def other_byte_orders(client):
    rows = given("x", np.array([1.5, -2], "float32"), "FP32")
    for _ in range(2):  # the first answer of a model passes through Python
        (output,) = client.infer("swapped", [rows]).get_response()["outputs"]
        assert output["datatype"] == "FP32"
        assert client.infer("swapped", [rows]).as_numpy(output["name"]).tolist() == [1.5, -2]


def classification(client):
    outputs = [triton.InferRequestedOutput("OUT", class_count=2)]
    scores = given("x", np.array([[0.1, 0.7, 0.2]], "float32"), "FP32")
    assert client.infer("echo", [scores], outputs=outputs).as_numpy("OUT").tolist() == [[b"0.700000:1", b"0.200000:2"]]


def compression(client):
    array = np.zeros(10_000, "float32")
    for algorithm in ("gzip", "deflate"):
        for binary in (True, False):
            outputs = [triton.InferRequestedOutput("OUT", binary_data=binary)]
            result = client.infer(
                "echo",
                [given("x", array, "FP32", binary=binary)],
                outputs=outputs,
                request_compression_algorithm=algorithm,
                response_compression_algorithm=algorithm,
            )
            assert (result.as_numpy("OUT") == array).all()


def errors(client):
    one = [given("x", np.zeros(1, "float32"), "FP32")]
    assert refused(lambda: client.infer("nobody", one))[0] == "404"
    status, text = refused(lambda: client.infer("echo", one, outputs=[triton.InferRequestedOutput("nope")]))
    assert (status, "no output 'nope', it has 'OUT'" in text) == ("400", True)
    status, text = refused(lambda: client.infer("picky", one, parameters={"fail": True}))
    assert (status, "ValueError: told to" in text) == ("500", True)
    assert refused(lambda: client.infer("waits", one, timeout=50_000))[0] == "504"
    wrong = given("x", np.zeros(1, "float32"), "FP32")
    wrong.set_shape([2])
    status, text = refused(lambda: client.infer("echo", [wrong]))
    assert (status, text) == ("400", "input 'x': 4 bytes, but shape [2] needs 8")


def parameters(client):
    one = [given("x", np.zeros(1, "float32"), "FP32")]
    result = client.infer("picky", one, parameters={"mine": 1}, priority=2, timeout=10_000_000)
    assert result.as_numpy("output0").tolist() == [3]  # and not what is about the wire alone


def scalars_and_several_dimensions(client):
    for shape in ((), (1,), (2, 1, 3), (1, 0, 5), (1,) * 32):
        array = np.full(shape, 7, "int64")
        for binary in (True, False):
            out = client.infer("echo", [given("x", array, "INT64", binary=binary)]).as_numpy("OUT")
            assert (out.shape, out.tolist()) == (shape, array.tolist())


def large_tensors(client):
    array = np.arange(3_000_000, dtype="float32").reshape(1, 3, 1000, 1000)
    assert (client.infer("echo", [given("x", array, "FP32")]).as_numpy("OUT") == array).all()


def headers_and_sequences(client):
    one = [given("x", np.zeros(1, "float32"), "FP32")]
    result = client.infer(
        "echo", one, headers={"X-Any": "thing"}, sequence_id=7, sequence_start=True, sequence_end=True, timeout=10**7
    )
    assert result.get_response()["model_name"] == "echo"
    assert client.infer("echo", one, sequence_id="a text").as_numpy("OUT").tolist() == [0]


def many_at_once(client):
    from concurrent.futures import ThreadPoolExecutor

    def ask(number):
        with triton.InferenceServerClient(URL) as own:
            rows = np.full((1, 2), number, "float32")
            return own.infer("batched", [given("x", rows, "FP32")]).as_numpy("sum").tolist() == [2 * number]

    with ThreadPoolExecutor(16) as pool:
        assert all(pool.map(ask, range(64)))
    pending = [client.async_infer("batched", [given("x", np.ones((1, 2), "float32"), "FP32")]) for _ in range(5)]
    assert [one.get_result().as_numpy("sum").tolist() for one in pending] == [[2]] * 5


def statistics(client):
    rows = given("x", np.ones((3, 2), "float32"), "FP32")
    before = client.get_inference_statistics("sums")["model_stats"][0]
    for _ in range(4):
        client.infer("sums", [rows])
    after = client.get_inference_statistics("sums")["model_stats"][0]
    assert after["inference_count"] - before["inference_count"] == 12
    assert after["execution_count"] - before["execution_count"] == 4
    for key in ("success", "queue", "compute_input", "compute_infer", "compute_output"):
        assert after["inference_stats"][key]["count"] - before["inference_stats"][key]["count"] == 4, key
    assert after["inference_stats"]["compute_infer"]["ns"] > before["inference_stats"]["compute_infer"]["ns"]
    assert after["inference_stats"]["success"]["ns"] >= after["inference_stats"]["compute_infer"]["ns"]
    assert {batch["batch_size"]: batch["compute_infer"]["count"] for batch in after["batch_stats"]}[3] >= 4
    assert after["last_inference"] > 1.6e12
    refused(lambda: client.infer("picky", [given("x", np.zeros(1, "float32"), "FP32")], parameters={"fail": True}))
    failed = client.get_inference_statistics("picky")["model_stats"][0]["inference_stats"]["fail"]
    assert failed["count"] >= 1
    assert failed["ns"] > 0
    assert {model["name"] for model in client.get_inference_statistics()["model_stats"]} >= {"echo", "sums", "batched"}
    assert refused(lambda: client.get_inference_statistics("nobody"))[0] == "404"


def asynchronous(_client):
    import asyncio

    import tritonclient.http.aio as later

    async def check():
        async with later.InferenceServerClient(URL) as client:
            assert await client.is_server_live()
            assert await client.is_model_ready("echo")
            assert (await client.get_server_metadata())["name"] == "protocol"

            async def ask(number):
                tensor = later.InferInput("x", [1, 2], "FP32")
                tensor.set_data_from_numpy(np.full((1, 2), number, "float32"))
                result = await client.infer("batched", [tensor], request_id=str(number))
                assert result.get_response()["id"] == str(number)
                assert result.as_numpy("sum").tolist() == [2 * number]

            await asyncio.gather(*(ask(number) for number in range(50)))
            tensor = later.InferInput("x", [1], "FP32")
            tensor.set_data_from_numpy(np.zeros(1, "float32"))
            (error,) = await asyncio.gather(client.infer("nobody", [tensor]), return_exceptions=True)
            assert error.status() == "404"
            assert "model nobody doesnt exist" in error.message()

    asyncio.run(check())


def management(client):
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready("echo")
    assert not client.is_model_ready("nobody")
    assert "binary_tensor_data" in client.get_server_metadata()["extensions"]
    assert client.get_model_metadata("sums")["outputs"][3] == {"name": "text", "datatype": "BYTES", "shape": [-1]}
    assert client.get_model_config("sums")["input"] == [{"name": "x", "data_type": "TYPE_FP32", "dims": [-1, 2]}]
    assert {model["name"] for model in client.get_model_repository_index()} >= {"echo", "sums"}
    client.infer("sums", [given("x", np.zeros((1, 2), "float32"), "FP32")])
    (stats,) = client.get_inference_statistics("sums")["model_stats"]
    assert stats["inference_count"] >= stats["inference_stats"]["success"]["count"] >= 1
    assert refused(lambda: client.load_model("sums"))[0] == "501"
    assert refused(lambda: client.unload_model("sums"))[0] == "501"


def raw_bytes(client):
    body = np.array([[1, 2]], "float32").tobytes()
    answer = client._post("v2/models/sums/infer", body, {"Inference-Header-Content-Length": "0"}, None)
    assert answer.status_code == 200, answer.read()
    length = int(answer.get("Inference-Header-Content-Length"))
    assert answer.read()[length : length + 4] == np.float32(3).tobytes()


CHECKS = {
    check.__name__: check
    for check in (
        every_datatype, bytes_of_any_kind, mixed_inputs, empty_tensors, several_outputs, classification, compression,
        numbers_that_are_none, other_byte_orders,
        errors, parameters, scalars_and_several_dimensions, large_tensors, headers_and_sequences, many_at_once,
        statistics, asynchronous, management, raw_bytes,
    )
}  # fmt: skip

if __name__ == "__main__":
    URL = f"127.0.0.1:{sys.argv[1]}"
    with triton.InferenceServerClient(URL, concurrency=4) as opened:
        for name in sys.argv[2:]:
            CHECKS[name](opened)
            print("passed", name)
