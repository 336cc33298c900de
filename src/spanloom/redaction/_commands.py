"""Secrets without a name right before them: in commands, SQL, XML, forms."""

from __future__ import annotations

import re
from typing import Final

from spanloom.redaction._looks import is_filler, is_prose, looks_random
from spanloom.redaction._marks import MARK, marked
from spanloom.redaction._names import Names
from spanloom.redaction._pairs import is_secret
from spanloom.redaction._quotes import QUOTE

__all__ = ["redact_commands"]

# Between two arguments: blanks or, in a printed list, quotation marks and a comma.
_GAP: Final = r"""(?:\s{1,3}|\\{0,8}["'],\s{0,3}\\{0,8}["'])"""
_USER: Final = re.compile(
    r"""(?<![\w\-])((?:-u|-U|--user|--proxy-user)(?:["',\\\s=]{1,6}|(?=\w))([^\s:"',]{1,100}):)([^\s"',\\]{1,200})"""
)
_MYSQL: Final = re.compile(
    r"""(\b(?:mysql|mariadb)\w{0,10}\b[^\n;|]{0,300}?[\s"']-p)([^\s"'*,:\\][^\s"'\\]{0,200})"""
)
_LOGIN: Final = re.compile(
    rf"""(\b(?:sshpass|mongosh?|twine|7za?|(?:docker|podman|az|cf|oc|skopeo|registry){_GAP}login|(?<=["'])login(?=\\{{0,8}}["'],)|ldapsearch|smbclient)\b"""
    rf"""[^\n;|&]{{0,200}}?[\s"']-[pw](?:{_GAP}|(?=\w)))(["']?)([^\s"'*\-,\\][^\s"'\\]{{0,200}})"""
)
_REDIS: Final = re.compile(
    rf"""(\bredis-cli\b[^\n;|&]{{0,200}}?[\s"']-a{_GAP})(["']?)([^\s"'*,\\][^\s"'\\]{{0,200}})"""
)
_VALUE: Final = r"""(["']?)([^\s"'*\-,\\][^\s"'\\]{0,200})"""
_CAPITAL: Final = re.compile(
    rf"""(\b(?:sqlcmd|bcp|ipmitool|zip|unzip)\b[^\n;|&]{{0,200}}?[\s"']-P{_GAP}){_VALUE}"""
)
_CIPHER: Final = re.compile(rf"""(\bopenssl\b[^\n;|&]{{0,200}}?[\s"']-[kK]{_GAP}){_VALUE}""")
_ARGUMENT: Final = re.compile(
    rf"""(\b(?:vault{_GAP}login|htpasswd{_GAP}(?:-\w{{1,6}}{_GAP}){{0,4}}-\w{{0,4}}b\w{{0,4}}(?:{_GAP}[^\s"',]{{1,200}}){{2}}"""
    rf"""|rabbitmqctl{_GAP}(?:add_user|change_password|authenticate_user){_GAP}[^\s"',]{{1,200}}){_GAP}){_VALUE}"""
)
_SAMBA: Final = re.compile(
    rf"""(\b(?:smbclient|rpcclient|smbget)\b[^\n;|&]{{0,200}}?[\s"']-U(?:{_GAP}|(?=\w))["']?[^\s"'%,]{{1,100}}%)([^\s"',\\]{{1,200}})"""
)
_LITERAL: Final = re.compile(
    r"""(--from-literal(?:[\s="',\\]{1,6})[\w.\-]{1,200}=)(["']?)([^\s"'\\]{1,400})"""
)
_SETTING: Final = re.compile(
    r"""(\b(?:(?:config|configure|requirepass|secret|variable)\s{1,3}set|ENV|ARG|setx|setenv)\s{1,3}(?P<name>[\w.\-]{2,80})\s{1,3}["']?)"""
    r"""(?P<value>[^\s"'=*\-][^\s"']{2,400})"""
)
_SQL: Final = re.compile(
    r"""(?i)(\b(?:identified\s{1,5}(?:with\s{1,5}\w{1,40}\s{1,5})?by|(?:with\s{1,5})?(?:encrypted\s{1,5})?password|(?<=[(,]\s)secret|(?<=[(,])secret|set\s{1,5}password\s{1,5}for\s{1,5}[^\s=]{1,200}\s{0,5}=)(?:\s{1,5}|\()(["']))([^"'\n]{1,400})(?=\2|\n|\Z)"""
)
_NETRC: Final = re.compile(r"(\blogin\s{1,8}\S{1,200}\s{1,8}password\s{1,8})(\S{1,400})")
_BEARER: Final = re.compile(
    r"(\b(?:[Bb]earer|BEARER|Basic|Negotiate|SSWS|GenieKey)(?:\s{1,3}|%20|\+))([\w\-.~+/]{6,}={0,3})",
    re.ASCII,
)
_PROVIDED: Final = re.compile(
    r"""(?i)(\b(?:api[ _-]?key|access[ _-]?key|token|secret|password|passphrase)"""
    r"""\s{1,3}(?:provided|given|used|is|was|not\svalid|invalid|rejected)[:=]?\s{1,3}["'`(]?)([^\s"'`()]{6,200})"""
)
# ``api key "..." is invalid``, ``token ... has expired``
_SAID: Final = re.compile(
    r"""(?i)(\b(?:api[ _-]?key|access[ _-]?key|(?<!unexpected )token|password|passwd|passphrase"""
    r"""|credential|authorization)(?:\s{1,3}|\\{1,8}t)\\{0,8}["'`(]?)([\w\-+=.~!$%^]{8,200})(?![\w:/=(\[])"""
)
_CONSTRUCTED: Final = re.compile(
    r"""(\b(?:HTTP\w{0,10}Auth|BasicAuth|DigestAuth|UsernamePassword\w{0,20}|PlainTextAuthProvider|login)\("""
    r"""\s{0,8}[bru]?\\{0,8}["'][^"'\n]{1,200}["'],\s{0,8}[bru]?\\{0,8}["'])([^"'\n\\]{1,400})"""
)
_SASL: Final = re.compile(
    r"(\bAUTH(?:ENTICATE)?\s(?:PLAIN|LOGIN|XOAUTH2|OAUTHBEARER|CRAM-MD5|SCRAM-SHA-\d{1,3})\s)([A-Za-z0-9+/]{8,}={0,2})"
)
# The columns and values of PostgreSQL's constraint errors.
_DETAIL: Final = re.compile(r"\bKey \((?P<names>[^()\n]{1,400})\)=\((?P<value>[^\n]{1,4000}?)\)(?=[\s.…]|\Z)")
_PLIST: Final = re.compile(
    r"<key>(?P<name>[\w.\-]{2,80})</key>(?:\s|\\+[rnt]){0,20}<string>(?P<value>[^<]{1,4000})"
)
# A field's value as quoted by a validator: pydantic, argparse, click.
_FIELD_ERROR: Final = re.compile(
    r"""(?<![\w.\-])(?P<name>[\w.\-]{2,120}+)(?:\r?\n|\\+n)[ ]{2}(?!Field\srequired)[^\n\\]{1,300}?"""
    r"""\[type=[\w.]{1,80},\s{1,3}input_value=(?P<value>[^\n]{1,400}?)(?=,\s{1,3}input_type=|\n|\Z)"""
)
_LOCATED: Final = re.compile(
    rf"""(?:{QUOTE})loc(?:{QUOTE}):\s{{0,4}}[\[(][^\])\n]{{0,200}}?(?:{QUOTE})(?P<name>[\w.\-]{{2,80}})(?:{QUOTE}),?\s{{0,4}}[\])]"""
    rf"""[^\n{{}}]{{0,400}}?(?:{QUOTE})input(?:{QUOTE}):\s{{0,4}}(?:{QUOTE})(?P<value>(?:(?!{QUOTE})[^\n\\]){{1,400}})"""
)
_ARGUMENT_ERROR: Final = re.compile(
    r"""\b(?:argument|for)\s{1,3}\\{0,8}["']?(?:-\w\s{0,2}/\s{0,2})?(?P<name>--[\w\-]{2,80})(?:\s{0,2}/\s{0,2}-{1,2}[\w\-]{1,80}){0,3}"""
    r"""(?:\s[A-Z_]{1,40})?\\{0,8}["']?:\s[^:\n"']{0,60}:?\s{0,2}\\{0,8}["'](?P<value>[^"'\n\\]{1,400})"""
)
_ELEMENT: Final = re.compile(r"<(?:[\w\-]{1,40}:)?([\w\-.]{2,80})(?:\s[^<>]{0,200})?>([^<>]{1,4000})(?=<|\Z)")
_FIELD: Final = re.compile(
    rf"""(?i)(\b(?:parameter)?(?:name|key|type|id)(?:{QUOTE})?\s{{0,4}}[:=]\s{{0,4}}(?:{QUOTE})?(?P<name>[\w.\-]{{2,80}})(?:{QUOTE})?
    (?:(?:[\s,;]|\\+n){{1,8}}(?:(?!name=|key=)[\w\-]{{1,20}}=["'][^"'\n]{{0,80}}["']\s{{1,4}}){{0,3}}(?:{QUOTE})?(?:parameter)?(?:value|val|default|text|(?P<content>content))(?:{QUOTE})?\s{{0,4}}[:=]\s{{0,4}}(?:{QUOTE})?
      | (?:\r?\n|\\+r\\+n)(?:[\w\-]{{1,40}}:[^\n\\]{{0,200}}(?:\r?\n|\\+r\\+n)){{0,3}}(?:\r?\n|\\+r\\+n)))
    (?P<value>(?:(?!{QUOTE})[^\n\\]){{1,4000}})""",
    re.VERBOSE,
)
_SCHEMES: Final = ("bearer", "basic", "negotiate", "ssws", "geniekey")
_VERBS: Final = ("provided", "given", "used", " is ", " was ", "valid", "rejected")
_BY_WORD: Final = (
    ("mysql", _MYSQL),
    ("mariadb", _MYSQL),
    ("sshpass", _LOGIN),
    ("login", _LOGIN),
    ("mongo", _LOGIN),
    ("ldap", _LOGIN),
    ("smbclient", _LOGIN),
    ("redis-cli", _REDIS),
    ("twine", _LOGIN),
    ("7z", _LOGIN),
    ("sqlcmd", _CAPITAL),
    ("bcp", _CAPITAL),
    ("ipmitool", _CAPITAL),
    ("zip", _CAPITAL),
    ("openssl", _CIPHER),
    ("vault", _ARGUMENT),
    ("htpasswd", _ARGUMENT),
    ("rabbitmqctl", _ARGUMENT),
    ("smbclient", _SAMBA),
    ("rpcclient", _SAMBA),
    ("--from-literal", _LITERAL),
    ("secret", _SQL),
    ("identified", _SQL),
    ("password", _SQL),
    ("login", _NETRC),
    ("auth", _CONSTRUCTED),
    ("usernamepassword", _CONSTRUCTED),
    ("login(", _CONSTRUCTED),
)


def redact_commands(text: str, names: Names) -> str:
    """Return `text` with the secrets in commands, statements and documents redacted."""
    lower = text.lower()  # a look for a word costs a twentieth of the pattern that it saves
    return _by_name(_by_form(text, lower), lower, names)


def _by_form(text: str, lower: str) -> str:
    if any(map(lower.__contains__, _SCHEMES)):
        text = _BEARER.sub(_if_credential, text)
    if "-u" in lower or "--proxy-user" in lower:
        text = _USER.sub(_if_no_number, text)
    for word, pattern in _BY_WORD:
        if word in lower:
            text = pattern.sub(_last, text)
    if "auth" in lower:
        text = _SASL.sub(_if_random, text)
    if "key" in lower or "token" in lower or "pass" in lower or "cred" in lower or "auth" in lower:
        text = _SAID.sub(_if_random, text)
    if any(map(lower.__contains__, _VERBS)):
        text = _PROVIDED.sub(_if_random, text)
    return text


def _by_name(text: str, lower: str, names: Names) -> str:
    def judged(found: re.Match[str]) -> str:
        return _field(found, names)

    if "set" in lower or "env" in lower or "arg" in lower:
        text = _SETTING.sub(judged, text)
    if "input" in lower and "loc" in lower:
        text = _LOCATED.sub(judged, text)
    if "input_value=" in lower:
        text = _FIELD_ERROR.sub(judged, text)
    if "argument" in lower or "invalid value" in lower:
        text = _ARGUMENT_ERROR.sub(judged, text)
    if "key (" in lower:
        text = _DETAIL.sub(lambda found: _detail(found, names), text)
    if "<key>" in lower:
        text = _PLIST.sub(judged, text)
    if "<" in text:
        text = _ELEMENT.sub(lambda found: _element(found, names), text)
    if "name" in lower or "val" in lower or "text" in lower or "content" in lower:
        text = _FIELD.sub(judged, text)
    return text


def _last(found: re.Match[str]) -> str:
    """Redact the last group, and all behind it, of what was found."""
    number = found.re.groups
    if is_filler(found[number]) or (found.re is _ARGUMENT and is_prose(found[number])):
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
    if not value or is_filler(value) or not is_secret(kind, found[1], value):
        return found[0]
    return found[0][: found.start(2) - found.start()] + MARK


def _detail(found: re.Match[str], names: Names) -> str:
    columns = [column.strip(' "') for column in found["names"].split(", ")]
    values = found["value"].split(", ", len(columns) - 1)
    if not any(
        is_secret(names.kind(column), column, value) for column, value in zip(columns, values, strict=False)
    ):
        return found[0]
    return marked(found, "value")


def _field(found: re.Match[str], names: Names) -> str:
    value, kind = found["value"], names.kind(found["name"])
    if is_filler(value) or not is_secret(kind, found["name"], value):
        return found[0]
    if found.re is _FIELD and found["content"] and not looks_random(value):
        return found[0]  # the output of a model's tool that has such a name
    return marked(found, "value")
