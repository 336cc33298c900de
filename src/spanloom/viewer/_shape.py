"""The shape of an error's message: what is left of it when what differs from case to case is taken out.

Two steps, both known from the grouping of logs.

1. Masking: what looks like a value is replaced by the word for its kind. So do Sentry's grouping of messages ("message
   parameterization") and the preprocessing step of Drain (He and others, *Drain: An Online Log Parsing Approach with
   Fixed Depth Tree*, ICWS 2017).
2. Wildcards, for values that look like words: names of users, of cities. Drain merges messages that agree in half of
   their words, which makes one of "connection refused by peer" and "connection reset by peer". Here a word becomes a
   wildcard only on evidence: `VARIES` messages with as many words that differ in this one word and in no other.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from http import HTTPStatus
from typing import Final

__all__ = ["VARIES", "WILDCARD", "agree", "masked", "wildcards"]

VARIES: Final = 6
"""Distinct words in one place from which on it is taken for a variable: an enumeration written into a program's
messages (refused, reset, closed, aborted) is rarely longer."""
WILDCARD: Final = "<*>"
"""Stands for a word that varies."""

_MASKS: Final = {
    # Kept as they are: which status it was is what the error is.
    "status": r"'?(?:"
    + "|".join(f"{status.value} {re.escape(status.phrase)}" for status in HTTPStatus)
    + r")'?"
    r"|\b(?i:status(?:[ _]code)?|https?|error code|errno|exit code)[ =:]{1,3}\d{1,3}\b"
    r"|\bHTTP/[\d.]{1,3}\b|\butf-\d\d?\b",
    "url": r"\b[a-zA-Z][a-zA-Z0-9+.-]{1,15}://[^\s'\"<>)\]]+",
    "email": r"\b[\w.+-]{1,64}@[\w-]{1,63}(?:\.[\w-]{1,63})+\b",
    "uuid": r"\b[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}\b",
    "date": r"\b\d{4}-\d\d-\d\d(?:[T ]\d\d:\d\d(?::\d\d(?:[.,]\d{1,9})?)?(?:Z|[+-]\d\d:?\d\d)?)?\b",
    "time": r"\b\d\d:\d\d:\d\d(?:[.,]\d{1,9})?\b",
    "ip": r"\b\d{1,3}(?:\.\d{1,3}){3}(?::\d{1,5})?\b"
    r"|(?<![\w:])(?:[0-9a-fA-F]{1,4}:){7}[0-9a-fA-F]{1,4}(?![\w:])"
    r"|(?<![\w:])(?:(?:[0-9a-fA-F]{1,4}:){1,7}|:)(?::[0-9a-fA-F]{1,4}){1,7}(?![\w:])",
    # At the start of a word an apostrophe opens a quotation; inside of one (can't) it is a letter.
    "text": r"(?<!\w)[bBrRuUfF]{0,2}(?:'(?:[^'\\]|\\.){0,300}'|\"(?:[^\"\\]|\\.){0,300}\"|`[^`]{1,300}`)(?!\w)",
    "path": r"(?<![\w.<])(?:[a-zA-Z]:\\[^\s:*?\"<>|]+|~?(?:/[\w.@%+=~-]+){2,}/?|/[\w.@%+=~-]+)",
    "object": r"<[\w.]+(?: object)? at 0x[0-9a-fA-F]+>",
    # Hexadecimal: by its prefix, or eight digits and more of which at least one is none of the decimal ones.
    "hex": r"\b0[xX][0-9a-fA-F]+\b|\b(?=[a-fA-F]{0,63}\d)(?=\d{0,63}[a-fA-F])[0-9a-fA-F]{8,64}\b",
    # Names that end in a number: worker-12, shard_3, req_8f2c9. What is numbered in front (2xx, 3D) is a word.
    "id": r"\b[A-Za-z]{1,32}[-_#](?=[\w-]{0,64}\d)[A-Za-z0-9_-]{1,64}\b",
    "n": r"(?<![\w.])[+-]?\d+(?:[,_]\d{1,3})*(?:\.\d+)?(?:[eE][+-]?\d+)?"
    r"(?:(?=%)|(?= ?(?:[num]?s|[kKMGT]i?B|B)\b)|(?![\w]))",
}
"""By the word for a kind of value, what it looks like; the first that fits counts. Every repetition is bounded or over
characters that its end does not match, so the time is linear in the message."""

_PATTERN: Final = re.compile("|".join(f"(?P<{kind}>{look})" for kind, look in _MASKS.items()))
_BLANKS: Final = re.compile(r"\s+")


def masked(message: str) -> str:
    """Return `message` on one line, with `<kind>` in place of whatever looks like a value."""
    return _PATTERN.sub(_mask, _BLANKS.sub(" ", message).strip())


def _mask(match: re.Match[str]) -> str:
    return match[0] if match.lastgroup == "status" else f"<{match.lastgroup}>"


def wildcards(shapes: Iterable[str]) -> dict[str, str]:
    """Return the common shape of those that seem to differ in the value of one word.

    Args:
        shapes: Masked messages of errors of one type.

    Returns:
        For each of `shapes` that is merged with others, the shape of all of them.
    """
    families: dict[tuple[str, ...], list[str]] = {}
    for shape in shapes:
        words = shape.split(" ")
        if len(words) > 1:
            for number in range(len(words)):
                family = (*words[:number], WILDCARD, *words[number + 1 :])
                families.setdefault(family, []).append(shape)
    merged: dict[str, str] = {}
    for family, members in sorted(families.items(), key=lambda item: -len(item[1])):
        left = [shape for shape in members if shape not in merged]
        if len(left) >= VARIES:
            merged.update(dict.fromkeys(left, " ".join(family)))
    return merged


def agree(shape: str, other: str) -> bool:
    """Tell whether two shapes are the same, a wildcard standing for any word."""
    if shape == other:
        return True
    words, others = shape.split(" "), other.split(" ")
    return len(words) == len(others) and all(
        a == b or WILDCARD in {a, b} for a, b in zip(words, others, strict=True)
    )
