"""Single values as OpenTelemetry attributes: plain, bounded, without secrets, and safe to encode."""

from __future__ import annotations

from typing import Final

from spanloom.events import EventType
from spanloom.redaction import redact_text

__all__ = ["INT64", "plain_text", "scalar"]

INT64: Final = 1 << 63
"""OTLP carries 64-bit integers; the exporter would fail the whole batch of spans on this one, or a larger."""


def scalar(value: object, max_length: int) -> str | bool | int | float | None:
    """Return `value` if it is a number, a boolean or a text, cut to `max_length`; else ``None``."""
    kind = type(value)
    if kind is float or kind is bool:
        return value  # type: ignore[return-value]  # mypy does not follow a type kept in a variable
    # The base classes' own methods: a subclass of str or int may bring a __str__ of the user's.
    if isinstance(value, str):
        text = str.__str__(value)
        return plain_text(text if len(text) <= max_length else text[: max_length - 1] + "…")
    if isinstance(value, bool):
        return value
    if isinstance(value, int):
        number = int.__int__(value)
        return number if -INT64 <= number < INT64 else plain_text(hex(number)[:max_length])
    return float.__float__(value) if isinstance(value, float) else None


def plain_text(text: str) -> str:
    """Return `text` without secrets, and without lone surrogates: on those the OTLP encoder fails a batch of spans."""
    if type(text) is EventType:
        return str.__str__(text)
    text = redact_text(str.__str__(text))
    if text.isascii():
        return text
    return text.encode("utf-8", "replace").decode("utf-8")
