"""A function as text: what `to_dict` and `export` write, and how it is read back."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, TypeVar

from penstock.function_spec import ServingSpec
from penstock.settings import ChildFunction, FunctionSettings
from penstock.spec import without_empty

if TYPE_CHECKING:
    from penstock.function import ServingFunction
    from penstock.function_spec import Status

Written = TypeVar("Written", bound="WrittenFunction")


class WrittenFunction(FunctionSettings):
    """The part of a function that writes it down."""

    status: Status
    verbose: bool

    def to_dict(self) -> dict[str, Any]:
        """Write the function down with MLRun's field names, its source included, secrets excluded."""
        from penstock.source_code import encode_source

        metadata = {key: value for key, value in vars(self.metadata).items() if key != "hash" or value}
        spec = self.spec.to_dict()
        code = encode_source(self.spec.filename)
        if code:
            spec["build"] = spec.get("build", {}) | {"functionSourceCode": code}
        return {
            "kind": self.kind,
            "metadata": without_empty(metadata),
            "spec": spec,
            "verbose": self.verbose,
        } | ({"status": vars(self.status)} if self.status.address else {})

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> ServingFunction:
        """Read a function that `to_dict` wrote, or MLRun.

        Raises
        ------
        GraphError
            It is of another kind, or has no name.
        """
        from penstock.factories import new_function

        metadata = fields.get("metadata") or {}
        fn = new_function(
            metadata.get("name") or "",
            metadata.get("project") or "",
            metadata.get("tag") or "",
            fields.get("kind") or "serving",
            labels=dict(metadata.get("labels") or {}),
        )
        spec = fields.get("spec") or {}
        fn.spec = ServingSpec.from_dict(spec)
        for name, child in (spec.get("function_refs") or {}).items():
            fn.spec.function_refs[name] = ChildFunction.from_dict(name, fn.metadata, child)
        fn.metadata.hash = metadata.get("hash") or ""
        fn.status.address = (fields.get("status") or {}).get("address") or ""
        fn.verbose = bool(fields.get("verbose", False))
        return fn

    def to_json(self) -> str:
        """Write the function down as JSON."""
        from penstock.documents import to_json

        return to_json(self.to_dict())

    def to_yaml(self) -> str:
        """Write the function down as YAML."""
        from penstock.documents import to_yaml

        return to_yaml(self.to_dict())

    def export(self: Written, target: str = "") -> Written:
        """Write the function to a file or URL, by default ``function.yaml``; a name that ends with "/" is a folder."""
        from penstock.documents import write

        self.metadata.hash = self._hash()
        write(target + "function.yaml" if not target or target.endswith("/") else target, self.to_dict())
        return self

    save = export

    def _hash(self) -> str:
        from penstock.documents import to_json

        fields = self.to_dict()
        fields["metadata"].pop("hash", None)
        return hashlib.sha1(to_json(fields).encode(), usedforsecurity=False).hexdigest()
