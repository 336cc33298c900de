"""One trace: its id, its name, and which event lies under which."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from spanloom.events.ids import new_trace_id

if TYPE_CHECKING:
    from spanloom.events.event import JobFamily

__all__ = ["Trace"]

MAX_SCOPES: Final = 20_000
"""Scopes whose parent a trace remembers: some 3 MB. Jobs need no entry of their own."""


class Trace:
    """A tree of events under one root.

    The jobs of a batch are a range of ids under one parent, so a batch of ten million jobs takes
    one entry here. Every other event takes one, up to `MAX_SCOPES`; what comes after is counted.

    Attributes:
        trace_id: 128-bit W3C trace id.
        name: The name of the root.
        root_id: Event id of the root.
        omitted: Events beyond `MAX_SCOPES`, missing from `tree`.
    """

    __slots__ = ("_families", "_scopes", "name", "omitted", "root_id", "trace_id")

    def __init__(self, name: str, root_id: int, trace_id: int | None = None) -> None:
        self.trace_id: int = new_trace_id() if trace_id is None else trace_id
        self.name: str = name
        self.root_id: int = root_id
        self.omitted: int = 0
        self._scopes: list[tuple[int, int]] = []
        self._families: list[JobFamily] = []

    def __len__(self) -> int:
        return len(self._scopes) + len(self._families)

    def add(self, parent_id: int, event_id: int) -> None:
        """Note that `event_id` lies under `parent_id`."""
        if len(self._scopes) < MAX_SCOPES:
            self._scopes.append((parent_id, event_id))
        else:
            self.omitted += 1

    def add_family(self, family: JobFamily) -> None:
        """Note a batch, whose jobs lie under it."""
        if len(self._families) < MAX_SCOPES:
            self._families.append(family)
        else:
            self.omitted += 1

    @property
    def families(self) -> tuple[JobFamily, ...]:
        """The batches of this trace, in order of their start; open ones among them."""
        return tuple(self._families)

    def tree(self) -> dict[int, list[int]]:
        """Return a map from each parent's event id to its children's ids, in order of their start.

        A leaf has no key. A batch's jobs stand before other events directly under that batch.
        """
        tree: dict[int, list[int]] = {}
        for family in self._families:
            tree[family.batch_id] = [family.id_at(index) for index in range(family.started)]
        for parent_id, event_id in self._scopes:
            tree.setdefault(parent_id, []).append(event_id)
        return {parent: children for parent, children in tree.items() if children}
