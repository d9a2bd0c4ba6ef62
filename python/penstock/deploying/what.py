"""What is to be deployed: one description of all functions of a graph, from which every target is written."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from penstock.deploying.content import Files, collect, imported_by, models_of, own_source, root_of
from penstock.deploying.locking import extras_of, lock, requirements_of
from penstock.deploying.secrecy import check_fields, check_secrets
from penstock.deploying.streams import Topic, attach
from penstock.errors import GraphError
from penstock.walks import child_functions

if TYPE_CHECKING:
    from penstock.function import ServingFunction
    from penstock.settings import FunctionSettings

_IN_STEPS = (
    "steps get secrets by context.get_secret(name), and queues take sasl_pass='${NAME}' of the environment; "
    "see fn.with_secrets('env', [...])"
)
_IN_TRIGGERS = "write ${NAME}, which is taken from the environment when it is applied"
_LEFT_OUT = ("env", "build", "image", "resources", "volumes", "volume_mounts", "node_selector", "tolerations")


@dataclasses.dataclass(frozen=True)
class Options:
    """What is said of a deployment beside the function.

    Attributes
    ----------
    image : str
        The name of its image, with the registry; children's get the child's name behind it.
    namespace : str
        The namespace in Kubernetes.
    python : str
        The version of Python in the image.
    kafka : str
        The brokers of queues that name no stream: "host:port", several with commas.
    include : tuple of str
        Further files and folders to carry, relative to the source's folder.
    wheel : str
        A wheel of penstock to install instead of the released one.
    """

    image: str = ""
    namespace: str = ""
    python: str = f"{sys.version_info[0]}.{sys.version_info[1]}"
    kafka: str = ""
    include: tuple[str, ...] = ()
    wheel: str = ""


@dataclasses.dataclass
class DeployedFunction:
    """One function: what runs in a container of its own.

    Attributes
    ----------
    name : str
        What it is called where it runs.
    role : str
        What `penstock serve --function` takes to run it; "" if it is the only one.
    settings : FunctionSettings
        The function or child function.
    image : str
        Its image; functions that need the same share one.
    dockerfile : str
        What the image is built from.
    requirements : list of str
        What is installed in the image.
    reads : Topic, optional
        The Kafka topic that brings it events.
    """

    name: str
    role: str
    settings: FunctionSettings
    image: str
    dockerfile: str
    requirements: list[str]
    reads: Topic | None = None

    @property
    def env(self) -> dict[str, str]:
        """Its environment: what was set, and which function it is."""
        given = {name: value for name, value in self.settings.spec.env.items() if name != "SERVING_CURRENT_FUNCTION"}
        return {"SERVING_CURRENT_FUNCTION": self.role, **given} if self.role else given

    @property
    def triggers(self) -> dict[str, dict[str, Any]]:
        """Its triggers, in the words of Nuclio."""
        return self.settings.triggers

    @property
    def is_http(self) -> bool:
        """Whether callers reach it: a function that reads a topic has to say so."""
        return self.reads is None or any(trigger["kind"] == "http" for trigger in self.triggers.values())

    @property
    def least(self) -> int:
        """The number of replicas that there are at least."""
        spec = self.settings.spec
        return spec.min_replicas if spec.min_replicas is not None else spec.replicas or 1

    @property
    def most(self) -> int:
        """The number of replicas that there are at most."""
        spec = self.settings.spec
        return max(self.least, spec.max_replicas or spec.replicas or 1)

    @property
    def suffix(self) -> str:
        """What its own files are told apart by."""
        return self.dockerfile.removeprefix("Dockerfile")


@dataclasses.dataclass
class Application:
    """All functions of a graph, and what they carry.

    Attributes
    ----------
    name, project, tag : str
        What the function is called.
    functions : list of DeployedFunction
        The root first.
    document : dict
        The function, as `penstock serve` reads it; paths are those in the container.
    files : dict of str to bytes
        What lies beside it.
    topics : list of Topic
        The Kafka topics between functions.
    secrets : list of str
        Names of environment variables that hold secrets.
    secret_files : list of str
        Files that hold secrets.
    options : Options
        What was said beside the function.
    notes : list of str
        What whoever deploys has to see to.
    """

    name: str
    project: str
    tag: str
    functions: list[DeployedFunction]
    document: dict[str, Any]
    files: Files
    topics: list[Topic]
    secrets: list[str]
    secret_files: list[str]
    options: Options
    notes: list[str]

    @property
    def root(self) -> DeployedFunction:
        """The function that callers reach."""
        return self.functions[0]

    @property
    def images(self) -> list[DeployedFunction]:
        """A function for each image that is built."""
        return list({function.dockerfile: function for function in reversed(self.functions)}.values())[::-1]

    @property
    def text(self) -> str:
        """The document as text."""
        return json.dumps(self.document, indent=2) + "\n"

    @property
    def digest(self) -> str:
        """A name for its content: another one if the function, its source or its models are others."""
        told = hashlib.sha256(self.text.encode())
        for name, content in sorted(self.files.items()):
            told.update(name.encode() + b"\0" + hashlib.sha256(content).digest())
        return told.hexdigest()[:16]


def describe(
    function: ServingFunction,
    *,
    folder: str,
    kafka: str = "",
    module: Mapping[str, Any] | None = None,
    options: Options | None = None,
) -> Application:
    """Describe what a function's deployment consists of.

    Parameters
    ----------
    function : ServingFunction
        The function.
    folder : str
        Where its files are in the container.
    kafka : str
        The brokers that the target brings along: for queues in memory, and in place of this machine's.
    module : dict, optional
        The names of the module that the function was found in.
    options : Options, optional
        What is said beside the function.

    Raises
    ------
    GraphError
        It cannot be deployed: nothing to serve, a child that is not defined, a queue between functions that no
        stream carries, secrets given by value, or names that are in no file.
    """
    options = options or Options()
    check(function)
    document = function.to_dict()
    spec = document["spec"]
    graph = spec["graph"]
    children = function.spec.function_refs
    mounted = tuple(mount["mountPath"] for mount in function.spec.volume_mounts)
    reads = attach(graph, function.spec.graph, function.metadata.name, kafka=kafka, brokers=options.kafka)
    files, modules, filename = _source(function, module or {}, options, folder)
    models, notes = models_of(graph, mounted, folder)
    text = json.dumps(document)
    image = _tagged(options.image or f"penstock/{function.metadata.name}", function.metadata.tag)
    described: list[DeployedFunction] = []
    for name in ["", *children]:
        of = children[name] if name else function
        role = (name or function.metadata.name) if children else ""
        described.append(_one(of, name, role, root=described[0] if described else None, image=image))
        described[-1].reads = reads.get(name)
        extras = extras_of(text)
        needed = dict.fromkeys([*function.spec.build.requirements, *of.spec.build.requirements])
        found, unknown = requirements_of(needed, modules, extras, wheel=_wheel_name(options))
        described[-1].requirements = found
    notes += [
        f"the module {name} is of no package here: if the function needs it, name its package" for name in unknown
    ]
    _clean(spec, filename)
    check_fields(document, f"function '{function.metadata.name}'", _IN_STEPS)
    return Application(
        name=function.metadata.name,
        project=function.metadata.project,
        tag=function.metadata.tag,
        functions=described,
        document=document,
        files=files | models,
        topics=list({topic.name: topic for topic in reads.values()}.values()),
        secrets=_secret_names(function, "env"),
        secret_files=_secret_names(function, "file"),
        options=options,
        notes=notes,
    )


def check(function: ServingFunction) -> None:
    """Raise for a function that cannot be deployed into containers."""
    check_steps(function)
    for one in (function, *function.spec.function_refs.values()):
        check_secrets(one)
        check_fields(one.triggers, f"function '{one.metadata.name}', trigger", _IN_TRIGGERS)


def check_steps(function: ServingFunction) -> None:
    """Raise for a function without a graph, or with steps of a child that is not defined."""
    function.spec.check()
    graph = function.spec.graph
    if graph is None:
        raise GraphError("nothing to deploy, .spec.graph is none, use .add_model()")
    for name in child_functions(graph):
        if name not in function.spec.function_refs:
            raise GraphError(
                f"function {name} is used in steps and is not defined, use the .add_child_function() to define it"
            )


def locked(function: DeployedFunction) -> list[str]:
    """Return the constraints of a function's image."""
    return lock(function.requirements)


def _one(
    settings: FunctionSettings, name: str, role: str, *, root: DeployedFunction | None, image: tuple[str, str]
) -> DeployedFunction:
    build = settings.spec.build
    own = bool(name and (build.requirements or build.commands or build.base_image))
    return DeployedFunction(
        name=settings.metadata.name,
        role=role,
        settings=settings,
        image=f"{image[0]}-{name}:{image[1]}" if own else root.image if root else ":".join(image),
        dockerfile=f"Dockerfile.{name}" if own else "Dockerfile",
        requirements=[],
    )


def registry_of(image: str) -> str:
    """Return the registry of an image, with the path in it; "" if the image names none: it stays on this machine."""
    path = image.rpartition("/")[0]
    host = path.partition("/")[0]
    return path if "." in host or ":" in host or host == "localhost" else ""


def _tagged(image: str, tag: str) -> tuple[str, str]:
    """Split an image's name from its tag: the one it has, else the function's."""
    head, slash, last = image.rpartition("/")
    name, _, own = last.partition(":")
    return head + slash + name, own or tag or "latest"


def _source(
    function: ServingFunction, module: Mapping[str, Any], options: Options, folder: str
) -> tuple[Files, set[str], str]:
    """Return the files of the source, the modules that it imports, and where it will be."""
    source = own_source(function, module)
    if source is None:
        embedded = function.spec.build.further.get("functionSourceCode")
        if embedded:
            import base64

            code = base64.b64decode(embedded)
            return {"function.py": code}, imported_by(code.decode(), "function.py"), f"{folder}/function.py"
        _refuse_names(function.to_dict()["spec"]["graph"], function.metadata.name)
        return {}, set(), ""
    names = module if module.get("__file__") == str(source) else function._globals
    root = root_of(source, str(names.get("__name__", "")))
    files, modules = collect(source, root)
    for child in function.spec.function_refs.values():
        if child.url and child.url.endswith((".py", ".ipynb")):
            path = (source.parent / child.url).resolve()
            if not path.is_file():
                raise GraphError(f"there is no file {child.url}, which is the source of child function '{child.name}'")
            more, others = collect(path, path.parent)
            files, modules = files | more, modules | others
    for name in options.include:
        inner = source.parent / name
        found = [inner] if inner.is_file() else sorted(path for path in inner.rglob("*") if path.is_file())
        if not found:
            raise GraphError(f"there is nothing to include at {inner}")
        files |= {path.relative_to(source.parent).as_posix(): path.read_bytes() for path in found}
    return files, modules, f"{folder}/{source.relative_to(root).with_suffix('.py').as_posix()}"


def _refuse_names(graph: Mapping[str, Any], function: str) -> None:
    """Refuse names without a dot: they are looked up in the source, and there is none."""
    for key in ("steps", "routes"):
        for name, step in (graph.get(key) or {}).items():
            named = str(step.get("class_name") or step.get("handler") or "")
            if named and named.lstrip("*").isidentifier() and not hasattr(_serving(), named.lstrip("*")):
                raise GraphError(
                    f"step '{name}': '{named}' is in no file that could be deployed: save the code of '{function}', "
                    "and write code_to_function(filename='that-file.py'), or name the saved notebook"
                )
            _refuse_names(step, function)


def _serving() -> Any:
    import penstock.serving

    return penstock.serving


def _clean(spec: dict[str, Any], filename: str) -> None:
    """Leave out of the document what only its container's maker needs; name the source by its new place."""
    for key in (*_LEFT_OUT, "command", "filename"):
        spec.pop(key, None)
    if filename:
        spec["filename"] = filename
    for child in (spec.get("function_refs") or {}).values():
        inner = child["spec"]["spec"]
        for key in _LEFT_OUT:
            inner.pop(key, None)
        child.pop("image", None)
        child.pop("requirements", None)
        if child.get("url", "").endswith((".py", ".ipynb")):
            folder, stem = filename.rpartition("/")[0], child["url"].rpartition("/")[2].rpartition(".")[0]
            child["url"] = inner["filename"] = f"{folder}/{stem}.py"


def _secret_names(function: ServingFunction, kind: str) -> list[str]:
    found: list[str] = []
    for one in (function, *function.spec.function_refs.values()):
        for source in one.spec.secret_sources.to_list():
            if source["kind"] == kind:
                found += source["source"] if kind == "env" else [source["source"]]
    return list(dict.fromkeys(found))


def _wheel_name(options: Options) -> str:
    return "wheels/" + options.wheel.replace("\\", "/").rpartition("/")[2] if options.wheel else ""
