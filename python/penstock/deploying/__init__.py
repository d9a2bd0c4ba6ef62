"""From a function to where it runs: a local server process, Nuclio, Docker Compose, Kubernetes, KServe."""

from __future__ import annotations

import dataclasses
import os
import shutil
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from penstock.errors import GraphError
from penstock.resolve import nearest

if TYPE_CHECKING:
    from penstock.deploying.what import Application
    from penstock.function import ServingFunction

__all__ = ["TARGETS", "Say", "deploy", "written"]

TARGETS = ("nuclio", "compose", "k8s", "kserve")
Say = Callable[[str], None]
_LOCAL = ("host", "port", "timeout")
DEPLOYED = "PENSTOCK_DEPLOYED"  # set where a deployed function runs
_MARK = ".penstock-deploy"  # a folder that has it may be written anew


def deploy(
    function: Any,
    target: str | None,
    output: str | None,
    *,
    apply: bool,
    watch: bool,
    module: Mapping[str, Any],
    options: Mapping[str, Any],
) -> str:
    """Deploy a function; see `ServingFunction.deploy`."""
    if os.environ.get(DEPLOYED):
        raise GraphError(
            f"the source of '{function.metadata.name}' deploys it whenever it is loaded, and what serves it loads it: "
            "write `if __name__ == '__main__':` above fn.deploy()"
        )
    say = _say if watch else _silent
    if target is None:
        from penstock.deploying.local import start

        _check_names(options, _LOCAL, "a local server process")
        return start(function, module, say=say, **options)
    options = dict(options)
    dashboard = options.pop("dashboard", "")
    application, files = written(function, target, module=module, options=options)
    folder = Path(output or f"deploy/{target}")
    write(folder, files)
    for name in files:
        say(f"wrote {folder / name}")
    for note in application.notes:
        _say(f"penstock: note: {note}")
    if not apply:
        return str(folder)
    from penstock.deploying.apply import apply_application

    address = apply_application(application, target, folder, dashboard=dashboard, say=say)
    function.status.address = address
    return address or str(folder)


def written(
    function: ServingFunction, target: str, *, module: Mapping[str, Any], options: Mapping[str, Any]
) -> tuple[Application, dict[str, bytes]]:
    """Describe a function, and write what a target needs: contents by name.

    Raises
    ------
    GraphError
        There is no such target or option, or the function cannot be deployed there.
    """
    from penstock.deploying import compose, kserve, kubernetes, nuclio
    from penstock.deploying.dockerfile import FOLDER
    from penstock.deploying.what import Options, describe

    if target not in TARGETS:
        raise GraphError(f"functions are deployed to {', '.join(TARGETS)}, not to '{target}'{nearest(target, TARGETS)}")
    _check_names(options, [field.name for field in dataclasses.fields(Options)], f"deploying to {target}")
    given = Options(**{**options, "include": tuple(options.get("include") or ())})
    kafka = compose.KAFKA if target == "compose" else ""
    folder = nuclio.FOLDER if target == "nuclio" else FOLDER
    application = describe(function, folder=folder, kafka=kafka, module=module, options=given)
    makers = {"compose": compose, "k8s": kubernetes, "kserve": kserve, "nuclio": nuclio}
    return application, makers[target].files_of(application)


def write(folder: Path, files: Mapping[str, bytes]) -> None:
    """Write files into a folder, instead of those of the last time.

    Raises
    ------
    GraphError
        The folder has files of somebody else.
    """
    if folder.is_dir() and any(folder.iterdir()):
        if not (folder / _MARK).is_file():
            raise GraphError(f"the folder {folder} has files that are not of a deployment: name another by output=")
        shutil.rmtree(folder)
    for name, content in {_MARK: b"", **files}.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


def _check_names(options: Mapping[str, Any], known: Any, what: str) -> None:
    for name in options:
        if name not in known:
            raise GraphError(f"{what} takes no option '{name}'{nearest(name, known)}; it takes {', '.join(known)}")


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _silent(line: str) -> None:
    """Say nothing: nobody watches."""
