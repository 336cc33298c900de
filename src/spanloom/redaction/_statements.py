"""Secrets among SQL values: in a statement, and in the parameters that SQLAlchemy prints after one."""

from __future__ import annotations

import re
from typing import Final

from spanloom.redaction._looks import is_filler
from spanloom.redaction._marks import MARK
from spanloom.redaction._names import Kind, Names

__all__ = ["redact_statements"]

_INSERT: Final = re.compile(
    r"""(?i)\b(?:insert|replace)\s{1,5}into\s{1,5}[\w."'`\[\]]{1,120}\s{0,5}\((?P<columns>[^()]{1,2000})\)\s{0,5}values\s{0,5}\((?P<values>[^\n)]{1,8000})"""
)
_UPDATE: Final = re.compile(
    r"""(?i)([\w.]{1,80})["'`]?\s{0,5}(?:=|<|>|like|in)\s{0,5}\(?(?:\?|%s|\$[0-9]{1,3})"""
)
_PARAMETERS: Final = re.compile(r"\[parameters: \((?P<values>[^\n]{1,8000})")
_VALUE: Final = re.compile(
    r"""\s{0,5}(?:'(?:[^'\\\n]|\\.|'')*+'?|"(?:[^"\\\n]|\\.)*+"?|[^,'"\n()\]]{0,200})"""
)
_BEFORE: Final = 12_000
"""Characters before the parameters in which to look for their statement."""


def redact_statements(text: str, names: Names) -> str:
    """Return `text` with the values of columns that name secrets redacted."""
    out: list[str] = []
    done = 0
    columns: list[str] = []
    for found in _INSERT.finditer(text):
        columns = [column.strip(" \n\t\"'`[]") for column in found["columns"].split(",")]
        done = _values(text, found.start("values"), found.end("values"), columns, names, out, done)
    for found in _PARAMETERS.finditer(text, done):
        placed = columns or [
            column[1] for column in _UPDATE.finditer(text, max(done, found.start() - _BEFORE), found.start())
        ]
        done = _values(text, found.start("values"), found.end("values"), placed, names, out, done)
        columns = []
    return "".join((*out, text[done:])) if out else text


def _values(
    text: str, start: int, stop: int, columns: list[str], names: Names, out: list[str], done: int
) -> int:
    """Append to `out` the redacted text up to the last secret among the values; return where that ends."""
    at = start
    for column in columns:
        value = _VALUE.match(text, at, stop)
        if value is None:
            return done
        begin, end = value.span()
        inner = value[0].strip().strip("'\"")
        if names.kind(column) >= Kind.SECRET and value[0].lstrip()[:1] in ("'", '"') and not is_filler(inner):
            out += (text[done:begin], value[0][: len(value[0]) - len(value[0].lstrip()) + 1], MARK)
            done = end - 1 if len(value[0].strip()) > 1 and value[0][-1] in "'\"" else end
        at = end
        if not text.startswith(",", at):
            return done
        at += 1
    return done
