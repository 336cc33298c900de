"""What tells an item from all others."""

from __future__ import annotations

import functools
import math

import msgspec
import pytest

from spanloom.store.checkpoint_key import Keys, digest_of


def test_a_key_depends_on_the_value_only() -> None:
    """The order of a dict's keys does not matter, the type of a scalar does."""
    assert digest_of({"a": 1, "b": 2}) == digest_of({"b": 2, "a": 1})
    assert len({digest_of(value) for value in (1, "1", 1.5, True, None, [1], {"1": 1})}) == 7


class Document(msgspec.Struct):
    path: str
    page: int


@pytest.mark.parametrize("item", ["text", 7, ("a", 1), {"id": 3}, Document("a.pdf", 2), None])
def test_items_that_json_knows_are_their_own_keys(item: object) -> None:
    """Without `key=`, the item is the key, and nothing of it is written in a readable form."""
    digest, text = Keys(None, None).next(item)
    assert digest == digest_of(item)
    assert text is None


def test_a_partial_is_known_by_its_arguments() -> None:
    """Jobs that are partials need no key where their arguments have a JSON form."""
    keys = Keys(None, None)
    found = {
        keys.next(functools.partial(print, *args, **kwargs))[0]
        for args, kwargs in [((1,), {}), ((2,), {}), ((), {"x": 1}), ((), {"x": 2})]
    }
    assert len(found) == 4
    with pytest.raises(ValueError, match="item 4"):
        keys.next(functools.partial(print, 1))
    assert Keys(None, None).next(functools.partial(functools.partial(print, 1), 2)) == Keys(None, None).next(
        functools.partial(print, 1, 2)
    )


def test_keys_that_the_user_names_can_be_read_in_the_file() -> None:
    """A key of the user's own is kept as text, shortened; one that is no plain value is not."""
    assert Keys(lambda item: f"page {item}", None).next(3)[1] == "page 3"
    assert Keys([7], 1).next(object())[1] == "7"
    assert len(Keys(lambda item: "x" * 999, None).next(3)[1] or "") == 200
    assert Keys(lambda item: [item], None).next(3)[1] is None


@pytest.mark.parametrize(
    "key", [math.inf, -math.inf, math.nan, [math.nan], {"a": (1, math.inf)}, Document("a", math.nan)]
)  # type: ignore[arg-type]  # msgspec does not look
def test_a_number_that_json_does_not_know_is_no_key(key: object) -> None:
    """Infinities and NaN, at any depth, are refused: as JSON they would all be null, and one key."""
    with pytest.raises(TypeError, match=r"JSON does not know (-?inf|nan)"):
        digest_of(key)
    with pytest.raises(
        TypeError, match=r"item 0 cannot be told from others after a restart.*give Checkpoint"
    ):
        Keys(None, None).next(key)


def test_null_in_a_key_is_no_reason_to_refuse_it() -> None:
    """None, and text that says null, are fine beside finite numbers."""
    assert len({digest_of(key) for key in (None, [None], "null", {"a": None, "b": 1.5}, {"null": 1})}) == 5
