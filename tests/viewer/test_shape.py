"""The shape of a message: what is a value, and what is not."""

from __future__ import annotations

import string
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spanloom.viewer._shape import VARIES, agree, masked, wildcards

SHAPES = [
    ("item 17 of 300", "item <n> of <n>"),
    ("took 1.5s, limit 30 ms, 45% of 2.3GiB", "took <n>s, limit <n> ms, <n>% of <n>GiB"),
    ("-3 is out of range [0, 1e6]", "<n> is out of range [<n>, <n>]"),
    ("1,234,567 rows", "<n> rows"),
    ("user 'alice' not found", "user <text> not found"),
    ('no key "a\\"b" in dict', "no key <text> in dict"),
    ("can't connect, won't retry", "can't connect, won't retry"),
    ("can't open 'a b': it isn't there", "can't open <text>: it isn't there"),
    ("GET https://api.example.com/v1/users/7?x=1 failed", "GET <url> failed"),
    ("postgres://u:p@h:5432/db: refused", "<url> refused"),
    ("no host 10.0.0.7:8080", "no host <ip>"),
    ("no route to fe80::1", "no route to <ip>"),
    ("no route to 2001:db8:0:1:2:3:4:5 or ::1", "no route to <ip> or <ip>"),
    ("Client error '404 Not Found' for url 'http://h/7'", "Client error '404 Not Found' for url <text>"),
    ("key 6f1c2d3e-0a1b-4c5d-8e9f-001122334455 is gone", "key <uuid> is gone"),
    ("commit 9fceb02d0ae598e95dc970b74767f19372d61af8", "commit <hex>"),
    ("at 0x7f00deadbeef", "at <hex>"),
    ("<Session object at 0x7f00deadbeef> is closed", "<object> is closed"),
    ("mail to a.b+c@example.co.uk bounced", "mail to <email> bounced"),
    ("cannot open /var/lib/app/run-7.log", "cannot open <path>"),
    ("cannot open C:\\Users\\me\\x.txt now", "cannot open <path> now"),
    ("worker-12 died, shard_3 left, req_8f2c9 lost", "<id> died, <id> left, <id> lost"),
    ("expired at 2026-11-22T09:14:03.123Z", "expired at <date>"),
    ("since 2026-11-22 it is late", "since <date> it is late"),
    ("at 09:14:03 it rang", "at <time> it rang"),
    ("two\n  lines\there", "two lines here"),
    ("", ""),
]
KEPT = [
    "HTTP/2 stream error",
    "utf-8 codec can't decode",
    "expected str, got int",
    "facade deadbeef cafe accede",
    "and/or, either/or",
    "x86 and H2O and 3D",
    "status 404",
    "status code: 503",
    "HTTP 429",
    "[Errno 111] Connect call failed",
    "exit code 137",
]


@pytest.mark.parametrize(("message", "shape"), SHAPES, ids=[message[:30] for message, _ in SHAPES])
def test_values_are_taken_out_of_a_message(message: str, shape: str) -> None:
    """Numbers, ids, quotations, addresses, paths and dates are replaced by the word for their kind."""
    assert masked(message) == shape


@pytest.mark.parametrize("message", KEPT)
def test_words_stay_words(message: str) -> None:
    """What only looks a little like a value is part of the message: two messages are not made one by mistake."""
    assert masked(message) == message


@given(st.text(max_size=500))
def test_any_text_has_a_shape_on_one_line(text: str) -> None:
    """Messages come from anywhere; the shape has no line breaks, and masking it again changes little or nothing."""
    shape = masked(text)
    assert "\n" not in shape
    assert shape == shape.strip()


@pytest.mark.parametrize(
    "piece", ["'", '"', "a-", "1.", "0x", "/a", "::", "a@", "1,", "\\", "a_1", "[", "e5", "https://"]
)
def test_the_time_is_linear_in_the_message(piece: str) -> None:
    """No message, however it is made, takes the patterns long: the longest that is recorded takes under 50 ms."""
    message = (piece * 500)[:500]
    best = min(_timed(message) for _ in range(3))
    assert best < 0.05


def _timed(message: str) -> float:
    start = time.thread_time()
    masked(message)
    return time.thread_time() - start


NAMES = ("alice", "bob", "carol", "dave", "erin", "frank", "grace")


def test_a_word_that_varies_much_becomes_a_wildcard() -> None:
    """Names of users are values, though they look like words."""
    shapes = [f"no user {name} here" for name in NAMES]
    assert wildcards(shapes) == dict.fromkeys(shapes, "no user <*> here")


def test_a_word_that_varies_little_does_not() -> None:
    """The words of a program's own messages are few, and tell kinds of errors apart."""
    shapes = [f"connection {word} by peer" for word in ("refused", "reset", "closed", "aborted")]
    assert len(shapes) < VARIES
    assert wildcards(shapes) == {}


def test_messages_that_differ_in_two_words_stay_apart() -> None:
    """Only one place varies in a family; messages of another build are not drawn in."""
    shapes = [f"{verb} {noun} failed" for verb, noun in zip(NAMES, string.ascii_letters, strict=False)]
    assert wildcards([*shapes, "failed"]) == {}


def test_a_message_of_one_word_is_never_a_wildcard() -> None:
    """A KeyError's message is its key alone; everything would be one kind."""
    assert wildcards(NAMES) == {}


def test_shapes_agree_where_one_has_a_wildcard() -> None:
    """Of two runs, one may have had enough names to see that a word varies."""
    assert agree("no user <*> here", "no user bob here")
    assert agree("no user bob here", "no user bob here")
    assert not agree("no user <*> here", "no user bob there")
    assert not agree("no user <*>", "no user bob here")
