"""Redaction: every shape goes, in any surroundings, whole or torn; what is harmless stays; the time is linear."""

from __future__ import annotations

import importlib
import json
import pkgutil
import random
import re
import subprocess
import sys
import threading
import time
from typing import NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import spanloom.redaction
from spanloom.redaction import Redactor, _looks, _names, redact_data, redact_named, redact_text
from spanloom.redaction._late import late
from spanloom.redaction._trie import AnyOf
from spanloom.redaction.redactor import MAX_DEPTH
from tests.redaction.corpus import CONTAINERS, leaks, samples, shapes, variants
from tests.redaction.harmless import HARMLESS

MARK = "***"


def test_the_corpus_has_as_many_shapes_as_it_claims() -> None:
    """There are at least 200 shapes of secrets, each with its own name, and 100 harmless texts."""
    names = [name for name, _, _ in shapes()]
    assert len(names) >= 390
    assert len(set(names)) == len(names)
    assert len(set(HARMLESS)) == len(HARMLESS) >= 300
    assert all(leaks(sample.secret, sample.text) for sample in samples())


@pytest.mark.parametrize("container", CONTAINERS)
def test_no_shape_survives(container: str) -> None:
    """No piece of any secret is left, whatever it stands in, whatever is drawn for it."""
    left = {
        sample.name: redacted
        for seed in range(3)
        for name, sample in variants(seed)
        if name == container
        for redacted in [redact_text(sample.text)]
        if leaks(sample.secret, redacted)
    }
    assert left == {}


def test_redaction_is_idempotent() -> None:
    """What was redacted comes out of a second redaction as it was."""
    changed = {
        sample.name: redacted
        for _, sample in variants(3)
        for redacted in [redact_text(sample.text)]
        if redact_text(redacted) != redacted
    }
    assert changed == {}


@pytest.mark.parametrize("text", HARMLESS)
def test_what_is_harmless_stays(text: str) -> None:
    """A text that only looks like a secret stays as it is, so that a diagnosis stays of use."""
    assert redact_text(text) == text
    assert redact_text(f"RuntimeError: {text}") == f"RuntimeError: {text}"
    assert redact_data({"detail": text, "list": [text]}) == {"detail": text, "list": [text]}


# Torn before their tell: the half that is left is a part of a text without any form.
_FORMLESS_HALVES = {"password with an at", "no scheme"}


@pytest.mark.parametrize("mark", ["…", "..."])
def test_half_a_secret_before_a_cut_is_known(mark: str) -> None:
    """Wherever a text is cut, nothing of the secret that stands before the mark of the cut is left."""
    left = {}
    for sample in samples(7):
        for at in range(1, len(sample.text), max(1, len(sample.text) // 80)):
            torn = sample.text[:at] + mark
            redacted = redact_text(torn)
            # The first 24 characters of a JWT say how it is signed: they are the same for everyone.
            pieces = leaks(sample.secret[24:] if sample.name == "JWT" else sample.secret, redacted)
            if pieces and sample.name not in _FORMLESS_HALVES:
                left[sample.name] = torn[-120:], redacted[-120:]
    assert left == {}


HOSTILE = (
    "sk-", "a=", "://", "eyJ-", "password=", "token='", 'token="', "-----BEGIN " "PRIVATE KEY-----",
    "-----END " "PRIVATE KEY-----", "a", " ", "\\", '"', "password:{", "%41", "%25", "u:p@", "@", "a.", "<password>",
    "</a", "name=", "-u a:", "mysql -p ", "login ", "bearer ", "AK" "IA", "AB1/", "authorization: ", 'password\\":\\"',
    "\n", '"kty" "d": "', "Private-Lines: 1\nAAAA", "123456789:", "MTIzNDU2Nzg5MDEyMzQ1Njc4.", "--password ",
    "auth=('", "password=[", "password: |\n  ", "…", "a…", "A1b2C3d4…", "...", "://a:b", "https://a:b@", "%3A%2F%2F",
    "\\u0022", "&quot;", "password=&quot;", "(((", "token=x ", "x: y, ", "(b'password', b'", "8Q~", "1:AA",
    "identified by '", "[parameters: ('", "insert into a (password) values ('a', ", " into a(a)", '"loc": ["a"], ',
    "token ", "input_value='", "argument --a: ", "'login', ", "AUTH PLAIN ",
    "sqlcmd -P ", "openssl -k ", "smbclient -U a%", "vault login ", "htpasswd -b a ", "--from-literal a=", "Key (",
    "Key (token)=(", "<key>password</key>", "$2b$", "$1$a", "A" * 20, "passwords:\n  - a", "mnemonic: abc abc ", "t1.a",
    "+ASt", "a1/", "12345678901234|", "prod:a:", "LS0tLS1CRUdJTiBQUklW", "0aA-", "00aA",
    "HTTPBasicAuth('a', ", "name\n  x [type=x, ", "ENV a ", "type: a, value: ", "'mysql', ", "pin: 1", "\\', '",
    "a_key x", "basic a ", "=", "AAAA\n", "password_", "p" * 50 + "=",
    "Bearer Cookie: ", "Authorization: argument ", "=>Cookies: ",
)  # fmt: skip


@pytest.mark.parametrize("unit", HOSTILE)
def test_the_time_is_linear_in_hostile_texts(unit: str) -> None:
    """A text made to be slow takes twenty times as long when it is twenty times as long."""
    for begin in ("", "password=", "https://"):
        small = (begin + unit * (2_500 // len(unit)))[:2_500]
        large = (begin + unit * (50_000 // len(unit)))[:50_000]
        small_s = min(_seconds(small) for _ in range(2))
        large_s = _seconds(large)
        assert large_s < 60 * small_s + 0.2, (small_s, large_s)


def test_a_hostile_megabyte_takes_seconds() -> None:
    """A megabyte of all of them, one after another, is redacted in seconds, not in hours."""
    share = 1_000_000 // len(HOSTILE)
    took_s = _seconds("".join(unit * (share // len(unit)) for unit in HOSTILE))
    assert took_s < 30


def _seconds(text: str) -> float:
    begin = time.thread_time()
    redact_text(text)
    return time.thread_time() - begin


_PIECES = st.sampled_from(
    [*['password=', 'token:', ':', '=', '"', '{}', '[]', '(', ')', ',', ';', '&', '?',
     '%3D', '%22', '…', '...', '***', '|', '>', '<', '/'], "'", "\\", "\n", " ", "\\n", '\\"',
     "sk-" "proj-", "Authorization: Bearer ", "https://u:", "@h/", "cookie: a=b; ", "-----BEGIN " "PRIVATE KEY-----",
     "-----END " "PRIVATE KEY-----", "api_key", "secret", "hunter2abc", "abcDEF123456", "--password ", "basic "]
)  # fmt: skip


@settings(max_examples=800, deadline=None)
@given(st.lists(_PIECES, max_size=14).map("".join))
def test_any_text_is_taken(text: str) -> None:
    """Whatever is put together, redaction ends, returns a text, and leaves what it has redacted alone."""
    once = redact_text(text)
    twice = redact_text(once)
    assert redact_text(twice) == twice
    assert isinstance(once, str)


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text(st.characters(exclude_characters=":="), max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text("xyz", max_size=4), inner, max_size=3)
    ),
    max_leaves=20,
)


@settings(max_examples=40, deadline=None)
@given(JSON)
def test_data_keeps_its_shape(value: object) -> None:
    """Data without telling names comes out equal, and as JSON as it went in."""
    assert json.dumps(redact_data(value), sort_keys=True) == json.dumps(value, sort_keys=True)


def test_names_tell_in_any_style() -> None:
    """The value of a telling name is taken out, however the name is written and whatever the value is."""
    names = [
        "password",
        "dbPassword",
        "DB_PASSWORD",
        "db-password",
        "db.password",
        "api_key",
        "apiKey",
        "X-Api-Key",
        "secret",
        "clientSecret",
    ]
    names += [
        "authorization",
        "Cookie",
        "set-cookie",
        "credentials",
        "access_token",
        "refreshToken",
        "private_key",
        "passphrase",
        "otp",
    ]
    names += ["AWS_SECRET_ACCESS_KEY", "session_key", "authToken", "encryptionKey", "userPwd"]
    for name in names:
        assert redact_data({name: "hunter2"})[name] == MARK, name
        assert redact_data([{"a": {name: ["x1", 12345, None, True]}}]) == [
            {"a": {name: [MARK, MARK, None, True]}}
        ]
        assert redact_text(f"{name}=hunter2\nb=1") == f"{name}={MARK}\nb=1"
    for name in [
        "max_tokens",
        "token_count",
        "password_length",
        "public_key",
        "key_id",
        "author",
        "tokenizer",
    ]:
        assert redact_data({name: 5}) == {name: 5}
        assert redact_data({name: "plain"}) == {name: "plain"}


def test_a_name_that_may_tell_goes_by_the_looks_of_its_value() -> None:
    """A token that is a word stays; one that looks drawn goes."""
    assert redact_named("token", " the") == " the"
    assert redact_named("token", "q8Zr41mPx0Lw") == MARK
    assert redact_named("session", {"user": 1}) == {"user": 1}
    assert redact_named("auth", "my-secret-token") == MARK
    assert redact_text("session=SUPERSECRET_7") == f"session={MARK}"
    assert redact_named("auth", "client_secret_basic") == "client_secret_basic"
    assert redact_text("token: secret is missing") == "token: secret is missing"


def test_secrets_are_found_at_any_place_of_data() -> None:
    """Keys, pairs, arguments, lists of names and values, and JSON Web Keys are looked into."""
    github = "ghp_" + "a1B2" * 9
    assert redact_data({github: 1}) == {f"gh{'p_'}{MARK}": 1}
    assert redact_data(["run", "--password", "hunter2", "-v"]) == ["run", "--password", MARK, "-v"]
    assert redact_data([("authorization", "Bearer abc123456")]) == [("authorization", f"Bearer {MARK}")]
    assert redact_data({"name": "DB_PASSWORD", "value": "x1"}) == {"name": "DB_PASSWORD", "value": MARK}
    assert redact_data({"type": "password", "val": "x1"}) == {"type": "password", "val": MARK}
    assert redact_data({"ParameterKey": "DbPassword", "ParameterValue": "x"})["ParameterValue"] == MARK
    assert redact_data({"loc": ("body", "password"), "msg": "too short", "input": "x1"})["input"] == MARK
    assert redact_data({"password": {"q8Zr41mPx0Lw": 1}}) == {"password": {MARK: MARK}}
    assert redact_data({"token": 12345678901234, "session": 1700000000}) == {
        "token": MARK,
        "session": 1700000000,
    }
    tool = {"role": "tool", "name": "reset_password", "content": "mail sent", "input": {"user": "bob"}}
    assert redact_data(tool) == tool
    assert redact_data({"pass": 12, "fail": 3, "pin": "GPIO17"}) == {"pass": 12, "fail": 3, "pin": "GPIO17"}
    assert redact_data({"kty": "oct", "k": "abc"}) == {"kty": "oct", "k": MARK}
    assert redact_data({"credentials": {"user": "bob"}}) == {"credentials": {"user": MARK}}


def test_what_comes_in_several_items_is_found() -> None:
    """The lines of a private key in a list, a user and a password, a header and its token: they are taken out."""
    key = ["-----BEGIN RSA PRIVATE KEY-----", "MIIEowIBAAKC", "short", "-----END RSA PRIVATE KEY-----"]
    assert redact_data(["a", *key, "b"]) == ["a", key[0], MARK, MARK, key[3], "b"]
    assert redact_data({"lines": key[:3]}) == {"lines": [key[0], MARK, MARK]}
    assert redact_data([*key[:2], 7, "a"]) == [key[0], MARK, 7, "a"]
    assert redact_data({"auth": ["bob", "hunter2"]}) == {"auth": ["bob", MARK]}
    assert redact_data({"http_auth": ("bob", "hunter2")}) == {"http_auth": ("bob", MARK)}
    assert redact_data({"auth": ["a", "b", "c"]}) == {"auth": ["a", "b", "c"]}
    assert redact_data([["X-Figma-Token", "q8Zr41mPx0Lw"]]) == [["X-Figma-Token", MARK]]
    assert redact_data(["token", "count"]) == ["token", "count"]


@pytest.mark.parametrize("name", ["contraseña", "hasło", "пароль", "密码", "パスワード", "비밀번호"])
def test_a_password_is_known_in_other_scripts(name: str) -> None:
    """Names that are not written in ASCII tell of a password, too."""
    assert redact_text(f"{name}: hunter2") == f"{name}: {MARK}"
    assert redact_data({name: "hunter2"}) == {name: MARK}


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["prog", "-u", "bob:hunter2"], ["prog", "-u", f"bob:{MARK}"]),
        (["curl", "--proxy-user", "bob:hunter2"], ["curl", "--proxy-user", f"bob:{MARK}"]),
        (["/usr/bin/mysql", "-u", "root", "-phunter2", "app"], ["/usr/bin/mysql", "-u", "root", f"-p{MARK}", "app"]),
        (["python", "tool.py", "login", "-p", "hunter2"], ["python", "tool.py", "login", "-p", MARK]),
        (["sshpass", "-p", "hunter2", "ssh", "db"], ["sshpass", "-p", MARK, "ssh", "db"]),
        (["redis-cli", "-a", "hunter2", "ping"], ["redis-cli", "-a", MARK, "ping"]),
        (["sqlcmd", "-S", "db", "-P", "hunter2"], ["sqlcmd", "-S", "db", "-P", MARK]),
        (["twine", "upload", "-p", "hunter2"], ["twine", "upload", "-p", MARK]),
        (["tool", "--password", "--hunter2"], ["tool", "--password", MARK]),
        (["tool", "--token", "q8Zr41mPx0Lw"], ["tool", "--token", MARK]),
        (["aws", "set", "aws_secret_access_key", "q8Zr41mPx0Lw"], ["aws", "set", "aws_secret_access_key", MARK]),
    ],
)  # fmt: skip
def test_the_arguments_of_a_command_are_looked_into(arguments: list[str], told: list[str]) -> None:
    """What a command takes as a password is taken out of the list of its arguments, and of what prints that list."""
    assert redact_data(arguments) == told
    assert redact_data(tuple(arguments)) == tuple(told)


@pytest.mark.parametrize(
    "arguments",
    [
        ["docker", "run", "-u", "1000:1000", "-p", "8080:80", "image"],
        ["docker", "login", "--password-stdin", "ghcr.io"],
        ["mkdir", "-p", "/tmp/a"],
        ["psql", "--password", "--host", "db"],
        ["python", "-u", "train.py", "-p", "configs/a.yaml"],
        ["mysql", "-u", "root", "-p", "app"],
        ["tool", "--token", "the"],
        ["tool", "--max-tokens", "4096", "--seed", "17"],
        ["id", "password", "email"],
    ],
)
def test_other_arguments_stay(arguments: list[str]) -> None:
    """Ports, numbers of users, paths and options are no passwords."""
    assert redact_data(arguments) == arguments


def test_sequences_of_other_classes_become_plain_ones() -> None:
    """A named tuple, which cannot be made like a tuple, is looked into all the same."""

    class Login(NamedTuple):
        user: str
        password: str

    assert redact_data(Login("bob", "x")) == ("bob", "x")
    assert redact_data([Login("bob", "password=hunter2")]) == [("bob", "password=***")]
    assert redact_data({"password": Login("bob", "hunter2")}) == {"password": ("***", "***")}


def test_deep_data_is_taken_out_where_it_is_not_looked_into() -> None:
    """What lies deeper than is looked, a cycle included, is taken out as a whole."""
    cycle: list[object] = []
    cycle.append(cycle)
    deep = redact_data(cycle)
    for _ in range(MAX_DEPTH - 1):
        (deep,) = deep
    assert deep == [MARK]


def test_what_a_vendor_wrote_in_front_stays() -> None:
    """The prefix of a token, the user of a URL and the scheme of a header stay: they say which credential it was."""
    assert redact_text("glpat-" + "x1Y2" * 5) == f"gl{'pat-'}{MARK}"
    assert redact_text("postgres://app:hunter2@db/x") == f"postgres://app:{MARK}@db/x"
    assert redact_text("Authorization: Basic Ym9iOmh1bnRlcjI=") == f"Authorization: Basic {MARK}"


def test_a_text_without_secrets_is_the_same_object() -> None:
    """Nothing is copied where nothing is found."""
    text = "connection to 10.0.0.4 timed out after 30 seconds"
    assert redact_text(text) is text


def test_own_keys_and_patterns_are_learned() -> None:
    """A redactor takes names, patterns and exceptions of the user's; others know nothing of them."""
    redactor = Redactor()
    redactor.add_key("customerCode")
    redactor.keep_key("session_key")
    redactor.add_pattern(r"ACME-\d{6}")
    redactor.add_pattern(r"order (?P<secret>\d+)")
    assert redactor.text("old_customer_code=17 b") == f"old_customer_code={MARK} b"
    assert redactor.data({"CUSTOMER-CODE": 17}) == {"CUSTOMER-CODE": MARK}
    assert redactor.text("session_key=abc") == "session_key=abc"
    assert redactor.text("key ACME-123456, order 99!") == f"key {MARK}, order {MARK}!"
    assert redact_text("customer_code=17 ACME-123456") == "customer_code=17 ACME-123456"


@pytest.mark.parametrize("pattern", ["x*", "", r"\*+", ".*"])
def test_a_pattern_that_matches_nothing_is_refused(pattern: str) -> None:
    """A pattern that would match everywhere, or the mark itself, is refused."""
    with pytest.raises(ValueError, match="make it more exact"):
        Redactor().add_pattern(pattern)


def test_a_pattern_that_is_none_is_refused() -> None:
    """A regular expression that does not compile is refused."""
    with pytest.raises(re.error):
        Redactor().add_pattern("(")


def test_a_key_without_letters_is_refused() -> None:
    """A key is a name."""
    with pytest.raises(ValueError, match="a key is a name"):
        Redactor().add_key("--")


def test_threads_do_not_disturb_each_other() -> None:
    """One redactor may be asked and taught by many threads at once."""
    redactor = Redactor()
    texts = [sample for sample in samples(11) if len(sample.text) < 300]
    left: list[str] = []

    def work(seed: int) -> None:
        rng = random.Random(seed)
        for number in range(300):
            sample = rng.choice(texts)
            if leaks(sample.secret, redactor.text(sample.text)):
                left.append(sample.name)
            redactor.data({f"name_{rng.randrange(10_000)}": "x"})
            if number % 50 == 0:
                redactor.add_key(f"own{seed}n{number}")

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert left == []


def test_every_pattern_that_is_compiled_late_compiles() -> None:
    """A pattern that is no regular expression is found here, and not by the first text that is asked about it."""
    modules = [
        importlib.import_module(f"spanloom.redaction.{each.name}")
        for each in pkgutil.iter_modules(spanloom.redaction.__path__)
    ]
    kind = type(late(""))
    found = [value for module in modules for value in vars(module).values() if isinstance(value, kind)]
    assert len(found) >= 20
    for pattern in found:
        assert pattern.search("").__class__ in {re.Match, type(None)}


def test_a_late_pattern_does_what_a_compiled_one_does() -> None:
    """Its methods are those of the pattern, with the same arguments and flags, and there are no others."""
    pattern, compiled = late(r"(\w+)=\d+", re.ASCII), re.compile(r"(\w+)=\d+", re.ASCII)
    text = "a=1, b=2, \u00e4=3"
    assert pattern.sub(r"\1", text, 1) == compiled.sub(r"\1", text, 1)
    assert [found.span() for found in pattern.finditer(text, 2)] == [
        found.span() for found in compiled.finditer(text, 2)
    ]
    assert pattern.fullmatch(text, 0, 3) is not None
    assert pattern.match(text, 1) is None
    with pytest.raises(AttributeError, match="has no 'split'"):
        late("a").split("b")


@pytest.mark.parametrize(
    ("pattern", "parts"),
    [
        (_names._HARMLESS, _names._OF_HARMLESS),
        (_names._HEADERS, _names._OF_HEADERS),
        (_names._WORDS, _names._OF_WORDS),
        (_names._WRITTEN_TOGETHER, _names._OF_TOGETHER),
        (_names._WEAK, _names._OF_WEAK),
        (_names._SCREAMING, frozenset(_names._SCREAMED)),
    ],
)
@given(data=st.data())
@settings(max_examples=40, deadline=None)
def test_the_patterns_of_names_are_asked_wherever_they_find_something(
    pattern: re.Pattern[str], parts: frozenset[str], data: st.DataObject
) -> None:
    """Whatever one of them matches has one of the parts without which it is not asked."""
    matched = data.draw(st.from_regex(re.compile(vars(pattern)["_made_of"][0], re.ASCII)))
    assert any(part in matched for part in parts)


@given(value=st.from_regex(re.compile(vars(_looks._RANDOM)["_made_of"][0]), fullmatch=True))
@settings(max_examples=200, deadline=None)
def test_nothing_that_looks_random_is_taken_for_plain(value: str) -> None:
    """What is told to be no random value without the expression, that does not match either."""
    assert not _looks.is_plain(value)


def test_a_word_is_found_by_the_first_texts_as_by_the_later_ones() -> None:
    """While an expression of many words is not worth compiling, they are looked for one by one."""
    words, texts = ["key", "keys", "pass"], ["no", "a keys b", "compass", "", "no"]
    fresh, used = AnyOf(words), AnyOf(words)
    for _ in range(100):
        used.is_in("nothing")
    assert [fresh.is_in(text) for text in texts] == [used.is_in(text) for text in texts]
    assert [AnyOf(words).is_in(text) for text in texts] == [used.is_in(text) for text in texts]
    assert [[match[0] for match in AnyOf(words).found_in(text)] for text in texts] == [
        [match[0] for match in used.found_in(text)] for text in texts
    ]


def test_a_path_is_redacted_without_most_of_the_patterns() -> None:
    """What a run writes down at its start, a folder, files and options, does not wait for 8 ms of compiling."""
    program = (
        "import re, sys; real = re.compile; made = []\n"
        "re.compile = lambda *made_of: made.append(made_of) or real(*made_of)\n"
        "from spanloom.redaction import redact_data\n"
        "given = ['/usr/bin/python3', '/home/anna/.venv/bin/spanloom', 'run', 'a_pipeline/of_anna_2/fetch.py', '12',"
        " '-m', 'fetch', '--turns', '40', '--out', 'answers.json', '--max-at-once', '8']\n"
        "assert redact_data(given) == given\n"
        "print([word for word in ('passphrase', 'idempotency', 'SECRET', 'redacted', 'nemonic', 'cookies', 'nonce',"
        " '%3a%2f', 'SALT') if word in str(made)])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, encoding="utf-8", check=True)
    assert done.stdout == "[]\n"  # each is in one of those that take the longest


def test_the_first_texts_are_asked_for_every_prefix_all_the_same() -> None:
    """A token is found in the first text that there is, and in the fortieth, when all prefixes are one expression."""
    program = (
        "from spanloom.redaction import redact_text\n"
        "token = 'gh' + 'p_' + 'Ab1' * 12\n"
        "first = redact_text(f'a {token}')\n"
        "paths = [f'/home/anna/project_{number}' for number in range(50)]\n"
        "print(first, {redact_text(path) == path for path in paths})\n"
        "print(redact_text(f'a {token}') == first)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, encoding="utf-8", check=True)
    assert done.stdout.splitlines() == ["a ghp_*** {True}", "True"]
