"""What is known of objects of others."""

from __future__ import annotations

from spanloom.instrument.side_table import SideTable


class Thing:
    """Equal to all others, and without a hash."""

    __hash__ = None

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Thing)


def test_objects_are_told_apart_by_identity_and_not_kept() -> None:
    """Equal ones without a hash have values of their own, which go with them."""
    table: SideTable[str] = SideTable()
    one, other = Thing(), Thing()
    table[one], table[other] = "one", "other"
    assert (table.get(one), table.get(other), table.get(Thing())) == ("one", "other", None)
    assert [value for _, value in table.items()] == table.values() == ["one", "other"]
    del one
    assert len(table) == 1
    assert table.get(other) == "other"
    assert (table.pop(other), table.pop(other), len(table)) == ("other", None, 0)
    table[other] = "again"
    table.clear()
    assert table.get(other) is None


def test_what_is_made_for_an_object_is_the_same_for_all_who_ask() -> None:
    """Also if somebody asks while it is being made, in another thread or in a finalizer that runs just then."""
    table: SideTable[str] = SideTable()
    thing = Thing()
    assert table.of(thing, lambda: table.of(thing, lambda: "first") + " and again") == "first"
    assert table.of(thing, lambda: "later") == table.get(thing) == "first"
    assert len(table) == 1
