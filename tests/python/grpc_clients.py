"""What real clients of gRPC do; each runs in a process of its own, as their descriptors clash: `NAME PORT`."""

import asyncio
import queue
import sys
import time

import numpy as np
import pytest


def sync(port):
    import tritonclient.grpc as triton
    from tritonclient.utils import InferenceServerException

    with triton.InferenceServerClient(f"127.0.0.1:{port}") as client:
        assert client.is_server_live()
        assert client.is_server_ready()
        assert client.is_model_ready("double")
        assert client.get_server_metadata().name == "models"
        rows = np.array([[1, 2], [3, 4]], dtype="float32")
        tensor = triton.InferInput("x", [2, 2], "FP32").set_data_from_numpy(rows)
        for number in range(3):
            result = client.infer("double", [tensor], request_id=str(number))
            assert result.get_response().id == str(number)
            assert result.get_response().model_name == "double"
            assert np.array_equal(result.as_numpy("output0"), rows * 2)
        asked = client.infer("double", [tensor], outputs=[triton.InferRequestedOutput("output0")])
        assert np.array_equal(asked.as_numpy("output0"), rows * 2)
        packed = client.infer("double", [tensor], compression_algorithm="gzip")
        assert np.array_equal(packed.as_numpy("output0"), rows * 2)
        newer = client.infer("versioned", [tensor], model_version="v2")
        assert np.array_equal(newer.as_numpy("output0"), rows * 20)
        assert newer.get_response().model_version == "v2"

        metadata = client.get_model_metadata("double")
        assert [(tensor.name, tensor.datatype, list(tensor.shape)) for tensor in metadata.inputs] == [
            ("x", "FP32", [-1, 2])
        ]
        config = client.get_model_config("double").config
        assert (config.name, config.input[0].name, list(config.input[0].dims)) == ("double", "x", [-1, 2])
        statistics = client.get_inference_statistics("double").model_stats[0]
        assert statistics.name == "double"
        assert statistics.inference_stats.success.count >= 5
        listed = {(model.name, model.version): model.state for model in client.get_model_repository_index().models}
        assert listed["double", ""] == listed["versioned", "v2"] == "READY"

        for call, status, text in (
            (lambda: client.infer("none", [tensor]), "NOT_FOUND", "none"),
            (lambda: client.get_model_metadata("none"), "NOT_FOUND", "none"),
            (lambda: client.infer("fails", [tensor]), "INTERNAL", "step 'fails': ValueError: not tödäy"),
            (lambda: client.load_model("double"), "UNIMPLEMENTED", "--model-control"),
            (lambda: client.infer("naps", [tensor], client_timeout=0.1), "DEADLINE_EXCEEDED", ""),
            (lambda: client.infer("naps", [tensor], timeout=100_000), "DEADLINE_EXCEEDED", ""),
        ):
            with pytest.raises(InferenceServerException) as caught:
                call()
            assert caught.value.status() == f"StatusCode.{status}", caught.value
            assert text in caught.value.message(), caught.value


def types(port):
    import tritonclient.grpc as triton

    with triton.InferenceServerClient(f"127.0.0.1:{port}") as client:
        for datatype, dtype in (
            ("BOOL", "bool"), ("UINT8", "uint8"), ("UINT16", "uint16"), ("UINT32", "uint32"), ("UINT64", "uint64"),
            ("INT8", "int8"), ("INT16", "int16"), ("INT32", "int32"), ("INT64", "int64"),
            ("FP32", "float32"), ("FP64", "float64"),
        ):  # fmt: skip
            array = np.array([[0, 1, 1], [1, 0, 1]]).astype(dtype)
            tensor = triton.InferInput("x", [2, 3], datatype).set_data_from_numpy(array)
            echoed = client.infer(f"same_{dtype}", [tensor]).as_numpy("output0")
            assert echoed.dtype == array.dtype, datatype
            assert np.array_equal(echoed, array), datatype
        half = triton.InferInput("x", [2], "FP16").set_data_from_numpy(np.array([0.5, 2], dtype="float16"))
        assert client.infer("same_float16", [half]).as_numpy("output0").tolist() == [0.5, 2.0]
        words = np.array(["ab", "", "ä"], dtype=object)
        text = triton.InferInput("x", [3], "BYTES").set_data_from_numpy(words)
        echoed = client.infer("same_text", [text]).as_numpy("output0")
        assert [item.decode() for item in echoed] == list(words)
        large = np.arange(2_000_000, dtype="float32").reshape(1000, 2000)
        tensor = triton.InferInput("x", list(large.shape), "FP32").set_data_from_numpy(large)
        assert np.array_equal(client.infer("same_float32", [tensor]).as_numpy("output0"), large)


def many(port):
    import tritonclient.grpc as triton

    answers = queue.Queue()
    with triton.InferenceServerClient(f"127.0.0.1:{port}") as client:
        for number in range(300):
            rows = np.full((1, 2), number, dtype="float32")
            tensor = triton.InferInput("x", [1, 2], "FP32").set_data_from_numpy(rows)
            client.async_infer(
                "double", [tensor], lambda result, error, number=number: answers.put((number, result, error))
            )
        for _ in range(300):
            number, result, error = answers.get(timeout=20)
            assert error is None, error
            assert result.as_numpy("output0").tolist() == [[2 * number, 2 * number]]


def stream(port):
    import tritonclient.grpc as triton

    answers = queue.Queue()
    with triton.InferenceServerClient(f"127.0.0.1:{port}") as client:
        client.start_stream(lambda result, error: answers.put((result, error)))
        for number in range(100):
            rows = np.full((1, 2), number, dtype="float32")
            tensor = triton.InferInput("x", [1, 2], "FP32").set_data_from_numpy(rows)
            model = "fails" if number == 50 else "double"
            client.async_stream_infer(model, [tensor], request_id="same")
        for number in range(100):
            result, error = answers.get(timeout=20)
            if number == 50:
                assert "not tödäy" in error.message()
                continue
            assert error is None, error
            assert result.as_numpy("output0").tolist() == [[2 * number, 2 * number]]
            assert result.get_response().parameters["triton_final_response"].bool_param
        client.stop_stream()


def parts(port):
    """A model that yields answers in parts, in Triton's shape of a decoupled one."""
    import tritonclient.grpc as triton

    def asked(number):
        return [triton.InferInput("x", [1], "INT32").set_data_from_numpy(np.array([number], "int32"))]

    answers = queue.Queue()

    def take():
        result, error = answers.get(timeout=20)
        assert error is None, error
        response = result.get_response()
        return response.id, result.as_numpy("output0"), response.parameters["triton_final_response"].bool_param

    with triton.InferenceServerClient(f"127.0.0.1:{port}") as client:
        client.start_stream(lambda result, error: answers.put((result, error)))
        for model in ("counts", "late_counts"):
            for request_id, number in (("a", 3), ("b", 1), ("c", 0)):  # the first has its model to learn of
                client.async_stream_infer(
                    model, asked(number), request_id=request_id, enable_empty_final_response=True,
                    outputs=[triton.InferRequestedOutput("output0")],
                )  # fmt: skip
                for count in range(number):
                    got, array, final = take()
                    assert (got, array.tolist(), final) == (request_id, [count], False)
                assert take() == (request_id, None, True)
        client.async_stream_infer("same_int32", asked(4), request_id="d", enable_empty_final_response=True)
        got, array, final = take()
        assert (got, array.tolist(), final) == ("d", [4], True)
        client.async_stream_infer("counts", asked(2), request_id="e")  # its end is not told
        client.async_stream_infer("same_int32", asked(5), request_id="e")
        assert [take()[1].tolist() for _ in range(3)] == [[0], [1], [5]]
        client.async_stream_infer("counts", asked(-2), request_id="f")
        assert [take()[1].tolist() for _ in range(2)] == [[0], [1]]
        _, error = answers.get(timeout=20)
        assert "ValueError: told to" in error.message(), error
        client.async_stream_infer("counts", asked(1), outputs=[triton.InferRequestedOutput("nope")])
        _, error = answers.get(timeout=20)
        assert "no output 'nope'" in error.message(), error
        client.stop_stream()
        with pytest.raises(Exception, match="ModelStreamInfer"):
            client.infer("counts", asked(2))
        done = client.get_inference_statistics("counts").model_stats[0]
        assert done.response_stats["0"].success.count >= 4
        assert done.response_stats["2"].fail.count >= 1


def leaves(port):
    """Takes one part of an endless answer, and goes."""
    import grpc
    from tritonclient.grpc import service_pb2

    request = service_pb2.ModelInferRequest(model_name="endless")
    request.inputs.add(name="x", datatype="INT32", shape=[1]).contents.int_contents.append(1)
    channel = grpc.insecure_channel(f"127.0.0.1:{port}", options=[("grpc.http2.lookahead_bytes", 65536)])
    call = channel.stream_stream(
        "/inference.GRPCInferenceService/ModelStreamInfer",
        request_serializer=service_pb2.ModelInferRequest.SerializeToString,
        response_deserializer=service_pb2.ModelStreamInferResponse.FromString,
    )(iter([request]))
    first = next(call)
    assert not first.error_message
    assert len(first.infer_response.raw_output_contents[0]) == 100_000
    idle(port)
    call.cancel()
    channel.close()


def idle(port):
    """Others are served meanwhile."""
    import tritonclient.grpc as triton

    rows = triton.InferInput("x", [1, 2], "FP32").set_data_from_numpy(np.ones((1, 2), "float32"))
    with triton.InferenceServerClient(f"127.0.0.1:{port}") as client:
        for _ in range(20):
            assert client.infer("double", [rows]).as_numpy("output0").tolist() == [[2, 2]]


def classes(port):
    import tritonclient.grpc as triton
    from tritonclient.utils import InferenceServerException

    scores = np.array([[0.1, 0.7, 0.2]], "float32")
    tensor = triton.InferInput("x", [1, 3], "FP32").set_data_from_numpy(scores)
    with triton.InferenceServerClient(f"127.0.0.1:{port}") as client:
        asked = [triton.InferRequestedOutput("output0", class_count=2)]
        result = client.infer("same_float32", [tensor], outputs=asked).as_numpy("output0")
        assert result.tolist() == [[b"0.700000:1", b"0.200000:2"]]
        with pytest.raises(InferenceServerException, match="no output 'nope', it has 'output0'"):
            client.infer("same_float32", [tensor], outputs=[triton.InferRequestedOutput("nope")])
        tensor.set_shared_memory("region", 12)
        with pytest.raises(InferenceServerException, match="input 'x': shared memory is not offered"):
            client.infer("same_float32", [tensor])


def statistics(port):
    import tritonclient.grpc as triton

    rows = np.ones((3, 2), "float32")
    tensor = triton.InferInput("x", [3, 2], "FP32").set_data_from_numpy(rows)
    with triton.InferenceServerClient(f"127.0.0.1:{port}") as client:
        client.infer("versioned", [tensor], model_version="v1")
        before = client.get_inference_statistics("versioned", "v1").model_stats[0]
        for _ in range(4):
            client.infer("versioned", [tensor], model_version="v1")
        after = client.get_inference_statistics("versioned", "v1").model_stats[0]
        assert (after.name, after.version) == ("versioned", "v1")
        assert after.inference_count - before.inference_count == 12
        assert after.execution_count - before.execution_count == 4
        assert after.last_inference >= before.last_inference > 0
        for key in ("success", "queue", "compute_input", "compute_infer", "compute_output"):
            assert getattr(after.inference_stats, key).count - getattr(before.inference_stats, key).count == 4, key
        assert after.inference_stats.compute_infer.ns > before.inference_stats.compute_infer.ns
        assert [(one.batch_size, one.compute_infer.count) for one in after.batch_stats] == [(3, 5)]
        pending = queue.Queue()
        for _ in range(40):
            client.async_infer("batched", [tensor], lambda result, error: pending.put(error))
        assert [pending.get(timeout=20) for _ in range(40)] == [None] * 40
        batched = client.get_inference_statistics("batched").model_stats[0]
        assert batched.inference_count == 120
        assert batched.inference_stats.success.count == batched.inference_stats.queue.count == 40
        assert batched.inference_stats.queue.ns > 0
        assert sum(one.batch_size * one.compute_infer.count for one in batched.batch_stats) == 120
        assert batched.execution_count == sum(one.compute_infer.count for one in batched.batch_stats) < 40
        assert len(client.get_inference_statistics().model_stats) > 10


def aio(port):
    import tritonclient.grpc.aio as triton
    from tritonclient.utils import InferenceServerException

    async def infer(client, number):
        rows = np.full((1, 2), number, dtype="float32")
        tensor = triton.InferInput("x", [1, 2], "FP32").set_data_from_numpy(rows)
        result = await client.infer("double", [tensor])
        assert result.as_numpy("output0").tolist() == [[2 * number, 2 * number]]

    async def main():
        async with triton.InferenceServerClient(f"127.0.0.1:{port}") as client:
            assert await client.is_server_ready()
            await asyncio.gather(*(infer(client, number) for number in range(100)))
            with pytest.raises(InferenceServerException) as caught:
                await client.get_model_metadata("none")
            assert caught.value.status() == "StatusCode.NOT_FOUND"

            async def requests():
                for number in range(10):
                    rows = np.full((1, 2), number, dtype="float32")
                    tensor = triton.InferInput("x", [1, 2], "FP32").set_data_from_numpy(rows)
                    yield {"model_name": "double", "inputs": [tensor]}

            numbers = []
            async for result, error in client.stream_infer(requests()):
                assert error is None, error
                numbers.append(int(result.as_numpy("output0")[0, 0]))
                if len(numbers) == 10:
                    break
            assert numbers == [2 * number for number in range(10)]

    asyncio.run(main())


def flow(port):
    """A flow gets the event at its start, with the path of the call."""
    import tritonclient.grpc as triton

    with triton.InferenceServerClient(f"127.0.0.1:{port}") as client:
        rows = np.array([[1, 2]], dtype="float32")
        tensor = triton.InferInput("x", [1, 2], "FP32").set_data_from_numpy(rows)
        result = client.infer("any", [tensor])
        assert result.as_numpy("sum").tolist() == [3.0]
        assert result.get_response().model_name == "/v2/models/any/infer"


def raw(port):
    """Use grpcio alone."""
    import grpc

    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        check = channel.unary_unary("/grpc.health.v1.Health/Check")
        assert check(b"", timeout=10) == b"\x08\x01"
        watch = channel.unary_stream("/grpc.health.v1.Health/Watch")(b"")
        assert next(watch) == b"\x08\x01"
        watch.cancel()
        unknown = channel.unary_unary("/inference.GRPCInferenceService/Nothing")
        with pytest.raises(grpc.RpcError) as caught:
            unknown(b"", timeout=10)
        assert caught.value.code() == grpc.StatusCode.UNIMPLEMENTED
        waiting = channel.unary_unary("/inference.GRPCInferenceService/ServerLive").future(b"")
        assert waiting.result(timeout=10) == b"\x08\x01"


def drain(port):
    """Told to leave while a call is under way, the server answers it; no call begins after."""
    import tritonclient.grpc as triton

    answers = queue.Queue()
    with triton.InferenceServerClient(f"127.0.0.1:{port}") as client:
        rows = np.array([[1, 2]], dtype="float32")
        tensor = triton.InferInput("x", [1, 2], "FP32").set_data_from_numpy(rows)
        client.async_infer("naps", [tensor], lambda result, error: answers.put((result, error)))
        while not client.get_inference_statistics("double").model_stats:
            time.sleep(0.01)
        print("under way", flush=True)
        result, error = answers.get(timeout=20)
        assert error is None, error
        assert result.as_numpy("output0").tolist() == rows.tolist()


if __name__ == "__main__":
    globals()[sys.argv[1]](int(sys.argv[2]))
