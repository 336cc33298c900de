"""openai's clients: every request is an event, with the model, its tokens and why it stopped."""

from __future__ import annotations

from collections.abc import Mapping
from types import ModuleType
from typing import TYPE_CHECKING, Final

from spanloom.events.types import EventType
from spanloom.instrument.model_clients import Api, patch_clients

if TYPE_CHECKING:
    from spanloom.instrument.patches import Patches

__all__ = ["VERSIONS", "patch"]

VERSIONS: Final[Mapping[str, str]] = {"openai": "3.54.0"}

_API: Final = Api(
    "openai",
    {"AzureOpenAI": "azure.ai.openai", "AsyncAzureOpenAI": "azure.ai.openai"},
    {
        "chat/completions": (EventType.LLM, "chat"),
        "responses": (EventType.LLM, "chat"),
        "completions": (EventType.LLM, "text_completion"),
        "embeddings": (EventType.EMBEDDING, "embeddings"),
    },
)


def patch(module: ModuleType, patches: Patches) -> None:
    """Patch `module`, openai."""
    patch_clients(module, patches, _API)
