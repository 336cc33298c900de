"""The one redactor of the process: every handler asks it, and what it is taught holds for all of them."""

from __future__ import annotations

import re
from typing import Any, Final

from spanloom.redaction.redactor import Redactor

__all__ = ["add_key", "add_pattern", "keep_key", "redact_data", "redact_named", "redact_text"]

_shared: Final = Redactor()


def redact_text(text: str) -> str:
    """Return `text` without the secrets in it; see `Redactor.text`."""
    return _shared.text(text)


# Any: data of any shape, as in `Redactor`.
def redact_data(value: Any) -> Any:
    """Return a copy of `value` without the secrets in it; see `Redactor.data`."""
    return _shared.data(value)


def redact_named(name: str, value: Any) -> Any:
    """Return `value`, which `name` names, without the secrets in it; see `Redactor.named`."""
    return _shared.named(name, value)


def add_key(name: str) -> None:
    """Take what `name` names for a secret from now on, in every handler; see `Redactor.add_key`.

    Raises:
        ValueError: there is no letter or digit in `name`.
    """
    _shared.add_key(name)


def add_pattern(pattern: str | re.Pattern[str]) -> None:
    """Take what `pattern` matches for a secret from now on, in every handler; see `Redactor.add_pattern`.

    Raises:
        ValueError: it matches the empty text, or text that was redacted before.
        re.error: it is no regular expression.
    """
    _shared.add_pattern(pattern)


def keep_key(name: str) -> None:
    """Take what `name` names for harmless from now on, in every handler; see `Redactor.keep_key`.

    Raises:
        ValueError: there is no letter or digit in `name`.
    """
    _shared.keep_key(name)
