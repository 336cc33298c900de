"""LlamaIndex's callback managers: what they report, and the dispatcher does not, is an event."""

from __future__ import annotations

from collections.abc import Mapping
from types import ModuleType
from typing import Final

from spanloom.instrument.llama_callbacks import on_end, on_start, on_trace_end, on_trace_start
from spanloom.instrument.patches import Patches

__all__ = ["VERSIONS", "patch"]

VERSIONS: Final[Mapping[str, str]] = {"llama-index-core": "0.14.25"}


def patch(module: ModuleType, patches: Patches) -> None:
    """Patch `module`, ``llama_index.core.callbacks.base``."""
    manager = module.CallbackManager
    patches.wrap(manager, "on_event_start", on_start)
    patches.wrap(manager, "on_event_end", on_end)
    patches.wrap(manager, "start_trace", on_trace_start)
    patches.wrap(manager, "end_trace", on_trace_end)
