"""Having a target deploy what was written: the command lines of its own tool, or Nuclio's dashboard."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shlex
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from penstock.deploying import Say
from penstock.deploying.compose import published_port
from penstock.deploying.what import Application, registry_of
from penstock.errors import DeployError, GraphError

_REFERENCE = re.compile(r"\$\{(\w+)\}")
_ROLLOUT = "--timeout=300s"


def commands_of(application: Application, target: str, folder: Path) -> list[list[str]]:
    """Return the command lines that deploy what is in a folder.

    Parameters
    ----------
    application : Application
        What was written.
    target : str
        Where to.
    folder : Path
        Where it was written.
    """
    if target == "compose":
        return [["docker", "compose", "--file", str(folder / "compose.yaml"), "up", "--build", "--detach", "--wait"]]
    if target == "nuclio":
        return [_nuctl(application, function.name, folder) for function in reversed(application.functions)]
    space = ["--namespace", application.options.namespace] if application.options.namespace else []
    commands = []
    for function in application.images:
        commands.append(
            ["docker", "build", "--file", str(folder / function.dockerfile), "--tag", function.image, str(folder)]
        )
        if registry_of(function.image):
            commands.append(["docker", "push", function.image])
    names = ["kubernetes.yaml" if target == "k8s" else "kserve.yaml"]
    names += ["keda.yaml"] if any(function.reads for function in application.functions) else []
    commands += [["kubectl", "apply", *space, "--filename", str(folder / name)] for name in names]
    deployed = application.functions if target == "k8s" else application.functions[1:]
    commands += [["kubectl", "rollout", "status", *space, f"deployment/{one.name}", _ROLLOUT] for one in deployed]
    if target == "kserve":
        waited = ["kubectl", "wait", *space, "--for=condition=Ready", _ROLLOUT]
        commands.append([*waited, f"inferenceservice/{application.name}"])
    return commands


def apply_application(application: Application, target: str, folder: Path, *, dashboard: str, say: Say) -> str:
    """Deploy what was written; return the function's address, "" if its tool does not say.

    Raises
    ------
    DeployError
        A tool failed, or is not there.
    GraphError
        What was written refers to a variable that is not set.
    """
    if dashboard:
        if target != "nuclio":
            raise GraphError(f"dashboard= is Nuclio's; {target} is deployed by its own tool")
        from penstock.deploying.dashboard import deploy_all

        return deploy_all(application, dashboard, say=say)
    with _filled(folder) as filled:
        for command in commands_of(application, target, filled):
            say("$ " + shlex.join(command))
            _run(command)
    return _address(application, target)


def fill(text: str, what: str) -> str:
    """Put the values of environment variables in place of ``${NAME}``, which is in texts that JSON quotes.

    Raises
    ------
    GraphError
        One is not set.
    """

    def value(found: re.Match[str]) -> str:
        if found[1] not in os.environ:
            raise GraphError(f"{what} refers to ${{{found[1]}}}, and no environment variable of that name is set")
        return json.dumps(os.environ[found[1]], ensure_ascii=False)[1:-1]

    return _REFERENCE.sub(value, text)


def address_in(status: Any) -> str:
    """Return where Nuclio says that a function answers; "" if it does not say.

    Examples
    --------
    >>> address_in({"internalInvocationUrls": ["nuclio-f.ns.svc.cluster.local:8080"], "httpPort": 30400})
    'http://nuclio-f.ns.svc.cluster.local:8080'
    """
    listed = [*(status.get("externalInvocationUrls") or []), *(status.get("internalInvocationUrls") or [])]
    if listed:
        return f"http://{listed[0]}"
    return f"http://127.0.0.1:{status['httpPort']}" if status.get("httpPort") else ""


def _nuctl(application: Application, name: str, folder: Path) -> list[str]:
    options = application.options
    own = folder / name
    command = ["nuctl", "deploy", name, "--path", str(own), "--file", str(own / "function.yaml")]
    command += ["--namespace", options.namespace] if options.namespace else []
    command += ["--project-name", application.project] if application.project else []
    registry = registry_of(options.image)
    return command + (["--registry", registry, "--run-registry", registry] if registry else [])


@contextlib.contextmanager
def _filled(folder: Path) -> Iterator[Path]:
    """Give the folder; a private copy of it, for the moment, if its function.yaml refers to variables."""
    listed = [path for path in sorted(folder.rglob("function.yaml")) if _REFERENCE.search(path.read_text("utf-8"))]
    if not listed:
        yield folder
        return
    with tempfile.TemporaryDirectory(prefix="penstock-apply-") as private:  # readable by its owner only
        copied = Path(private, folder.name)
        shutil.copytree(folder, copied)
        for path in listed:
            inner = copied / path.relative_to(folder)
            inner.write_text(fill(inner.read_text("utf-8"), str(path)), "utf-8")
        yield copied


def _run(command: list[str], *, capture: bool = False) -> str:
    try:
        done = subprocess.run(command, check=False, text=True, stdout=subprocess.PIPE if capture else None)  # noqa: S603
    except FileNotFoundError:
        raise DeployError(
            f"there is no '{command[0]}' on PATH: install it, or run where it is: {shlex.join(command)}"
        ) from None
    if done.returncode != 0:
        raise DeployError(f"exit code {done.returncode} of: {shlex.join(command)}")
    return done.stdout or ""


def _address(application: Application, target: str) -> str:
    root, options = application.root, application.options
    space = ["--namespace", options.namespace] if options.namespace else []
    if target == "compose":
        return f"http://127.0.0.1:{published_port(root)}"
    if target == "k8s":
        return f"http://{root.name}.{options.namespace or 'default'}.svc.cluster.local"
    if target == "kserve":
        return _run(
            ["kubectl", "get", *space, f"inferenceservice/{root.name}", "--output", "jsonpath={.status.url}"],
            capture=True,
        ).strip()
    told = _run(["nuctl", "get", "function", root.name, *space, "--output", "json"], capture=True)
    try:
        found = json.loads(told)
    except ValueError:
        return ""
    found = found[0] if isinstance(found, list) and found else found
    return address_in(found.get("status") or {}) if isinstance(found, dict) else ""
