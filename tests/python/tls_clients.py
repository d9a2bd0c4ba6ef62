"""What tritonclient does over TLS, a process each: `NAME PORT FOLDER`."""

import queue
import sys

import numpy as np

ROWS = np.arange(400_000, dtype="float32").reshape(-1, 4)


def triton_http(port, folder):
    import ssl

    import tritonclient.http as triton

    def context():
        return ssl.create_default_context(cafile=f"{folder}/ca.pem")

    with triton.InferenceServerClient(f"127.0.0.1:{port}", ssl=True, ssl_context_factory=context) as client:
        assert client.is_server_ready()
        tensor = triton.InferInput("x", list(ROWS.shape), "FP32")
        tensor.set_data_from_numpy(ROWS, binary_data=True)
        for _ in range(3):
            assert np.array_equal(client.infer("double", [tensor]).as_numpy("output0"), ROWS * 2)


def _grpc(port, folder):
    import tritonclient.grpc as triton

    tensor = triton.InferInput("x", list(ROWS.shape), "FP32").set_data_from_numpy(ROWS)
    client = triton.InferenceServerClient(f"127.0.0.1:{port}", ssl=True, root_certificates=f"{folder}/ca.pem")
    return client, tensor


def triton_grpc(port, folder):
    client, tensor = _grpc(port, folder)
    with client:
        assert client.is_server_ready()
        for _ in range(3):
            assert np.array_equal(client.infer("double", [tensor]).as_numpy("output0"), ROWS * 2)


def triton_grpc_stream(port, folder):
    client, tensor = _grpc(port, folder)
    answers = queue.Queue()
    with client:
        client.start_stream(lambda result, error: answers.put((result, error)))
        for number in range(5):
            client.async_stream_infer("double", [tensor], request_id=str(number))
        for number in range(5):
            result, error = answers.get(timeout=20)
            assert error is None, error
            assert result.get_response().id == str(number)
            assert np.array_equal(result.as_numpy("output0"), ROWS * 2)
        client.stop_stream()


if __name__ == "__main__":
    globals()[sys.argv[1]](*sys.argv[2:])
