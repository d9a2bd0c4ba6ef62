"""The classes to use in graphs and to subclass, under the names that users of MLRun know."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from penstock.choice import ChoiceByField
    from penstock.context import GraphContext
    from penstock.enrichment import EnrichmentModelRouter, EnrichmentVotingEnsemble
    from penstock.ensemble import VotingEnsemble
    from penstock.event import Event, MockEvent, Response
    from penstock.frameworks.boosting import LGBMModelServer, LightGBMModelServer, XGBModelServer, XGBoostModelServer
    from penstock.frameworks.huggingface import HuggingFaceModelServer
    from penstock.frameworks.onnx import ONNXModelServer
    from penstock.frameworks.pytorch import PyTorchModelServer
    from penstock.frameworks.sklearn import PickleModelServer, SKLearnModelServer, SklearnModelServer
    from penstock.merge import Merge
    from penstock.models import V2ModelServer
    from penstock.parallel import ParallelRun
    from penstock.remote import BatchHttpRequests, RemoteStep
    from penstock.routers import BaseModelRouter, ModelRouter
    from penstock.runner.llm import LLModel
    from penstock.runner.model import Model
    from penstock.runner.prompts import LLMPromptArtifact
    from penstock.runner.providers import ModelProvider, OpenAIProvider, UsageResponseKeys
    from penstock.runner.running import ModelRunner
    from penstock.runner.selector import ModelRunnerSelector, ModelSelector
    from penstock.runner.step import ModelRunnerStep
    from penstock.server import GraphServer, create_graph_server
    from penstock.validators import Validator

_HOMES = {
    "BaseModelRouter": "penstock.routers",
    "BatchHttpRequests": "penstock.remote",
    "ChoiceByField": "penstock.choice",
    "EnrichmentModelRouter": "penstock.enrichment",
    "EnrichmentVotingEnsemble": "penstock.enrichment",
    "Event": "penstock.event",
    "GraphContext": "penstock.context",
    "GraphServer": "penstock.server",
    "HuggingFaceModelServer": "penstock.frameworks.huggingface",
    "LGBMModelServer": "penstock.frameworks.boosting",
    "LLMPromptArtifact": "penstock.runner.prompts",
    "LLModel": "penstock.runner.llm",
    "LightGBMModelServer": "penstock.frameworks.boosting",
    "Merge": "penstock.merge",
    "MockEvent": "penstock.event",
    "Model": "penstock.runner.model",
    "ModelProvider": "penstock.runner.providers",
    "ModelRouter": "penstock.routers",
    "ModelRunner": "penstock.runner.running",
    "ModelRunnerSelector": "penstock.runner.selector",
    "ModelRunnerStep": "penstock.runner.step",
    "ModelSelector": "penstock.runner.selector",
    "ONNXModelServer": "penstock.frameworks.onnx",
    "OpenAIProvider": "penstock.runner.providers",
    "ParallelRun": "penstock.parallel",
    "PickleModelServer": "penstock.frameworks.sklearn",
    "PyTorchModelServer": "penstock.frameworks.pytorch",
    "RemoteStep": "penstock.remote",
    "Response": "penstock.event",
    "SKLearnModelServer": "penstock.frameworks.sklearn",
    "SklearnModelServer": "penstock.frameworks.sklearn",
    "UsageResponseKeys": "penstock.runner.providers",
    "V2ModelServer": "penstock.models",
    "Validator": "penstock.validators",
    "VotingEnsemble": "penstock.ensemble",
    "XGBModelServer": "penstock.frameworks.boosting",
    "XGBoostModelServer": "penstock.frameworks.boosting",
    "create_graph_server": "penstock.server",
}

__all__ = [
    "BaseModelRouter",
    "BatchHttpRequests",
    "ChoiceByField",
    "EnrichmentModelRouter",
    "EnrichmentVotingEnsemble",
    "Event",
    "GraphContext",
    "GraphServer",
    "HuggingFaceModelServer",
    "LGBMModelServer",
    "LLMPromptArtifact",
    "LLModel",
    "LightGBMModelServer",
    "Merge",
    "MockEvent",
    "Model",
    "ModelProvider",
    "ModelRouter",
    "ModelRunner",
    "ModelRunnerSelector",
    "ModelRunnerStep",
    "ModelSelector",
    "ONNXModelServer",
    "OpenAIProvider",
    "ParallelRun",
    "PickleModelServer",
    "PyTorchModelServer",
    "RemoteStep",
    "Response",
    "SKLearnModelServer",
    "SklearnModelServer",
    "UsageResponseKeys",
    "V2ModelServer",
    "Validator",
    "VotingEnsemble",
    "XGBModelServer",
    "XGBoostModelServer",
    "create_graph_server",
]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        import importlib

        return getattr(importlib.import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'penstock.serving' has no attribute '{name}'")
