"""Providers: who answers for a language model that is not in this process."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Mapping
from typing import Any

from penstock.errors import GraphError, RemoteError, RemoteTimeout, RemoteUnreachable
from penstock.extras import load_extra

_TIMEOUT = 60.0  # seconds for one answer; `timeout` in the default_config changes it
_SCHEME = "openai://"
_LONGEST = 300  # characters of what a provider says about a failure
_DEFAULT_URL = "https://api.openai.com/v1"


class UsageResponseKeys:
    """What an answer with its usage consists of."""

    ANSWER = "answer"
    USAGE = "usage"

    @classmethod
    def fields(cls) -> list[str]:
        """Return all of them."""
        return [cls.ANSWER, cls.USAGE]


class InvokeResponseFormat:
    """What `ModelProvider.invoke` returns: the answer's text, that with its usage, or all that came."""

    STRING = "string"
    USAGE = "usage"
    FULL = "full"


class ModelProvider:
    """Sends messages to a model; subclass it and write `invoke`, `async_invoke` or both.

    Parameters
    ----------
    model : str
        The model's name there.
    default_config : mapping, optional
        Arguments for each call, where the call does not say otherwise.
    """

    def __init__(self, model: str = "", default_config: Mapping[str, Any] | None = None) -> None:
        self.model = model
        self.default_config = dict(default_config or {})

    def invoke(
        self,
        messages: list[dict[str, Any]],  # noqa: ARG002  # for those who write their own, as are the others
        invoke_response_format: str = InvokeResponseFormat.STRING,  # noqa: ARG002
        **config: Any,  # noqa: ARG002
    ) -> Any:
        """Return the model's answer to messages."""
        raise GraphError(f"{type(self).__name__} has no invoke")

    async def async_invoke(
        self, messages: list[dict[str, Any]], invoke_response_format: str = InvokeResponseFormat.STRING, **config: Any
    ) -> Any:
        """Return the model's answer to messages; by default `invoke` on another thread."""
        return await asyncio.to_thread(self.invoke, messages, invoke_response_format, **config)

    def close(self) -> None:
        """Let go of connections."""


class OpenAIProvider(ModelProvider):
    """A model behind an HTTP endpoint that speaks as OpenAI's does: most servers of language models do.

    Parameters
    ----------
    url : str
        The endpoint's base, such as "http://localhost:8000/v1".
    model : str
        The model's name there.
    api_key : str, optional
        Sent as a bearer token.
    default_config : mapping, optional
        Arguments for each call, such as `temperature`; `timeout` is in seconds.
    """

    def __init__(
        self, url: str, model: str = "", api_key: str | None = None, default_config: Mapping[str, Any] | None = None
    ) -> None:
        super().__init__(model, default_config)
        self._again = (url, model, api_key, dict(self.default_config))
        httpx = load_extra("httpx", "remote", "a language model behind a URL")
        self.url = url.rstrip("/") + "/chat/completions"
        limit = float(self.default_config.pop("timeout", _TIMEOUT))
        headers = {"Authorization": f"Bearer {api_key}"} if api_key else {}
        self._made = {"headers": headers, "timeout": httpx.Timeout(limit)}
        self._httpx = httpx
        self._shown = str(httpx.URL(self.url).copy_with(userinfo=b"", query=None))
        self._lock = threading.Lock()  # around the making of the client: calls come from many threads
        self._client: Any = None
        self._async_client: Any = None
        self._loop: asyncio.AbstractEventLoop | None = None

    def __reduce__(self) -> tuple[Any, ...]:
        return OpenAIProvider, self._again

    def invoke(
        self, messages: list[dict[str, Any]], invoke_response_format: str = InvokeResponseFormat.STRING, **config: Any
    ) -> Any:
        """Return the model's answer to messages.

        Raises
        ------
        RemoteError
            The endpoint refused, or did not answer.
        """
        with self._lock:
            if self._client is None:
                self._client = self._httpx.Client(**self._made)
        try:
            answer = self._client.post(self.url, json=self._request(messages, config))
        except self._httpx.HTTPError as error:
            raise self._failed(error) from error
        return self._read(answer, invoke_response_format)

    async def async_invoke(
        self, messages: list[dict[str, Any]], invoke_response_format: str = InvokeResponseFormat.STRING, **config: Any
    ) -> Any:
        """Do as `invoke` does, without holding a thread."""
        if self._async_client is None:
            self._async_client = self._httpx.AsyncClient(**self._made)
            self._loop = asyncio.get_running_loop()
        try:
            answer = await self._async_client.post(self.url, json=self._request(messages, config))
        except self._httpx.HTTPError as error:
            raise self._failed(error) from error
        return self._read(answer, invoke_response_format)

    def close(self) -> None:
        """Close the connections."""
        if self._client is not None:
            self._client.close()
            self._client = None
        client, self._async_client = self._async_client, None
        if client is not None and self._loop is not None and self._loop.is_running():
            asyncio.run_coroutine_threadsafe(client.aclose(), self._loop).result(_TIMEOUT)

    def _request(self, messages: list[dict[str, Any]], config: dict[str, Any]) -> dict[str, Any]:
        return {"model": self.model} | self.default_config | config | {"messages": messages}

    def _failed(self, error: Exception) -> Exception:
        if isinstance(error, self._httpx.TimeoutException):
            return RemoteTimeout(f"http request to {self._shown} timed out")
        return RemoteUnreachable(f"cannot invoke url: {self._shown}, {type(error).__name__}: {error}")

    def _read(self, answer: Any, form: str) -> Any:
        if answer.is_error:
            raise RemoteError(
                f"bad http response {answer.status_code}: {_said(answer)} ({self._shown})", answered=answer.status_code
            )
        try:
            full = answer.json()
            text = full["choices"][0]["message"]["content"]
        except (ValueError, KeyError, IndexError, TypeError):
            raise RemoteError(f"{self._shown} answered without choices and a message") from None
        if form == InvokeResponseFormat.FULL:
            return full
        if form == InvokeResponseFormat.USAGE:
            return {UsageResponseKeys.ANSWER: text, UsageResponseKeys.USAGE: full.get("usage") or {}}
        return text


def provider_of(artifact: Any, context: Any = None) -> ModelProvider | None:
    """Return the provider that an artifact names; None if it names none.

    Parameters
    ----------
    artifact : object
        A `ModelProvider`; a URL, "http(s)://..." or "openai://<model>"; or a dict or artifact with `model_url` and
        `default_config`.
    context : GraphContext, optional
        Has the secrets OPENAI_API_KEY and OPENAI_BASE_URL, which the environment may hold, too.
    """
    if artifact is None or isinstance(artifact, ModelProvider):
        return artifact
    url, config = artifact, {}
    if not isinstance(artifact, str):
        told = artifact if isinstance(artifact, Mapping) else vars(artifact)
        url, config = told.get("model_url"), dict(told.get("default_config") or {})
    if not isinstance(url, str):
        return None
    key = _secret(context, "OPENAI_API_KEY")
    model = str(config.pop("model", ""))
    if url.startswith(_SCHEME):
        base = _secret(context, "OPENAI_BASE_URL") or _DEFAULT_URL
        return OpenAIProvider(base, url[len(_SCHEME) :] or model, key, config)
    if url.startswith(("http://", "https://")):
        return OpenAIProvider(url, model, key, config)
    return None


def _secret(context: Any, name: str) -> str | None:
    get_secret = getattr(context, "get_secret", None)
    found = get_secret(name) if get_secret is not None else None
    return found or os.environ.get(name)


def _said(answer: Any) -> str:
    """Return what the endpoint says is wrong."""
    try:
        error = answer.json()["error"]
        text = str(error.get("message", error) if isinstance(error, Mapping) else error)
    except (ValueError, KeyError, TypeError):
        text = str(answer.text)
    return text[:_LONGEST]
