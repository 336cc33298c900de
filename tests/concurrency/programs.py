"""Random programs of nested runners: what they are, how Hypothesis makes them, how they run.

A program is data, so it can run any number of times: on the reference, on spanloom, with any
handlers. It leaves a log of what its jobs did, and a result in which every exception is named after
the job that made it, by identity.

Two families. In a *timed* program, whatever decides something (a failure, a win, a cancel) happens at
a virtual moment of its own, because every pause of the program has another length. So the program
means the same however many turns of the loop a runner takes to start a job. *Lockstep* programs do
without pauses: their jobs yield to the loop a number of times, and start together or one by one.
"""

from __future__ import annotations

import asyncio
import random
from asyncio import CancelledError
from collections.abc import AsyncIterator, Iterator
from typing import Any, NamedTuple

from hypothesis import strategies as st

import spanloom
from spanloom import RetryPolicy

Path = tuple[int, ...]

_random = random.Random(20)
FRACTIONS = [_random.random() for _ in range(4096)]
"""Added to pauses, one per pause of a program, so that no two sums of pauses are equal."""


class Pause(NamedTuple):
    """Sleep, or wait for a future that a timer resolves; then yield to the loop `yields` times."""

    seconds: float
    future: bool
    yields: int


class Timeout(NamedTuple):
    """Steps under an ``asyncio.timeout``."""

    seconds: float
    steps: tuple[Any, ...]


class Catch(NamedTuple):
    """Steps whose exception, unless it is a cancel, is logged and goes no further."""

    steps: tuple[Any, ...]


class Job(NamedTuple):
    """What one job does, and how it ends once its steps are done.

    `end`: ``value``, ``none``, ``nested`` (what the last batch returned), ``raise``, ``cancel`` (itself,
    and wait), ``cancel-return`` (itself, without another wait). With `failures` it raises in that many
    attempts first. `cleanup` tells what it does when it is cancelled: the seconds it takes, or 0.
    """

    steps: tuple[Any, ...]
    end: str
    failures: int
    cleanup: Pause | None
    replace: bool
    """Whether it answers a cancel with an exception of its own."""


class Batch(NamedTuple):
    """One call of a runner."""

    runner: str
    jobs: tuple[Job, ...]
    source: str
    limit: int
    on_error: str
    timeout: float | None
    retry: dict[str, Any] | None
    isolation: str
    option: bool
    """with_index, return_exceptions or first="success", as the runner has it."""
    leave_after: int | None
    consume: float | None
    source_fails: bool


class Program(NamedTuple):
    root: Job
    cancel_after: float | None
    kills: tuple[tuple[float, Path], ...]


# making them ----------------------------------------------------------------------------------------


class Maker:
    """Draws the parts of one program."""

    def __init__(self, draw: Any) -> None:
        self._draw = draw
        self._pauses = 0
        self._jobs = 0
        self.paths: list[Path] = []

    def upto(self, most: int) -> int:
        return self._draw(UPTO[most])

    def one_in(self, number: int) -> bool:
        return self.upto(number - 1) == number - 1

    def pick(self, *choices: Any) -> Any:
        return choices[self.upto(len(choices) - 1)]

    def seconds(self, most: int = 6) -> float:
        self._pauses += 1
        return self.upto(most) + FRACTIONS[self._pauses] + 1e-3

    def pause(self) -> Pause:
        shape = self.upto(5)
        return Pause(self.seconds(), shape == 5, shape if shape < 3 else 0)

    def job(self, path: Path, depth: int, *, decides: bool) -> Job:
        """Make a job; one that `decides` something by its end pauses right before it."""
        self._jobs += 1
        self.paths.append(path)
        end = self.pick(
            "value", "value", "value", "none", "raise", "nested", "value", "raise", "cancel", "cancel-return"
        )
        if end.startswith("cancel") and (not self.one_in(3) or not path):
            end = "value"
        steps = self.steps(path, depth, nested=end == "nested")
        failures = self.pick(0, 0, 0, 1, 2)
        if decides or failures or end in ("raise", "cancel", "cancel-return"):
            steps = (*steps, self.pause())
        cleanup = self.pick(None, None, None, "pause", "yield")
        return Job(
            steps,
            end,
            failures,
            None if cleanup is None else self.pause() if cleanup == "pause" else Pause(0, False, 1),
            cleanup is not None and self.one_in(4),
        )

    def steps(self, path: Path, depth: int, *, nested: bool) -> tuple[Any, ...]:
        steps: list[Any] = []
        if self.upto(2):
            steps.append(self.pause())
        if depth > 0 and self._jobs < 16 and (nested or self.upto(2) == 0):
            batch: Any = self.batch((*path, len(steps)), depth - 1)
            if self.one_in(4):
                batch = Timeout(self.seconds(12), (batch,))
            if self.one_in(3):
                batch = Catch((batch,))
            steps.append(batch)
        elif self.one_in(6):
            inner: Any = Timeout(self.seconds(4), (self.pause(),))
            steps.append(Catch((inner,)) if self.one_in(2) else inner)
        return tuple(steps)

    def batch(self, path: Path, depth: int) -> Batch:
        runner = self.pick(
            "run_jobs",
            "run_jobs",
            "async_map",
            "gather",
            "batch_gather",
            "stream",
            "race",
            "fill_batch",
            "retry",
        )
        leave_after = self.pick(None, None, 1, 2) if runner == "stream" else None
        size = 1 if runner == "retry" else 1 + self.upto(3)
        limit = 1 + self.upto(3)
        source = self.pick("list", "functions", "generator", "async generator")
        # A generator that fails must not do so in the moment in which its jobs start.
        late = source == "async generator" or (
            size % limit == 0 if runner == "batch_gather" else limit <= size
        )
        source_fails = source in ("generator", "async generator") and late and self.one_in(6)
        decides = source_fails or runner in ("race", "retry", "fill_batch") or leave_after is not None
        jobs = tuple(self.job((*path, index), depth, decides=decides) for index in range(size))
        limited = runner in ("run_jobs", "async_map", "stream")
        policy = runner == "retry" or (limited and self.one_in(4))
        on_error = self.pick("raise", "raise", "return", "skip")
        # Jobs that start together time out together: no matter, unless the end of one ends the batch.
        ends_early = on_error == "raise" or leave_after is not None or source_fails
        apart = runner == "retry" or limit == 1 or not ends_early
        if source == "list" and policy:
            source = "functions"
        if runner == "fill_batch" and source == "async generator":
            source = "generator"
        return Batch(
            runner,
            jobs,
            source,
            limit,
            on_error,
            self.seconds(8) if limited and apart and self.one_in(3) else None,
            self.policy(apart) if policy else None,
            # The fast lane may be up to limit - 1 outcomes further ahead of a slow consumer.
            "context" if limited and runner != "stream" and self.one_in(2) else "task",
            self.one_in(2),
            leave_after,
            self.seconds(4) if runner == "stream" and self.one_in(2) else None,
            source_fails,
        )

    def policy(self, apart: bool) -> dict[str, Any]:
        return {
            "attempts": 1 + self.upto(2),
            "base_delay": self.seconds(3),
            "max_delay": 2 + self.seconds(3),
            "multiplier": self.pick(1.0, 2.0, 1.37),
            "attempt_timeout": self.seconds(6) if apart and self.one_in(3) else None,
        }


UPTO = [st.integers(0, most) for most in range(16)]


@st.composite
def timed_programs(draw: Any) -> Program:
    """Programs in which every decisive moment has a time of its own."""
    maker = Maker(draw)
    batch = maker.batch((0,), 2)
    root = Job((Catch((batch,)) if maker.one_in(4) else batch,), "nested", 0, None, False)
    cancel_after = maker.seconds(12) if maker.one_in(4) else None
    kills = tuple(
        (maker.seconds(10), maker.paths[draw(st.integers(0, len(maker.paths) - 1))])
        for _ in range(maker.pick(0, 0, 1, 2))
    )
    return Program(root, cancel_after, kills)


@st.composite
def lockstep_programs(draw: Any) -> Program:
    """One batch of jobs that never wait for time, all at once or one by one."""
    maker = Maker(draw)
    size = 1 + maker.upto(6)
    jobs = []
    for _ in range(size):
        end = maker.pick("value", "none", "raise", "value", "raise", "cancel", "cancel-return")
        steps = tuple(Pause(0, False, 1 + maker.upto(2)) for _ in range(maker.upto(3)))
        cleanup = maker.pick(None, None, Pause(0, False, 1), Pause(0, False, 2))
        jobs.append(Job(steps, end, 0, cleanup, cleanup is not None and maker.one_in(4)))
    runner = maker.pick("run_jobs", "async_map", "gather", "batch_gather", "race")
    isolation = maker.pick("task", "context")
    batch = Batch(
        runner=runner,
        jobs=tuple(jobs),
        source=maker.pick("list", "functions", "generator"),
        limit=maker.pick(size, size + 1, 1),
        on_error=maker.pick("raise", "return", "skip"),
        timeout=None,
        retry=None,
        isolation=isolation,
        option=maker.one_in(2),
        leave_after=None,
        consume=None,
        # The fast lane pulls an item right before its job, so its jobs come further before the failure.
        source_fails=isolation == "task" and maker.one_in(6),
    )
    return Program(Job((batch,), "nested", 0, None, False), None, ())


# running them ---------------------------------------------------------------------------------------


class ProgramError(Exception):
    """Raised by a job of a program."""


class Run:
    """One run of one program on one set of runners."""

    def __init__(self, program: Program, runners: Any, timeout: Any) -> None:
        self.program = program
        self.runners = runners
        self.timeout = timeout
        self.log: list[tuple[float, Path, str]] = []
        self.errors: dict[int, str] = {}
        self._kept: list[BaseException] = []
        self._attempts: dict[Path, int] = {}
        self._tasks: dict[Path, asyncio.Task[Any]] = {}
        self._generators: list[Any] = []

    async def main(self) -> tuple[str, Any]:
        """Run the program in a task of its own, and tell how it ended."""
        loop = asyncio.get_running_loop()
        task = asyncio.create_task(self.job(self.program.root, ()))
        timers = []
        if self.program.cancel_after is not None:
            timers.append(loop.call_later(self.program.cancel_after, task.cancel))
        for seconds, path in self.program.kills:
            timers.append(loop.call_later(seconds, self.kill, path))
        await asyncio.wait([task])
        left = len(asyncio.all_tasks()) - 1
        for timer in timers:
            timer.cancel()
        for generator in self._generators:
            await generator.aclose()
        if left:
            return "left tasks behind", left
        if task.cancelled():
            return "cancelled", None
        error = task.exception()
        return ("returned", self.name(task.result())) if error is None else ("raised", self.name(error))

    def kill(self, path: Path) -> None:
        task = self._tasks.get(path)
        if task is not None:
            self.note(path, "killed")
            task.cancel()

    def note(self, path: Path, what: str) -> None:
        self.log.append((round(asyncio.get_running_loop().time(), 6), path, what))

    def error(self, path: Path, what: str) -> ProgramError:
        error = ProgramError(path, what)
        self._kept.append(error)  # so that no other exception gets its id
        self.errors[id(error)] = f"{path} {what}"
        return error

    def name(self, value: Any) -> Any:
        """Return `value` with every exception replaced by which one it is."""
        if isinstance(value, (list, tuple)):
            return [self.name(item) for item in value]
        if not isinstance(value, BaseException):
            return value
        known = self.errors.get(id(value))
        notes = getattr(value, "__notes__", None)
        if known is not None:
            return ("error", known, notes, self.name(value.__cause__))
        inner = [self.name(error) for error in getattr(value, "exceptions", ())]
        return (type(value).__name__, inner, notes, self.name(value.__cause__) if inner or notes else None)

    # jobs and steps

    async def job(self, job: Job, path: Path) -> Any:
        attempt = self._attempts[path] = self._attempts.get(path, 0) + 1
        task = asyncio.current_task()
        assert task is not None
        self.note(path, f"start {attempt}")
        self._tasks[path] = task
        try:
            value = None
            for number, step in enumerate(job.steps):
                value = await self.step(step, (*path, number))
                self.note(path, f"step {number}")
            if attempt <= job.failures or job.end == "raise":
                raise self.error(path, f"attempt {attempt}")
            if job.end.startswith("cancel"):
                task.cancel()
                if job.end == "cancel":
                    await asyncio.sleep(0)
            self.note(path, "end")
            return value if job.end == "nested" else None if job.end == "none" else f"value {path}"
        except CancelledError:
            self.note(path, "cancelled")
            if job.cleanup is not None:
                await self.pause(job.cleanup)
                self.note(path, "cleaned up")
                if job.replace:
                    raise self.error(path, f"cleanup of {attempt}") from None
            raise
        finally:
            del self._tasks[path]

    async def step(self, step: Any, path: Path) -> Any:
        if isinstance(step, Pause):
            return await self.pause(step)
        if isinstance(step, Batch):
            return await self.batch(step, path)
        if isinstance(step, Timeout):
            async with self.timeout(step.seconds):
                return await self.steps(step.steps, path)
        assert isinstance(step, Catch)
        try:
            return await self.steps(step.steps, path)
        except Exception as error:
            self.note(path, f"caught {self.name(error)}")
            return None

    async def steps(self, steps: tuple[Any, ...], path: Path) -> Any:
        value = None
        for step in steps:
            value = await self.step(step, path)
        return value

    async def pause(self, pause: Pause) -> None:
        loop = asyncio.get_running_loop()
        if pause.future:
            future = loop.create_future()
            timer = loop.call_later(pause.seconds, lambda: future.done() or future.set_result(None))
            try:
                await future
            finally:
                timer.cancel()
        elif pause.seconds:
            await asyncio.sleep(pause.seconds)
        for _ in range(pause.yields):
            await asyncio.sleep(0)

    # runners

    async def batch(self, batch: Batch, path: Path) -> Any:
        call = getattr(self, f"call_{batch.runner}")
        value = self.name(await call(batch, path))
        self.note(path, f"{batch.runner} {value}")
        return value

    def item(self, batch: Batch, path: Path, index: int) -> Any:
        job, where = batch.jobs[index], (*path, index)
        if batch.source == "list" or (batch.source != "functions" and batch.retry is None and index % 2):
            return self.job(job, where)
        return lambda: self.job(job, where)

    def source(self, batch: Batch, path: Path, item: Any) -> Any:
        size = len(batch.jobs)
        if batch.source in ("list", "functions"):
            return [item(index) for index in range(size)]
        if batch.source == "generator":
            return self.generate(batch, path, item)
        generator = self.agenerate(batch, path, item)
        self._generators.append(generator)
        return generator

    def generate(self, batch: Batch, path: Path, item: Any) -> Iterator[Any]:
        for index in range(len(batch.jobs)):
            self.note((*path, index), "pulled")
            yield item(index)
        if batch.source_fails:
            raise self.error(path, "source")

    async def agenerate(self, batch: Batch, path: Path, item: Any) -> AsyncIterator[Any]:
        try:
            for index in range(len(batch.jobs)):
                pauses = [step for step in batch.jobs[index].steps if isinstance(step, Pause)]
                for pause in pauses[:1]:
                    await asyncio.sleep(pause.seconds * 1.618)
                self.note((*path, index), "pulled")
                yield item(index)
            if batch.source_fails:
                await asyncio.sleep(FRACTIONS[-1 - sum(path)] / 2)
                raise self.error(path, "source")
        except CancelledError:
            self.note(path, "source cancelled")
            raise

    def jobs(self, batch: Batch, path: Path) -> Any:
        return self.source(batch, path, lambda index: self.item(batch, path, index))

    def common(self, batch: Batch) -> dict[str, Any]:
        return {
            "on_error": batch.on_error,
            "timeout": batch.timeout,
            "retry": self.runners.policy(batch.retry),
            "isolation": batch.isolation,
        }

    async def call_run_jobs(self, batch: Batch, path: Path) -> Any:
        return await self.runners.run_jobs(self.jobs(batch, path), workers=batch.limit, **self.common(batch))

    async def call_async_map(self, batch: Batch, path: Path) -> Any:
        return await self.runners.async_map(
            lambda index: self.job(batch.jobs[index], (*path, index)),
            self.source(batch, path, lambda index: index),
            limit=None if batch.limit == 4 and not batch.source_fails else batch.limit,
            with_index=batch.option,
            **self.common(batch),
        )

    async def call_gather(self, batch: Batch, path: Path) -> Any:
        coroutines = [self.job(job, (*path, index)) for index, job in enumerate(batch.jobs)]
        return await self.runners.gather(*coroutines, return_exceptions=batch.option)

    async def call_batch_gather(self, batch: Batch, path: Path) -> Any:
        return await self.runners.batch_gather(self.jobs(batch, path), batch.limit, on_error=batch.on_error)

    async def call_fill_batch(self, batch: Batch, path: Path) -> Any:
        return await self.runners.fill_batch(
            lambda index: self.job(batch.jobs[index], (*path, index)),
            self.source(batch, path, lambda index: index),
            min(batch.limit, len(batch.jobs)),
            max_failure_fraction=0.5 if batch.option else 2,
        )

    async def call_race(self, batch: Batch, path: Path) -> Any:
        coroutines = [self.job(job, (*path, index)) for index, job in enumerate(batch.jobs)]
        return await self.runners.race(*coroutines, first="success" if batch.option else "completed")

    async def call_retry(self, batch: Batch, path: Path) -> Any:
        assert batch.retry is not None
        return await self.runners.retry(lambda: self.job(batch.jobs[0], (*path, 0)), **batch.retry)

    async def call_stream(self, batch: Batch, path: Path) -> Any:
        taken: list[Any] = []
        common = self.common(batch)
        async with self.runners.stream(self.jobs(batch, path), limit=batch.limit, **common) as outcomes:
            async for outcome in outcomes:
                taken.append((outcome.index, str(outcome.status), outcome.value, outcome.error))
                self.note(path, f"outcome {outcome.index}")
                if len(taken) == batch.leave_after:
                    break
                if batch.consume is not None:
                    await asyncio.sleep(batch.consume * (1 + FRACTIONS[len(taken)]))
        return taken


class Spanloom:
    """The runners under test."""

    run_jobs = staticmethod(spanloom.run_jobs)
    async_map = staticmethod(spanloom.async_map)
    gather = staticmethod(spanloom.gather)
    batch_gather = staticmethod(spanloom.batch_gather)
    fill_batch = staticmethod(spanloom.fill_batch)
    race = staticmethod(spanloom.race)
    stream = staticmethod(spanloom.stream)

    @staticmethod
    def policy(fields: dict[str, Any] | None) -> RetryPolicy | None:
        return None if fields is None else RetryPolicy(**fields, jitter=0)

    @staticmethod
    async def retry(fn: Any, **fields: Any) -> Any:
        return await spanloom.retry(fn, **fields, jitter=0)
