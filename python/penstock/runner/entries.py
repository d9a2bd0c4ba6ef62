"""What a graph says about one model of a model runner, and how that is written down."""

from __future__ import annotations

import dataclasses
import inspect
from typing import Any

from penstock.errors import GraphError, MLRunInvalidArgumentError
from penstock.resolve import Resolver, make_object, nearest, qualified_name
from penstock.runner.model import Model
from penstock.runner.prompts import artifact_from_dict, artifact_to_dict
from penstock.spec import plain, without_empty

SHARED = "shared_executor"
NAIVE = "naive"
MECHANISMS = ("process_pool", "dedicated_process", "thread_pool", "asyncio", SHARED, NAIVE)
_MONITORED = ("inputs", "outputs", "input_path", "result_path", "labels", "creation_strategy")


@dataclasses.dataclass
class ModelEntry:
    """One model as the graph's author describes it."""

    name: str
    mechanism: str
    class_name: str = ""
    given: Any = None  # the class or the Model, if it was not named by text
    parameters: dict[str, Any] = dataclasses.field(default_factory=dict)
    artifact: Any = None  # text, or an object
    shared: str | None = None  # the shared model that runs for it
    inputs: list[str] | None = None
    outputs: list[str] | None = None
    input_path: str | None = None
    result_path: str | None = None
    labels: Any = None
    creation_strategy: str | None = None

    @property
    def uri(self) -> str | None:
        """Where the artifact is, as text; None for one that is an object only."""
        if isinstance(self.artifact, str):
            return self.artifact
        return getattr(self.artifact, "uri", None)

    def make(self, resolver: Resolver) -> Model:
        """Make the model; it is not loaded yet."""
        if isinstance(self.given, Model):
            made: Any = self.given
        else:
            found = self.given if self.given is not None else resolver.find(self.class_name, what="model class")
            if not (inspect.isclass(found) and issubclass(found, Model)):
                raise GraphError(
                    f"model '{self.name}': {self.class_name} is no subclass of penstock.serving.Model;"
                    " a V2ModelServer goes into a router"
                )
            offered = {
                "name": self.name,
                "artifact_uri": self.uri,
                "input_path": self.input_path,
                "result_path": self.result_path,
            }
            made = make_object(found, self.parameters, offered, self.name)
        model: Model = made
        if not isinstance(self.artifact, str):
            model.artifact = self.artifact if self.artifact is not None else model.artifact
        return model

    def to_dict(self) -> tuple[list[Any], dict[str, Any]]:
        """Write it down: the class's name with its arguments, and what is known of the endpoint."""
        parameters = plain(self.parameters)
        if isinstance(self.given, Model):
            parameters = _arguments_of(self.given)
        artifact = artifact_to_dict(self.artifact)
        parameters |= without_empty({"artifact_uri" if isinstance(artifact, str) else "artifact": artifact})
        if self.shared is not None:
            parameters["shared_runnable_name"] = self.shared
        return [self.class_name, parameters], without_empty({key: getattr(self, key) for key in _MONITORED})

    @classmethod
    def from_dict(cls, name: str, mechanism: str, written: Any, monitored: dict[str, Any] | None) -> ModelEntry:
        """Read what `to_dict` wrote."""
        class_name, parameters = written
        parameters = dict(parameters or {})
        artifact = parameters.pop("artifact_uri", None) or artifact_from_dict(parameters.pop("artifact", None))
        shared = parameters.pop("shared_runnable_name", None)
        parameters.pop("name", None)
        known = {key: value for key, value in (monitored or {}).items() if key in _MONITORED}
        return cls(name, mechanism, class_name, None, parameters, artifact, shared, **known)


def model_entry(
    name: str,
    model_class: Any,
    mechanism: Any,
    *,
    artifact: Any = None,
    parameters: dict[str, Any] | None = None,
    creation_strategy: Any = None,
    **monitored: Any,
) -> ModelEntry:
    """Check what was said about a model.

    Raises
    ------
    GraphError
        The mechanism, or the class, is none.
    MLRunInvalidArgumentError
        A model object is given with arguments or another name.
    """
    mechanism = getattr(mechanism, "value", mechanism)
    if mechanism not in MECHANISMS:
        raise GraphError(
            f"model '{name}': execution_mechanism is one of {', '.join(MECHANISMS)}, not {mechanism!r}"
            f"{nearest(str(mechanism), MECHANISMS)}"
        )
    entry = ModelEntry(name, mechanism, parameters=parameters or {}, artifact=artifact, **monitored)
    strategy = getattr(creation_strategy, "value", creation_strategy)
    entry.creation_strategy = None if strategy is None else str(strategy)
    if isinstance(model_class, str) and model_class:
        entry.class_name = model_class
    elif isinstance(model_class, Model):
        if parameters:
            raise MLRunInvalidArgumentError(
                f"model '{name}': a {type(model_class).__name__} object is made already, it takes no"
                f" {', '.join(parameters)}; give its class to have arguments passed on"
            )
        if model_class.name != name:
            raise MLRunInvalidArgumentError(
                f"Inconsistent name for model added to ModelRunnerStep. (the object's is '{model_class.name}',"
                f" the endpoint's '{name}')"
            )
        entry.given, entry.class_name = model_class, qualified_name(type(model_class))
    elif inspect.isclass(model_class) and issubclass(model_class, Model):
        entry.given, entry.class_name = model_class, qualified_name(model_class)
    else:
        raise GraphError(
            f"model '{name}': model_class is a subclass of penstock.serving.Model, the name of one, or an object of"
            f" one, not {model_class!r:.60}"
        )
    return entry


def _arguments_of(model: Model) -> dict[str, Any]:
    """Return what a model would be made with again: attributes with the names of the constructor's arguments."""
    arguments = dict(model._parameters)
    for name, parameter in inspect.signature(type(model)).parameters.items():
        if name != "name" and parameter.kind not in (parameter.VAR_KEYWORD, parameter.VAR_POSITIONAL):
            value = getattr(model, name, parameter.default)
            if value is not parameter.default and value != parameter.default:
                arguments[name] = value
    return dict(plain(arguments))
