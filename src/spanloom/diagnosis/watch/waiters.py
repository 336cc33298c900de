"""Which tasks wait for which, and whether one of them will end by a timeout or a cancel."""

from __future__ import annotations

import asyncio
import dis
import gc
from asyncio.timeouts import Timeout
from collections.abc import Iterable
from types import FunctionType
from typing import Any, Final

from spanloom.concurrency.entered import exits_in
from spanloom.diagnosis.chain import link_of
from spanloom.diagnosis.fields import callbacks_of, field, gathered, is_a
from spanloom.diagnosis.landmarks import WAIT, WAIT_FOR
from spanloom.diagnosis.origin import is_own
from spanloom.diagnosis.variables import variables_of
from spanloom.diagnosis.watch.blocked import wakes_for
from spanloom.diagnosis.watch.reach import await_chain

__all__ = ["behind", "has_deadline", "may_be_cancelled_by"]

_RAISE: Final = dis.opmap["RAISE_VARARGS"]
_TIMED: Final = {WAIT, WAIT_FOR}


def behind(first: Iterable[asyncio.Task[Any]], tasks: list[asyncio.Task[Any]]) -> set[asyncio.Task[Any]]:
    """Return `first`, and those of `tasks` that wait for the end of one of them, directly or not."""
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
    return any(wakes_for(waiter, other) or _is_grouped(waiter, other) for other in others)


def _is_grouped(waiter: object, other: asyncio.Task[Any]) -> bool:
    """Tell whether a future is that of a TaskGroup that waits for `other`, perhaps among more tasks."""
    return any(field(group, "_on_completed_fut") is waiter for group in _groups_of(other))


def _groups_of(task: asyncio.Task[Any]) -> list[object]:
    owners = [field(callback, "__self__") for callback in callbacks_of(task)]
    return [owner for owner in owners if is_a(owner, asyncio.TaskGroup)]


def may_be_cancelled_by(task: asyncio.Task[Any], other: asyncio.Task[Any]) -> bool:
    """Tell whether `other` is in a TaskGroup with `task` and may still ``raise``, which would cancel `task`.

    The ``raise`` may be in its own functions, or in those that they name.
    """
    groups = _groups_of(task)
    if not any(one is group for one in _groups_of(other) for group in groups):
        return False
    for part in await_chain(other):
        link = link_of(part)
        if link is None or not is_own(link.code.co_filename):
            continue
        named = [link.frame.f_globals.get(name) for name in link.code.co_names]
        codes = [link.code, *(one.__code__ for one in named if type(one) is FunctionType)]
        if any(_RAISE in code.co_code[::2] for code in codes):
            return True
    return False


def has_deadline(task: asyncio.Task[Any]) -> bool:
    """Tell whether a task is in a ``timeout`` block, ``wait_for`` or ``wait`` with a timeout."""
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
