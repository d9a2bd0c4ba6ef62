"""Prompt templates: the messages that a language model is sent, with places for what the event brings."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from penstock.errors import GraphError, MLRunInvalidArgumentError
from penstock.spec import without_empty

_PLACE = re.compile(r"\{(\w+)\}")  # other braces, as in JSON, are text
_KIND = "llm-prompt"


class LLMPromptArtifact:
    """A prompt template with the model that it is for.

    Parameters
    ----------
    key : str
        The artifact's name.
    prompt_template : sequence of dict
        Messages with `role` and `content`; "{name}" in a content is a place.
    prompt_legend : dict, optional
        For each place a dict: `field`, the key in the body (by default the place's name), and `description`.
    model_artifact : str or object, optional
        The model: its URL, or an artifact with `model_url` and `default_config`.
    invocation_config : dict, optional
        Arguments for each call of the model, such as `temperature`.
    description : str
        What it is for.

    Examples
    --------
    >>> prompt = LLMPromptArtifact(
    ...     "ask", [{"role": "user", "content": "What is the capital of {country}?"}], {"country": {"field": "name"}}
    ... )
    >>> prompt.messages({"name": "Peru"})
    [{'role': 'user', 'content': 'What is the capital of Peru?'}]
    """

    kind = _KIND

    def __init__(
        self,
        key: str = "",
        prompt_template: Sequence[Any] | None = None,
        prompt_legend: Mapping[str, Any] | None = None,
        model_artifact: Any = None,
        invocation_config: Mapping[str, Any] | None = None,
        *,
        description: str = "",
    ) -> None:
        self.key = key
        self.prompt_template: list[Any] = list(prompt_template or [])
        self.prompt_legend: dict[str, dict[str, Any]] = {}
        self.model_artifact = model_artifact
        self.invocation_config = dict(invocation_config or {})
        self.description = description
        for message in self.prompt_template:
            if not isinstance(message, dict) or not {"role", "content"} <= set(message):
                raise MLRunInvalidArgumentError(f"prompt '{key}': each message is a dict with role and content")
        places = {place for message in self.prompt_template for place in _PLACE.findall(str(message["content"]))}
        for place, told in (prompt_legend or {}).items():
            self.prompt_legend[place] = dict(told) if isinstance(told, Mapping) else {"field": told}
            if self.prompt_template and place not in places:
                raise MLRunInvalidArgumentError(
                    f"prompt '{key}': the legend explains {{{place}}}, which is not in the template"
                )

    def messages(self, body: Any) -> list[dict[str, Any]]:
        """Fill the places from a body.

        Raises
        ------
        MLRunInvalidArgumentError
            The body has not what the legend says.
        """
        if not isinstance(body, Mapping):
            raise MLRunInvalidArgumentError(
                f"prompt '{self.key}' is filled from a dict, and the body is of type {type(body).__name__}"
            )

        def fill(place: re.Match[str]) -> str:
            name = place[1]
            field = self.prompt_legend.get(name, {}).get("field") or name
            if field in body:
                return str(body[field])
            if name in self.prompt_legend:
                raise MLRunInvalidArgumentError(f"prompt '{self.key}': the body has no '{field}' for {{{name}}}")
            return place[0]

        return [message | {"content": _PLACE.sub(fill, str(message["content"]))} for message in self.prompt_template]

    def to_dict(self) -> dict[str, Any]:
        """Write it down."""
        return without_empty(
            {
                "kind": _KIND,
                "key": self.key,
                "prompt_template": self.prompt_template,
                "prompt_legend": self.prompt_legend,
                "model_artifact": artifact_to_dict(self.model_artifact),
                "invocation_config": self.invocation_config,
                "description": self.description,
            }
        )

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> LLMPromptArtifact:
        """Read what `to_dict` wrote."""
        given = {key: value for key, value in fields.items() if key != "kind"}
        return cls(**given | {"model_artifact": artifact_from_dict(given.get("model_artifact"))})


def artifact_to_dict(artifact: Any) -> Any:
    """Write an artifact down: its URI, if it has one, else what it says."""
    if artifact is None or isinstance(artifact, (str, Mapping)):
        return artifact
    uri = getattr(artifact, "uri", None)
    if isinstance(uri, str) and uri:
        return uri
    if hasattr(artifact, "to_dict"):
        return artifact.to_dict()
    raise GraphError(f"a model_artifact is a URI, or an artifact; {type(artifact).__name__} is none")


def artifact_from_dict(written: Any) -> Any:
    """Read what `artifact_to_dict` wrote."""
    if isinstance(written, Mapping) and written.get("kind") == _KIND:
        return LLMPromptArtifact.from_dict(written)
    return written
