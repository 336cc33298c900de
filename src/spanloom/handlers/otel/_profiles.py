"""Attribute profiles: the naming conventions by which spans describe models, tokens and tools."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Final, NamedTuple

from opentelemetry.trace import SpanKind
from opentelemetry.util.types import AttributeValue

from spanloom.events import Event, model_keys
from spanloom.handlers.otel._content import content_text
from spanloom.handlers.otel._plain import scalar

__all__ = ["Field", "Rules", "contents", "fields", "first", "flag", "real", "text", "texts", "whole"]

MAX_TEXTS: Final = 16
"""Finish reasons of one answer."""


class Rules(NamedTuple):
    """What is recorded of payloads, and under which names.

    Attributes:
        max_text: Characters kept of a payload text.
        describe: Translates the known keys of an event's payload; ``None`` for none.
        title: Returns name and kind of an event's span, where they are not the event's name and ``INTERNAL``.
        content: Whether contents are recorded.
        max_content: Characters kept of one of them.
    """

    max_text: int
    describe: Callable[[Event, Rules, bool], tuple[dict[str, AttributeValue], frozenset[str]]] | None = None
    content: bool = False
    max_content: int = 16_384
    title: Callable[[Event, Rules], tuple[str, SpanKind] | None] | None = None


class Field(NamedTuple):
    """Where the value of a payload key goes.

    Attributes:
        attribute: Its name there.
        read: Returns the value as the attribute has it, ``None`` if it is nothing of the kind.
    """

    attribute: str
    read: Callable[[object, int], AttributeValue | None]


def fields(
    payload: Mapping[str, object], table: Mapping[str, Field], rules: Rules
) -> tuple[dict[str, AttributeValue], set[str]]:
    """Return the attributes of the keys in `table` that `payload` has, and which keys those are."""
    attributes: dict[str, AttributeValue] = {}
    used: set[str] = set()
    for key, field in table.items():
        value = payload.get(key)
        plain = None if value is None else field.read(value, rules.max_text)
        if plain is not None:
            attributes[field.attribute] = plain
            used.add(key)
    return attributes, used


def first(payload: Mapping[str, object], keys: Iterable[str]) -> object:
    """Return the value of the first of `keys` that `payload` has one of; else ``None``."""
    return next((payload[key] for key in keys if payload.get(key) is not None), None)


def contents(event: Event, rules: Rules) -> dict[str, AttributeValue]:
    """Return the contents of an event in our own words."""
    payload = event.payload
    return {
        f"spanloom.content.{key}": content_text(payload[key], rules.max_content)[0]
        for key in sorted(model_keys.CONTENT & payload.keys())
        if payload[key] is not None
    }


def text(value: object, longest: int) -> str | None:
    """Read a text."""
    plain = scalar(value, longest) if isinstance(value, str) else None
    return plain if isinstance(plain, str) else None


def texts(value: object, longest: int) -> list[str] | None:
    """Read one text or several as a list."""
    listed = value if isinstance(value, (list, tuple)) else [value]
    return [plain for entry in listed[:MAX_TEXTS] if (plain := text(entry, longest)) is not None] or None


def flag(value: object, _: int) -> bool | None:
    """Read a boolean."""
    return value if isinstance(value, bool) else None


def whole(value: object, longest: int) -> int | None:
    """Read a whole number that fits into 64 bits."""
    plain = scalar(value, longest)
    return plain if isinstance(plain, int) and not isinstance(plain, bool) else None


def real(value: object, longest: int) -> float | None:
    """Read a number."""
    plain = scalar(value, longest)
    return float(plain) if isinstance(plain, (int, float)) and not isinstance(plain, bool) else None
