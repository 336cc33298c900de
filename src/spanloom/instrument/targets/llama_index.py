"""LlamaIndex's dispatcher: every span that it reports is an event."""

from __future__ import annotations

from collections.abc import Mapping
from types import ModuleType
from typing import Final

from spanloom.instrument.llama_spans import on_drop, on_enter, on_event, on_exit
from spanloom.instrument.patches import Patches

__all__ = ["VERSIONS", "patch"]

VERSIONS: Final[Mapping[str, str]] = {"llama-index-core": "0.14.25", "llama-index-instrumentation": "0.6.0"}


def patch(module: ModuleType, patches: Patches) -> None:
    """Patch `module`, ``llama_index_instrumentation.dispatcher``.

    The class, not the root dispatcher's list of handlers: that is the user's, who may replace it, and who may have
    dispatchers that do not pass on what they are told.
    """
    dispatcher = module.Dispatcher
    patches.wrap(dispatcher, "span_enter", on_enter)
    patches.wrap(dispatcher, "span_exit", on_exit)
    patches.wrap(dispatcher, "span_drop", on_drop)
    patches.wrap(dispatcher, "event", on_event)
