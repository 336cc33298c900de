"""Secrets in the ways of writing that have no name right before them: commands, SQL, XML, forms."""

from __future__ import annotations

import re
from typing import Final

from spanloom.redaction._looks import is_filler, is_prose, looks_random
from spanloom.redaction._marks import MARK
from spanloom.redaction._names import Kind, Names
from spanloom.redaction._quotes import QUOTE

__all__ = ["redact_commands"]

_USER: Final = re.compile(
    r"""(?<![\w\-])((?:-u|-U|--user|--proxy-user)(?:["',\s=]{1,6}|(?=\w))([^\s:"',]{1,100}):)([^\s"',]{1,200})"""
)
_MYSQL: Final = re.compile(r"(\bmysql\w{0,10}\b[^\n;|]{0,300}?\s-p)([^\s\"'*][^\s\"']{0,200})")
_LOGIN: Final = re.compile(
    r"(\b(?:sshpass|(?:docker|podman|az|cf|oc|skopeo|registry)\slogin|ldapsearch|smbclient)\b[^\n;|&]{0,200}?\s-[pw]\s{0,3})"
    r"""(["']?)([^\s"'*\-][^\s"']{0,200})"""
)
_REDIS: Final = re.compile(r"(\bredis-cli\b[^\n;|&]{0,200}?\s-a\s{1,3})([^\s\"'*][^\s\"']{0,200})")
_SQL: Final = re.compile(
    r"""(?i)(\b(?:identified\s{1,5}(?:with\s{1,5}\w{1,40}\s{1,5})?by|(?:with\s{1,5})?(?:encrypted\s{1,5})?password)\s{1,5}(["']))([^"'\n]{1,400})(?=\2|\n|\Z)"""
)
_NETRC: Final = re.compile(r"(\blogin\s{1,8}\S{1,200}\s{1,8}password\s{1,8})(\S{1,400})")
_BEARER: Final = re.compile(
    r"(\b(?:[Bb]earer|BEARER|Basic|Negotiate|SSWS|GenieKey)(?:\s{1,3}|%20|\+))([\w\-.~+/]{6,}={0,3})",
    re.ASCII,
)
_PROVIDED: Final = re.compile(
    r"""(?i)(\b(?:api[ _-]?key|access[ _-]?key|token|secret|password)"""
    r"""\s{1,3}(?:provided|given|used|is|was)[:=]?\s{1,3}["'`]?)([^\s"'`]{6,200})"""
)
_ELEMENT: Final = re.compile(r"<(?:[\w\-]{1,40}:)?([\w\-.]{2,80})(?:\s[^<>]{0,200})?>([^<>]{1,4000})(?=<|\Z)")
_FIELD: Final = re.compile(
    rf"""(?i)(\b(?:name|key)(?:{QUOTE})?\s{{0,4}}[:=]\s{{0,4}}(?:{QUOTE})?(?P<name>[\w.\-]{{2,80}})(?:{QUOTE})?
    (?:(?:[\s,;]|\\+n){{1,8}}(?:[\w\-]{{1,20}}=["'][^"'\n]{{0,80}}["']\s{{1,4}}){{0,3}}(?:{QUOTE})?(?:value|default)(?:{QUOTE})?\s{{0,4}}[:=]\s{{0,4}}(?:{QUOTE})?
      | (?:\r?\n|\\+r\\+n)(?:[\w\-]{{1,40}}:[^\n\\]{{0,200}}(?:\r?\n|\\+r\\+n)){{0,3}}(?:\r?\n|\\+r\\+n)))
    (?P<value>(?:(?!{QUOTE})[^\n\\]){{1,4000}})""",
    re.VERBOSE,
)
_BY_WORD: Final = (
    ("mysql", _MYSQL),
    ("sshpass", _LOGIN),
    ("login", _LOGIN),
    ("ldap", _LOGIN),
    ("smbclient", _LOGIN),
    ("redis-cli", _REDIS),
    ("identified", _SQL),
    ("password", _SQL),
    ("login", _NETRC),
)


def redact_commands(text: str, names: Names) -> str:
    """Return `text` without secrets that a command, a statement or a document holds in its own way."""
    lower = text.lower()  # each question costs a twentieth of the pattern that it spares
    if (
        "bearer" in lower
        or "basic" in lower
        or "negotiate" in lower
        or "ssws" in lower
        or "geniekey" in lower
    ):
        text = _BEARER.sub(_if_credential, text)
    if "-u" in lower or "--proxy-user" in lower:
        text = _USER.sub(_if_no_number, text)
    for word, pattern in _BY_WORD:
        if word in lower:
            text = pattern.sub(_last, text)
    if "provided" in lower or "given" in lower or "used" in lower or " is " in lower or " was " in lower:
        text = _PROVIDED.sub(_if_random, text)
    if "<" in text:
        text = _ELEMENT.sub(lambda found: _element(found, names), text)
    if "name" in lower or "value" in lower:
        text = _FIELD.sub(lambda found: _field(found, names), text)
    return text


def _last(found: re.Match[str]) -> str:
    """Take out the last group."""
    number = found.re.groups
    if is_filler(found[number]):
        return found[0]
    return found[0][: found.start(number) - found.start()] + MARK


def _if_no_number(found: re.Match[str]) -> str:
    return found[0] if found[2].isdigit() and found[3].isdigit() else _last(found)


def _if_random(found: re.Match[str]) -> str:
    return _last(found) if looks_random(found[2].rstrip(".,;:")) else found[0]


def _if_credential(found: re.Match[str]) -> str:
    value = found[2]
    is_word = value.islower() or (value[1:].islower() and value.isalpha())
    is_word = is_word and (value.rstrip(".").isalpha() or "_" in value or "-" in value)
    return found[0] if (is_word and len(value) < 24) or is_prose(value) else _last(found)


def _element(found: re.Match[str], names: Names) -> str:
    value = found[2].strip()
    kind = names.kind(found[1])
    if (
        not value
        or is_filler(value)
        or kind is Kind.HARMLESS
        or (kind is Kind.WEAK and not looks_random(value))
    ):
        return found[0]
    return found[0][: found.start(2) - found.start()] + MARK


def _field(found: re.Match[str], names: Names) -> str:
    value, kind = found["value"], names.kind(found["name"])
    if is_filler(value) or kind is Kind.HARMLESS or (kind is Kind.WEAK and not looks_random(value)):
        return found[0]
    return found[0][: found.start("value") - found.start()] + MARK
