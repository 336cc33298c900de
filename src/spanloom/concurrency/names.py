"""What functions, and jobs by their functions, are called in events and findings."""

from __future__ import annotations

import functools
from types import CoroutineType

from spanloom.events.event import JobFamily

__all__ = ["bare_name", "name_family", "name_of"]


def bare_name(qualname: str) -> str:
    """Return a qualified name without the functions it was made in: ``Shop.sell`` of ``main.<locals>.Shop.sell``."""
    return qualname.rpartition("<locals>.")[2]


def name_family(family: JobFamily, item: object) -> None:
    """Name a family after its first job, if there was nothing to take a name from before the batch began."""
    if not family.name:
        family.name = name_of(item) or "job"


def name_of(job: object) -> str | None:
    """Return what the author calls `job`: the qualified name of its function, without ``<locals>``."""
    if type(job) is CoroutineType:
        return bare_name(job.__qualname__)
    while isinstance(job, functools.partial):
        job = job.func
    try:
        name = getattr(job, "__qualname__", None)
    except Exception:  # noqa: BLE001 -- a `__getattr__` of the program's own, which knows no such name
        name = None
    if not isinstance(name, str):
        if not callable(job):
            return None
        name = type(job).__qualname__
    return bare_name(name)
