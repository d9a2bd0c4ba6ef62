"""Models, artifacts and data by ``store://`` URI: from the local registry, or registered in this process."""

from __future__ import annotations

import os
import pickle
import shutil
import uuid
from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

from penstock.dataitem import DataItem
from penstock.errors import GraphError, ModelFileNotFound
from penstock.modelspec import ModelSpec, described, find_spec, read_document
from penstock.registry import DEFAULT_PROJECT, Address, Draft, checked, require

if TYPE_CHECKING:
    from typing_extensions import Self

_registered: dict[str, Any] = {}
_cached: dict[tuple[str, str], Any] = {}


class StoreURI(str):
    """The ``store://`` URI of a version that was just written; it is text, so it goes where a URI goes.

    Attributes
    ----------
    uri : str
        The URI.
    path : str
        The version's folder.
    version : int
        The version's number.
    """

    path: str
    version: int

    def __new__(cls, uri: str, path: str, version: int) -> Self:
        """Make one of its parts."""
        self = super().__new__(cls, uri)
        self.path = path
        self.version = version
        return self

    @property
    def uri(self) -> str:
        """The URI."""
        return str(self)


class Artifact:
    """A version in the registry.

    Attributes
    ----------
    uri : str
        What it was asked for by.
    path : str
        Its folder.
    metadata, spec : dict
        What it says about itself.
    """

    def __init__(self, uri: str, path: str) -> None:
        self.uri = uri
        self.path = path
        document = read_document(find_spec(path) or os.path.join(path, "model_spec.yaml"))
        self.metadata: dict[str, Any] = dict(document.get("metadata") or {})
        self.spec: Any = dict(document.get("spec") or {})

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.uri}>"

    @property
    def key(self) -> str:
        """Its name."""
        return str(self.metadata.get("key", ""))

    @property
    def file(self) -> str:
        """The path of its file."""
        return os.path.join(self.path, str(self.spec.get("file", "")))

    def to_dataitem(self) -> DataItem:
        """Return its file as a data item."""
        return DataItem(self.file)

    def local(self) -> str:
        """Return the path of its file."""
        return self.file

    def get(self, encoding: str | None = None) -> Any:
        """Return the content of its file, as bytes or, with an encoding, as text."""
        return self.to_dataitem().get(encoding=encoding)

    def as_df(self) -> Any:
        """Read its file as a pandas DataFrame."""
        return self.to_dataitem().as_df()


class ModelArtifact(Artifact):
    """A model in the registry.

    Attributes
    ----------
    model_spec : ModelSpec
        What is known about the model; also as `spec`.
    """

    def __init__(self, uri: str, path: str) -> None:
        super().__init__(uri, path)
        self.model_spec = ModelSpec.from_dict({"metadata": self.metadata, "spec": self.spec})
        self.spec = self.model_spec

    def __getattr__(self, name: str) -> Any:
        if name != "model_spec" and name in ModelSpec.__dataclass_fields__:
            return getattr(self.model_spec, name)
        raise AttributeError(f"a model artifact has no attribute '{name}'")

    @property
    def file(self) -> str:
        """The path of the model's file."""
        return os.path.join(self.path, self.model_spec.model_file)


def register(uri: str, thing: Any) -> None:
    """Say what a ``store://`` URI means in this process: a feature vector, a table, a callable, anything.

    Examples
    --------
    >>> register("store://feature-vectors/shop/customers", {"c1": [1, 2]})
    >>> get_resource("store://feature-vectors/shop/customers")
    {'c1': [1, 2]}
    """
    Address.parse(uri)
    _registered[uri] = thing


def get_resource(uri: str, context: Any = None, use_cache: bool = True) -> Any:  # noqa: ARG001  # MLRun's order
    """Return what a URI names.

    Parameters
    ----------
    uri : str
        A ``store://`` URI; any other path or URL is a data item.
    context : GraphContext, optional
        Who asks.
    use_cache : bool
        Return the object of an earlier call for the same URI.

    Returns
    -------
    object
        What was registered under the URI; a `ModelArtifact`, or an `Artifact`; a `DataItem`.

    Raises
    ------
    ModelFileNotFound
        The registry has no such version.
    GraphError
        It is no store URI.
    """
    if not uri.startswith("store://"):
        return DataItem(uri)
    if uri in _registered:
        return _registered[uri]
    address = Address.parse(uri)
    if address.kind.startswith("feature"):
        raise GraphError(f"{uri} is not known here; penstock.store.register(uri, table or callable) says what it is")
    folder = require(address, "store")
    key = (uri, folder)  # the folder, too: what is the latest version changes
    found = _cached.get(key) if use_cache else None
    if found is None:
        kind = ModelArtifact if address.kind == "models" else Artifact
        found = _cached[key] = kind(uri, folder)
    return found


def path_of(uri: str, what: str) -> str:
    """Return the path of what a ``store://`` URI names: a model's folder, any other artifact's file."""
    address = Address.parse(uri)
    folder = require(address, what)
    return folder if address.kind == "models" else Artifact(uri, folder).file


def log_model(
    key: str,
    body: Any = None,
    *,
    model_file: str | os.PathLike[str] | None = None,
    model_dir: str | os.PathLike[str] | None = None,
    inputs: Sequence[Any] = (),
    outputs: Sequence[Any] = (),
    metrics: Mapping[str, Any] | None = None,
    parameters: Mapping[str, Any] | None = None,
    extra_data: Mapping[str, Any] | None = None,
    framework: str = "",
    algorithm: str = "",
    labels: Mapping[str, str] | None = None,
    tag: str = "",
    project: str = "",
    iteration: int = 0,
) -> StoreURI:
    """Write a model into the registry, as a new version.

    Parameters
    ----------
    key : str
        The model's name.
    body : object, optional
        The model: bytes are written as they are, any other object is pickled.
    model_file : str, optional
        With a body, the name of its file (by default ``model.pkl``); else the file to copy, in `model_dir` if given.
    model_dir : str, optional
        A directory to copy whole.
    inputs, outputs : list of dict or str, optional
        The columns in their order; a name, and whatever else is known (``value_type``, ``datatype``, ``shape``).
    metrics, parameters : dict, optional
        What the training measured, and what the model's server has to know (`get_param`).
    extra_data : dict, optional
        Further files by name: a path to copy, a URL to keep, or the content as bytes.
    framework, algorithm, labels : optional
        What else is known about it.
    tag : str, optional
        A name for this version.
    project : str, optional
        The project, by default "default".
    iteration : int
        The number of the run that it comes from.

    Returns
    -------
    StoreURI
        The URI of just this version, for `model_path`.

    Raises
    ------
    GraphError
        There is nothing to write, or a name cannot be.
    ModelFileNotFound
        A file is not there.
    """
    address = Address("models", checked(project or DEFAULT_PROJECT, "project"), checked(key, "key"), iteration or None)
    draft = _Writer(address, tag)
    with draft:
        name = draft.model(body, model_file, model_dir)
        spec = ModelSpec(
            model_file=name,
            inputs=described(inputs),
            outputs=described(outputs),
            metrics=dict(metrics or {}),
            parameters=dict(parameters or {}),
            extra_data=draft.further(extra_data or {}),
            framework=framework,
            algorithm=algorithm,
            labels=dict(labels or {}),
        )
        return draft.commit("model", spec.to_dict())


def log_artifact(
    key: str,
    body: bytes | str | None = None,
    *,
    local_path: str | os.PathLike[str] | None = None,
    format: str = "",  # noqa: A002  # MLRun's name
    labels: Mapping[str, str] | None = None,
    tag: str = "",
    project: str = "",
) -> StoreURI:
    """Write a file into the registry, as a new version: what `body` says, or a copy of `local_path`."""
    address = Address("artifacts", checked(project or DEFAULT_PROJECT, "project"), checked(key, "key"))
    with _Writer(address, tag) as draft:
        name = draft.file(key + (f".{format}" if format else ""), body, local_path)
        return draft.commit("artifact", {"file": name, "labels": dict(labels or {})})


def log_dataset(
    key: str,
    df: Any,
    *,
    format: str = "parquet",  # noqa: A002  # MLRun's name
    labels: Mapping[str, str] | None = None,
    tag: str = "",
    project: str = "",
) -> StoreURI:
    """Write a pandas DataFrame into the registry, as Parquet or CSV."""
    if format not in ("parquet", "csv"):
        raise GraphError(f"a data set is written as parquet or csv, not {format!r}")
    address = Address("datasets", checked(project or DEFAULT_PROJECT, "project"), checked(key, "key"))
    with _Writer(address, tag) as draft:
        name = f"{key}.{format}"
        path = os.path.join(draft.path, name)
        df.to_csv(path, index=False) if format == "csv" else df.to_parquet(path)
        return draft.commit("dataset", {"file": name, "rows": len(df), "labels": dict(labels or {})})


class _Writer:
    """One version on its way into the registry; what fails leaves nothing behind."""

    def __init__(self, address: Address, tag: str) -> None:
        self._address = address
        self._tag = checked(tag, "tag") if tag and tag != "latest" else ""
        self._draft = Draft(address)
        self.path = self._draft.path

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._draft.discard()

    def model(self, body: Any, model_file: Any, model_dir: Any) -> str:
        """Write the model, and return the name of its file."""
        if body is not None:
            name = os.path.basename(model_file or "model.pkl")
            Path(self.path, name).write_bytes(body if isinstance(body, bytes) else _pickled(body))
            return name
        if model_dir is not None:
            if not os.path.isdir(model_dir):
                raise ModelFileNotFound(f"model '{self._address.key}': there is no directory {model_dir}")
            shutil.copytree(model_dir, self.path, dirs_exist_ok=True)
            if model_file is not None and not os.path.exists(os.path.join(self.path, model_file)):
                raise ModelFileNotFound(f"model '{self._address.key}': there is no file {model_file} in {model_dir}")
            return str(model_file or "")
        if model_file is None:
            raise GraphError(f"model '{self._address.key}': give the model as body, model_file or model_dir")
        return self.file(os.path.basename(model_file), None, model_file)

    def further(self, extra_data: Mapping[str, Any]) -> dict[str, str]:
        """Write the further files, and return where each is."""
        places = {}
        for name, content in extra_data.items():
            if isinstance(content, str) and "://" in content:
                places[name] = str(content)
            elif isinstance(content, bytes):
                places[name] = self.file(checked(name, "extra_data key"), content, None)
            else:
                places[name] = self.file(os.path.basename(content), None, content)
        return places

    def file(self, name: str, body: bytes | str | None, source: Any) -> str:
        """Write a file or copy one, and return its name."""
        target = Path(self.path, name)
        if target.exists():
            raise GraphError(f"'{self._address.key}' would have two files named {name}")
        if body is not None:
            target.write_bytes(body if isinstance(body, bytes) else body.encode())
        elif source is None:
            raise GraphError(f"'{self._address.key}': give the content as body or local_path")
        elif not os.path.isfile(source):
            raise ModelFileNotFound(f"'{self._address.key}': there is no file {source}")
        else:
            shutil.copyfile(source, target)
        return name

    def commit(self, kind: str, spec: dict[str, Any]) -> StoreURI:
        """Make the version visible."""
        uid = uuid.uuid4().hex
        metadata = {
            "project": self._address.project,
            "key": self._address.key,
            "iter": self._address.iteration or 0,
            "uid": uid,
            "created": datetime.now(timezone.utc).isoformat(),
        }
        if self._tag:
            metadata["tag"] = self._tag
        version, folder = self._draft.commit({"kind": kind, "metadata": metadata, "spec": spec}, self._tag)
        address = Address(self._address.kind, self._address.project, self._address.key, uid=str(version))
        return StoreURI(str(address), folder, version)


def _pickled(model: Any) -> bytes:
    """Pickle a model; cloudpickle, where installed, takes along classes of the main script."""
    try:
        from cloudpickle import dumps
    except ImportError:
        return pickle.dumps(model)
    content: bytes = dumps(model)
    return content
