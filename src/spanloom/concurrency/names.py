"""The names of functions, and of jobs by their functions, in events and findings."""

from __future__ import annotations

import functools
from types import CoroutineType

from spanloom.events.event import JobFamily

__all__ = ["bare_name", "name_family", "name_of"]


def bare_name(qualname: str) -> str:
    """Return a qualified name without enclosing functions: ``Shop.sell`` for ``main.<locals>.Shop.sell``."""
    return qualname.rpartition("<locals>.")[2]


def name_family(family: JobFamily, item: object) -> None:
    """Name a family after its first job, unless it had a name before."""
    if not family.name:
        family.name = name_of(item) or "job"


def name_of(job: object) -> str | None:
    """Return the qualified name of the function of `job`, without enclosing functions; ``None`` if it has none."""
    if type(job) is CoroutineType:
        return bare_name(job.__qualname__)
    while isinstance(job, functools.partial):
        job = job.func
    try:
        name = getattr(job, "__qualname__", None)
    except Exception:  # noqa: BLE001 -- raised by the job's own `__getattr__`
        name = None
    if not isinstance(name, str):
        if not callable(job):
            return None
        name = type(job).__qualname__
    return bare_name(name)
