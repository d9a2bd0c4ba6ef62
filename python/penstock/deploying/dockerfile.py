"""Images: a Dockerfile for each set of requirements, and what it copies."""

from __future__ import annotations

from pathlib import Path

from penstock.deploying.content import Files
from penstock.deploying.what import Application, DeployedFunction, locked
from penstock.errors import GraphError

FOLDER = "/app"
PORT = 8080
USER = 10001
PLATFORM = ("mlrun/", "iguazio/", "quay.io/iguazio/")  # images that bring what penstock replaces


def context_of(application: Application) -> Files:
    """Return what the images are built from: Dockerfiles, requirements, the function and its files."""
    files: Files = {".dockerignore": b"*\n!app\n!requirements*\n!wheels\n"}
    for function in application.images:
        suffix = function.suffix
        files[function.dockerfile] = dockerfile_of(function, application).encode()
        files[f"requirements{suffix}.txt"] = _text(function.requirements)
        files[f"requirements{suffix}.lock"] = _text(locked(function))
    files["app/function.json"] = application.text.encode()
    files |= {f"app/{name}": content for name, content in application.files.items()}
    return files | wheel_of(application)


def wheel_of(application: Application) -> Files:
    """Return the wheel of penstock that is carried along, if there is one."""
    wheel = application.options.wheel
    if not wheel:
        return {}
    if not Path(wheel).is_file():
        raise GraphError(f"there is no wheel {wheel}")
    return {f"wheels/{Path(wheel).name}": Path(wheel).read_bytes()}


def base_of(function: DeployedFunction, application: Application) -> str:
    """Return the image that a function's is built on: what it says, else Python's slim one.

    Images of MLRun's platform bring what penstock replaces, and are not taken.
    """
    root = application.root.settings.spec
    for image in (function.settings.spec.build.base_image, function.settings.spec.image, root.build.base_image):
        if image and not image.startswith(PLATFORM):
            return image
    return f"python:{application.options.python}-slim"


def commands_of(function: DeployedFunction, application: Application) -> list[str]:
    """Return the commands that build a function's image, the root's first."""
    root = application.root.settings.spec.build.commands
    return list(dict.fromkeys([*root, *function.settings.spec.build.commands]))


def dockerfile_of(function: DeployedFunction, application: Application) -> str:
    """Write the Dockerfile of a function."""
    suffix = function.suffix
    wheels = "COPY wheels /tmp/build/wheels\n" if application.options.wheel else ""
    commands = commands_of(function, application)
    # The function's own commands are not judged: what they install is locked by PIP_CONSTRAINT.
    own = "".join(f"# hadolint ignore=DL3013,DL3059\nRUN {command}\n" for command in commands)
    return f"""\
# penstock {application.name}: built by `docker build -f {function.dockerfile} .`
FROM {base_of(function, application)}

ENV PYTHONUNBUFFERED=1 \\
    PYTHONDONTWRITEBYTECODE=1 \\
    PYTHONPATH={FOLDER} \\
    PENSTOCK_DEPLOYED=1 \\
    HOME=/tmp \\
    PIP_NO_CACHE_DIR=1 \\
    PIP_DISABLE_PIP_VERSION_CHECK=1 \\
    PIP_CONSTRAINT=/tmp/build/requirements.lock

# What is installed has the versions that it was tested with: the lock holds for the commands, too.
WORKDIR /tmp/build
{wheels}COPY requirements{suffix}.txt requirements.txt
COPY requirements{suffix}.lock requirements.lock
RUN pip install -r requirements.txt
{own}
ENV PIP_CONSTRAINT=
WORKDIR {FOLDER}
COPY app {FOLDER}

USER {USER}:{USER}
EXPOSE {PORT}
HEALTHCHECK --interval=10s --timeout=3s --start-period=60s --retries=3 \\
    CMD ["python", "-c", "import urllib.request as r; r.urlopen('http://127.0.0.1:{PORT}/v2/health/ready', timeout=2)"]
ENTRYPOINT ["penstock"]
CMD ["serve", "{FOLDER}/function.json", "--host", "0.0.0.0", "--port", "{PORT}"]
"""


def arguments_of(function: DeployedFunction, document: str = f"{FOLDER}/function.json") -> list[str]:
    """Return the arguments of `penstock` that run a function in its container."""
    role = ["--function", function.role] if function.role else []
    return ["serve", document, "--host", "0.0.0.0", "--port", str(PORT), *role]  # noqa: S104  # in a container


def _text(lines: list[str]) -> bytes:
    return "".join(f"{line}\n" for line in lines).encode()
