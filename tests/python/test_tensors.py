"""Tensors of the protocol, as arrays and back."""

import numpy as np
import pytest
from penstock import tensors
from penstock.errors import BadRequest
from penstock.render import render


def tensor(datatype, data, shape=None):
    return {"name": "x", "datatype": datatype, "shape": shape or [len(data)], "data": data}


@pytest.mark.parametrize(
    ("datatype", "data", "dtype"),
    [
        ("BOOL", [True, False], "bool"),
        ("UINT64", [2**64 - 1], "uint64"),
        ("INT8", [-128, 127], "int8"),
        ("FP16", [1.5], "float16"),
        ("BF16", [1.5], "float32"),
        ("FP64", [0.1], "float64"),
        ("BYTES", ["a", b"\xff"], "object"),
    ],
)
def test_each_datatype_has_an_array(datatype, data, dtype):
    array = tensors.to_array(tensor(datatype, data))
    assert (array.dtype, array.tolist()) == (np.dtype(dtype), data)


@pytest.mark.parametrize("data", [[1, 2, 3, 4], [[1, 2], [3, 4]], np.arange(1, 5, dtype="float32")])
def test_data_may_be_nested_flat_or_an_array(data):
    assert tensors.to_array(tensor("FP32", data, [2, 2])).tolist() == [[1, 2], [3, 4]]


def test_null_is_not_a_number_both_ways():
    array = tensors.to_array(tensor("FP32", [1, None]))
    assert np.isnan(array[1])
    assert tensors.to_tensors(array)[0]["data"] == [1.0, None]
    assert np.isnan(tensors.to_array(tensor("BF16", [None]))[0])


@pytest.mark.parametrize(
    "wrong",
    [
        tensor("FP33", [1]),
        tensor("INT8", [128]),
        tensor("INT8", ["a"]),
        tensor("FP32", [1], [2]),
        tensor("FP32", [1], [-1]),
        tensor("FP32", [1], "1"),
        {"name": "x", "datatype": "FP32", "shape": [1]},
    ],
)
def test_what_is_wrong_is_refused_by_name(wrong):
    with pytest.raises(BadRequest, match="input 'x'"):
        tensors.to_array(wrong)


@pytest.mark.parametrize(("result", "kind"), [(None, "NoneType"), ({1, 2}, "set"), ({"a": object()}, "object")])
def test_what_is_no_tensor_is_no_answer(result, kind):
    with pytest.raises(TypeError, match=f"output '.*' is of type {kind}, which makes no tensor"):
        tensors.to_tensors(result)


def test_several_inputs_come_by_name():
    arrays = tensors.to_arrays([tensor("FP32", [1]), tensor("INT8", [2]) | {"name": "y"}])
    assert {name: array.tolist() for name, array in arrays.items()} == {"x": [1.0], "y": [2]}
    with pytest.raises(BadRequest, match="same name"):
        tensors.to_arrays([tensor("FP32", [1]), tensor("INT8", [2])])


def test_halves_keep_their_type_until_they_are_json():
    (half,) = tensors.to_tensors(np.array([1.5], "float16"))
    assert (half["datatype"], half["data"]) == ("FP16", [1.5])
    reply = {"model_name": "m", "outputs": [half]}
    assert b'"datatype":"FP32"' in render(reply)[3]
    assert reply["outputs"][0]["datatype"] == "FP16"


def test_bytes_that_are_no_text_stay_bytes():
    assert tensors.to_tensors(np.array([b"a", "b", b"\xff"], dtype=object))[0]["data"] == ["a", "b", b"\xff"]


OUTPUTS = [{"name": "a"}, {"name": "b"}]


@pytest.mark.parametrize("asked", [None, [], "a"])
def test_all_outputs_are_given_if_none_is_asked_for(asked):
    assert tensors.chosen(OUTPUTS, asked) == OUTPUTS


def test_outputs_are_given_as_asked_for():
    assert tensors.chosen(OUTPUTS, [{"name": "b"}, {"name": "a"}]) == OUTPUTS[::-1]
    with pytest.raises(BadRequest, match="no output 'c', it has 'a', 'b'"):
        tensors.chosen(OUTPUTS, [{"name": "c"}])
    with pytest.raises(BadRequest, match="objects with a name"):
        tensors.chosen(OUTPUTS, [5])


def test_bytes_alone_are_the_one_input():
    described = {"name": "x", "datatype": "FP32", "shape": [-1, 2]}
    made = tensors.of_bytes(described, np.arange(4, dtype="float32").tobytes())
    assert (made["shape"], made["data"].tolist()) == ([2, 2], [[0, 1], [2, 3]])
    halves = tensors.of_bytes({"name": "x", "datatype": "BF16", "shape": [2]}, b"\xc0\x3f\x20\xc0")
    assert halves["data"].tolist() == [1.5, -2.5]
    text = tensors.of_bytes({"name": "x", "datatype": "BYTES", "shape": [-1]}, b"text")
    assert (text["shape"], text["data"]) == ([1], [b"text"])


@pytest.mark.parametrize(("shape", "size"), [([-1, 2], 12), ([2], 4), ([-1, -1], 8), ([0], 4)])
def test_bytes_that_do_not_fill_the_shape_are_refused(shape, size):
    with pytest.raises(BadRequest, match=f"{size} bytes do not fill shape"):
        tensors.of_bytes({"name": "x", "datatype": "FP32", "shape": shape}, bytes(size))
