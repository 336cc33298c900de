"""The names of the jobs of one batch, where each job is an awaitable and they may have several names."""

from __future__ import annotations

from collections.abc import Callable
from types import CodeType, CoroutineType
from typing import Final

import msgspec

from spanloom.concurrency.names import name_of
from spanloom.events.event import JobFamily

__all__ = ["Kinds"]

MAX_KINDS: Final = 1_000
"""Names told apart in one batch; jobs with further names get the name of the first job."""


class Kinds:
    """The families of a batch: one for each name among its jobs, equal in all else.

    Attributes:
        code: The code of the coroutines with the batch's own family, once one has been seen. Most batches have only
            these, and pay only for a comparison with it.
    """

    __slots__ = ("_by_code", "_by_name", "_own", "_subject", "code")

    def __init__(self, family: JobFamily, subject: Callable[[object], object]) -> None:
        self.code: CodeType | None = None
        self._by_code: dict[CodeType, JobFamily] = {}
        self._by_name: dict[str, JobFamily] = {}
        self._own = family
        self._subject = subject

    @property
    def are_several(self) -> bool:
        """Whether jobs of more than one name have been seen."""
        return bool(self._by_name)

    def of(self, item: object) -> JobFamily:
        """Return the family of the job of `item`."""
        job = self._subject(item)
        if type(job) is not CoroutineType:
            return self._named(name_of(job))
        code = job.cr_code
        family = self._by_code.get(code)
        if family is None:
            family = self._by_code[code] = self._named(name_of(job))
            if self.code is None and family is self._own:
                self.code = code
        return family

    def _named(self, name: str | None) -> JobFamily:
        own, by_name = self._own, self._by_name
        if name is None or name == own.name:  # read here, as it may be set by the first job only now
            return own
        family = by_name.get(name)
        if family is None:
            if len(by_name) >= MAX_KINDS:
                return own
            family = by_name[name] = msgspec.structs.replace(own, name=name)
        return family
