"""What clients other than Triton's see; each in a process of its own: `other_clients.py CHECK PORT GRPC_PORT`.

They are installed in an environment of their own, which has nothing of penstock in it.
"""

import asyncio
import sys

import numpy as np

DTYPES = {
    "BOOL": "bool", "UINT8": "uint8", "UINT16": "uint16", "UINT32": "uint32", "UINT64": "uint64",
    "INT8": "int8", "INT16": "int16", "INT32": "int32", "INT64": "int64", "FP32": "float32", "FP64": "float64",
}  # fmt: skip


def refused(call, kind):
    try:
        call()
    except kind as error:
        return error
    raise AssertionError("it was not refused")


async def refused_later(call, kind):
    try:
        await call
    except kind as error:
        return error
    raise AssertionError("it was not refused")


def kserve_rest(port, _grpc_port):
    import httpx
    from kserve import InferenceRESTClient, InferInput, InferOutput, InferRequest
    from kserve.inference_client import RESTConfig
    from kserve.protocol.infer_type import RequestedOutput

    url = f"http://127.0.0.1:{port}"

    def given(name, array, datatype, *, binary):
        made = InferInput(name, list(array.shape), datatype)
        made.set_data_from_numpy(array, binary_data=binary)
        return made

    async def fails(call, status, text):
        error = await refused_later(call, httpx.HTTPStatusError)
        assert error.response.status_code == status, error
        assert text in str(error), error  # which it takes from JSON of exactly this type only

    async def check():
        async with InferenceRESTClient(RESTConfig(protocol="v2", retries=0)) as client:
            assert await client.is_server_live(url) is True
            assert await client.is_server_ready(url) is True
            assert await client.is_model_ready(url, "echo") is True
            assert await client.is_model_ready(url, "nobody") is False
            for datatype, dtype in DTYPES.items():
                array = np.array([[0, 1, 1], [1, 0, 1]]).astype(dtype)
                for binary in (True, False):
                    request = InferRequest("echo", [given("x", array, datatype, binary=binary)], request_id=datatype)
                    answer = await client.infer(url, request, model_name="echo")
                    assert (answer.model_name, answer.id) == ("echo", datatype)
                    assert answer.outputs[0].datatype == datatype
                    assert np.array_equal(answer.outputs[0].as_numpy(), array), (datatype, binary)
            halves = np.array([0.5, 2], "float16")
            asked = [RequestedOutput("OUT", {"binary_data": True})]
            request = InferRequest("echo", [given("x", halves, "FP16", binary=True)], request_outputs=asked)
            answer = await client.infer(url, request, model_name="echo")
            assert answer.outputs[0].as_numpy().tolist() == [0.5, 2]
            words = np.array(["ab", "", "ä"], dtype=object)
            for binary in (True, False):
                request = InferRequest("echo", [given("x", words, "BYTES", binary=binary)])
                answer = await client.infer(url, request, model_name="echo")
                found = answer.outputs[0].as_numpy().tolist()
                assert [item.decode() if isinstance(item, bytes) else item for item in found] == words.tolist()
            rows = given("x", np.array([[1, 2], [3, 4]], "float32"), "FP32", binary=True)
            request = InferRequest("sums", [rows], parameters={"mine": "yes"})
            answer = await client.infer(url, request, model_name="sums")
            assert [output.name for output in answer.outputs] == ["sum", "half", "brain", "text"]
            assert isinstance(answer.outputs[0], InferOutput)
            one = InferRequest("echo", [given("x", np.zeros(1, "float32"), "FP32", binary=False)])
            await fails(client.infer(url, one, model_name="nobody"), 404, "model nobody doesnt exist")
            wrong = {"inputs": [{"name": "x", "shape": [2], "datatype": "FP32", "data": [1]}]}
            await fails(client.infer(url, wrong, model_name="echo"), 400, "1 values for shape [2]")
            failing = InferRequest("picky", one.inputs, parameters={"fail": True})
            await fails(client.infer(url, failing, model_name="picky"), 500, "ValueError: told to")
            late = InferRequest("waits", one.inputs, parameters={"timeout": 50_000})
            await fails(client.infer(url, late, model_name="waits"), 504, "the deadline has passed")

    asyncio.run(check())


def kserve_grpc(_port, grpc_port):
    import grpc
    from kserve import InferenceGRPCClient, InferInput, InferRequest

    def given(array, datatype, *, binary=True):
        made = InferInput("x", list(array.shape), datatype)
        made.set_data_from_numpy(array, binary_data=binary)
        return made

    async def fails(call, code, text):
        error = await refused_later(call, grpc.RpcError)
        assert error.code() == code, error
        assert text in error.details(), error

    async def check():
        async with InferenceGRPCClient(f"127.0.0.1:{grpc_port}", timeout=20) as client:
            assert await client.is_server_live()
            assert await client.is_server_ready()
            assert await client.is_model_ready("echo")
            for datatype, dtype in DTYPES.items():
                array = np.array([[0, 1, 1], [1, 0, 1]]).astype(dtype)
                for binary in (True, False):
                    request = InferRequest("echo", [given(array, datatype, binary=binary)], request_id=datatype)
                    answer = await client.infer(request)
                    assert (answer.model_name, answer.id, answer.outputs[0].datatype) == ("echo", datatype, datatype)
                    assert np.array_equal(answer.outputs[0].as_numpy(), array), (datatype, binary)
            words = np.array([b"ab", b"", b"\xff"], dtype=object)
            answer = await client.infer(InferRequest("echo", [given(words, "BYTES")]))
            assert answer.outputs[0].as_numpy().tolist() == words.tolist()
            large = np.arange(2_000_000, dtype="float32").reshape(1000, 2000)
            answer = await client.infer(InferRequest("echo", [given(large, "FP32")]))
            assert np.array_equal(answer.outputs[0].as_numpy(), large)
            one = given(np.zeros(1, "float32"), "FP32")
            await fails(client.is_model_ready("nobody"), grpc.StatusCode.NOT_FOUND, "model nobody doesnt exist")
            await fails(client.infer(InferRequest("nobody", [one])), grpc.StatusCode.NOT_FOUND, "nobody")
            failing = client.infer(InferRequest("picky", [one], parameters={"fail": True}))
            await fails(failing, grpc.StatusCode.INTERNAL, "ValueError: told to")
            late = client.infer(InferRequest("waits", [one]), timeout=0.1)
            await fails(late, grpc.StatusCode.DEADLINE_EXCEEDED, "")

    asyncio.run(check())


def open_inference_rest(port, _grpc_port):
    from open_inference.openapi.client import OpenInferenceClient
    from open_inference.openapi.core.api_error import ApiError
    from open_inference.openapi.errors.bad_request_error import BadRequestError
    from open_inference.openapi.errors.not_found_error import NotFoundError
    from open_inference.openapi.types.inference_request import InferenceRequest

    client = OpenInferenceClient(base_url=f"http://127.0.0.1:{port}", timeout=20)
    client.check_server_liveness()
    client.check_server_readiness()
    client.check_model_readiness("echo")
    assert client.read_server_metadata().name == "protocol"
    metadata = client.read_model_metadata("sums")
    assert (metadata.name, metadata.inputs[0].shape) == ("sums", [-1, 2])
    tensor = {"name": "x", "shape": [2, 2], "datatype": "FP32", "data": [[1.5, 2.0], [3.0, 4.0]]}
    request = InferenceRequest.parse_obj({"id": "7", "inputs": [tensor], "outputs": [{"name": "sum"}]})
    answer = client.model_infer("sums", request=request)
    assert (answer.id, answer.model_name, len(answer.outputs)) == ("7", "sums", 1)
    assert list(answer.outputs[0].data.__root__) == [3.5, 7.0]
    for call, kind in (
        (lambda: client.check_model_readiness("nobody"), NotFoundError),
        (lambda: client.model_infer("nobody", request=request), ApiError),
        (lambda: client.model_infer("echo", request=request), BadRequestError),  # it has no output of that name
    ):
        assert "error" in refused(call, kind).body


def open_inference_grpc(_port, grpc_port):
    import grpc
    from open_inference.grpc import protocol
    from open_inference.grpc.service import GRPCInferenceServiceStub

    with grpc.insecure_channel(f"127.0.0.1:{grpc_port}") as channel:
        stub = GRPCInferenceServiceStub(channel)
        assert stub.ServerLive(protocol.ServerLiveRequest()).live
        assert stub.ServerReady(protocol.ServerReadyRequest()).ready
        assert stub.ModelReady(protocol.ModelReadyRequest(name="echo")).ready
        assert stub.ServerMetadata(protocol.ServerMetadataRequest()).name == "protocol"
        metadata = stub.ModelMetadata(protocol.ModelMetadataRequest(name="sums"))
        assert [(tensor.name, list(tensor.shape)) for tensor in metadata.inputs] == [("x", [-1, 2])]
        assert not metadata.properties
        request = protocol.ModelInferRequest(model_name="echo", id="7")
        given = request.inputs.add(name="x", datatype="INT32", shape=[3])
        given.contents.int_contents.extend([1, 2, 3])
        answer = stub.ModelInfer(request, timeout=20)
        assert (answer.model_name, answer.id, list(answer.outputs[0].shape)) == ("echo", "7", [3])
        assert np.frombuffer(answer.raw_output_contents[0], "int32").tolist() == [1, 2, 3]
        unknown = protocol.ModelInferRequest(model_name="nobody", inputs=request.inputs)
        assert refused(lambda: stub.ModelInfer(unknown), grpc.RpcError).code() == grpc.StatusCode.NOT_FOUND


if __name__ == "__main__":
    globals()[sys.argv[1]](int(sys.argv[2]), int(sys.argv[3]))
