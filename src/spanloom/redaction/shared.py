"""The one redactor of the process, used by every handler, so that its configuration holds for all of them."""

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
    """Return `value`, whose name is `name`, without the secrets in it; see `Redactor.named`."""
    return _shared.named(name, value)


def add_key(name: str) -> None:
    """Treat values named `name` as secrets from now on, in every handler; see `Redactor.add_key`.

    Raises:
        ValueError: there is no letter or digit in `name`.
    """
    _shared.add_key(name)


def add_pattern(pattern: str | re.Pattern[str]) -> None:
    """Redact what `pattern` matches from now on, in every handler; see `Redactor.add_pattern`.

    Raises:
        ValueError: it matches the empty text, or the mark ``***``.
        re.error: it is not a regular expression.
    """
    _shared.add_pattern(pattern)


def keep_key(name: str) -> None:
    """Treat values named `name` as harmless from now on, in every handler; see `Redactor.keep_key`.

    Raises:
        ValueError: there is no letter or digit in `name`.
    """
    _shared.keep_key(name)
