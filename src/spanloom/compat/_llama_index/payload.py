"""The part of a LlamaIndex payload that spanloom's events get: names and numbers, never contents."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from spanloom.compat._llama_index.schema import EventPayload, event_type_text
from spanloom.events import model_keys
from spanloom.events.types import EventType

__all__ = ["span_payload", "span_type"]

_TYPES: Final = {"function_call": EventType.TOOL.value}


def span_type(event_type: object) -> tuple[str, str]:
    """Return type and name of spanloom's event: the same text, unless spanloom has a type of its own for it."""
    text = event_type_text(event_type)
    return _TYPES.get(text, text), text


# Any: payloads hold whatever LlamaIndex's components and their users put into them.


def span_payload(payload: Mapping[str, Any] | None) -> dict[str, object]:
    """Return what a span may show: the name of the model, and the number of nodes requested."""
    if not payload:
        return {}
    found: dict[str, object] = {}
    serialized = payload.get(EventPayload.SERIALIZED)
    if type(serialized) is not dict:
        serialized = {}
    for model in (
        payload.get(EventPayload.MODEL_NAME),
        serialized.get("model"),
        serialized.get("model_name"),
    ):
        if type(model) is str:
            found[model_keys.MODEL] = model
            break
    top_k = payload.get(EventPayload.TOP_K)
    if type(top_k) is int:
        found[model_keys.TOP_K] = top_k
    return found
