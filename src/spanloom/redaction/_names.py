"""Which names say that their value is a secret, in any style of writing.

A name is cut into its words: ``dbPassword``, ``DB_PASSWORD``, ``db-password`` and ``db.password`` are all
``db_password``. Names that never name a secret (``max_tokens``, ``password_policy``) are ruled out first.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Final

from spanloom.redaction._late import late

__all__ = ["Kind", "Names", "words_of"]


class Kind(IntEnum):
    """What a name says of its value."""

    HARMLESS = 0
    WEAK = 1
    """A secret if it looks random: a ``token`` may also be what a parser reads."""
    DOUBTFUL = 2
    """A secret, unless it is a count, a contact or a result: ``pass`` is also what a test does."""
    SECRET = 3
    HEADER = 4
    """A secret of several words: ``Authorization: Basic dXNl...``."""


MAX_NAME: Final = 120
"""Characters, from the end, that are looked at of a name: a path of a few keys with dots between them."""
_MAX_KNOWN: Final = 4_096
"""Names whose kind is remembered."""

_CAMEL: Final = late(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")
_BETWEEN: Final = late(r"[^A-Za-z0-9]+")

# A name that ends with one of these describes a secret; it does not name the secret itself.
_ABOUT: Final = frozenset(
    [
        "age",
        "alg",
        "algorithm",
        "arn",
        "at",
        "attempts",
        "budget",
        "changed",
        "class",
        "count",
        "counter",
        "counts",
        "dir",
        "enabled",
        "endpoint",
        "env",
        "error",
        "errors",
        "exp",
        "expiration",
        "expired",
        "expires",
        "expiry",
        "field",
        "file",
        "filename",
        "files",
        "folder",
        "format",
        "header",
        "hint",
        "in",
        "index",
        "issuer",
        "len",
        "length",
        "limit",
        "limits",
        "lifetime",
        "location",
        "manager",
        "method",
        "mode",
        "name",
        "names",
        "path",
        "policy",
        "pos",
        "position",
        "prompt",
        "provider",
        "rate",
        "refreshed",
        "required",
        "reset",
        "rotation",
        "scheme",
        "scope",
        "scopes",
        "size",
        "source",
        "status",
        "stdin",
        "store",
        "strength",
        "ttl",
        "type",
        "types",
        "uri",
        "url",
        "usage",
        "used",
        "user",
        "username",
        "valid",
        "validator",
        "version",
    ]
)
_HARMLESS: Final = late(
    # Tokens of pages, of models and of locks; keys of tables and collections.
    r"(?:^|_)(?:(?:next|prev|previous|page|continuation|sync|cancel|cancellation|stop|start|end|eos|bos|pad|unk|sep|cls"
    r"|mask|special|first|last|new|logit|lock|fencing|resume|sub)_(?:page_)?token"
    r"|(?:public|primary|foreign|partition|sort|cache|row|idempotency|routing|group|object|dedup|lookup|composite|natural"
    r"|surrogate|candidate|hash|range|unique|join|sorting|message|map|dict|index|s3|registry|translation|i18n|hot|any|no|bad"
    r"|missing|duplicate|unknown|invalid|on|key|lock|rate_limit|metric|issue|project)_key"
    r"|(?:key|token|pass)_id|keyid|keypass_?count)$"
)
_HEADERS: Final = late(r"(?:^|_)(?:proxy_)?(?:authorization|cookies?)$")
_WORDS: Final = late(
    r"(?:^|_)(?:(?:pass|passw|pwd|psw|pw|secret)[0-9]{0,2}|passcode|pin|otp|totp|cvv|cvc|jwt|creds?|secrets|mnemonic|sas"
    r"|psk|(?:recovery|mfa|otp|verification|backup|sms|two_factor|2fa)_codes?|device_code|code_verifier|client_assertion)(?:$|_)"
)
_WRITTEN_TOGETHER: Final = late(
    "password|passwd|passphrase|passwort|wachtwoord|kennwort|motdepasse|contrasen?a$|senha$|samlresponse$|fsazureaccountkey|storepass$|keypass$|credential|seedphrase|secretkey|secretaccess|clientsecret|appsecret|sharedsecret"
    "|(?:user|root|admin|db|ftp|smtp|mail|bind|ldap|sql|proxy|login|ssh|redis|mysql|become|sudo)(?:pass|pwd?)[0-9]{0,2}$"
    "|secret$|api_?key|(?:access|private|secret|signing|signature|encryption|master|account|shared|preshared|license|service"
    "|servicerole|role|app|application|consumer|storage|auth|ssh|deploy|hmac|subscription|functions|session|license"
    "|integration|ingest|write|admin|root|cookie|crypto|cipher|aes|kms|wrapping|data)key(?:s|data|base64|b64|pem)?$"
    "|(?:auth|access|refresh|id|bearer|session|api|personal|deploy|private|secret|security|bot|oauth|csrf|xsrf|device|app|user"
    "|admin|service|root|vault|push|verification|registration|reset|login|magic|invite|job|install|github|gitlab|slack)"
    "tokens?$"
)
# Without any of these parts, the expression of the same name cannot match, and need not be compiled.
_OF_HARMLESS: Final = frozenset(["key", "pass", "token"])
_OF_HEADERS: Final = frozenset(["authorization", "cookie"])
_OF_WORDS: Final = frozenset(
    [
        *(
            "pass",
            "pw",
            "psw",
            "secret",
            "pin",
            "otp",
            "cvv",
            "cvc",
            "jwt",
            "cred",
            "mnemonic",
            "sas",
            "code",
            "psk",
        ),
        "client_assertion",
    ]
)
_OF_TOGETHER: Final = frozenset(
    [
        *(
            "contrase",
            "credential",
            "kennwort",
            "key",
            "pass",
            "pw",
            "saml",
            "secret",
            "seedphrase",
            "senha",
            "token",
        ),
        "wachtwoord",
    ]
)
_OF_WEAK: Final = frozenset(
    ["token", "tkn", "passkey", "hmac", "auth", "sess", "sid", "sig", "nonce", "csrf", "xsrf", "bearer"]
)
_WEAK: Final = late(
    r"(?:^|_)(?:token|tkn|passkey|hmac|auth|session|sessionid|sess|sid|signature|sig|nonce|csrf|xsrf|bearer)(?:$|_id$|_[0-9]{2,3}$)|(?:token|auth|sessid|sessionid)$"
)
_SCREAMING: Final = late(r"[A-Z0-9]+(?:_[A-Z0-9]+)*_(?:SALT|PAT|SK)")
_SCREAMED: Final = ("_SALT", "_PAT", "_SK")
_DOUBTFUL: Final = frozenset({"pass", "pin", "otp"})
_FOREIGN: Final = frozenset({"пароль", "密码", "密碼", "パスワード", "비밀번호", "hasło"})
"""A password, in words of which `words_of` leaves nothing."""


class Names:
    """Names and their kinds; safe from any thread.

    Attributes:
        own: Names that the user added, as words.
        kept: Names that the user said are harmless, as words.
    """

    def __init__(self) -> None:
        self.own: set[str] = set()
        self.kept: set[str] = set()
        self._known: dict[str, Kind] = {}

    def kind(self, name: str) -> Kind:
        """Return the kind of `name`."""
        known = self._known.get(name)
        return known if known is not None else self._decide(name)

    def add(self, name: str) -> None:
        """Treat `name`, also as part of a longer one, as the name of a secret."""
        self.own = self.own | {_checked(name)}  # a new set: other threads may be iterating over it
        self._known = {}

    def keep(self, name: str) -> None:
        """Treat exactly `name` as harmless."""
        self.kept = self.kept | {_checked(name)}
        self._known = {}

    def _decide(self, name: str) -> Kind:
        known = self._known  # a change meanwhile replaces the dict, so this result is dropped
        if len(known) >= _MAX_KNOWN:
            known.clear()
        kind = self._kind(name[-MAX_NAME:])
        if len(name) <= MAX_NAME:
            known[name] = kind
        return kind

    def _kind(self, name: str) -> Kind:
        words = words_of(name)
        if words in self.kept:
            return Kind.HARMLESS
        if not name.isascii() and name.lower() in _FOREIGN:
            return Kind.SECRET
        if any(f"_{own}_" in f"_{words}_" for own in self.own):
            return Kind.SECRET
        if words.rpartition("_")[2] in _ABOUT or (_has(words, _OF_HARMLESS) and _HARMLESS.search(words)):
            return Kind.HARMLESS
        if _has(words, _OF_HEADERS) and _HEADERS.search(words):
            return Kind.HEADER
        if words in _DOUBTFUL:
            return Kind.DOUBTFUL
        together = words.replace("_", "")
        if (_has(words, _OF_WORDS) and _WORDS.search(words)) or (
            _has(together, _OF_TOGETHER) and _WRITTEN_TOGETHER.search(together)
        ):
            return Kind.SECRET
        if (_has(words, _OF_WEAK) and _WEAK.search(words)) or words.endswith("_key"):
            return Kind.WEAK
        if name.endswith(_SCREAMED) and _SCREAMING.fullmatch(name):
            return Kind.WEAK
        return Kind.HARMLESS


def _has(words: str, parts: frozenset[str]) -> bool:
    return any(part in words for part in parts)


def words_of(name: str) -> str:
    """Return the words of `name` in lower case, ``_`` between them."""
    bare = name.strip("-")
    if bare.isascii() and bare.isalnum() and bare.islower():  # most options and parameters
        return bare
    return _BETWEEN.sub("_", _CAMEL.sub("_", name)).strip("_").lower()


def _checked(name: str) -> str:
    words = words_of(name)
    if not words:
        raise ValueError(f"a key is a name with letters or digits, such as 'customer_pin', not {name!r}")
    return words
