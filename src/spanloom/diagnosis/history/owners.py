"""Owners of tasks: a living task that has another one in its variables or blocks ends that when it ends itself.

An open connection has a heartbeat. Where connections come and stay there are ever more heartbeats, and none of
them is leaked. A list of all of them in the server makes the server no owner.
"""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Iterable
from functools import partial
from types import AsyncGeneratorType, GeneratorType, MethodType
from typing import Any, Final

from spanloom.concurrency.entered import exits_in
from spanloom.diagnosis.chain import links_of
from spanloom.diagnosis.fields import attributes, field, is_task
from spanloom.diagnosis.history.live import Ref, with_task
from spanloom.diagnosis.origin import is_own
from spanloom.diagnosis.pace import in_slices

__all__ = ["owned"]

MOST: Final = 1_000
"""Tasks that are looked at, at most."""
OBJECTS: Final = 60
"""Objects that are visited for each, at most."""
FEW: Final = 5
"""Items of a container, or tasks of one owner, from beyond which it counts as a collection, and not as an owner."""


def owned(refs: Iterable[Ref]) -> set[int]:
    """Return the identities of the tasks that are owned by one of the tasks behind `refs`."""
    found: set[int] = set()
    for ref in in_slices(list(refs)[:MOST]):
        with_task(ref, partial(_owned_by, found))
    return found


def _owned_by(found: set[int], task: asyncio.Task[Any]) -> None:
    had: set[int] = set()
    passed: set[int] = {id(task)}
    todo: list[Any] = []
    for link in links_of(task):
        if is_own(link.code.co_filename):
            referents = gc.get_referents(link.owner)
            todo += [end.manager for end in exits_in(referents)]
            todo += referents
    while todo and len(passed) < OBJECTS:
        value = todo.pop()
        if id(value) in passed:
            continue
        passed.add(id(value))
        if is_task(value):
            had.add(id(value))
        else:
            todo += _inside(value)
    if len(had) <= FEW:
        found |= had


def _inside(value: Any) -> list[Any]:
    """Return the parts of a value that belong to it alone."""
    kind = type(value)
    if kind is asyncio.TaskGroup:
        value, kind = set(field(value, "_tasks", ())), set
    if kind in (list, tuple, set, frozenset):
        return list(value) if len(value) <= FEW else []
    if kind is dict:
        return list(value.values()) if len(value) <= FEW else []
    if kind is MethodType:
        return [value.__self__]
    if kind in (AsyncGeneratorType, GeneratorType):
        return gc.get_referents(value)
    generator = field(value, "gen")
    return (
        [generator] if generator is not None else [one for one in attributes(value).values() if is_task(one)]
    )
