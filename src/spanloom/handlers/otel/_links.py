"""The links of an event, from its payload, as OpenTelemetry has them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from opentelemetry.trace import Link, SpanContext, TraceFlags, TraceState

from spanloom.events import Event, keys
from spanloom.handlers.otel._attributes import scalar_attributes
from spanloom.handlers.otel._profiles import Rules

__all__ = ["MAX_LINKS", "links_of"]

MAX_LINKS: Final = 128
"""Links of one span: the SDK's own default limit."""


def links_of(
    event: Event, rules: Rules, identify: Callable[[int, int], SpanContext]
) -> tuple[list[Link], int]:
    """Return the links of `event`, at most `MAX_LINKS`, and how many more there are.

    Args:
        event: An ended event.
        rules: What is kept of the attributes of a link.
        identify: Returns the span context of an event of this process, given its trace id and its event id.
    """
    data = event.data
    found = None if data is None else data.get(keys.LINKS)
    if not isinstance(found, list):
        return [], 0
    links = [
        link
        for entry in found[:MAX_LINKS]
        if isinstance(entry, dict) and (link := _link(entry, rules, identify)) is not None
    ]
    return links, max(0, len(found) - MAX_LINKS)


def _link(
    entry: Mapping[str, object], rules: Rules, identify: Callable[[int, int], SpanContext]
) -> Link | None:
    try:
        trace_id, span_id = int(str(entry["trace_id"]), 16), int(str(entry["event_id"]), 16)
    except (KeyError, ValueError):
        return None  # somebody else's key of the same name
    flags, state, attributes = entry.get("flags"), entry.get("state"), entry.get("attributes")
    if isinstance(flags, int):
        context = SpanContext(
            trace_id,
            span_id,
            is_remote=True,
            trace_flags=TraceFlags(flags & 0xFF),
            trace_state=TraceState.from_header([state]) if isinstance(state, str) else None,
        )
    else:
        context = identify(trace_id, span_id)
    plain = scalar_attributes(attributes, rules) if isinstance(attributes, Mapping) else None
    return Link(context, plain) if context.is_valid else None
