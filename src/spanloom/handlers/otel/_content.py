"""Contents of prompts and answers: whether they are recorded, and their conversion to bounded text without secrets."""

from __future__ import annotations

import json
import logging
import math
import os
from itertools import islice
from typing import Any, Final

from spanloom.events.clean import clean_text
from spanloom.events.plain import placeholder, plain_text
from spanloom.redaction import redact_data

__all__ = ["VARIABLE", "captures_content", "content_text", "messages", "parts_json"]

VARIABLE: Final = "OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT"
_ON: Final = frozenset({"true", "span_only", "span_and_event"})
_OFF: Final = frozenset({"", "false", "no_content", "event_only"})

MAX_ITEMS: Final = 200
"""Items kept of one list or dict."""
MAX_DEPTH: Final = 8
"""Lists and dicts inside one another: a message with a tool call whose arguments have a structure of their own."""
MAX_KEY: Final = 200
"""Characters kept of a key."""

_logger = logging.getLogger("spanloom.handlers.otel")


def captures_content(told: bool | None) -> bool:
    """Return whether contents are recorded: the code's choice, else the environment's, else no."""
    if told is not None:
        return told
    value = os.environ.get(VARIABLE, "").strip().lower()
    if value == "event_only":
        _logger.warning(
            "%s=event_only: contents are recorded on spans or not at all, so here not at all", VARIABLE
        )
    elif value not in _ON | _OFF:
        allowed = ", ".join(sorted(_ON | _OFF - {""}))
        _logger.warning("%s=%s is not one of %s: no contents are recorded", VARIABLE, value, allowed)
    return value in _ON


def messages(value: object, role: str) -> list[dict[str, object]]:
    """Return `value` as a list of messages, each with a role and parts; `role` is the default for plain text."""
    listed = value if type(value) in (list, tuple) else [value]
    return [_message(entry, role) for entry in islice(listed, MAX_ITEMS)]  # type: ignore[call-overload]  # a list


# Exact types only: a subclass, or an object that poses as a dict, would run user code.


def _message(value: object, role: str) -> dict[str, object]:
    if type(value) is not dict:
        return {"role": role, "parts": [_part(value)]}
    known = {key: value[key] for key in ("name", "finish_reason") if key in value}
    parts = value.get("parts")
    if type(parts) not in (list, tuple):
        content = value.get("content")
        listed: Any = content if type(content) in (list, tuple) else [content]
        parts = [_part(part) for part in listed]
    return {"role": value.get("role", role), "parts": parts, **known}


def _part(value: object) -> object:
    return value if type(value) is dict else {"type": "text", "content": value}


def parts_json(value: object, limit: int) -> str:
    """Return `value` as JSON of at most `limit` characters; its texts are cut until it fits, so it stays valid."""
    longest = limit
    while longest >= 16:
        text = json.dumps(
            redact_data(_Copy(longest).of(value, MAX_DEPTH)), ensure_ascii=False, separators=(",", ":")
        )
        if len(text) <= limit:
            return text
        longest //= 2
    return '"…"'


def content_text(value: object, limit: int) -> tuple[str, bool]:
    """Return `value` as text of at most `limit` characters, and whether that is JSON."""
    if isinstance(value, str):
        return clean_text(value, limit), False
    return parts_json(value, limit), True


class _Copy:
    """Makes a plain copy of any value, without running user code."""

    def __init__(self, longest: int) -> None:
        self._longest = longest

    def of(self, value: Any, depth: int) -> object:  # Any: that is what it may be
        kind = type(value)
        if value is None or kind is bool or kind is int:
            return value
        if issubclass(kind, str):
            return plain_text(str.__str__(value), self._longest)
        if kind is float:
            return value if math.isfinite(value) else repr(value)
        if depth and kind in (list, tuple):
            return [self.of(item, depth - 1) for item in islice(value, MAX_ITEMS)]
        if depth and kind is dict:
            items = islice(list(value.items()), MAX_ITEMS)
            return {self._key(key): self.of(item, depth - 1) for key, item in items}
        return placeholder(kind)

    def _key(self, key: object) -> str:
        return plain_text(key, MAX_KEY) if isinstance(key, str) else placeholder(type(key))
