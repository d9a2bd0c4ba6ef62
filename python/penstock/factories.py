"""How functions are made: new ones, those of a source, and those that somebody has written down."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from penstock.errors import GraphError
from penstock.function import ServingFunction
from penstock.hub import PREFIX, hub_class, hub_name
from penstock.source_code import HERE

if TYPE_CHECKING:
    from penstock.server import GraphServer

_NAME = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")  # DNS-1123, what Kubernetes takes
_SOURCES = (".py", ".ipynb")
_TEXTS = (".yaml", ".yml", ".json")


def new_function(
    name: str = "",
    project: str = "",
    tag: str = "",
    kind: str = "serving",
    *,
    command: str = "",
    image: str = "",
    runtime: dict[str, Any] | None = None,
    requirements: Sequence[str] | str | None = None,
    labels: dict[str, str] | None = None,
) -> ServingFunction:
    """Make a serving function.

    Parameters
    ----------
    name : str
        Lower case letters, digits and "-"; "_" becomes "-".
    project, tag : str, optional
        What else names it.
    kind : str
        "serving", the only kind there is.
    command : str, optional
        A .py or .ipynb file with its classes and handlers.
    image : str, optional
        The image that it is deployed in.
    runtime : dict, optional
        A function as `to_dict` writes it, to start from.
    requirements : list of str, or the path of a file, optional
        Python packages that it needs.
    labels : dict, optional
        What else is known about it.

    Raises
    ------
    GraphError
        The name or the kind cannot be.

    Examples
    --------
    >>> new_function("my_server").metadata.name
    'my-server'
    """
    if kind != "serving":
        raise GraphError(f"there is no kind of function '{kind}', only 'serving'")
    if runtime is not None:
        started = runtime | {"kind": runtime.get("kind") or kind}
        fn = ServingFunction.from_dict(
            started | {"metadata": (runtime.get("metadata") or {}) | ({"name": name} if name else {})}
        )
        fn.metadata.project, fn.metadata.tag = project or fn.metadata.project, tag or fn.metadata.tag
        fn.metadata.labels |= labels or {}
    else:
        fn = ServingFunction(_named(name), project=project, tag=tag, labels=labels)
    fn.spec.command, fn.spec.image = command or fn.spec.command, image or fn.spec.image
    return fn.with_requirements(requirements)


def code_to_function(  # noqa: PLR0917  # the order is MLRun's
    name: str = "",
    project: str = "",
    tag: str = "",
    filename: str = "",
    handler: str = "",
    kind: str = "serving",
    image: str = "",
    *,
    requirements: Sequence[str] | str | None = None,
    description: str = "",
    labels: dict[str, str] | None = None,
    **ignored: Any,
) -> ServingFunction:
    """Make a serving function of a source: its graph may name the classes and functions in it.

    Parameters
    ----------
    name : str
        As for `new_function`; by default the file's name.
    filename : str
        A .py or .ipynb file, or a URL of one; "" or "./" for the module or notebook that calls this.
    handler : str
        Accepted for MLRun's sake.
    project, tag, kind, image, requirements, labels
        As for `new_function`.
    description : str
        What it does.
    **ignored
        Further arguments of MLRun, such as ``with_doc`` and ``code_output``.

    Raises
    ------
    GraphError
        There is no such source.

    Examples
    --------
    >>> code_to_function("advanced", filename="", kind="serving", image="mlrun/mlrun").spec.image
    'mlrun/mlrun'
    """
    _refuse_unknown(ignored)
    here = filename.strip() in HERE
    if not here and "://" not in filename:
        if not filename.endswith(_SOURCES):
            raise GraphError(f"filename is a .py or .ipynb file, or '' for this module, not {filename!r}")
        if not os.path.isfile(filename):
            raise GraphError(f"there is no file {filename}")
    stem = "" if here else os.path.splitext(os.path.basename(filename))[0]
    fn = new_function(name or stem, project, tag, kind, image=image, requirements=requirements, labels=labels)
    fn.spec.filename = "" if here else filename
    fn.spec.description = description
    del handler
    if here:
        fn._globals = sys._getframe(1).f_globals
    return fn


def import_function(url: str, *, new_name: str = "", project: str = "") -> ServingFunction:
    """Make a function of what somebody else has written down.

    Parameters
    ----------
    url : str
        ``hub://v2_model_server`` and other names of the built-in hub; a .yaml or .json file that `export` wrote;
        a .py or .ipynb source; each of the latter as a path or as a URL that fsspec reads.
    new_name : str, optional
        The function's name, instead of the one it has.
    project : str, optional
        Its project.

    Raises
    ------
    GraphError
        There is nothing of that name; the text has the nearest.

    Examples
    --------
    >>> import_function("hub://v2_model_server").spec.default_class
    'penstock.serving.PickleModelServer'
    """
    if url.startswith("db://"):
        raise GraphError(f"{url}: there is no database of functions here; export it to a file, and import that")
    if url.startswith(PREFIX):
        fn = new_function(new_name or hub_name(url), project)
        fn.spec.default_class = hub_class(url)
        return fn
    if url.endswith("/"):
        url += "function.yaml"
    if url.endswith(_SOURCES):
        fn = code_to_function(new_name, project, filename=url)
    elif url.endswith(_TEXTS):
        fn = _read_function(url)
    else:
        raise GraphError(f"a function is imported from hub://..., a .yaml, .json, .py or .ipynb file, not from {url!r}")
    if new_name:
        fn.metadata.name = _named(new_name)
    fn.metadata.project = project or fn.metadata.project
    return fn


def deploy_function(function: ServingFunction, *, mock: bool = True) -> GraphServer | None:
    """Deploy a function for tests: from now on ``function.invoke(...)`` asks a mock server in this process.

    Parameters
    ----------
    function : ServingFunction
        The function.
    mock : bool
        False ends it.
    """
    function._set_as_mock(mock)
    return function._start_mock(sys._getframe(1).f_globals) if mock else None


def _read_function(url: str) -> ServingFunction:
    from penstock.documents import read

    fn = ServingFunction.from_dict(read(url))
    if "://" not in url:
        fn._workdir = os.path.dirname(os.path.abspath(url))
    return fn


def _named(name: str) -> str:
    normal = (name or "serving").lower().replace("_", "-").replace(" ", "-")
    if not _NAME.fullmatch(normal):
        raise GraphError(f"function name '{name}' is not made of letters, digits and '-', at most 63, ends included")
    return normal


def _refuse_unknown(arguments: dict[str, Any]) -> None:
    known = {"with_doc", "code_output", "categories", "embed_code", "requirements_file", "ignored_tags", "hash"}
    for key in arguments:
        if key not in known:
            from penstock.resolve import nearest

            raise GraphError(f"code_to_function takes no argument '{key}'{nearest(key, known)}")
