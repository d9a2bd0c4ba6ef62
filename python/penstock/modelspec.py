"""What is known about a model beside its files: `model_spec.yaml`, as MLRun lays it out."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Mapping, Sequence
from typing import Any

from penstock.errors import StepNotReady
from penstock.extras import load_extra

SPEC_NAMES = ("model_spec.yaml", "model_spec.yml", "model_spec.json")
_DATATYPES = {
    "bool": "BOOL", "boolean": "BOOL", "int": "INT64", "integer": "INT64", "long": "INT64",
    "float": "FP64", "double": "FP64", "number": "FP64", "half": "FP16", "float16": "FP16", "float32": "FP32",
    "float64": "FP64", "str": "BYTES", "string": "BYTES", "object": "BYTES", "bytes": "BYTES", "category": "BYTES",
}  # fmt: skip


@dataclasses.dataclass
class ModelSpec:
    """What a model's `model_spec.yaml` says.

    Attributes
    ----------
    model_file : str
        The model's file, beside the spec.
    inputs, outputs : list of dict
        The columns, or tensors, in their order; each has at least a name.
    metrics, parameters : dict
        What the training measured, and what it was told; `get_param` finds the parameters.
    extra_data : dict of str to str
        Further files by name, beside the spec or as URLs.
    framework, algorithm : str
        What the model was made with.
    labels : dict
        What else is known about it.

    Examples
    --------
    >>> spec = ModelSpec.from_dict({"spec": {"model_file": "m.pkl", "inputs": [{"name": "age", "value_type": "int"}]}})
    >>> spec.model_file, spec.inputs
    ('m.pkl', [{'name': 'age', 'value_type': 'int', 'datatype': 'INT64', 'shape': [-1]}])
    """

    model_file: str = ""
    inputs: list[dict[str, Any]] = dataclasses.field(default_factory=list)
    outputs: list[dict[str, Any]] = dataclasses.field(default_factory=list)
    metrics: dict[str, Any] = dataclasses.field(default_factory=dict)
    parameters: dict[str, Any] = dataclasses.field(default_factory=dict)
    extra_data: dict[str, str] = dataclasses.field(default_factory=dict)
    framework: str = ""
    algorithm: str = ""
    labels: dict[str, str] = dataclasses.field(default_factory=dict)

    @classmethod
    def from_dict(cls, document: Mapping[str, Any]) -> ModelSpec:
        """Make one of a document: MLRun's, with a "spec" of its own, or the fields alone; unknown fields are left."""
        fields = dict(document.get("metadata") or {}) | dict(document.get("spec") or document)
        known = {field.name: fields[field.name] for field in dataclasses.fields(cls) if fields.get(field.name)}
        for key in ("inputs", "outputs"):
            if key in known:
                known[key] = described(known[key])
        return cls(**known)

    def to_dict(self) -> dict[str, Any]:
        """Return the fields that say something."""
        return {key: value for key, value in dataclasses.asdict(self).items() if value}

    def columns(self) -> list[str]:
        """Return the names of the inputs, in order."""
        return [str(feature["name"]) for feature in self.inputs]


def described(features: Sequence[Any]) -> list[dict[str, Any]]:
    """Complete a list of columns: each gets the datatype and shape that a client of the protocol looks for.

    Examples
    --------
    >>> described(["age"])
    [{'name': 'age', 'datatype': 'FP64', 'shape': [-1]}]
    """
    complete = []
    for feature in features:
        fields = dict(feature) if isinstance(feature, Mapping) else {"name": str(feature)}
        kind = str(fields.get("value_type") or "float").lower()
        upper = kind.upper()
        known = upper if upper.startswith(("INT", "UINT")) and upper[-1].isdigit() else "BYTES"
        fields.setdefault("datatype", _DATATYPES.get(kind, known))
        fields.setdefault("shape", [-1])
        complete.append(fields)
    return complete


def read_document(path: str) -> dict[str, Any]:
    """Read a spec's file: JSON needs nothing, other YAML needs PyYAML.

    Raises
    ------
    StepNotReady
        It is neither, or holds no fields.
    MissingExtra
        It is YAML, and PyYAML is not installed.
    """
    with open(path, encoding="utf-8") as file:
        text = file.read()
    try:
        document = json.loads(text)
    except ValueError:
        yaml = load_extra("yaml", "yaml", f"reading {path}")
        try:
            document = yaml.safe_load(text)
        except yaml.YAMLError as error:
            raise StepNotReady(f"{path} is neither JSON nor YAML: {' '.join(str(error).split())}") from error
    if not isinstance(document, dict):
        raise StepNotReady(f"{path} holds no fields, it is a {type(document).__name__}")
    return document


def find_spec(folder: str) -> str | None:
    """Return the path of the spec's file in a folder; None if there is none."""
    for name in SPEC_NAMES:
        path = os.path.join(folder, name)
        if os.path.isfile(path):
            return path
    return None
