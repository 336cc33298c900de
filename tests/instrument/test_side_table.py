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
    assert other in table
    assert (table.pop(other), table.pop(other), len(table)) == ("other", None, 0)
    table[other] = "again"
    table.clear()
    assert other not in table
