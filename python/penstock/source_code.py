"""The source of a function: Python files and notebooks, loaded when its names are looked up."""

from __future__ import annotations

import base64
import binascii
import hashlib
import importlib
import importlib.util
import json
import os
import re
import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any

from penstock.documents import read_bytes
from penstock.errors import GraphError, PenstockError

HERE = ("", ".", "./")  # no source of its own: the names of whoever makes the function
_MARK = re.compile(r"#\s*(?:penstock|mlrun|nuclio)\s*:\s*(ignore|start-code|end-code)\b")
_MAGIC = re.compile(r"(\s*)[%!]")
_loaded: dict[str, ModuleType] = {}


def load_source(filename: str, *, workdir: str | None = None, code: str = "") -> ModuleType | None:
    """Load a source file as a module; None if it names no file.

    Parameters
    ----------
    filename : str
        A .py or .ipynb file, or a URL of one.
    workdir : str, optional
        What a relative path starts from.
    code : str
        The source itself, in base64, for where the file is not.

    Raises
    ------
    GraphError
        There is no such file, or it fails; the text has the line.
    """
    if filename.strip() in HERE and not code:
        return None
    path = os.path.join(workdir or "", os.path.expanduser(filename)) if "://" not in filename else filename
    if os.path.isdir(path):
        return None
    if code and (filename.strip() in HERE or not os.path.exists(path)):
        return _run(_decoded(code, filename), filename or "function.py")
    path = os.path.abspath(path) if "://" not in path else path
    return _module_of(path) or _imported(path) or _run(_text(path), path)


def encode_source(filename: str) -> str:
    """Return a function's source in base64, as MLRun carries it; "" if it has no file of its own."""
    if filename.strip() in HERE or "://" in filename or not os.path.isfile(filename):
        return ""
    return base64.b64encode(_text(os.path.abspath(filename)).encode()).decode()


def notebook_code(notebook: dict[str, Any]) -> str:
    r"""Join the code of a notebook: cells marked "# penstock: ignore", cells of magics and single magics are left out.

    A cell with "# penstock: start-code" leaves out all before it, one with "end-code" all after it.

    Examples
    --------
    >>> cells = ["!pip install x", "# penstock: ignore\nboom()", ["a = 1\n", "b = 2"]]
    >>> notebook_code({"cells": [{"cell_type": "code", "source": cell} for cell in cells]})
    'a = 1\nb = 2\n'
    """
    parts: list[str] = []
    for cell in notebook.get("cells", []):
        source = cell.get("source") or ""
        text = "".join(source) if isinstance(source, list) else source
        if cell.get("cell_type") != "code" or text.lstrip().startswith("%%"):
            continue
        marks = set(_MARK.findall(text))
        if "start-code" in marks:
            parts = []
        if "ignore" not in marks:
            parts += [line for line in map(_without_magic, text.splitlines()) if line is not None]
        if "end-code" in marks:
            break
    return "".join(f"{line}\n" for line in parts)


def _without_magic(line: str) -> str | None:
    found = _MAGIC.match(line)
    if found is None:
        return line
    return f"{found[1]}pass" if found[1] else None  # in a block, something has to stay


def _text(path: str) -> str:
    raw = read_bytes(path)
    if not path.endswith(".ipynb"):
        return raw.decode("utf-8-sig")
    try:
        return notebook_code(json.loads(raw))
    except ValueError as error:
        raise GraphError(f"{path} is no notebook: {error}") from None


def _decoded(code: str, filename: str) -> str:
    try:
        return base64.b64decode(code, validate=True).decode()
    except (binascii.Error, UnicodeDecodeError) as error:
        raise GraphError(f"the code of {filename or 'the function'} is not base64: {error}") from None


def _module_of(path: str) -> ModuleType | None:
    """Return the module that a file is loaded as already: a function may well be made in its own source."""
    for module in list(sys.modules.values()):
        file = getattr(module, "__file__", None)
        if isinstance(file, str) and file.endswith(".py") and os.path.abspath(file) == path:
            return module
    return None


def _imported(path: str) -> ModuleType | None:
    """Import a file under its own name where that name is free: so processes that are spawned find its classes."""
    folder, file = os.path.split(path)
    stem, suffix = os.path.splitext(file)
    if suffix != ".py" or "://" in path or not stem.isidentifier() or not os.path.isfile(path):
        return None
    if folder not in sys.path:
        sys.path.insert(0, folder)
    importlib.invalidate_caches()
    found = importlib.util.find_spec(stem) if stem not in sys.modules else None
    if found is None or found.origin != path:
        return None
    return _guarded(path, lambda: importlib.import_module(stem))


def _run(text: str, path: str) -> ModuleType:
    """Run a source as a module that can be found again by its name, once for each text."""
    stem = re.sub(r"\W", "_", os.path.splitext(os.path.basename(path))[0]) or "source"
    digest = hashlib.sha256("\n".join((path, text)).encode()).hexdigest()
    name = f"{stem}_{digest[:8]}"
    if name in _loaded:
        return _loaded[name]
    spec = importlib.util.spec_from_loader(name, None, origin=path)
    if spec is None:
        raise GraphError(f"{path} is no Python source")
    module = importlib.util.module_from_spec(spec)
    module.__file__ = path
    folder = os.path.dirname(path)
    if os.path.isdir(folder) and folder not in sys.path:
        sys.path.insert(0, folder)  # so that it can import what lies beside it
    sys.modules[name] = module

    def run() -> ModuleType:
        try:
            exec(compile(text, path, "exec"), vars(module))  # noqa: S102  # the function's own source
        except BaseException:
            del sys.modules[name]
            raise
        return module

    return _loaded.setdefault(name, _guarded(path, run))


def _guarded(path: str, load: Callable[[], ModuleType]) -> ModuleType:
    try:
        return load()
    except PenstockError:
        raise
    except Exception as error:
        raise GraphError(f"{path} failed to load{_line_of(error, path)}: {type(error).__name__}: {error}") from error


def _line_of(error: Exception, path: str) -> str:
    line = error.lineno if isinstance(error, SyntaxError) else None
    trace = error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == path:
            line = trace.tb_lineno
        trace = trace.tb_next
    return f" (line {line})" if line else ""
