"""Links: relations of an event to others than its parent, such as to the messages that it processes.

A link is plain data in the payload, under the key ``links``, so every handler and every record can carry it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final, Protocol

from spanloom.events import keys

__all__ = ["Linkable", "add_link", "header_of", "link_to"]

# Version, trace id, parent id, flags; fields that a later version adds are ignored.
# Source: W3C Trace Context, section 3.2, https://www.w3.org/TR/trace-context/#traceparent-header
_TRACEPARENT: Final = r"[ \t]*([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?[ \t]*"
MAX_HEADER: Final = 512
"""Most characters of a ``traceparent`` or ``tracestate``, as many as W3C asks to propagate; longer ones are ignored."""


class Linkable(Protocol):
    """An `Event`, or an opened `EventContext`."""

    @property
    def event_id(self) -> int: ...
    @property
    def trace_id(self) -> int: ...


def header_of(carrier: Mapping[str, object], name: str) -> str | None:
    """Return a header of `carrier` as text, ignoring the case of its name; ``None`` if it is missing.

    A value may be text, bytes, or a list of them, whose first item counts.

    Args:
        carrier: The headers.
        name: In lower case.
    """
    value = carrier.get(name)
    if value is None:
        value = next((carrier[key] for key in carrier if isinstance(key, str) and key.lower() == name), None)
    if isinstance(value, (list, tuple)):
        value = value[0] if value else None
    if isinstance(value, (bytes, bytearray)):
        value = value.decode("latin-1")
    return value if isinstance(value, str) else None


def link_to(
    target: Linkable | Mapping[str, object], attributes: Mapping[str, object] | None = None
) -> dict[str, object] | None:
    """Return the link to an event, or to the span that a W3C carrier names; ``None`` if it names none.

    Args:
        target: An event, its context, or a mapping with ``traceparent`` and perhaps ``tracestate``.
        attributes: Attributes of the link: numbers, booleans, texts.

    Raises:
        TypeError: `target` is none of these.
    """
    link: dict[str, object]
    if isinstance(target, Mapping):
        parent = header_of(target, "traceparent")
        match = None if parent is None or len(parent) > MAX_HEADER else re.fullmatch(_TRACEPARENT, parent)
        if match is None:
            return None
        version, trace_id, event_id, flags, more = match.groups()
        if version == "ff" or (version == "00" and more) or not int(trace_id, 16) or not int(event_id, 16):
            return None
        link = {"trace_id": trace_id, "event_id": event_id, "flags": int(flags, 16)}
        state = header_of(target, "tracestate")
        if state is not None and 0 < len(state) <= MAX_HEADER:
            link["state"] = state
    else:
        try:
            link = {"trace_id": f"{target.trace_id:032x}", "event_id": f"{target.event_id:016x}"}
        except AttributeError:
            raise TypeError(
                f"one can link to an event, a context that was opened, or a mapping with 'traceparent', "
                f"not to {type(target).__name__}"
            ) from None
    if attributes:
        link["attributes"] = dict(attributes)
    return link


def add_link(
    data: dict[str, object], target: Linkable | Mapping[str, object], attributes: Mapping[str, object]
) -> None:
    """Add a link to the payload `data`; nothing if `target` is a carrier that names no span. See `link_to`."""
    link = link_to(target, attributes)
    if link is not None:
        links = data.get(keys.LINKS)
        if isinstance(links, list):
            links.append(link)
        else:
            data[keys.LINKS] = [link]
