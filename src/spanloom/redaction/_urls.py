"""Passwords in URLs and similar texts: ``scheme://user:password@host``."""

from __future__ import annotations

import re
from typing import Final

from spanloom.redaction._looks import is_filler, looks_random
from spanloom.redaction._marks import MARK

__all__ = ["redact_urls"]

_URL: Final = re.compile(r""":(?:\\{0,4}/){2}([^\s"'<>`\\…]+)(…?)""")
_AUTHORITY: Final = re.compile(r"[^/?#]*")
_GO: Final = re.compile(
    r"(?<![\w.\-])([\w.\-]{1,80}:)[^\s@/]{1,200}(?=@(?:(?:tcp|udp|unix|cloudsql)\d?\(|[a-z]{0,8}(?:…|\.\.\.)))"
)
_ORACLE: Final = re.compile(r"(jdbc:oracle:[a-z]{1,10}:[\w.\-]{1,80}/)[^\s@]{1,200}(?=@)")
_BARE: Final = re.compile(
    r"""(?<![\w.\-:/@%+])([\w.%+\-]{1,80}:)(?!//)([^\s:@/"'\\]{3,100})(?=@[\w\-]{1,63}(?:\.[\w\-]{1,63}){0,8}:[0-9]{2,5}\b|@[\w.\-]{0,60}(?:…|\.\.\.))"""
)
_PORT: Final = re.compile(r"\d*|port|PORT|[{<$%].*")
# Passwords that mean, at GitHub and others, that the user name is a token.
_NO_PASSWORD: Final = frozenset({"", "x", "X", "x-oauth-basic", "oauth2", "api_token", "token"})


def redact_urls(text: str) -> str:
    """Return `text` with passwords, and tokens in place of user names, redacted in its URLs."""
    if ":/" in text or ":\\" in text:
        text = _URL.sub(_cleaned, text)
    if "@" in text:
        text = _GO.sub(rf"\1{MARK}", text)
        text = _ORACLE.sub(rf"\1{MARK}", text)
        text = _BARE.sub(rf"\1{MARK}", text)
    return text


def _cleaned(found: re.Match[str]) -> str:
    run, cut = found.groups()
    pieces = run.split("://")  # URLs without a gap: only the last piece can reach the end
    is_last = bool(cut) or found.end() == len(found.string)
    cleaned = [_piece(piece, is_last and piece is pieces[-1], cut) for piece in pieces]
    return found[0][: found.start(1) - found.start()] + "://".join(cleaned) + cut


def _piece(piece: str, is_torn: bool, cut: str) -> str:
    match = _AUTHORITY.match(piece)
    authority = piece if match is None else match[0]
    user, colon, rest = authority.partition(":")
    at = authority.rfind("@")
    if at < 0 and colon and not rest.isdigit():
        at = piece.rfind("@")  # a slash in a password that was not encoded
    if at >= 0:
        return _userinfo(piece[:at]) + piece[at:]
    is_cut = bool(cut) or piece.endswith("...")
    if colon and is_torn and not user.startswith("["):
        is_whole = len(authority) == len(piece)
        if (is_cut and is_whole) or not _PORT.fullmatch(rest.rstrip(".,;)")):
            return (
                f"{MARK if is_cut and looks_random(user) else user}:{MARK}" if is_whole or is_cut else piece
            )
    return piece


def _userinfo(info: str) -> str:
    user, colon, password = info.partition(":")
    if password in _NO_PASSWORD or not colon:
        return (MARK if looks_random(user) else user) + colon + password
    return info if is_filler(password) else f"{user}:{MARK}"
