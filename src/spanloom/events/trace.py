"""One trace: its id, its name, and the parent of each of its events."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec

from spanloom.events.ids import event_id_at, new_trace_id

if TYPE_CHECKING:
    from spanloom.events.event import JobFamily

__all__ = ["Trace"]

MAX_SCOPES: Final = 20_000
"""Scopes whose parent a trace remembers: some 3 MB. Jobs need no entry of their own."""


class Trace(msgspec.Struct, eq=False):
    """A tree of events under one root.

    The jobs of a batch are a range of ids under one parent, so a batch of ten million jobs takes
    one entry here. Every other event takes one, up to `MAX_SCOPES`; later ones are only counted.

    Attributes:
        trace_id: 128-bit W3C trace id.
        name: The name of the root.
        root_id: Event id of the root.
        omitted: Number of events, and of batches with their jobs, beyond `MAX_SCOPES`; missing from `tree`.
        noted: Pairs of a parent's and a child's event id, in order of start; without jobs.
    """

    name: str
    root_id: int
    trace_id: int = msgspec.field(default_factory=new_trace_id)
    omitted: int = 0
    noted: list[tuple[int, int]] = []
    _families: dict[int, JobFamily | tuple[int, int]] | None = None
    """By batch id: its family while it runs; after that its base id and number of jobs, for `tree`."""

    def __len__(self) -> int:
        return len(self.noted) + (0 if self._families is None else len(self._families))

    def add(self, parent_id: int, event_id: int) -> None:
        """Note that `event_id` lies under `parent_id`."""
        if len(self.noted) < MAX_SCOPES:
            self.noted.append((parent_id, event_id))
        else:
            self.omitted += 1

    def add_both(self, parent_id: int, event_id: int, child_id: int) -> None:
        """Note that `event_id` lies under `parent_id`, and `child_id` under that."""
        scopes = self.noted
        if len(scopes) < MAX_SCOPES - 1:
            scopes.append((parent_id, event_id))
            scopes.append((event_id, child_id))
        else:
            self.add(parent_id, event_id)
            self.add(event_id, child_id)

    def __repr__(self) -> str:
        return f"Trace(name={self.name!r}, trace_id=0x{self.trace_id:032x})"

    def scopes(self) -> int:
        """Return how many events have been noted, to pass as `since` to `has_child` later."""
        return len(self.noted)

    def has_child(self, parent_id: int, since: int) -> bool:
        """Tell whether an event right under `parent_id` is among those noted after the first `since`."""
        scopes = self.noted
        return any(scopes[at][0] == parent_id for at in range(since, len(scopes)))

    def add_family(self, family: JobFamily) -> None:
        """Note a batch, whose jobs lie under it; `settle` must follow."""
        if self._families is None:
            self._families = {}
        if len(self._families) < MAX_SCOPES:
            self._families[family.batch_id] = family
        else:
            self.omitted += 1

    def settle(self, family: JobFamily) -> None:
        """Replace the family of an ended batch by its numbers.

        A family refers to its trace. If the trace kept the family, this cycle would never be freed:
        families and job events are not tracked by the garbage collector (``gc=False``).
        """
        families = self._families
        if families is not None and family.batch_id in families:
            families[family.batch_id] = family.base_id, family.started

    def parent_of(self, event_id: int) -> int | None:
        """Return the parent's id of an event other than a job; ``None`` for the root and for an omitted event.

        Searches all noted events from the latest on: for rare use.
        """
        for parent_id, child_id in reversed(self.noted):
            if child_id == event_id:
                return parent_id
        return None

    @property
    def families(self) -> tuple[JobFamily, ...]:
        """The batches of this trace that are open now, in order of their start."""
        return tuple(family for family in self._batches().values() if not isinstance(family, tuple))

    def tree(self) -> dict[int, list[int]]:
        """Return a map from each parent's event id to its children's ids, in order of their start.

        A leaf has no key. A batch's jobs stand before other events directly under that batch.
        """
        tree: dict[int, list[int]] = {}
        for batch_id, family in self._batches().items():
            base_id, started = family if isinstance(family, tuple) else (family.base_id, family.started)
            tree[batch_id] = [event_id_at(base_id, index) for index in range(started)]
        for parent_id, event_id in self.noted:
            tree.setdefault(parent_id, []).append(event_id)
        return {parent: children for parent, children in tree.items() if children}

    def _batches(self) -> dict[int, JobFamily | tuple[int, int]]:
        """Return a copy, which no other thread writes to."""
        return {} if self._families is None else self._families.copy()
