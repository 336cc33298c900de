"""Whether a value looks random, or like nothing to hide."""

from __future__ import annotations

import re
from typing import Final

from spanloom.redaction._late import late
from spanloom.redaction._marks import CUT

__all__ = [
    "is_count",
    "is_filler",
    "is_number_of",
    "is_plain",
    "is_prose",
    "is_wordy",
    "looks_random",
    "says_secret",
]

_LONG: Final = 20
_SHORT: Final = 8
_RANDOM: Final = late(
    # Letters and digits, or a capital behind a small letter, or just long; or cut off.
    rf"(?=[^\s]*[0-9])(?=[^\s]*[A-Za-z])[^\s]{{{_SHORT},}}|(?=[^\s]*[a-z][A-Z])[^\s]{{{2 * _SHORT},}}|[^\s]{{{_LONG},}}"
    rf"|[^\s]{{2,}}{CUT}"
)
# Words and numbers with punctuation between them: oauth2_provider_v2, SyntaxError1, user_42_cart, GPIO17.
_WORDY: Final = late(
    r"(?:(?:(?:[A-Z]?[a-z]{2,19}(?:[A-Z][a-z]{2,19}){0,8}|[A-Z]{2,19}|[a-z])[0-9]{0,2}|[0-9]{1,10})(?:[_\-.:,;/]{1,3}|\Z))+",
    re.ASCII,
)
_COUNT: Final = late(r"[0-9]{1,3}|[A-Z]{1,5}_?[0-9]{1,3}|yes|no|ok|OK")
_LONG_NUMBER: Final = 11
"""Digits of a long number: seconds since 1970 have ten."""
_PLACE: Final = late(
    r"\.{0,2}/[\w.\-/ ]*|[A-Za-z]:\\.*|https?://[^@]*|\d{4}-\d\d-\d\d.*|\d+(?:\.\d+)*[a-z%]{0,2}"
)
# Placeholders: for a value that is masked, or still to be filled in.
_FILLER: Final = late(
    r"""[*•.…\-_#]*|[xX]{3,}|\$?\{\{?[\s\w.:\-!]*\}?\}|\$\([\w ./\-]*\)|<[\w\s.\-]*>?|%\(?\w*\)?[sdr]
    |\[[\w ]*(?:redacted|secure|hidden|filtered|masked|removed|FILTERED|REDACTED)[\w ]*\]?
    |SecretStr\(['"]?\**['"]?\)?|(?:None|null|nil|NULL|true|false|True|False|undefined|NaN|NoneType|str|string|bytes|bool|int|SecretStr|SecretBytes)""",
    re.VERBOSE,
)
# The word itself, and how clients of OpenID authenticate.
_SECRET_WORDS: Final = frozenset(
    {"secret", "secrets", "client_secret", "client_secret_basic", "client_secret_post", "client_secret_jwt"}
)
_PROSE: Final = frozenset(
    [
        "a",
        "all",
        "an",
        "and",
        "any",
        "are",
        "argument",
        "at",
        "authentication",
        "be",
        "been",
        "but",
        "by",
        "can",
        "cannot",
        "changed",
        "contains",
        "could",
        "creating",
        "creation",
        "denied",
        "destroying",
        "did",
        "do",
        "does",
        "empty",
        "error",
        "expected",
        "expired",
        "failed",
        "failure",
        "field",
        "flag",
        "for",
        "from",
        "given",
        "has",
        "have",
        "if",
        "in",
        "incorrect",
        "invalid",
        "is",
        "it",
        "length",
        "may",
        "missing",
        "mismatch",
        "modifying",
        "must",
        "needed",
        "no",
        "none",
        "not",
        "of",
        "on",
        "only",
        "optional",
        "option",
        "or",
        "parameter",
        "please",
        "provided",
        "reading",
        "refreshing",
        "refused",
        "rejected",
        "required",
        "set",
        "should",
        "still",
        "than",
        "that",
        "the",
        "this",
        "to",
        "token",
        "too",
        "type",
        "unexpected",
        "unknown",
        "unset",
        "unsupported",
        "updated",
        "use",
        "used",
        "value",
        "was",
        "were",
        "when",
        "which",
        "will",
        "with",
        "without",
        "wrong",
        "you",
        "your",
    ]
)


def looks_random(value: str) -> bool:
    """Return whether `value` looks randomly generated."""
    if is_plain(value):
        return False
    return _RANDOM.fullmatch(value) is not None and _PLACE.fullmatch(value) is None and not is_wordy(value)


def is_plain(value: str) -> bool:
    """Return whether `value` is not random by a quick check without regular expressions; true of most arguments."""
    is_short = len(value) < _SHORT or (
        len(value) < _LONG and value.islower() and not any(map(str.isdigit, value))
    )
    return is_short and "…" not in value and "..." not in value


def is_wordy(value: str) -> bool:
    """Return whether `value` is words and numbers with punctuation between them, as a name is."""
    return _WORDY.fullmatch(value) is not None


def is_count(name: str, value: str) -> bool:
    """Return whether `value` has the other meaning of a doubtful `name`: how many tests passed, a pin of a chip."""
    return _COUNT.fullmatch(value) is not None or (
        value.isdigit() and len(value) < 6 and "pass" in name.lower()
    )


def is_number_of(name: str, value: str) -> bool:
    """Return whether `value` is a long number, and `name` that of a token."""
    return value.isdigit() and len(value) >= _LONG_NUMBER and name.lower().endswith("token")


def says_secret(value: str) -> bool:
    """Tell whether `value` calls itself a secret, as those of tests and examples do: ``my-secret-token``."""
    said = value.lower()
    return "secret" in said and said not in _SECRET_WORDS and " " not in said


def is_filler(value: str) -> bool:
    """Return whether `value` is a placeholder."""
    return _FILLER.fullmatch(value) is not None


def is_prose(word: str) -> bool:
    """Return whether `word` continues a sentence: ``the password: must be ...``."""
    return word.rstrip(".,;:!?").lower() in _PROSE
