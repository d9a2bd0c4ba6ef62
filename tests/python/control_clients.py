"""A real client that loads and unloads models over gRPC: `control_clients.py PORT`."""

import json
import sys

import numpy as np
import tritonclient.grpc as triton
from tritonclient.utils import InferenceServerException


def refused(call):
    try:
        call()
    except InferenceServerException as error:
        return f"{error.status()}: {error.message()}"
    return "it was done"


def main(port):
    client = triton.InferenceServerClient(f"127.0.0.1:{port}")
    headers = {"authorization": "Bearer s3cret"}
    given = triton.InferInput("x", [1, 1], "FP32")
    given.set_data_from_numpy(np.ones((1, 1), dtype=np.float32))

    def infer(version=""):
        result = client.infer("m", [given], model_version=version, headers=headers)
        return result.as_numpy(result.get_response().outputs[0].name).ravel().tolist()

    def listed():
        index = client.get_model_repository_index(headers=headers).models
        return {model.version: model.state for model in index}

    found = {"version 2": infer("2"), "version 7": refused(lambda: infer("7"))}
    files = {"file:1/model.py": b"x"}
    found["file"] = refused(lambda: client.load_model("m:10", files=files, config="{}", headers=headers))
    client.unload_model("m:10", headers=headers)
    found["unloaded"] = [client.is_model_ready("m", "10", headers=headers), infer(), listed()]
    client.load_model("m:10", config=json.dumps({"class_args": {"scale": 1}}), headers=headers)
    found["loaded"] = [client.is_model_ready("m", "10", headers=headers), infer(), listed()]
    print(json.dumps(found))


if __name__ == "__main__":
    main(int(sys.argv[1]))
