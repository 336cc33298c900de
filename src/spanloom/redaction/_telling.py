"""Secrets in a text that has a telling word in it: everything but tokens, which show by their form alone.

Loaded with the first such text: the expressions take some 10 ms to compile, and many a program has none.
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
    """Return `text` without the secrets that a word or a sign tells of.

    Args:
        text: Has a telling word in it.
        names: What tells a secret's name.
        encoded: Does the same with what is percent-encoded.
    """
    text = redact_blocks(text)
    text = redact_urls(text)
    text = encoded(text)
    text = redact_pairs(text, names)
    text = redact_commands(text, names)
    if " into " in text or " INTO " in text or "[parameters: (" in text:
        text = redact_statements(text, names)
    return text
