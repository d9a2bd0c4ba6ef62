"""The server of ONNX models."""

import numpy as np
import pytest
import skl2onnx
from framework_models import CLASSES, ROWS, SOME, infer, refused, serve, tensor
from onnx import helper
from penstock.errors import GraphError
from sklearn.linear_model import LogisticRegression


@pytest.fixture(scope="module")
def classifier():
    return LogisticRegression(max_iter=1000).fit(ROWS, CLASSES)


@pytest.fixture(scope="module")
def onnx_classifier(classifier):
    return skl2onnx.to_onnx(classifier, ROWS[:1].astype(np.float32)).SerializeToString()


def test_onnx_serves_what_its_graph_describes(tmp_path, classifier, onnx_classifier):
    (tmp_path / "model.onnx").write_bytes(onnx_classifier)
    with serve("mlrun.frameworks.onnx.ONNXModelServer", tmp_path) as server:
        assert infer(server, SOME.tolist()) == classifier.predict(SOME).tolist()
        (output,) = infer(server, [tensor(SOME, "X", "FP32")])
        assert (output["name"], output["data"]) == ("output_label", classifier.predict(SOME).tolist())
        metadata = server.test("/v2/models/m1", method="GET")
        assert metadata["inputs"] == [{"name": "X", "datatype": "FP32", "shape": [-1, 4]}]
        assert metadata["outputs"] == [{"name": "output_label", "datatype": "INT64", "shape": [-1]}]
        assert "input 'X' has shape [-1, 4], this is [1, 3]" in refused(server, [[1, 2, 3]])
        assert "input 'X' is not FP32" in refused(server, [["a", "b", "c", "d"]])


def test_onnx_outputs_are_chosen_by_name(tmp_path, classifier, onnx_classifier):
    (tmp_path / "model.onnx").write_bytes(onnx_classifier)
    with serve("ONNXModelServer", tmp_path, output_names=["output_probability"]) as server:
        likely = [max(row, key=row.get) for row in infer(server, SOME.tolist())]
        assert likely == classifier.predict(SOME).tolist()
    with pytest.raises(GraphError, match="model 'm1' has no output 'output_lable'; did you mean 'output_label'"):
        serve("ONNXModelServer", tmp_path, output_names=["output_lable"])


def test_onnx_models_with_several_inputs_take_rows_dicts_or_tensors(tmp_path):
    floats, texts = 1, 8
    shape = [None, 1]
    graph = helper.make_graph(
        [
            helper.make_node("Add", ["a", "b"], ["sum"]),
            helper.make_node("Identity", ["word"], ["said"]),
        ],
        "g",
        [
            helper.make_tensor_value_info("a", floats, shape),
            helper.make_tensor_value_info("b", floats, shape),
            helper.make_tensor_value_info("word", texts, shape),
        ],
        [helper.make_tensor_value_info("sum", floats, shape), helper.make_tensor_value_info("said", texts, shape)],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    (tmp_path / "model.onnx").write_bytes(model.SerializeToString())
    expected = {"sum": [[3.0], [7.0]], "said": [["x"], ["y"]]}
    with serve("ONNXModelServer", tmp_path) as server:
        assert infer(server, [[1, 2, "x"], [3, 4, "y"]]) == expected
        assert infer(server, [{"a": 1, "b": 2, "word": "x"}, {"b": 4, "a": 3, "word": "y"}]) == expected
        tensors = [
            tensor(np.array([1.0, 3.0]), "a"),
            tensor(np.array([2.0, 4.0]), "b"),
            tensor(np.array(["x", "y"]), "word", "BYTES"),
        ]
        outputs = {output["name"]: output["data"] for output in infer(server, tensors)}
        assert outputs == {"sum": [3.0, 7.0], "said": ["x", "y"]}
        assert "inputs miss word" in refused(server, tensors[:2])
        assert "takes 3 inputs: a, b, word" in refused(server, [[1, 2]])
