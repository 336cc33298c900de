"""Secrets in a text with a telling word in it: all but tokens, which are recognized by their form alone.

Imported with the first such text: compiling the expressions takes some 10 ms, and many programs have none.
"""

from __future__ import annotations

from collections.abc import Callable

from spanloom.redaction._blocks import redact_blocks
from spanloom.redaction._commands import redact_commands
from spanloom.redaction._names import Names
from spanloom.redaction._pairs import is_secret, redact_pairs
from spanloom.redaction._statements import redact_statements
from spanloom.redaction._urls import redact_urls

__all__ = ["is_secret", "redact_pairs", "redact_telling"]


def redact_telling(text: str, names: Names, encoded: Callable[[str], str]) -> str:
    """Return `text` with the secrets redacted that a word or a sign gives away.

    Args:
        text: Contains a telling word.
        names: Classifies names.
        encoded: Redacts percent-encoded parts.
    """
    text = redact_blocks(text)
    text = redact_urls(text)
    text = encoded(text)
    text = redact_pairs(text, names)
    text = redact_commands(text, names)
    if " into " in text or " INTO " in text or "[parameters: (" in text:
        text = redact_statements(text, names)
    return text
