"""Values that their name marks as secret: ``password=...``, ``"apiKey": "..."``, ``Authorization: ...``.

Theory of operation. One pattern finds every name followed by a separator, in each notation that occurs: headers,
environments, JSON and Python in any number of layers of quoting, YAML, query strings, connection strings, arguments of
a command. The value is looked at only if `Names` says that it may be a secret. It ends where the notation ends it; in
doubt, later rather than earlier: rather too much is removed than half of a secret left.

The pattern starts only at the start of a run of name characters, and takes the whole run, so it is linear.
"""

from __future__ import annotations

import re
from typing import Final

from spanloom.redaction._looks import is_count, is_filler, is_number_of, is_prose, looks_random, says_secret
from spanloom.redaction._marks import MARK
from spanloom.redaction._names import Kind, Names
from spanloom.redaction._quotes import QUOTE, closing, quote_before

__all__ = ["is_secret", "redact_pairs"]

_ESCAPE: Final = r"(?:(?<!\\)\\++(?:[nrtbf]|u[0-9A-Fa-f]{4}|x[0-9A-Fa-f]{2}))"
_ANNOTATION: Final = r"[ \t]{0,8}(?:str|bytes|SecretStr|Optional\[str\]|str[ ]\|[ ]None)[ \t]{0,8}=(?!=)"
_PAIR: Final = re.compile(
    rf"""(?:{_ESCAPE}|(?<![\w.\-]))(?P<name>[\w.\-]{{2,}}+)
    (?:
      (?P<close>{QUOTE})?\]?[ \t\xa0\u3000]{{0,20}}(?:\\+(?:xa0|u00[aA]0|u3000)[ ]{{0,8}})?
        (?P<separator>=>|->|:=|={{1,3}}(?!=)|:(?:{_ANNOTATION})?(?!:)|[\uff1a\uff1d]|\\+u(?:003|[fF][fF]1)[aAdD])
      | (?P<listed>{QUOTE})[ \t]{{0,8}},(?=\s{{0,20}}[bBrRuU]?{QUOTE})
      | (?P<blank>[ \t]{{1,20}}(?=[\S]))
    )""",
    re.VERBOSE,
)
_OPEN: Final = re.compile(rf"\s{{0,40}}[bBrRuUfF]{{0,2}}({QUOTE})")
_END: Final = re.compile(r"[\s,;)\]}]|\Z")
_BLANKS: Final = re.compile(r"[ \t\xa0\u3000]{0,200}")
_BRACKET: Final = re.compile(r"\s{0,40}([\[({])")
_BLOCK: Final = re.compile(r"[|>][-+0-9]{0,2}[ \t]{0,8}(\n|\\+n)([ \t]{1,80})")
_ITEMS: Final = re.compile(r"[ \t]{0,8}(\n|\\+n)([ \t]{0,80}- )")
_PHRASE: Final = re.compile(r"(?:[a-z]{3,8}[ ,]{1,2}){11,23}[a-z]{3,8}")
_BARE: Final = re.compile(
    r"""(?:
      [^\s,;&"'`<\\]
      | ,(?!\s|\Z|[\w.\-]{1,60}[=:]) | ;(?!\s|\Z|[\w][\w .\-]{0,60}=)
      | &(?![\w.\-%\[\]]{1,60}=|(?:amp|quot|apos|lt|gt|\#\w{1,4});)
      | ["'`](?![\s,;:)\]}>&\\]|\Z) | \\(?![nrtbf"'`]|u00[0-9a-f]{2})
    )+""",
    re.VERBOSE,
)
_INDENT: Final = 80
"""Most characters before a name that is first in its line."""
_LINE_BEGIN: Final = re.compile(r"(?:\A|\n|\\n)[ \t]*\Z")
_LINE_END: Final = re.compile(r"[ \t\r]{0,80}(?:\\{0,32}[nr\n]|\Z)")
_CODE: Final = re.compile(r"[0-9]{4,12}")
_TRAILING: Final = ")]}>.,:;!?"
_LINE: Final = re.compile(r"(?:[^\n\r\\]|\\(?!\\{0,32}[nr]))+")
_SCHEME: Final = re.compile(
    r"""\s*(?P<scheme>Bearer|Basic|Digest|Token|ApiKey|Api-Key|Negotiate|NTLM|SSWS|GenieKey|AWS4-HMAC-SHA256|AWS|Key|OAuth|Hawk
    |JWT|SharedKey|DeepL-Auth-Key|Klaviyo-API-Key|Discogs|Snowflake|Splunk|Zoho-oauthtoken|sso-key|Bot|GoogleLogin|PRIVATE-TOKEN)
    (?:[ ]|%20|\+|:[ ])(?:[Tt]oken=)?(?P<token>\*\*\*|[\w\-.~+/=%:…]+)?""",
    re.VERBOSE | re.IGNORECASE | re.ASCII,
)
# With these schemes, the whole rest of the header is the secret, not just one word.
_LONG_SCHEMES: Final = frozenset(
    {"digest", "aws4-hmac-sha256", "oauth", "hawk", "snowflake", "googlelogin", "discogs"}
)
_WORD_BEFORE: Final = re.compile(r"[A-Za-z]{2,20}[ ]\Z")
# The name of a secret in AWS: arn:aws:secretsmanager:eu-west-1:123456789012:secret:db-AbCdEf.
_ARN: Final = re.compile(r"[0-9]{12}:\Z")
_ARN_LENGTH: Final = 13
# Parameters of URLs: a grant that can be exchanged for a token, a ticket that opens a socket.
_PARAMETERS: Final = frozenset({"key", "code", "ticket", "assertion"})
_COMPOUND: Final = frozenset({"key", "token", "phrase", "code", "word", "keys", "tokens", "secret", "id"})
MAX_WEAK: Final = 4_096
"""Characters of the longest value that is judged by its looks."""


def redact_pairs(text: str, names: Names) -> str:
    """Return `text` with the values that follow names of secrets redacted."""
    out: list[str] = []
    done = at = 0
    lines = _Lines(text)
    while (found := _PAIR.search(text, at)) is not None:
        at = found.end()
        kind = _kind(text, found, names)
        if kind is Kind.HARMLESS:
            # What was taken for the separator may be an escape before the next name.
            is_separated = found["close"] or found["listed"] or found["separator"]
            at = max(at - 1, found.end("name")) if is_separated else found.end("name")
            continue
        span = _value(text, found, kind, lines)
        if span is None:
            continue
        start, stop = span
        out += (text[done:start], MARK)
        done = at = stop
    if not out:
        return text
    out.append(text[done:])
    return "".join(out)


def _kind(text: str, found: re.Match[str], names: Names) -> Kind:
    name = found["name"]
    kind = names.kind(name)
    if name == "secret" and _ARN.search(text, max(0, found.start("name") - _ARN_LENGTH), found.start("name")):
        return Kind.HARMLESS
    if kind is Kind.HARMLESS and name.lower() in _COMPOUND:
        start = found.start("name")
        before = _WORD_BEFORE.search(text[max(0, start - 21) : start])
        kind = Kind.HARMLESS if before is None else names.kind(before[0] + name)
    if found["blank"] is not None:
        # An option and its argument. A blank behind another name is prose, unless the name has an underscore.
        if kind is not Kind.HARMLESS and "_" in name and not name.startswith("-"):
            return Kind.WEAK
        return kind if name.startswith("-") and kind else Kind.HARMLESS
    if (
        kind is Kind.HARMLESS
        and name.lower() in _PARAMETERS
        and text.startswith(("?", "&"), max(0, found.start("name") - 1), found.start("name"))
    ):
        return Kind.WEAK
    if found["listed"] is None or name.startswith("-"):
        return kind
    # Only in a pair like ("password", "..."), not in a list of names.
    start = found.start("name")
    before_quote = text[max(0, start - 42) : start].rstrip("\\\"'`bBuUrR&qot; ")[-1:]
    return kind if before_quote == "(" or (before_quote == "[" and kind is Kind.HEADER) else Kind.HARMLESS


class _Lines:
    """Ends of the lines of a text, escaped line breaks included; cached, so that a long line is scanned once."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._start = self._end = 0

    def end(self, start: int) -> int:
        """Return the end of the line that contains `start`."""
        if not self._start <= start < self._end:
            line = _LINE.match(self._text, start)
            self._start, self._end = start, start if line is None else line.end()
        return self._end


def _value(text: str, found: re.Match[str], kind: Kind, lines: _Lines) -> tuple[int, int] | None:
    """Return the span of the secret behind a found name; ``None`` if there is none."""
    at = found.end()
    opened = _OPEN.match(text, at)
    if opened is not None:
        start = opened.end()
        if opened[1] == quote_before(text, found.start("name")) and _END.match(text, start) is not None:
            return None  # it closes the quote that was opened before the name
        stop = closing(text, start, opened[1])
        if stop == start and text[stop + len(opened[1]) : stop + len(opened[1]) + 1].isalnum():  # doubled
            start = stop + len(opened[1])
            stop = closing(text, start, opened[1])
        return _judged(text, found, (start, stop), kind, is_quoted=True)
    bracket = _BRACKET.match(text, at)
    if bracket is not None and (
        kind not in (Kind.WEAK, Kind.DOUBTFUL) or (bracket[1] == "(" and found["name"].endswith("auth"))
    ):
        return _bracketed(text, bracket)
    blanks = _BLANKS.match(text, at)
    at = at if blanks is None else blanks.end()
    block = _BLOCK.match(text, at) or _ITEMS.match(text, at)
    if block is not None and kind not in (Kind.WEAK, Kind.DOUBTFUL):
        return _indented(text, block)
    if kind is Kind.HEADER:
        return _header(text, found["name"], at, quote_before(text, found.start("name")), lines.end(at))
    separator = found["separator"] or ""
    bare = (_PHRASE.match(text, at) if kind is Kind.SECRET else None) or _BARE.match(text, at)
    if bare is None:
        return None
    stop = at + len(bare[0].rstrip(_TRAILING))
    value, name = text[at:stop], found["name"].lower()
    if is_filler(bare[0]):
        return None
    if kind is Kind.WEAK and len(value) > 1 and text.startswith("...", stop):
        kind = Kind.SECRET
    if is_prose(value) and (separator != "=" or value in ("none", "not")):
        return None
    if kind is Kind.DOUBTFUL and separator == ":" and not _is_alone(text, found, stop):
        kind = (
            Kind.SECRET if _CODE.fullmatch(value.rstrip("\\")) is not None and name != "pass" else Kind.WEAK
        )
    return _judged(text, found, (at, stop), kind, is_quoted=False)


def _is_alone(text: str, found: re.Match[str], stop: int) -> bool:
    """Return whether a lower-case name and its value are alone in their line, as in a file of settings."""
    start = found.start("name")
    return (
        found["name"].islower()
        and _LINE_BEGIN.search(text[max(0, start - _INDENT) : start]) is not None
        and _LINE_END.match(text, stop) is not None
    )


def _judged(
    text: str, found: re.Match[str], span: tuple[int, int], kind: Kind, *, is_quoted: bool
) -> tuple[int, int] | None:
    start, stop = span
    if stop <= start or text.startswith(MARK, start):
        return None
    if stop - start < MAX_WEAK:
        value = text[start:stop]
        if is_filler(value) or not is_secret(kind, found["name"], value):
            return None
    if kind is Kind.HEADER and is_quoted:
        scheme = _SCHEME.match(text, start, stop)
        if scheme is not None and scheme["token"] is not None:
            return None if text.startswith(MARK, scheme.start("token")) else (scheme.start("token"), stop)
    return start, stop


def is_secret(kind: Kind, name: str, value: str) -> bool:
    """Return whether `value` is a secret, by the `kind` of `name` and, where that leaves it open, by its looks."""
    if kind is Kind.WEAK:
        return looks_random(value) or is_number_of(name, value) or says_secret(value)
    return kind is not Kind.HARMLESS and not (kind is Kind.DOUBTFUL and is_count(name, value))


def _header(text: str, name: str, start: int, quote: str | None, stop: int) -> tuple[int, int] | None:
    if stop == start:
        return None
    if quote is not None:
        stop = min(stop, closing(text, start, quote))
    value = text[start : min(stop, start + MAX_WEAK)]
    if is_prose(value.partition(" ")[0]) and value[:6].lower() != "token ":
        return None
    if name.endswith("s") and "=" not in value and not looks_random(value.partition(" ")[0].strip("…")):
        return None  # cookies: 3 items
    scheme = _SCHEME.match(text, start, stop)
    if scheme is not None and scheme["token"] is not None:
        start = scheme.start("token")
        if scheme["scheme"].lower() not in _LONG_SCHEMES:
            stop = scheme.end("token")
    if text.startswith(MARK, start) or (stop - start <= MAX_WEAK and is_filler(text[start:stop])):
        return None
    return start, stop


def _bracketed(text: str, bracket: re.Match[str]) -> tuple[int, int] | None:
    """Return the span inside brackets; without a closing one, up to the end of the line."""
    start = bracket.end()
    depth = 1
    line_end = text.find("\n", start)
    for position in range(start, min(len(text), start + MAX_WEAK)):
        char = text[position]
        if char in "[({":
            depth += 1
        elif char in "])}":
            depth -= 1
            if not depth:
                inside = text[start:position].strip("\"' ")
                is_empty = not inside or inside.startswith(MARK) or is_filler(f"{{{inside}}}")
                return None if is_empty else (start, position)
    return start, len(text) if line_end < 0 else line_end


def _indented(text: str, block: re.Match[str]) -> tuple[int, int] | None:
    """Return the span of the lines of a YAML block, or of the items of a YAML list."""
    line_break, indent = block.groups()
    stop = start = block.end()
    if text.startswith(MARK, start):
        return None
    while True:
        line_end = text.find(line_break, stop)
        if line_end < 0:
            return start, len(text)
        stop = line_end + len(line_break)
        if not text.startswith(indent, stop):
            return start, line_end
