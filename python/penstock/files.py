"""Where model files come from: this machine's disk, or anything that fsspec reads."""

from __future__ import annotations

import os
import tempfile
from typing import Any

from penstock.errors import ModelFileNotFound, StepNotReady

_downloaded: list[tempfile.TemporaryDirectory[str]] = []  # kept, as each removes itself with its object


def fetch_model(name: str, model_path: str | None, suffix: str) -> tuple[str, dict[str, str]]:
    """Return the local path of a model's file, and those of the other files beside it.

    Raises
    ------
    ModelFileNotFound
        There is no such file; the text says where was looked.
    """
    if not model_path:
        raise ModelFileNotFound(f"model '{name}': no model_path is set")
    path = str(model_path)
    if path.startswith("file://"):
        path = path[len("file://") :]
    elif "://" in path:
        path = _download(name, path)
    if os.path.isfile(path):
        return path, {}
    if not os.path.isdir(path):
        raise ModelFileNotFound(f"model '{name}': there is no file or directory {model_path}")
    files = sorted(entry.path for entry in os.scandir(path) if entry.is_file())
    for file in files:
        if file.endswith(suffix):
            return file, {os.path.basename(other): other for other in files if other != file}
    held = ", ".join(os.path.basename(file) for file in files) or "no files"
    raise ModelFileNotFound(f"model '{name}': there is no file '*{suffix}' in {model_path}, which holds {held}")


def _download(name: str, url: str) -> str:
    """Copy a file or directory to a temporary directory, which goes when the process does."""
    import fsspec

    try:
        files: Any
        files, remote = fsspec.core.url_to_fs(url)
    except (ImportError, ValueError) as error:
        raise StepNotReady(f"model '{name}': cannot read {url}: {error}") from error
    folder = tempfile.TemporaryDirectory(prefix="penstock-model-")
    _downloaded.append(folder)
    local = os.path.join(folder.name, os.path.basename(remote.rstrip("/")) or "model")
    try:
        files.get(remote, local, recursive=files.isdir(remote))
    except FileNotFoundError:
        raise ModelFileNotFound(f"model '{name}': there is no file or directory {url}") from None
    return local
