"""Private keys in blocks of lines: PEM, OpenSSH, PGP, PuTTY; whole, cut at either end, or on one line."""

from __future__ import annotations

import re
from typing import Final

from spanloom.redaction._marks import CUT, MARK

__all__ = ["redact_blocks"]

# SSH2 has four dashes and a blank.
_LABEL: Final = r"[A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?(?:-----| ----)"
_BEGIN: Final = re.compile(rf"----[- ]BEGIN {_LABEL}")
_END: Final = re.compile(rf"----[- ]END {_LABEL}")
_BREAK: Final = r"(?:\s|\\+[nr]|%0[AaDd])"
# Without an end: all lines of base64 that follow, and the piece at the cut.
_TORN: Final = re.compile(
    rf"{_BREAK}*+(?:(?:(?:Proc-Type|DEK-Info|Version|Comment|Hash): ?[^\n\\]{{0,200}}|"
    rf"[A-Za-z0-9+/=]{{16,}}+){_BREAK}*+)*+"
    rf"(?:[A-Za-z0-9+/=]{{1,64}}(?={CUT}|{_BREAK}*\Z|[\"'\\]))?"
)
_TORN_BEFORE: Final = re.compile(r"(?:[nr]\\+|[A-Za-z0-9+/=\s])*")
MAX_TORN: Final = 20_000
"""Characters before an end without a beginning that may belong to it: an RSA key of 16,384 bits has 12,800."""
_PUTTY: Final = re.compile(
    r"(Private-Lines: ?[0-9]{1,4})((?:\s|\\+[nr])(?:[A-Za-z0-9+/=]{1,100}(?:\s|\\+[nr]|…|\.\.\.|\Z)){1,400})"
)
# A JSON Web Key: its secret members have names of one or two letters.
_JWK: Final = re.compile(r"""(["'](?:d|p|q|dp|dq|qi|k)\\*["']\s{0,8}:\s{0,8}\\*["'])[\w\-=]{8,}""", re.ASCII)


def redact_blocks(text: str) -> str:
    """Return `text` with the contents of private keys removed."""
    if "PRIVATE KEY" in text:
        text = _pem(text)
    if "Private-Lines" in text:
        text = _PUTTY.sub(rf"\1 {MARK}", text)
    if "kty" in text:
        text = _JWK.sub(rf"\1{MARK}", text)
    return text


def _pem(text: str) -> str:
    out: list[str] = []
    done = 0
    begin, end = _BEGIN.search(text), _END.search(text)
    while begin is not None or end is not None:
        if begin is None or (end is not None and end.start() < begin.start()):
            assert end is not None  # noqa: S101 -- the loop's condition, which mypy does not see
            first = _begin_of_torn(text, done, end.start())
            out += (text[done:first], MARK if first < end.start() else "", end[0])
            done = end.end()
        else:
            following = _BEGIN.search(text, begin.end())
            if end is not None and (following is None or end.start() < following.start()):
                stop = end.start()
            else:
                torn = _TORN.match(text, begin.end())
                stop = begin.end() if torn is None else torn.end()
            out += (text[done : begin.end()], MARK if stop > begin.end() else "")
            done = stop
            if end is not None and stop == end.start():
                out.append(end[0])
                done = end.end()
        # Search again only for what was found and passed: what was not found before is not there.
        if begin is not None and begin.start() < done:
            begin = _BEGIN.search(text, done)
        if end is not None and end.start() < done:
            end = _END.search(text, done)
    out.append(text[done:])
    return "".join(out)


def _begin_of_torn(text: str, low: int, stop: int) -> int:
    before = text[max(low, stop - MAX_TORN) : stop][::-1]
    found = _TORN_BEFORE.match(before)
    return stop if found is None else stop - found.end()
