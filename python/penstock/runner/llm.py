"""Language models: a prompt template is filled from the event, a provider answers."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

from penstock.errors import MLRunInvalidArgumentError, MLRunRuntimeError
from penstock.paths import get_in, put_in
from penstock.runner.model import Model
from penstock.runner.prompts import LLMPromptArtifact
from penstock.runner.providers import InvokeResponseFormat, ModelProvider, provider_of

_Call = tuple[list[dict[str, Any]], dict[str, Any]]


class LLModel(Model):
    """A language model of a model runner.

    Its artifact is an `LLMPromptArtifact`, which names the model; or the model itself, a URL: then the messages are
    the body's own. The answer is ``{"answer": ..., "usage": ...}``.

    Parameters
    ----------
    name : str
        The name of its endpoint.
    input_path : str, optional
        Where in the body the template's values, or the messages, are.
    result_path : str, optional
        Where in the body the answer is written; by default its two parts become keys of the body.
    **arguments
        As for `Model`.

    Examples
    --------
    >>> from penstock.serving import LLMPromptArtifact, ModelProvider
    >>> class Loud(ModelProvider):
    ...     def invoke(self, messages, invoke_response_format="string", **config):
    ...         return {"answer": messages[0]["content"].upper(), "usage": {}}
    >>> model = LLModel("loud", result_path="said")
    >>> model.artifact = LLMPromptArtifact("p", [{"role": "user", "content": "hello {name}"}], model_artifact=Loud())
    >>> model.init()
    >>> model.run({"name": "Ann"})["said"]
    {'answer': 'HELLO ANN', 'usage': {}}
    """

    def __init__(
        self, name: str, input_path: str | None = None, result_path: str | None = None, **arguments: Any
    ) -> None:
        super().__init__(name, **arguments)
        self.input_path = input_path
        self.result_path = result_path
        self.model_provider: ModelProvider | None = None

    def load(self) -> None:
        """Find the provider.

        Raises
        ------
        MLRunRuntimeError
            There is none, and `predict` is LLModel's own.
        """
        if self.artifact is None and self.artifact_uri and self.artifact_uri.startswith("store://"):
            from penstock.store import get_resource

            self.artifact = get_resource(self.artifact_uri, self.context)
        artifact = self.artifact if self.artifact is not None else self.artifact_uri
        if isinstance(artifact, LLMPromptArtifact):
            artifact = artifact.model_artifact
        if self.model_provider is None:
            self.model_provider = provider_of(artifact, self.context)
        own = type(self).predict is LLModel.predict and type(self).predict_async is LLModel.predict_async
        if self.model_provider is None and own:
            raise MLRunRuntimeError(
                f"Model provider could not be determined for model '{self.name}', and the predict function was not"
                " overridden."
            )

    def close(self) -> None:
        """Let go of the provider's connections."""
        if self.model_provider is not None:
            self.model_provider.close()

    def enrich_prompt(self, body: Any, origin_name: str | None = None) -> _Call:
        """Return the messages for a body, and the arguments of the call."""
        prompt = self.artifacts.get(origin_name or "")
        if not isinstance(prompt, LLMPromptArtifact):
            prompt = self.artifact
        given = get_in(body, self.input_path)
        if isinstance(prompt, LLMPromptArtifact) and prompt.prompt_template:
            return prompt.messages(given), dict(prompt.invocation_config)
        config = dict(prompt.invocation_config) if isinstance(prompt, LLMPromptArtifact) else {}
        messages = given.get("messages") if isinstance(given, Mapping) else given
        if not isinstance(messages, list) or not all(isinstance(message, Mapping) for message in messages):
            raise MLRunInvalidArgumentError(
                f"model '{self.name}' has no prompt template, so the body has to bring `messages`: a list of dicts"
            )
        return list(messages), config

    def predict(
        self,
        body: Any,
        messages: list[dict[str, Any]] | None = None,
        invocation_config: Mapping[str, Any] | None = None,
    ) -> Any:
        """Ask the provider; return the body with the answer."""
        if messages is None:
            messages, invocation_config = self.enrich_prompt(body)
        answer = self._provider().invoke(
            messages, invoke_response_format=InvokeResponseFormat.USAGE, **(invocation_config or {})
        )
        return self._with_answer(body, answer)

    async def predict_async(
        self,
        body: Any,
        messages: list[dict[str, Any]] | None = None,
        invocation_config: Mapping[str, Any] | None = None,
    ) -> Any:
        """Ask the provider; return the body with the answer."""
        if messages is None:
            messages, invocation_config = self.enrich_prompt(body)
        answer = await self._provider().async_invoke(
            messages, invoke_response_format=InvokeResponseFormat.USAGE, **(invocation_config or {})
        )
        return self._with_answer(body, answer)

    def run(self, body: Any, path: str = "/", origin_name: str | None = None) -> Any:
        """Handle one body, or each of a list of them; a body that is a list of messages is one."""
        if _is_batch(body):
            return [self.run(row, path, origin_name) for row in body]
        messages, config = self.enrich_prompt(body, origin_name)
        return self.predict(body, messages=messages, invocation_config=config)

    async def run_async(self, body: Any, path: str = "/", origin_name: str | None = None) -> Any:
        """Do as `run` does, all bodies of a list at once."""
        if _is_batch(body):
            return list(await asyncio.gather(*(self.run_async(row, path, origin_name) for row in body)))
        messages, config = self.enrich_prompt(body, origin_name)
        return await self.predict_async(body, messages=messages, invocation_config=config)

    def _provider(self) -> ModelProvider:
        if self.model_provider is None:
            raise MLRunRuntimeError(f"model '{self.name}' has no provider to ask")
        return self.model_provider

    def _with_answer(self, body: Any, answer: Any) -> Any:
        if self.result_path:
            return put_in(body, self.result_path, answer)
        return body | answer if isinstance(body, dict) and isinstance(answer, dict) else answer


def _is_batch(body: Any) -> bool:
    return isinstance(body, list) and not all(isinstance(row, Mapping) and "role" in row for row in body)
