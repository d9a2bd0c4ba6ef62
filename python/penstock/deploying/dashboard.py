"""Nuclio's dashboard: functions are sent to it over HTTP, and built where it runs."""

from __future__ import annotations

import base64
import json
import time
import urllib.error
import urllib.request
from typing import Any

from penstock.deploying import Say
from penstock.deploying.apply import address_in, fill
from penstock.deploying.nuclio import FOLDER, function_config, serving_spec
from penstock.deploying.what import Application, DeployedFunction, locked
from penstock.documents import pack
from penstock.errors import DeployError, GraphError

_FAILED = ("error", "unhealthy")
_ENTRY = "\n\nfrom penstock.nuclio import {entry} as penstock_{entry}\n"


def deploy_all(application: Application, url: str, *, say: Say, timeout: float = 600.0, pause: float = 1.0) -> str:
    """Deploy the functions, the children first; return the address of the root.

    Parameters
    ----------
    application : Application
        What is to be deployed.
    url : str
        The dashboard's address.
    say : callable
        Takes a line of what is happening.
    timeout : float
        Seconds that a function may take until it is ready.
    pause : float
        Seconds between two looks at it.

    Raises
    ------
    GraphError
        The function carries more than one file: the dashboard takes source code only.
    DeployError
        The dashboard refused it, or its image could not be built.
    """
    if not url.startswith(("http://", "https://")):
        raise GraphError(f"the dashboard is reached over http or https, not at {url!r}")
    address = ""
    for function in reversed(application.functions):
        config = inline_config(function, application)
        address = _Dashboard(url.rstrip("/"), application).deploy(config, say, timeout, pause)
    return address


def inline_config(function: DeployedFunction, application: Application) -> dict[str, Any]:
    """Return a function's configuration with its source and its spec in it."""
    if len(application.files) > 1:
        raise GraphError(
            f"the dashboard takes one source file, and '{application.name}' carries {', '.join(application.files)}: "
            "deploy it by nuctl (leave dashboard= out), or keep models at a URL"
        )
    config = json.loads(fill(json.dumps(function_config(function, application)), f"function '{function.name}'"))
    spec = config["spec"]
    name, content = next(iter(application.files.items()), ("function.py", b""))
    entry = spec["handler"].rpartition(":")[2]
    stem = name.removesuffix(".py")
    spec["handler"] = f"{stem}:penstock_{entry}"
    spec["env"] = [item for item in spec["env"] if item["name"] != "PENSTOCK_SPEC_PATH"]
    spec["env"].append({"name": "SERVING_SPEC_ENV", "value": pack(serving_spec(application))})
    # There is no file of requirements: what is installed is in the command.
    pinned = dict(line.split("==") for line in locked(function))
    lines = [one if "=" in one or one not in pinned else f"{one}=={pinned[one]}" for one in function.requirements]
    spec["build"]["commands"] = [
        "pip install --no-cache-dir " + " ".join(f"'{line}'" for line in lines),
        *(one for one in spec["build"]["commands"] if not one.startswith(("@", f"cd {FOLDER}"))),
    ]
    code = content.decode() + _ENTRY.format(entry=entry)
    spec["build"]["functionSourceCode"] = base64.b64encode(code.encode()).decode()
    return {"metadata": config["metadata"], "spec": spec}


class _Dashboard:
    def __init__(self, url: str, application: Application) -> None:
        self._url = f"{url}/api/functions"
        self._headers = {"Content-Type": "application/json", "x-nuclio-project-name": application.project or "default"}
        if application.options.namespace:
            self._headers["x-nuclio-function-namespace"] = application.options.namespace

    def deploy(self, config: dict[str, Any], say: Say, timeout: float, pause: float) -> str:
        name = config["metadata"]["name"]
        known, _ = self._ask("GET", name, missing=True)
        self._ask("PUT" if known else "POST", name if known else "", config)
        say(f"penstock: '{name}' is being built")
        end = time.monotonic() + timeout
        before = ""
        while time.monotonic() < end:
            _, found = self._ask("GET", name)
            status = found.get("status") or {}
            state = str(status.get("state", ""))
            if state != before:
                say(f"penstock: '{name}': {state}")
                before = state
            if state == "ready":
                return address_in(status)
            if state in _FAILED:
                raise DeployError(
                    f"Nuclio could not deploy '{name}' ({state}): {status.get('message') or 'see its logs'}"
                )
            time.sleep(pause)
        raise DeployError(f"Nuclio has not deployed '{name}' within {timeout:g} s; it says '{before}'")

    def _ask(self, method: str, name: str, body: Any = None, *, missing: bool = False) -> tuple[bool, dict[str, Any]]:
        url = f"{self._url}/{name}" if name else self._url
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(url, data, self._headers, method=method)  # noqa: S310  # checked above
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:  # noqa: S310  # checked above
                text = answer.read()
        except urllib.error.HTTPError as error:
            with error:
                if missing and error.code == 404:
                    return False, {}
                said = error.read().decode("utf-8", "replace")
            raise DeployError(f"the dashboard answered {error.code} to {method} {url}: {said}") from None
        except OSError as error:
            raise DeployError(f"the dashboard does not answer at {url}: {getattr(error, 'reason', error)}") from error
        try:
            found = json.loads(text) if text.strip() else {}
        except ValueError:
            found = {}
        return True, found if isinstance(found, dict) else {}
