"""What is known of a resource: a lock, queue, event, future ..."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Container, Mapping, Sequence
from gc import get_referents
from typing import Any

from spanloom.concurrency.slots import Slots
from spanloom.diagnosis.chain import Link, line_of
from spanloom.diagnosis.crowds import Crowds
from spanloom.diagnosis.fields import field, is_future, module_of
from spanloom.diagnosis.holders import Held
from spanloom.diagnosis.model import Holder, Resource
from spanloom.diagnosis.naming import Search, name_in

__all__ = ["Kept", "describe"]


class Kept:
    """A resource while a look lasts, with the object itself as `value`.

    The other attributes are those of `spanloom.diagnosis.model.Resource`, with numbers of `Crowds` for sets of keys:
    `waiting` has ``(task key, kind of wait)`` pairs, `held` and `owed` have ``(task key, Held)`` pairs, `actors` has
    crowds by kind of wait, `known_to` has crowds.
    """

    __slots__ = (
        "actors",
        "between",
        "fresh",
        "held",
        "known_to",
        "name",
        "owed",
        "takers",
        "value",
        "waiting",
    )

    def __init__(self, value: Any) -> None:
        self.value: Any = value
        self.waiting: list[tuple[int, str]] = []
        self.held: list[tuple[int, Held]] = []
        self.actors: defaultdict[str, list[int]] = defaultdict(list)
        self.takers: set[int] = set()
        self.fresh: set[int] = set()
        self.between: set[int] = set()
        self.owed: list[tuple[int, Held]] = []
        self.known_to: list[int] = []
        self.name: str | None = None

    @property
    def is_future(self) -> bool:
        """Whether it is a bare future."""
        return is_future(self.value)

    @property
    def is_loop(self) -> bool:
        """Whether it is a loop that nobody runs."""
        return bool(self.waiting) and self.waiting[0][1] == "loop"

    def kinds(self) -> tuple[str, ...]:
        """Return the kinds of wait for it; a future always has ``"future"``, a barrier ``"parties"`` besides."""
        found = dict.fromkeys(kind for _, kind in self.waiting)
        if self.is_future:
            found["future"] = None
        if "barrier" in found:
            found["parties"] = None
        return tuple(found)


_KINDS = {"get": "queue", "put": "queue", "join": "queue"}


def describe(
    kept: Kept, links: Mapping[int, Sequence[Link]], dead: Container[int], crowds: Crowds, search: Search
) -> Resource:
    """Return `kept` as a plain value; its name is searched for only if one of `dead` waits for it."""
    value = kept.value
    kinds = kept.kinds()
    kind = _KINDS.get(kinds[0], kinds[0]) if kinds else "lock"
    size, used, free, unfinished = _numbers(value)
    if kept.name is None and any(key in dead for key, _ in kept.waiting):
        kept.name = _name(kept, links, search) or _given_name(value) or type(value).__name__
    condition_waiters = {key for key, how in kept.waiting if how == "condition"}
    holders = tuple(_holder(key, held) for key, held in kept.held if key not in condition_waiters)
    return Resource(
        key=id(value),
        kind=kind,
        type=type(value).__name__,
        name=kept.name or type(value).__name__,
        holders=holders + _declared(value, {holder.task for holder in holders}, links),
        waiters=tuple(key for key, _ in kept.waiting),
        size=size,
        used=used,
        free=free,
        unfinished=unfinished,
        actors={kind: crowds.members(numbers) for kind, numbers in kept.actors.items()},
        takers=frozenset(kept.takers),
        fresh=frozenset(kept.fresh),
        between=frozenset(kept.between),
        owed=tuple(_holder(key, held) for key, held in kept.owed),
        known_to=crowds.members(kept.known_to),
    )


def _holder(key: int, held: Held) -> Holder:
    return Holder(key, f"{held.link.code.co_filename}:{held.line}", held.link.function, held.sure)


def _name(kept: Kept, links: Mapping[int, Sequence[Link]], search: Search) -> str | None:
    for key in [key for key, _ in kept.waiting][:3] + [key for key, _ in kept.held][:3]:
        found = name_in(links[key], _known_as(kept.value, links[key]), search)
        if found is not None:
            return found
    return None


def _known_as(value: Any, links: Sequence[Link]) -> Any:
    """Return the object the program has: for a stream of anyio, the end in use, not the state that both ends share."""
    if type(value).__name__ != "_MemoryObjectStreamState":
        return value
    for link in links:
        for referent in get_referents(link.owner):
            if field(referent, "_state") is value:
                return referent
    return value


def _given_name(value: Any) -> str | None:
    """Return the name given to a limiter of ours, or ``None``."""
    name = field(value, "name") if issubclass(type(value), Slots) else None
    return name if type(name) is str else None


def _declared(value: Any, known: set[int], links: Mapping[int, Sequence[Link]]) -> tuple[Holder, ...]:
    """Return the holders that a lock or limiter of anyio records itself, without those already known."""
    if is_future(value):
        return ()
    owners = [field(value, "_owner_task")] if module_of(type(value)).startswith("anyio") else []
    owners.extend(field(value, "_borrowers", ()) or ())
    found = []
    for owner in owners:
        if id(owner) in links and id(owner) not in known:
            link = links[id(owner)][0] if links[id(owner)] else None
            location = "" if link is None else f"{link.code.co_filename}:{line_of(link.frame)}"
            found.append(Holder(id(owner), location, "" if link is None else link.function, sure=True))
    return tuple(found)


def _numbers(value: Any) -> tuple[int | None, int | None, int | None, int | None]:
    """Return ``(size, used, free, unfinished)``, see `spanloom.diagnosis.model.Resource`."""
    if is_future(value):
        return None, None, None, None
    if issubclass(type(value), asyncio.Lock):
        locked = bool(field(value, "_locked"))
        return 1, int(locked), int(not locked), None
    if issubclass(type(value), asyncio.Semaphore):
        free = field(value, "_value")
        bound = field(value, "_bound_value")
        return bound, None if bound is None else bound - free, free, None
    if issubclass(type(value), Slots):
        size, used = field(value, "_size"), field(value, "_in_use")
        return size, used, max(0, size - used), None
    if issubclass(type(value), asyncio.Queue):
        items = field(value, "_queue")
        used = len(items) if type(items) in _SIZED else None
        return field(value, "_maxsize"), used, None, field(value, "_unfinished_tasks")
    if issubclass(type(value), asyncio.Barrier):
        return field(value, "_parties"), field(value, "_count"), None, None
    return _anyio_numbers(value)


def _anyio_numbers(value: Any) -> tuple[int | None, int | None, int | None, int | None]:
    if not module_of(type(value)).startswith("anyio"):
        return None, None, None, None
    if type(value).__name__ == "Lock":
        used = int(field(value, "_owner_task") is not None)
        return 1, used, 1 - used, None
    tokens, borrowers = field(value, "_total_tokens"), field(value, "_borrowers")
    if borrowers is not None:
        return tokens, len(borrowers), max(0, tokens - len(borrowers)), None
    free = field(value, "_value")
    if free is not None:
        return field(value, "_max_value"), None, free, None
    buffer = field(value, "buffer")
    if buffer is not None:
        limit = field(value, "max_buffer_size")
        return limit if type(limit) is int else None, len(buffer), None, None
    return None, None, None, None


_SIZED = frozenset({list, __import__("collections").deque})
