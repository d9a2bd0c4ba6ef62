"""The model runner: a step that runs several models on each event, in threads, processes or coroutines.

`step` is what people write, `running` what it becomes in a server; `threads` and `processes` are where models run.
"""

from __future__ import annotations

from typing import Any

_HOMES = {
    "LLMPromptArtifact": "penstock.runner.prompts",
    "LLModel": "penstock.runner.llm",
    "Model": "penstock.runner.model",
    "ModelProvider": "penstock.runner.providers",
    "ModelRunner": "penstock.runner.running",
    "ModelRunnerSelector": "penstock.runner.selector",
    "ModelRunnerStep": "penstock.runner.step",
    "ModelSelector": "penstock.runner.selector",
    "OpenAIProvider": "penstock.runner.providers",
    "UsageResponseKeys": "penstock.runner.providers",
}


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        import importlib

        return getattr(importlib.import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'penstock.runner' has no attribute '{name}'")
