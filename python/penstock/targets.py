"""From what the command line names to a function: a file or module, and which function in it."""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import linecache
import os
import sys
import traceback
from types import ModuleType

from penstock.errors import GraphError, PenstockError
from penstock.factories import import_function
from penstock.function import ServingFunction
from penstock.resolve import nearest

_DOCUMENTS = (".yaml", ".yml", ".json")


class TargetError(PenstockError):
    """There is no such file or module: the command was called wrongly."""


def load_target(target: str) -> tuple[ServingFunction, ModuleType]:
    """Load ``file.py[:name]``, ``package.module[:name]`` or ``function.yaml``; return the function and its module.

    Raises
    ------
    TargetError
        There is no such file or module.
    GraphError
        The module fails, or has no such function; the text lists those it has.
    """
    place, _, name = target.partition(":")
    if os.path.isdir(place) and (os.sep in place or not place.strip(".")):  # a name alone may be a package
        raise TargetError(f"{place} is a folder; a target is a file in it, or a module")
    if place.endswith(_DOCUMENTS):
        return _read_function(place, name)
    try:
        module = _load_file(place) if _is_file(place) else _load_module(place)
    except PenstockError:
        raise
    except (Exception, SystemExit) as error:
        frame = traceback.extract_tb(error.__traceback__)[-1]
        where = f" (line {frame.lineno} of {os.path.basename(frame.filename)})"
        raise GraphError(f"{place} failed to load{where}: {type(error).__name__}: {error}") from error
    return _pick(module, place, name), module


def load_target_anew(target: str) -> tuple[ServingFunction, ModuleType]:
    """Load a target as if nothing of it had been loaded: its file or package, and the modules that lie beside it.

    If that fails, what was loaded before stays.

    Raises
    ------
    TargetError, GraphError
        As for `load_target`.
    """
    place = target.partition(":")[0]
    forgotten = {name: module for name, module in list(sys.modules.items()) if _is_of_target(module, place)}
    for name, module in forgotten.items():
        del sys.modules[name]
        with contextlib.suppress(OSError):  # one of the same size and second would pass for the new source
            os.unlink(importlib.util.cache_from_source(str(module.__file__)))
    linecache.checkcache()
    importlib.invalidate_caches()
    try:
        return load_target(target)
    except BaseException:
        for name in [name for name, module in list(sys.modules.items()) if _is_of_target(module, place)]:
            del sys.modules[name]
        sys.modules.update(forgotten)
        raise


def _is_of_target(module: ModuleType, place: str) -> bool:
    """Tell whether a module lies in the folder of a file, or in the package of a module; installed ones do not."""
    file = getattr(module, "__file__", None)
    if not file or not file.endswith(".py") or module.__name__ == "__main__":
        return False
    if not _is_file(place):
        top = place.partition(".")[0]
        return module.__name__ == top or module.__name__.startswith(top + ".")
    folder = os.path.dirname(os.path.abspath(place))
    parts = os.path.relpath(os.path.abspath(file), folder).split(os.sep)
    return os.pardir not in parts and not {"site-packages", "dist-packages", "penstock"}.intersection(parts)


def _is_file(place: str) -> bool:
    return place.endswith((".py", *_DOCUMENTS)) or os.sep in place


def _read_function(place: str, name: str) -> tuple[ServingFunction, ModuleType]:
    if not os.path.isfile(place):
        raise TargetError(f"there is no file {place}")
    function = import_function(place)
    known = function.metadata.name
    if name and name != known:
        raise GraphError(f"{place} has no serving function '{name}', it has {known}{nearest(name, [known])}")
    return function, ModuleType("function")


def _load_file(path: str) -> ModuleType:
    if not os.path.isfile(path):
        raise TargetError(f"there is no file {path}")
    name = os.path.splitext(os.path.basename(path))[0]
    if name == "penstock":  # it would get itself when it imports penstock
        raise TargetError(f"{path} hides the package penstock, give the file another name")
    folder = os.path.dirname(os.path.abspath(path))
    if folder not in sys.path:
        sys.path.insert(0, folder)  # so that the file can import what lies beside it
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise TargetError(f"{path} is no Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


def _load_module(name: str) -> ModuleType:
    if "" not in sys.path and os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is None or not (name == error.name or name.startswith(error.name + ".")):
            raise
        raise TargetError(f"there is no module '{name}' (a file is given as {name}.py)") from error


def _pick(module: ModuleType, place: str, name: str) -> ServingFunction:
    functions = {key: value for key, value in vars(module).items() if isinstance(value, ServingFunction)}
    if name:
        if name not in functions:
            has = f", it has {', '.join(functions)}" if functions else ", it has none"
            raise GraphError(f"{place} has no serving function '{name}'{has}{nearest(name, functions)}")
        return functions[name]
    if "fn" in functions:
        return functions["fn"]
    different = {id(value): key for key, value in functions.items()}
    if len(different) == 1:
        return next(iter(functions.values()))
    if not functions:
        raise GraphError(f"{place} has no serving function; make one with penstock.new_function(...)")
    candidates = ", ".join(f"{place}:{key}" for key in functions)
    raise GraphError(f"{place} has several serving functions, name one: {candidates}")
