"""Which tasks wait for which, and whether one of them will give up by itself."""

from __future__ import annotations

import asyncio
import gc
from asyncio.timeouts import Timeout
from collections.abc import Iterable
from typing import Any, Final

from spanloom.concurrency.entered import exits_in
from spanloom.diagnosis.chain import link_of
from spanloom.diagnosis.fields import field, gathered, is_a
from spanloom.diagnosis.landmarks import WAIT, WAIT_FOR
from spanloom.diagnosis.variables import variables_of
from spanloom.diagnosis.watch.blocked import wakes_for
from spanloom.diagnosis.watch.reach import await_chain

__all__ = ["behind", "has_deadline"]

_TIMED: Final = {WAIT, WAIT_FOR}


def behind(first: Iterable[asyncio.Task[Any]], tasks: list[asyncio.Task[Any]]) -> set[asyncio.Task[Any]]:
    """Return the tasks of `first`, and those of `tasks` that cannot go on before one of them has ended."""
    found = set(first)
    grows = True
    while grows:
        grows = False
        for task in tasks:
            if task not in found and _waits_for(task, found):
                found.add(task)
                grows = True
    return found


def _waits_for(task: asyncio.Task[Any], others: set[asyncio.Task[Any]]) -> bool:
    waiter = field(task, "_fut_waiter")
    if waiter is None:
        return False
    if waiter in others:
        return True
    children = gathered(waiter)
    if children is not None:
        return any(child in others for child in children)
    return any(wakes_for(waiter, other) for other in others)


def has_deadline(task: asyncio.Task[Any]) -> bool:
    """Tell whether a task is in a ``timeout`` block, ``wait_for`` or ``wait`` that ends by itself."""
    for part in await_chain(task):
        link = link_of(part)
        if link is None:
            continue
        if link.code in _TIMED and variables_of(link.frame, link.owner).get("timeout") is not None:
            return True
        referents = gc.get_referents(part)
        for owner in (*referents, *(end.manager for end in exits_in(referents))):
            if is_a(owner, Timeout) and Timeout.when(owner) is not None and not Timeout.expired(owner):
                return True
    return False
