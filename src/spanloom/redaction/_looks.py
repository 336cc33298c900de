"""What a value looks like: random, or nothing to hide."""

from __future__ import annotations

import re
from typing import Final

from spanloom.redaction._marks import CUT

__all__ = ["is_filler", "is_prose", "looks_random"]

_LONG: Final = 20
_SHORT: Final = 8
_RANDOM: Final = re.compile(
    # Letters and digits, or capitals among small letters; at least so long.
    rf"(?=[^\s]*[0-9])(?=[^\s]*[A-Za-z])[^\s]{{{_SHORT},}}|(?=[^\s]*[a-z][A-Z])[^\s]{{{2 * _SHORT},}}|[^\s]{{{_LONG},}}"
    rf"|[^\s]{{2,}}{CUT}"
)
_PLACE: Final = re.compile(
    r"\.{0,2}/[\w.\-/ ]*|[A-Za-z]:\\.*|https?://[^@]*|\d{4}-\d\d-\d\d.*|\d+(?:\.\d+)*[a-z%]{0,2}"
)
# What stands where a value is not told, or is still to be put in.
_FILLER: Final = re.compile(
    r"""[*•.…\-_#]*|[xX]{3,}|\$?\{\{?[\s\w.:\-!]*\}?\}|\$\([\w ./\-]*\)|<[\w\s.\-]*>?|%\(?\w*\)?[sdr]
    |\[[\w ]*(?:redacted|secure|hidden|filtered|masked|removed|FILTERED|REDACTED)[\w ]*\]?
    |SecretStr\(['"]?\**['"]?\)?|(?:None|null|nil|NULL|true|false|True|False|undefined|NaN|NoneType|str|string|bytes|bool|int)""",
    re.VERBOSE,
)
_PROSE: Final = frozenset(
    [
        "a",
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
        "contains",
        "could",
        "denied",
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
        "refused",
        "rejected",
        "required",
        "set",
        "should",
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
    """Tell whether `value` looks as if a generator had made it."""
    return _RANDOM.fullmatch(value) is not None and _PLACE.fullmatch(value) is None


def is_filler(value: str) -> bool:
    """Tell whether `value` stands for one that is not told."""
    return _FILLER.fullmatch(value) is not None


def is_prose(word: str) -> bool:
    """Tell whether `word` goes on a sentence: ``the password: must be ...``."""
    return word.rstrip(".,;:!?").lower() in _PROSE
