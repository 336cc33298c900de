"""Clean user data before it is stored or sent: in files, lines of JSON, spans.

Names, messages, frames, command lines and payloads are bounded, made plain and redacted here.
"""

from __future__ import annotations

from typing import Any

from spanloom.events.plain import plain_payload, plain_text
from spanloom.redaction import redact_data, redact_text

__all__ = ["clean_arguments", "clean_payload", "clean_text"]


def clean_text(text: str, limit: int) -> str:
    """Return `text` as it may be recorded: at most `limit` characters that UTF-8 can hold, without secrets."""
    # Cut first: this bounds what redaction scans, and redaction recognizes a secret that a cut has torn.
    return plain_text(redact_text(plain_text(text, limit)), limit)


def clean_arguments(arguments: list[str], limit: int) -> list[str]:
    """Return a command's arguments, each cleaned as by `clean_text`; the secret after an option is redacted, too."""
    return [
        clean_text(argument, limit)
        for argument in redact_data([plain_text(text, limit) for text in arguments])
    ]


def clean_payload(payload: dict[str, Any]) -> dict[str, Any]:
    """Return `payload` as it may be recorded: a bounded copy that JSON can hold, without secrets."""
    clean: dict[str, Any] = redact_data(plain_payload(payload))
    return clean
