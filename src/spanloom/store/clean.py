"""The one gate through which everything that a user wrote passes on its way into the file.

Names, messages, frames, command lines and payloads: what must not be recorded is taken out here and nowhere else.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

from spanloom.events.plain import plain_payload, plain_text
from spanloom.redaction import redact_data, redact_text

__all__ = ["clean_arguments", "clean_payload", "clean_text"]

_encode: Final = msgspec.json.Encoder().encode


def clean_text(text: str, limit: int) -> str:
    """Return `text` as it may be recorded: at most `limit` characters that UTF-8 can hold, without secrets."""
    # Cut first: what is looked at is bounded, and half a secret before a cut is known as one.
    return plain_text(redact_text(plain_text(text, limit)), limit)


def clean_arguments(arguments: list[str], limit: int) -> list[str]:
    """Return the arguments of a command as they may be recorded, each as `clean_text`; an option may name a secret."""
    return [
        clean_text(argument, limit)
        for argument in redact_data([plain_text(text, limit) for text in arguments])
    ]


def clean_payload(payload: dict[str, Any]) -> str:
    """Return `payload` as it may be recorded: a bounded JSON object without secrets."""
    return _encode(redact_data(plain_payload(payload))).decode()
