"""What a function carries with it: its source with what it imports, and its models' files."""

from __future__ import annotations

import ast
import os
import re
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from penstock.errors import GraphError
from penstock.modelspec import SPEC_NAMES
from penstock.source_code import HERE, encode_source

if TYPE_CHECKING:
    from penstock.function import ServingFunction

Files = dict[str, bytes]
_OURS = ("penstock", "mlrun", "storey", "nuclio_sdk")


def own_source(function: ServingFunction, module: Mapping[str, Any]) -> Path | None:
    """Return the file that a function's names are in; None if it is in none.

    Parameters
    ----------
    function : ServingFunction
        The function.
    module : dict
        The names of the module that it was found in, or of whoever deploys it.
    """
    for named in (function.spec.filename, function.spec.command):
        if named.strip() not in HERE and "://" not in named and named.endswith((".py", ".ipynb")):
            path = Path(function._workdir or "", os.path.expanduser(named)).absolute()
            if not path.is_file():
                raise GraphError(f"there is no file {named}, which is the source of '{function.metadata.name}'")
            return path
    for names in (function._globals, module):
        file = names.get("__file__")
        inside = str(names.get("__name__", "")).startswith("penstock.")
        if isinstance(file, str) and file.endswith(".py") and not inside and os.path.isfile(file):
            return Path(file).absolute()
    return None


def root_of(source: Path, module_name: str) -> Path:
    """Return the folder that imports start from: above the package that a source is in.

    Examples
    --------
    >>> root_of(Path("/a/pack/graphs.py"), "pack.graphs").as_posix()
    '/a'
    """
    parts = module_name.split(".")
    inside = parts[-1] == source.stem and list(source.parent.parts[-len(parts) + 1 :]) == parts[:-1]
    return source.parents[len(parts) - 1] if len(parts) > 1 and inside else source.parent


def collect(source: Path, root: Path) -> tuple[Files, set[str]]:
    """Return a source with all that it imports below `root`, and the other modules that are imported.

    Notebooks become Python. Modules of Python itself and of penstock are left out.
    """
    files: Files = {}
    others: set[str] = set()
    waiting = [source]
    while waiting:
        path = waiting.pop()
        name = path.relative_to(root).with_suffix(".py").as_posix()
        if name in files:
            continue
        text = _text_of(path)
        files[name] = text.encode()
        for imported in _imports(text, path, name):
            top = imported.partition(".")[0]
            if found := _local(imported, root) or _local(top, root):  # of a module, or of a name in it
                waiting += found
            elif top not in (*sys.stdlib_module_names, *_OURS):
                others.add(top)
    return dict(sorted(files.items())), others


def imported_by(text: str, name: str) -> set[str]:
    """Return the modules that a source imports, without those of Python and penstock.

    Examples
    --------
    >>> imported_by("import json, numpy.linalg", "function.py")
    {'numpy'}
    """
    tops = {imported.partition(".")[0] for imported in _imports(text, Path(name), name)}
    return {top for top in tops if top and top not in (*sys.stdlib_module_names, *_OURS)}


def _text_of(path: Path) -> str:
    import base64

    return base64.b64decode(encode_source(str(path))).decode()


def _imports(text: str, path: Path, name: str) -> Iterator[str]:
    try:
        tree = ast.parse(text, str(path))
    except SyntaxError as error:
        raise GraphError(f"{path} is no Python (line {error.lineno}): {error.msg}") from None
    package = name.split("/")[:-1]
    for item in ast.walk(tree):
        if isinstance(item, ast.Import):
            yield from (alias.name for alias in item.names)
        elif isinstance(item, ast.ImportFrom):
            above = package[: len(package) - item.level + 1] if item.level else []
            base = ".".join([*above, *([item.module] if item.module else [])])
            yield base
            yield from (f"{base}.{alias.name}" for alias in item.names if base and _is_local_base(item))


def _is_local_base(item: ast.ImportFrom) -> bool:
    return all(alias.name != "*" for alias in item.names)


def _local(name: str, root: Path) -> list[Path]:
    """Return the files of a module below `root`: itself, and the packages that it is in."""
    parts = name.split(".")
    found = [root.joinpath(*parts[:depth], "__init__.py") for depth in range(1, len(parts) + 1)]
    found.append(root.joinpath(*parts).with_suffix(".py") if parts[-1] else root)
    return [path for path in found if path.is_file()]


def models_of(graph: Any, mounted: tuple[str, ...], folder: str) -> tuple[Files, list[str]]:
    """Take the models' files that are on this machine; their paths in the graph become those below `folder`.

    Parameters
    ----------
    graph : dict
        The graph as `to_dict` writes it; it is changed.
    mounted : tuple of str
        Where volumes are mounted: paths below are left as they are.
    folder : str
        Where the files will be.

    Returns
    -------
    files : dict
        Contents by name.
    notes : list of str
        What whoever deploys has to see to.
    """
    files: Files = {}
    notes: list[str] = []
    for name, arguments in _with_models(graph, ""):
        given = str(arguments["model_path"])
        path = os.path.expanduser(given.removeprefix("file://"))
        if "://" in path or any(path == mount or path.startswith(mount.rstrip("/") + "/") for mount in mounted):
            continue
        if not os.path.exists(path):
            notes.append(f"model '{name}': there is no {given} here, so it has to be where the function runs")
            continue
        place = "models/" + re.sub(r"[^\w.-]", "_", name)
        files |= _files_of(path, place)
        arguments["model_path"] = f"{folder}/{place}" + ("" if os.path.isdir(path) else f"/{os.path.basename(path)}")
    return files, notes


def _with_models(step: Mapping[str, Any], name: str) -> Iterator[tuple[str, dict[str, Any]]]:
    arguments = step.get("class_args")
    if isinstance(arguments, dict) and isinstance(arguments.get("model_path"), str) and arguments["model_path"]:
        yield name, arguments
    for kind in ("steps", "routes"):
        for key, inner in (step.get(kind) or {}).items():
            yield from _with_models(inner, f"{name}.{key}" if name else key)


def _files_of(path: str, place: str) -> Files:
    if os.path.isdir(path):
        found = sorted(file for file in Path(path).rglob("*") if file.is_file() and "__pycache__" not in file.parts)
        return {f"{place}/{file.relative_to(path).as_posix()}": file.read_bytes() for file in found}
    beside = [os.path.join(os.path.dirname(path), name) for name in SPEC_NAMES]
    listed = [path, *(name for name in beside if os.path.isfile(name))]
    return {f"{place}/{os.path.basename(name)}": Path(name).read_bytes() for name in listed}
