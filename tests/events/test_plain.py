"""Plain copies: bounded, and made without running a line of the user's code."""

from __future__ import annotations

import collections
import datetime
import enum
import json
import math
import threading

import pytest

from spanloom.events import plain
from spanloom.events.plain import placeholder, plain_payload, plain_text


def explode(*args: object, **kwargs: object) -> object:
    raise AssertionError("code of the user's ran")


class HostileMeta(type):
    __getattribute__ = explode  # type: ignore[assignment]  # a trap: cls.__qualname__ and all the rest
    __instancecheck__ = __subclasscheck__ = __eq__ = __hash__ = __repr__ = explode  # type: ignore[assignment]  # traps


TRAPS = dict.fromkeys(
    (
        "__str__", "__repr__", "__format__", "__iter__", "__len__", "__bool__", "__getitem__", "__eq__", "__int__",
        "__index__", "__float__", "items", "keys", "values", "copy", "__contains__", "__hash__", "__getattribute__",
        "__lt__", "bit_length", "encode", "isascii",
    ),
    explode,
) | {"__class__": property(explode)}  # fmt: skip


def hostile(base: type) -> type:
    return type("Hostile", (base,), dict(TRAPS))


@pytest.mark.parametrize(
    ("base", "args", "expected"),
    [
        (str, ("text",), "text"),
        (int, (7,), 7),
        (float, (1.5,), 1.5),
        (dict, ({"a": 1},), {"a": 1}),
        (list, ([1, 2],), [1, 2]),
        (tuple, ((1, 2),), [1, 2]),
        (set, ({1},), [1]),
        (frozenset, ({1},), [1]),
        (object, (), f"<{__name__}.Hostile>"),
        (collections.OrderedDict, ({"a": 1},), {"a": 1}),
    ],
    ids=lambda value: value.__name__ if isinstance(value, type) else "",
)
def test_no_code_of_a_subclass_runs(base: type, args: tuple[object, ...], expected: object) -> None:
    """Subclasses of the plain types are read by the plain types' own methods, everything else by its type's name."""
    value = base.__new__(hostile(base), *args)
    base.__init__(value, *args)
    copy = plain_payload({"value": value})
    assert copy == {"value": expected}
    assert type(copy["value"]) in (str, int, float, dict, list)


def test_a_hostile_metaclass_is_not_asked() -> None:
    """Even the name of a class is read past its metaclass; a module that is not a string is left out."""
    kind = HostileMeta("Hidden", (), {"__module__": 7})
    assert plain_payload({"value": type.__call__(kind)}) == {"value": "<Hidden>"}


class Color(enum.IntEnum):
    RED = 1


Point = collections.namedtuple("Point", "x y")


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, None),
        (True, True),
        (Color.RED, 1),
        (Point(1, 2), [1, 2]),
        (b"\x00", "<bytes>"),
        (1j, "<complex>"),
        (object, "<type>"),
        (datetime.datetime(2024, 1, 1, tzinfo=datetime.UTC), "<datetime.datetime>"),
        (math.nan, "NaN"),
        (math.inf, "Infinity"),
        (-math.inf, "-Infinity"),
        (2**1024 - 1, 2**1024 - 1),
        (2**1024, "<int of 1025 bits>"),
        ("\ud800", "\\ud800"),
        ("naïve", "naïve"),
    ],
)
def test_values(value: object, expected: object) -> None:
    """JSON's values stay; what it has no word for becomes a short string."""
    copy = plain_payload({"value": value})
    assert copy == {"value": expected}
    json.dumps(copy, allow_nan=False)


def test_keys_become_strings() -> None:
    """Numbers as keys are written out; the types of other keys are named, and none hides another."""
    one, two = object(), object()
    copy = plain_payload({1: "a", None: "b", 2.5: "c", one: "d", two: "e", (1,): "f", "\udfff": "g"})  # type: ignore[dict-item]  # any key
    assert copy == {
        "1": "a", "None": "b", "2.5": "c", "<object>": "d", "<object> #4": "e", "<tuple>": "f", "\\udfff": "g",
    }  # fmt: skip


def test_text_is_cut() -> None:
    """A long string keeps its beginning and shows that there was more."""
    assert plain_text("x" * 10, 10) == "x" * 10
    assert plain_text("x" * 11, 10) == "x" * 9 + "…"
    assert plain_text("x", 0) == "…"
    long = plain_payload({"k" * 1000: "v" * 10_000})
    assert long == {"k" * (plain.MAX_KEY - 1) + "…": "v" * (plain.MAX_TEXT - 1) + "…"}


def test_collections_are_cut() -> None:
    """A long collection keeps its first items and says how many were left out."""
    copy = plain_payload(
        {"list": list(range(1000)), "dict": {str(key): key for key in range(1000)}, "set": set(range(101))}
    )
    assert copy["list"] == [*range(plain.MAX_ITEMS), "… 900 more"]
    assert list(copy["dict"].items())[-2:] == [("99", 99), ("…", "900 more")]  # type: ignore[attr-defined]  # a dict
    assert len(copy["set"]) == plain.MAX_ITEMS + 1  # type: ignore[arg-type]  # a list


def test_depth_is_bounded_and_cycles_end() -> None:
    """A structure that contains itself is followed to the bound, and no further."""
    cycle: list[object] = []
    cycle.append(cycle)
    assert plain_payload({"cycle": cycle}) == {"cycle": [[[["<list>"]]]]}
    mapping: dict[str, object] = {}
    mapping["self"] = mapping
    assert plain_payload(mapping) == {"self": {"self": {"self": {"self": {"self": "<dict>"}}}}}


def size(value: object) -> tuple[int, int]:
    """Count the values and the characters of a plain copy."""
    if isinstance(value, str):
        return 1, len(value)
    parts = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    sizes = [size(part) for part in parts]
    keys = sum(len(key) for key in value) if isinstance(value, dict) else 0
    return 1 + sum(values for values, _ in sizes), keys + sum(text for _, text in sizes)


def test_a_payload_as_a_whole_is_bounded() -> None:
    """Many collections, each within its bound, are together within the payload's, and what is missing is said."""
    wide: object = "x" * 300
    for _ in range(4):
        wide = [wide] * 100
    values, text = size(plain_payload({"wide": wide, "dict": {"a": 1}}))
    assert values < 2 * plain.MAX_VALUES
    assert text < 1.2 * plain.MAX_TOTAL_TEXT
    texts = plain_payload({f"k{number}": "x" * 2_000 for number in range(50)})
    assert size(texts)[1] < 1.1 * plain.MAX_TOTAL_TEXT
    assert texts["k10"] == "x" * 2_000
    assert texts["…"] == f"{50 - (len(texts) - 1)} more"
    mark = plain_payload({"…": "the user's"} | {str(number): number for number in range(200)})
    assert mark["…"] == "the user's"
    assert mark["… #100"] == "101 more"
    many = plain_payload({"a": [[0] * 100 for _ in range(99)], "b": 1})
    assert many["…"] == "1 more"


def test_a_payload_may_change_while_it_is_copied() -> None:
    """Its owner may write to a payload in another thread: that is no error, and what is there is copied."""
    data: dict[str, object] = {"set": set(), "dict": {}}
    done = threading.Event()

    def churn() -> None:
        number = 0
        while not done.is_set():
            number += 1
            data[f"k{number % 300}"] = number
            data["set"].add(number % 500)  # type: ignore[attr-defined]  # a set
            if number % 7 == 0:
                data.pop(f"k{number % 299}", None)
                data["set"].discard(number % 499)  # type: ignore[attr-defined]  # a set

    thread = threading.Thread(target=churn)
    thread.start()
    try:
        copies = [plain_payload(data) for _ in range(300)]
    finally:
        done.set()
        thread.join()
    assert all(len(copy) <= plain.MAX_ITEMS + 1 for copy in copies)


class ChangesOnce:
    """Stand in for ``islice``: the first look finds a collection that changes, the next one does not."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, iterator, stop: int):
        self.calls += 1
        if self.calls == 1:
            raise RuntimeError("changed size during iteration")
        return list(iterator)[:stop]


@pytest.mark.parametrize("value", [{"a": 1}, {3}], ids=["dict", "set"])
def test_a_collection_that_changes_is_copied_first(monkeypatch, value: object) -> None:
    """When iteration fails because the collection changed size, a copy of it is read."""
    copier = plain._Copy()
    monkeypatch.setattr(plain, "islice", ChangesOnce())
    assert copier.value(value, 2) in ({"a": 1}, [3])


def test_a_placeholder_is_short() -> None:
    """A name of any length is cut, built-in types go without their module."""
    kind = type("N" * 1000, (), {"__module__": "m" * 1000})
    assert len(placeholder(kind)) == 2 * plain.MAX_KEY + 3
    assert placeholder(dict) == "<dict>"
    assert placeholder(datetime.date) == "<datetime.date>"
