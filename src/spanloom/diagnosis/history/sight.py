"""One look at the tasks, for the rules that need more than their number: where each stands, and what it holds.

The results have names, numbers and code objects, and no other objects of the program.
"""

from __future__ import annotations

import asyncio
import gc
import re
from asyncio import CancelledError
from collections.abc import Iterable, Iterator
from functools import lru_cache, partial
from pathlib import PurePath
from types import CodeType, FrameType
from typing import Any, Final

import msgspec

from spanloom.concurrency.attempts import back_off
from spanloom.concurrency.engine import Engine
from spanloom.concurrency.entered import exits_in
from spanloom.concurrency.slots import Slots
from spanloom.concurrency.stream import OutcomeStream
from spanloom.concurrency.task import JobTask
from spanloom.diagnosis.chain import Link, called_by_author, links_of
from spanloom.diagnosis.fields import field, future_done, is_task, loop_of, task_cancelling
from spanloom.diagnosis.history.company import Company, Crowd, crowd_of, is_awaited, job_of
from spanloom.diagnosis.history.flow import flow_of
from spanloom.diagnosis.history.live import Ref, is_timer, label_of, line_of, with_task
from spanloom.diagnosis.history.swallow import cancel_here
from spanloom.diagnosis.landmarks import LOCK_ACQUIRE, SEMAPHORE_ACQUIRE, SLEEP, WAIT_FOR
from spanloom.diagnosis.origin import belongs_to_us, is_own, is_standard
from spanloom.diagnosis.pace import in_slices

__all__ = ["MAX_SEEN", "Pause", "Sight", "Step", "place_of_batch", "see"]

MAX_SEEN: Final = 3_000
"""Tasks that are looked at one by one, at most: 0.1 s."""
_ACQUIRE: Final = frozenset({LOCK_ACQUIRE, SEMAPHORE_ACQUIRE, Slots.acquire.__code__})
_TAKING: Final = frozenset(
    method.__code__ for method in (asyncio.Queue.get, asyncio.Condition.wait, asyncio.Condition.wait_for)
)
_AWAITING: Final = frozenset({Engine.run.__code__.co_filename, OutcomeStream.__anext__.__code__.co_filename})
_WAIT: Final = asyncio.tasks._wait.__code__  # type: ignore[attr-defined]  # noqa: SLF001 -- of ``asyncio.wait``
_BACK_OFF: Final = back_off.__code__
_RETRIES: Final = re.compile(r"retr(y|ies)|backoff|back_off", re.IGNORECASE)


class Step(msgspec.Struct, frozen=True):
    """One frame of an await chain.

    Attributes:
        code: Its code.
        lasti: Offset of the instruction.
        line: The line of the instruction.
        is_own: Whether the code is the program's own.
        function: Qualified name, without the functions that it is defined in.
    """

    code: CodeType
    lasti: int
    line: int
    is_own: bool
    function: str

    @property
    def location(self) -> str:
        """``file:line``."""
        return f"{self.code.co_filename}:{self.line}"


class Pause(msgspec.Struct, frozen=True):
    """A sleep.

    Attributes:
        delay_s: Its length in seconds.
        left_s: The seconds that are left of it.
        before_try: Whether it is a pause between two tries.
        reason: Name of the type of the exception that it follows, if that is known.
    """

    delay_s: float
    left_s: float
    before_try: bool
    reason: str | None


class Sight(msgspec.Struct, frozen=True):
    """One task.

    Attributes:
        key: Its identity.
        ref: asyncio's own weak reference to it.
        name: Its name, or its function if it was given none.
        chain: Its frames, outermost first.
        pause: Its sleep, if it sleeps.
        awaits_task: Identity of the task that it awaits.
        awaits_any: Identities of the tasks that it awaits in ``asyncio.wait`` or, in Python 3.11, ``wait_for``.
        is_awaited: Whether it has a done-callback other than a plain one of the program's.
        is_joined: Whether another task waits until it has ended.
        siblings: ``(ended, all)`` of the gather that it is in; ``all`` is 0 where only the number left can be seen,
            of a TaskGroup whose end is waited for: then the first number is that, of those that run its function.
        crowd: ``(ended, all, identities of those left)`` of the tasks that it has in a list or the like, one of
            which, or all, it awaits.
        job: Id of its batch and its position there, if spanloom runs it as a job.
        cancelling: Its pending cancel requests (`asyncio.Task.cancelling`).
        must_cancel: Whether a cancel is still to be delivered.
        cleans_up: Whether it is inside an ``except`` or ``finally`` that handles a CancelledError.
        goes_on: Whether a cancel at this point can be caught, and lead back to here or to a loop further out.
        takes_note: Whether the handler of a cancel here stores something that the function reads elsewhere.
        lives_on: Index in `chain` of the frame that a cancel leads back to, see `goes_on`.
        holds: Identities of the managers of the ``async with`` and ``with`` blocks that it is in.
        free: Free permits of the semaphores in `holds`, by identity.
        wants: Identity of the lock, semaphore or limiter that it waits for, and its name in the program.
        takes: Identity of the queue or condition that it waits at to take something, and its name in the program.
        engine: Identity of the engine of spanloom that runs it as a job.
    """

    key: int
    ref: Ref
    name: str
    chain: tuple[Step, ...]
    pause: Pause | None
    awaits_task: int | None
    awaits_any: frozenset[int]
    is_awaited: bool
    is_joined: bool
    siblings: tuple[int, int] | None
    crowd: Crowd | None
    job: tuple[int, int] | None
    cancelling: int
    must_cancel: bool
    cleans_up: bool
    goes_on: bool
    takes_note: bool
    lives_on: int
    holds: frozenset[int]
    free: tuple[tuple[int, int], ...]
    wants: tuple[int, str] | None
    takes: tuple[int, str] | None
    engine: int | None

    @property
    def function(self) -> str:
        """Its outermost function of the program's own; for a job without one, its name."""
        for step in self.chain:
            if step.is_own:
                return step.function
        if self.engine is not None:
            return self.name
        return self.chain[0].function if self.chain else ""

    @property
    def at(self) -> Step | None:
        """The innermost frame of the program's own, if there is one."""
        for step in reversed(self.chain):
            if step.is_own:
                return step
        return None

    @property
    def lives_at(self) -> Step | None:
        """The program's own frame that a cancel leads back to, where `goes_on`; else as `at`."""
        for step in self.chain[self.lives_on :: -1] if self.goes_on else ():
            if step.is_own:
                return step
        return self.at

    @property
    def is_in_loop(self) -> bool:
        """Whether one of the program's frames can come to its present place again without a failure."""
        return any(
            step.is_own and step.lasti >= 0 and flow_of(step.code).turns(step.lasti) for step in self.chain
        )

    @property
    def takes_by_and_by(self) -> bool:
        """Whether it will come again to where it takes something; not by the loop around the wait of a condition."""
        own = [step for step in self.chain if step.is_own and step.lasti >= 0]
        return any(
            flow_of(step.code).turns(step.lasti) or flow_of(step.code).retries(step.lasti)
            for step in (own[:-1] or own)
        )

    @property
    def is_endless(self) -> bool:
        """Whether one of the program's frames is in a loop that it never leaves without a failure."""
        return any(
            step.is_own and step.lasti >= 0 and not flow_of(step.code).can_return(step.lasti)
            for step in self.chain
        )


def place_of_batch(sights: Iterable[Sight]) -> str | None:
    """Return where a batch of spanloom's is awaited, if only one is."""
    places = {
        sight.at.location
        for sight in sights
        if sight.at is not None and any(step.code.co_filename in _AWAITING for step in sight.chain)
    }
    return places.pop() if len(places) == 1 else None


def see(references: Iterable[Ref]) -> list[Sight]:
    """Look at the tasks that have not ended, at most `MAX_SEEN` of them."""
    found: list[Sight] = []
    company = Company()
    for ref in in_slices(references):
        if len(found) >= MAX_SEEN:
            break
        with_task(ref, partial(_see, ref, found, company))
    return found


class _Chain:
    """What the frames of one task show, read from the outermost one on."""

    def __init__(self, task: asyncio.Task[Any]) -> None:
        self.steps: list[Step] = []
        self.errors: list[str] = []
        self.awaits_any: set[int] = set()
        self.holds: set[int] = set()
        self.free: dict[int, int] = {}
        self.wants: tuple[int, str] | None = None
        self.takes: tuple[int, str] | None = None
        self.crowd: Crowd | None = None
        self.sleep: object = None
        self.cleans_up = self.pauses = self.retries = False
        self._frames: list[tuple[object, FrameType, int]] = []
        self._waits_for_many = is_task(field(task, "_fut_waiter"))
        for link in links_of(task):
            self._add(link)
        if self._waits_for_many:
            for suspended, _, _ in self._frames:
                self.crowd = self.crowd or crowd_of(suspended)
        self.cancel = cancel_here(self._frames) if task_cancelling(task) else (False, False, -1)
        self._frames.clear()

    def _add(self, link: Link) -> None:
        suspended, code, frame = link
        lasti = frame.f_lasti
        line = line_of(code, max(lasti, 0))
        step = Step(code, lasti, line, is_own(code.co_filename), called_by_author(suspended))
        self.steps.append(step)
        if lasti < 0:
            return
        if code is SLEEP:
            self.sleep = suspended
            return
        self._frames.append((suspended, frame, len(self.steps) - 1))
        self._waits_for_many = self._waits_for_many or code is _WAIT
        if code is _WAIT or code is WAIT_FOR:
            self.awaits_any.update(_tasks_of(suspended))
        if code in _ACQUIRE:
            self.wants = _wanted(suspended, self.steps)
        elif code in _TAKING and self.takes is None:
            self.takes = _wanted(suspended, self.steps)
        self._look_into(suspended)
        if step.is_own:
            flow = flow_of(code)
            self.retries = self.retries or flow.retries(lasti)
            self.pauses = self.pauses or flow.pauses_between_tries(lasti)
        elif _retries_for_others(code):
            self.pauses = True
        elif code is _BACK_OFF:
            self.pauses = True
            reason = frame.f_locals.get("reason")  # the frame is ours: nobody minds that it is asked
            if isinstance(reason, str):
                self.errors.append(reason)

    def _look_into(self, suspended: object) -> None:
        """Read the value stack and variables of a frame: its blocks, and exceptions."""
        referents = gc.get_referents(suspended)
        for _, manager in exits_in(referents):
            self.holds.add(id(manager))
            if issubclass(type(manager), asyncio.Semaphore):
                self.free[id(manager)] = field(manager, "_value", 0)
        for referent in referents:
            kind = type(referent)  # not isinstance, which may call the object's own `__class__`
            if issubclass(kind, CancelledError):
                self.cleans_up = True
            elif issubclass(kind, Exception):
                self.errors.append(kind.__name__)


def _tasks_of(suspended: object) -> Iterator[int]:
    """Yield the identities of the tasks that a frame of asyncio's has, by themselves or in a set."""
    for referent in gc.get_referents(suspended):
        if is_task(referent):
            yield id(referent)
        elif type(referent) is set:
            yield from [id(one) for one in tuple(referent) if is_task(one)]


@lru_cache(maxsize=1_000)
def _retries_for_others(code: CodeType) -> bool:
    """Tell whether code belongs to an installed package for retries, judged by its names.

    Such a one keeps its loop, and the error that it has caught, in objects of its own: ``AsyncRetrying.__anext__``.
    """
    if is_standard(code.co_filename) or belongs_to_us(code.co_filename):
        return False
    names = f"{PurePath(code.co_filename).parent.name}.{PurePath(code.co_filename).stem}.{code.co_qualname}"
    return _RETRIES.search(names) is not None


def _see(ref: Ref, found: list[Sight], company: Company, task: asyncio.Task[Any]) -> None:
    if future_done(task):
        return
    chain = _Chain(task)
    function = next((step.function for step in chain.steps if step.is_own), "")
    awaited = field(task, "_fut_waiter")
    goes_on, takes_note, lives_on = chain.cancel
    found.append(
        Sight(
            key=id(task),
            ref=ref,
            name=label_of(task, function or (chain.steps[0].function if chain.steps else "")),
            chain=tuple(chain.steps),
            pause=_pause(chain, loop_of(task)),
            awaits_task=id(awaited) if is_task(awaited) else None,
            awaits_any=frozenset(chain.awaits_any),
            is_awaited=is_awaited(task),
            is_joined=company.is_joined(task),
            siblings=company.siblings_of(task),
            crowd=chain.crowd,
            job=job_of(task),
            cancelling=task_cancelling(task),
            must_cancel=bool(field(task, "_must_cancel", False)),
            cleans_up=chain.cleans_up,
            goes_on=goes_on,
            takes_note=takes_note,
            lives_on=lives_on,
            holds=frozenset(chain.holds),
            free=tuple(chain.free.items()),
            wants=chain.wants,
            takes=chain.takes,
            engine=id(task.job.window) if type(task) is JobTask and hasattr(task, "job") else None,
        )
    )


def _pause(chain: _Chain, loop: asyncio.AbstractEventLoop) -> Pause | None:
    if chain.sleep is None:
        return None
    delay = left = None
    for referent in gc.get_referents(chain.sleep):
        kind = type(referent)
        if delay is None and issubclass(kind, (float, int)):  # not the subclass's own way to a number
            delay = float.__float__(referent) if issubclass(kind, float) else int.__float__(referent)
        elif is_timer(referent):
            left = referent.when() - loop.time()
    if delay is None:
        return None
    reason = chain.errors[-1] if chain.errors else None
    left_s = max(0.0, delay if left is None else left)
    return Pause(delay, left_s, chain.pauses or reason is not None, reason)


def _wanted(acquiring: object, chain: list[Step]) -> tuple[int, str] | None:
    for referent in gc.get_referents(acquiring):
        kind = type(referent)
        if issubclass(kind, (asyncio.Semaphore, asyncio.Lock, asyncio.Queue, asyncio.Condition, Slots)):
            name = referent.name if issubclass(kind, Slots) and type(referent.name) is str else ""
            for step in reversed(chain):
                if step.is_own:
                    name = flow_of(step.code).awaited_name(step.lasti) or name
                    break
            return id(referent), name or kind.__name__
    return None
