"""The redactor: returns texts and plain data without their secrets."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import Any, Final

from spanloom.redaction._arguments import is_option, redact_argument
from spanloom.redaction._late import late
from spanloom.redaction._looks import is_count, is_filler, looks_random
from spanloom.redaction._marks import MARK, marked
from spanloom.redaction._names import Kind, Names
from spanloom.redaction._tokens import redact_tokens, redact_torn
from spanloom.redaction._trie import AnyOf

__all__ = ["Redactor"]

MAX_LAYERS: Final = 3
"""Layers of percent-encoding that are decoded."""
MAX_PROGRAMS: Final = 8
"""First arguments among which a program's name is looked for: an interpreter and its file may precede it."""
MAX_DEPTH: Final = 64
"""Levels of nested collections; what is deeper is redacted as a whole."""

# A text without any of these, in lower case, can hold a secret only as a token, which is a long run.
_TELLING: Final = [
    "://",
    ":/\\",
    ":\\",
    "@",
    "pass",
    "pw",
    "psw",
    "pin",
    "otp",
    "cvv",
    "cvc",
    "jwt",
    "cred",
    "secret",
    "mnemonic",
    "sas",
    "saml",
    "psk",
    "_sk",
    "tkn",
    "hmac",
    "senha",
    "wachtwoord",
    "seed",
    "key",
    "token",
    "auth",
    "cookie",
    "sess",
    "sid",
    "sig",
    "nonce",
    "csrf",
    "xsrf",
    "bearer",
    "basic",
    "salt",
    "negotiate",
    "ssws",
    "-u",
    "mysql",
    "login",
    "redis-cli",
    "ldapsearch",
    "smbclient",
    "openssl",
    "sqlcmd",
    "ipmitool",
    "rabbitmqctl",
    "zip -p",
    "7z ",
    "пароль",
    "密码",
    "密碼",
    "パスワード",
    "비밀번호",
    "hasło",
    "identified",
    "private-",
    "kty",
    "code=",
    "code_v",
    "kennwort",
    "contrase",
    "ticket=",
    "%3a%2f",
    ":aa",
    "8q~",
    "7q~",
    "hooks.",
    "webhook",
]
# Fields that name the value in other fields of the same dict. Not "input" or "content" behind a "name": the call of a
# model's tool has those.
_VALUES: Final = ("value", "val", "default", "Value")
_LABELS: Final = {
    "name": _VALUES,
    "key": _VALUES,
    "field": _VALUES,
    "type": (*_VALUES, "text"),
    "id": (*_VALUES, "text"),
    "loc": ("input",),
    "Name": _VALUES,
    "Key": _VALUES,
    "ParameterKey": ("ParameterValue",),
}
_DOTTED_NAME: Final = late(r"[A-Za-z_.<>]+")
"""The name of a function, as most recorded texts are: without a separator, it holds no pair of name and value."""
LONG_RUN: Final = 14
"""Characters: no token is shorter."""
_LONG_RUN: Final = late(rf"[A-Za-z0-9_+/=.\-]{{{LONG_RUN}}}")


class Redactor:
    """Removes secrets from whatever is about to be written. Safe from any thread.

    By form it recognizes tokens of some hundred vendors, JWTs, private keys in PEM and other blocks, webhooks,
    passwords in URLs and ``Authorization`` headers. By name it recognizes values behind ``password``, ``api_key``,
    ``client_secret`` and the like, in any style, notation and depth of quoting. A text that was cut may hold half a
    secret: what is before ``…`` counts as one if it begins like one.

    Each secret becomes ``***``. A vendor's prefix, a user name and the scheme of a header stay, to show which
    credential it was. Redacting twice changes nothing more. The time is linear in the length of the text, whatever it
    holds; a text without anything suspicious takes a microsecond or two.

    Other libraries do something else: detect-secrets and its kind scan the lines of files for a person to review, in
    milliseconds a line; the scrubbers of Sentry's and other SDKs know names only, and replace whole values. None reads
    nested texts, or recognizes half a secret.
    """

    def __init__(self) -> None:
        self._names = Names()
        self._patterns: tuple[re.Pattern[str], ...] = ()
        self._telling = AnyOf(_TELLING)

    def text(self, text: str) -> str:
        """Return `text` without the secrets in it; the same object if there are none."""
        return self._text(text, MAX_LAYERS)

    def _text(self, text: str, layers: int) -> str:
        patterns = self._patterns
        if patterns:
            for pattern in patterns:
                text = pattern.sub(_marked, text)
        if self._telling.is_in(str.lower(text)) and _DOTTED_NAME.fullmatch(text) is None:
            from spanloom.redaction._telling import redact_telling

            text = redact_telling(text, self._names, lambda told: self._encoded(told, layers))
        elif (
            (len(text) < LONG_RUN or _LONG_RUN.search(text) is None) and "…" not in text and "..." not in text
        ):
            return text
        else:
            text = self._encoded(text, layers)
        text = redact_tokens(text)
        return redact_torn(text) if "…" in text or "..." in text else text

    def _encoded(self, text: str, layers: int) -> str:
        if not layers or "%" not in text:
            return text
        from spanloom.redaction._encoded import redact_encoded

        return redact_encoded(text, lambda decoded: self._text(decoded, layers - 1))

    # Any: data of any shape, a subclass of the built-in types included, which stays what it is.
    def data(self, value: Any) -> Any:
        """Return a copy of `value` without the secrets in it.

        Args:
            value: Plain data: dicts, lists, tuples, texts, numbers. All texts are redacted, keys included. A value
                is replaced as a whole if its name says that it is a secret: the key of a dict, the first of a pair, or
                the option before an argument. Anything else is returned as it is.
        """
        return self._value(value, MAX_DEPTH)

    def named(self, name: str, value: Any) -> Any:
        """Return `value` redacted as `data` does it for the key `name` of a dict."""
        return self._named(name, value, MAX_DEPTH)

    def add_key(self, name: str) -> None:
        """Treat values named `name` as secrets from now on.

        Args:
            name: In any style: ``customer_pin`` also means ``customerPin`` and ``CUSTOMER-PIN``, and is found within
                ``oldCustomerPin``.

        Raises:
            ValueError: there is no letter or digit in `name`.
        """
        self._names.add(name)
        self._telling = AnyOf([*_TELLING, *(own.split("_")[0] for own in self._names.own)])

    def keep_key(self, name: str) -> None:
        """Treat values named `name`, in any style but not as part of a longer name, as harmless from now on.

        A value with the form of a secret is still redacted.

        Raises:
            ValueError: there is no letter or digit in `name`.
        """
        self._names.keep(name)

    def add_pattern(self, pattern: str | re.Pattern[str]) -> None:
        """Redact what `pattern` matches from now on.

        Args:
            pattern: A regular expression. If a group named ``secret`` takes part in the match, only that is redacted,
                else the whole match. It is searched for in every text: one that backtracks a lot slows down all.

        Raises:
            ValueError: it matches the empty text, or the mark ``***``.
            re.error: it is not a regular expression.
        """
        compiled = re.compile(pattern)
        if compiled.search("") is not None or compiled.search(MARK) is not None:
            raise ValueError(
                f"{compiled.pattern!r} matches nothing at all, or the mark {MARK!r}: make it more exact"
            )
        self._patterns = (*self._patterns, compiled)

    def _value(self, value: Any, depth: int) -> Any:
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, dict):
            return self._mapping(value, depth - 1) if depth else MARK
        if isinstance(value, (list, tuple)):
            return _plain(value)(self._sequence(value, depth - 1)) if depth else MARK
        return value

    def _mapping(self, mapping: dict[Any, Any], depth: int) -> dict[Any, Any]:
        out: dict[Any, Any] = {}
        for key, value in mapping.items():
            if isinstance(key, str):
                out[self.text(key)] = self._named(key, value, depth)
            else:
                out[key] = self._value(value, depth)
        if "kty" in mapping:  # a JSON Web Key
            out.update({key: MARK for key in ("d", "p", "q", "dp", "dq", "qi", "k") if key in mapping})
        self._labelled(mapping, out, depth)
        return out

    def _labelled(self, mapping: dict[Any, Any], out: dict[Any, Any], depth: int) -> None:
        """Redact values that another field names: ``{"name": "DB_PASSWORD", "value": "..."}``."""
        for label, fields in _LABELS.items():
            name = mapping.get(label)
            if label == "loc" and isinstance(name, (list, tuple)) and name:
                name = name[-1]  # a validator's path to the value
            if isinstance(name, str) and self._names.kind(name) is not Kind.HARMLESS:
                for field in fields:
                    if field in mapping:
                        out[field] = self._named(name, mapping[field], depth)

    def _named(self, name: str, value: Any, depth: int) -> Any:
        kind = self._names.kind(name)
        if kind is Kind.HARMLESS:
            return self._value(value, depth)
        if kind is Kind.WEAK:
            if _is_login(name, value):
                return _plain(value)((self._value(value[0], depth), MARK))
            from spanloom.redaction._telling import is_secret

            is_told = isinstance(value, (str, int)) and is_secret(kind, name, str(value))
            return MARK if is_told else self._value(value, depth)
        if kind is Kind.DOUBTFUL and isinstance(value, (str, int)) and is_count(name, str(value)):
            return value
        return self._hidden(value, depth)

    def _hidden(self, value: Any, depth: int) -> Any:
        """Return `value` with every leaf redacted; lists and dicts keep their shape."""
        if isinstance(value, bool) or value is None or value == "":
            return value
        if isinstance(value, str):
            # An Authorization header keeps its scheme; a redacted value stays as it is.
            if is_filler(value):
                return value
            from spanloom.redaction._telling import redact_pairs

            told = redact_pairs(f"authorization: {value}", self._names)[len("authorization: ") :]
            return told if told.endswith(MARK) and told.count(" ") == 1 and "\n" not in told else MARK
        if isinstance(value, dict) and depth:
            return {
                MARK if isinstance(key, str) and looks_random(key) else key: self._hidden(below, depth - 1)
                for key, below in value.items()
            }
        if isinstance(value, (list, tuple)) and depth:
            return _plain(value)(self._hidden(below, depth - 1) for below in value)
        return MARK

    def _sequence(self, sequence: list[Any] | tuple[Any, ...], depth: int) -> list[Any]:
        out: list[Any] = []
        if any(isinstance(item, str) and "PRIVATE KEY" in item for item in sequence):
            from spanloom.redaction._key_lines import without_keys

            sequence = without_keys(sequence)
        programs: list[str] = []
        before: Any = None
        for item in sequence:
            told = None
            if isinstance(before, str) and isinstance(item, str):
                if not before.startswith("-") and len(programs) < MAX_PROGRAMS:
                    programs.append(before.replace("\\", "/").rpartition("/")[2])
                told = redact_argument(programs, before, item, self._names)
                if told is None and len(sequence) == 2 and self._is_pair(before, sequence):
                    told = self._named(before, item, depth)
            elif isinstance(before, str) and is_option(before) and not isinstance(item, (list, tuple, dict)):
                told = self._named(before, item, depth)
            out.append(self._value(item, depth) if told is None else told)
            before = item
        return out

    def _is_pair(self, name: str, sequence: list[Any] | tuple[Any, ...]) -> bool:
        kind = self._names.kind(name)
        # What is weak is judged by the looks of the other.
        return kind in (Kind.HEADER, Kind.WEAK) or (isinstance(sequence, tuple) and kind is Kind.SECRET)


def _is_login(name: str, value: object) -> bool:
    """Tell whether `value` is a user and a password, as clients for HTTP take them: ``auth=("bob", "...")``."""
    return (
        isinstance(value, (list, tuple))
        and len(value) == 2
        and all(isinstance(each, str) for each in value)
        and name.lower().endswith("auth")
    )


def _plain(sequence: list[Any] | tuple[Any, ...]) -> Callable[[Iterable[Any]], list[Any] | tuple[Any, ...]]:
    """Return the plain class for a copy: a subclass, such as a named tuple, may have another constructor."""
    return list if isinstance(sequence, list) else tuple


def _marked(found: re.Match[str]) -> str:
    if "secret" not in found.re.groupindex or found.start("secret") < 0:
        return MARK
    return marked(found, "secret")
