"""Where model files come from: this machine's disk, anything that fsspec reads, or the registry."""

from __future__ import annotations

import dataclasses
import os
import tempfile
from collections.abc import Iterable, Iterator
from typing import Any

from penstock.dataitem import DataItem
from penstock.errors import ModelFileNotFound, StepNotReady, UntrustedModelFile
from penstock.extras import load_extra
from penstock.modelspec import SPEC_NAMES, ModelSpec, find_spec, read_document

Suffixes = str | tuple[str, ...]

RUNS_CODE = (".pkl", ".pickle", ".cloudpickle", ".joblib", ".dill", ".pt", ".pth", ".ckpt")
_downloaded: list[tempfile.TemporaryDirectory[str]] = []  # kept, as each removes itself with its object
_copies: dict[str, str] = {}  # the local copy of what was downloaded -> its URL


@dataclasses.dataclass
class ModelFiles:
    """A model's files on this machine.

    Attributes
    ----------
    file : str
        The model itself.
    extra_data : dict of str to DataItem
        Its other files, by name.
    spec : ModelSpec, optional
        What the `model_spec.yaml` beside it says.
    """

    file: str
    extra_data: dict[str, DataItem]
    spec: ModelSpec | None = None


def fetch_model(name: str, model_path: str | None, suffix: Suffixes) -> tuple[str, dict[str, DataItem]]:
    """Return the local path of a model's file, and its other files by name.

    Raises
    ------
    ModelFileNotFound
        There is no such file; the text says where was looked.
    """
    found = open_model(name, model_path, suffix)
    return found.file, found.extra_data


def open_model(name: str, model_path: str | None, suffix: Suffixes = "") -> ModelFiles:
    """Find a model's files and read its spec.

    Parameters
    ----------
    name : str
        The model's name, for errors.
    model_path : str
        A file or directory, a URL that fsspec reads, or a ``store://`` URI.
    suffix : str or tuple of str
        The end of the file's name, for a directory.

    Raises
    ------
    ModelFileNotFound
        There is no such file; the text says where was looked.
    """
    if not model_path:
        raise ModelFileNotFound(f"model '{name}': no model_path is set")
    url = str(model_path)
    if url.endswith(SPEC_NAMES):
        url = os.path.dirname(url) or "."
    path = local_copy(url, f"model '{name}'")
    if os.path.isfile(path):
        return ModelFiles(path, {})
    spec_file = find_spec(path)
    spec = ModelSpec.from_dict(read_document(spec_file)) if spec_file else None
    files = sorted(entry.path for entry in os.scandir(path) if entry.is_file() and entry.path != spec_file)
    extra = {os.path.basename(other): DataItem(other) for other in files}
    if spec is not None:
        extra |= {key: _beside(path, place) for key, place in spec.extra_data.items()}
    file = _choose(name, path, files, spec, suffix)
    if file is None:
        held = ", ".join(os.path.basename(file) for file in files) or "no files"
        wanted = " or ".join(f"'*{end}'" for end in ([suffix] if isinstance(suffix, str) else suffix))
        raise ModelFileNotFound(f"model '{name}': there is no file {wanted} in {model_path}, which holds {held}")
    return ModelFiles(file, {key: item for key, item in extra.items() if item != file}, spec)


def _choose(name: str, folder: str, files: list[str], spec: ModelSpec | None, suffix: Suffixes) -> str | None:
    """Prefer the file that the spec names."""
    if spec is not None and spec.model_file.endswith(suffix):
        named = _beside(folder, spec.model_file)
        if spec.model_file and "://" in named:
            return local_copy(named, f"model '{name}'")
        if spec.model_file and os.path.exists(named):
            return str(named)
    ends = (suffix,) if isinstance(suffix, str) else suffix
    return next((file for end in ends for file in files if file.endswith(end)), None)


def _beside(folder: str, place: str) -> DataItem:
    return DataItem(place if "://" in place else os.path.join(folder, place))


def local_copy(url: str, what: str) -> str:
    """Return the path of a file or directory on this machine; what lies elsewhere is copied.

    Parameters
    ----------
    url : str
        A path, a URL that fsspec reads, or a ``store://`` URI.
    what : str
        Who asks, for errors.

    Raises
    ------
    ModelFileNotFound
        Nothing is there.
    StepNotReady
        No driver reads such a URL.
    """
    path = url
    if url.startswith("file://"):
        path = url[len("file://") :]
    elif url.startswith("store://"):
        from penstock.store import path_of

        path = path_of(url, what)
    elif "://" in url:
        return _download(url, what)
    if not os.path.exists(path):
        raise ModelFileNotFound(f"{what}: there is no file or directory {url}")
    return path


def _download(url: str, what: str) -> str:
    """Copy a file or directory to a temporary directory, which goes when the process does."""
    import fsspec

    if url.startswith("v3io://"):
        load_extra("v3iofs", "v3io", f"{what}: reading {url}")  # importing it tells fsspec of the scheme
    try:
        files: Any
        files, remote = fsspec.core.url_to_fs(url)
    except (ImportError, ValueError) as error:
        raise StepNotReady(f"{what}: cannot read {url}: {error}") from error
    folder = tempfile.TemporaryDirectory(prefix="penstock-model-")
    _downloaded.append(folder)
    local = os.path.join(os.path.realpath(folder.name), os.path.basename(remote.rstrip("/")) or "model")
    try:
        files.get(remote, local, recursive=files.isdir(remote))
    except FileNotFoundError:
        raise ModelFileNotFound(f"{what}: there is no file or directory {url}") from None
    _copies[local] = url.rstrip("/")
    return local


def trusted(path: str, context: Any = None, *, model_path: str | None = None) -> bool:
    """Tell whether a file that can run code may be loaded: it lies where the graph's author said.

    Trusted are the `model_path` of every model of the graph, and what ``fn.spec.trusted_model_paths``, or the
    function's parameter of that name, lists; a link or a spec that leads out of them leads to nothing trusted.

    Parameters
    ----------
    path : str
        The file, on this machine.
    context : GraphContext, optional
        The graph's context.
    model_path : str, optional
        The path that the caller's own code names.

    Examples
    --------
    >>> trusted("/models/m1/model.pkl", model_path="/models/m1"), trusted("/tmp/model.pkl", model_path="/models/m1")
    (True, False)
    """
    place = _origin(path)
    roots = [str(model_path)] if model_path else []
    roots += _named_by(context)
    return any(_lies_in(place, root) for root in map(_normal, roots))


def may_read(place: str, context: Any) -> bool:
    """Tell whether a place that a request names lies below what the graph's author named.

    Parameters
    ----------
    place : str
        A path, or a URL.
    context : GraphContext
        The graph's context.
    """
    if "::" in place or "\\" in place or ("://" in place and ".." in place.split("/")):
        return False  # what it leads to is not to be seen from its text
    wanted = _normal(place)
    return any(_lies_in(wanted, root) for root in map(_normal, _named_by(context)))


def check_trust(name: str, path: str, context: Any = None, *, model_path: str | None = None) -> None:
    """Refuse a file that can run code and lies outside of what the graph names.

    Raises
    ------
    UntrustedModelFile
        It may not be loaded; the text says how it may.
    """
    if path.endswith(RUNS_CODE) and not trusted(path, context, model_path=model_path):
        raise UntrustedModelFile(
            f"model '{name}': {_origin(path)} can run code when it is loaded, and lies outside of the model_path "
            "that the graph names; if it is yours, add its folder to fn.spec.trusted_model_paths"
        )


def _origin(path: str) -> str:
    real = os.path.realpath(path)
    for local, url in _copies.items():
        if _lies_in(real, local):
            return url + real[len(local) :]
    return real


def _lies_in(place: str, root: str) -> bool:
    return place == root or place.startswith(root.rstrip("/") + "/")


def _normal(root: str) -> str:
    if root.endswith(SPEC_NAMES):
        root = os.path.dirname(root) or "."
    if root.startswith("store://"):
        from penstock.store import path_of

        try:
            root = path_of(root, "trusted_model_paths")
        except ModelFileNotFound:
            return root  # a model that is not there makes nothing trusted
    if root.startswith("file://"):
        root = root[len("file://") :]
    return root.rstrip("/") if "://" in root else os.path.realpath(root)


def _named_by(context: Any) -> list[str]:
    if context is None:
        return []
    more = context.get_param("trusted_model_paths") or ()
    roots = [str(more)] if isinstance(more, (str, os.PathLike)) else [str(path) for path in more]
    roots += [str(path) for path in getattr(context, "trusted_model_paths", ())]
    return roots + list(_model_paths(getattr(context, "root", None)))


def _model_paths(step: Any) -> Iterator[str]:
    arguments = getattr(step, "class_args", None) or {}
    for key in ("model_path", "artifact_uri"):
        if isinstance(arguments.get(key), (str, os.PathLike)):
            yield str(arguments[key])
    for key in ("steps", "routes"):
        children = getattr(step, key, None)
        values: Iterable[Any] = children.values() if isinstance(children, dict) else ()
        for child in values:
            yield from _model_paths(child)
