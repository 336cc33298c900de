"""anthropic's clients: every request is an event, with the model, its tokens and why it stopped."""

from __future__ import annotations

from collections.abc import Mapping
from types import ModuleType
from typing import TYPE_CHECKING, Final

from spanloom.events.types import EventType
from spanloom.instrument.model_clients import Api, patch_clients

if TYPE_CHECKING:
    from spanloom.instrument.patches import Patches

__all__ = ["VERSIONS", "patch"]

VERSIONS: Final[Mapping[str, str]] = {"anthropic": "2.12.0"}

_API: Final = Api(
    "anthropic",
    {
        "AnthropicBedrock": "aws.bedrock",
        "AsyncAnthropicBedrock": "aws.bedrock",
        "AnthropicVertex": "gcp.vertex_ai",
        "AsyncAnthropicVertex": "gcp.vertex_ai",
    },
    {
        "messages": (EventType.LLM, "chat"),
        "complete": (EventType.LLM, "text_completion"),
    },
)


def patch(module: ModuleType, patches: Patches) -> None:
    """Patch `module`, anthropic."""
    patch_clients(module, patches, _API)
