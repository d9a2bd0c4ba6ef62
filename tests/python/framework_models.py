"""Models to serve, and the calls that the tests of the ready-made servers share."""

import pickle

import penstock
import pytest
from penstock.errors import StepError
from sklearn.datasets import load_iris

ROWS, CLASSES = load_iris(return_X_y=True)
SOME = ROWS[::25]


def write(tmp_path, model, name="model.pkl"):
    (tmp_path / name).write_bytes(pickle.dumps(model))
    return tmp_path


def serve(class_name, model_path=None, **class_args):
    fn = penstock.new_function("f")
    fn.set_topology("router")
    fn.add_model("m1", class_name=class_name, model_path=model_path, **class_args)
    return fn.to_mock_server()


def infer(server, inputs, operation="infer"):
    return server.test(f"/v2/models/m1/{operation}", body={"inputs": inputs})["outputs"]


def tensor(array, name="x", datatype="FP64"):
    return {"name": name, "shape": list(array.shape), "datatype": datatype, "data": array.reshape(-1).tolist()}


def refused(server, inputs, operation="infer"):
    with pytest.raises(StepError) as caught:
        infer(server, inputs, operation)
    assert caught.value.status_code == 400
    return caught.value.reason
