"""The documented behaviour of the runners, in plain asyncio: slow, obvious, and without an event.

Every job has a task of its own, whatever ``isolation`` says: that the two cannot be told apart by
results is part of what is documented.
"""

from __future__ import annotations

import asyncio
import contextvars
import inspect
from asyncio import CancelledError
from collections import deque
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

MISSING = object()

deadlines: contextvars.ContextVar[tuple[tuple[asyncio.Task[Any], float], ...]] = contextvars.ContextVar(
    "deadlines", default=()
)


class timeout:  # noqa: N801 -- stands for asyncio.timeout
    """`asyncio.timeout`, which notes its deadline where `retry` finds it."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds

    async def __aenter__(self) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._outer = deadlines.get()
        deadlines.set((*self._outer, (task, asyncio.get_running_loop().time() + self._seconds)))
        self._timeout = asyncio.timeout(self._seconds)
        await self._timeout.__aenter__()

    async def __aexit__(self, *error: Any) -> None:
        deadlines.set(self._outer)
        await self._timeout.__aexit__(*error)


class Window:
    """A bounded number of tasks over one pass of the input."""

    def __init__(
        self,
        items: Any,
        start: Callable[[Any], Any],
        *,
        limit: int | None,
        ok: Callable[[int, Any], bool],
        failed: Callable[[int, Exception], bool],
        chunked: bool = False,
        quota: Callable[[], int] | None = None,
        backlog: Callable[[], int] = lambda: 0,
    ) -> None:
        self.items, self.start, self.limit, self.ok, self.failed = items, start, limit, ok, failed
        self.chunked, self.quota, self.backlog = chunked, quota, backlog
        self.live: dict[int, asyncio.Task[Any]] = {}
        self.started = 0
        self.stopping = False
        self.error: BaseException | None = None
        self.pull: asyncio.Future[Any] | None = None
        self.changed = asyncio.Event()

    def room(self) -> bool:
        if self.chunked and self.live and self.started % (self.limit or 1) == 0:
            return False
        if self.quota is not None and self.started >= self.quota():
            return False
        return self.limit is None or len(self.live) + self.backlog() < self.limit

    def stop(self, error: BaseException | None) -> None:
        if not self.stopping:
            self.stopping, self.error = True, error
            self.cancel_live()
            if self.pull is not None:
                self.pull.cancel()
            self.changed.set()

    def cancel_live(self) -> None:
        for task in list(self.live.values()):
            if task is not asyncio.current_task():
                task.cancel()

    async def run(self) -> None:
        raised: BaseException | None = None
        try:
            await self.pump()
        except BaseException as error:
            raised = error
        if raised is not None:
            self.stop(None)
        cancelled: CancelledError | None = None
        while self.live:
            self.changed.clear()
            try:
                await self.changed.wait()
            except CancelledError as error:
                cancelled = error  # remembered; a clean-up that has begun is left to end
        if self.stopping and isinstance(self.items, (list, tuple)):
            for item in self.items:
                if inspect.iscoroutine(item) and inspect.getcoroutinestate(item) == inspect.CORO_CREATED:
                    item.close()
        for error in (cancelled, raised, self.error):
            if error is not None:
                raise error

    async def pump(self) -> None:
        source = self.items.__aiter__() if hasattr(self.items, "__aiter__") else iter(self.items)
        exhausted = False
        while not self.stopping:
            while not exhausted and not self.stopping and self.room():
                item = await self.next(source)
                if self.stopping or item is MISSING:
                    exhausted = True
                    break
                self.spawn(item)
            full = self.quota is not None and self.started >= self.quota()
            if self.stopping or (not self.live and (exhausted or full)):
                return
            self.changed.clear()
            await self.changed.wait()

    async def next(self, source: Any) -> Any:
        if not hasattr(source, "__anext__"):
            return next(source, MISSING)
        self.pull = asyncio.ensure_future(anext(source, MISSING))
        try:
            await asyncio.wait([self.pull])
        except CancelledError:
            self.pull.cancel()
            await asyncio.wait([self.pull])
            if not self.pull.cancelled():
                self.pull.exception()
            raise
        finally:
            pull, self.pull = self.pull, None
        if pull.cancelled() and self.stopping:
            return MISSING
        return pull.result()

    def spawn(self, item: Any) -> None:
        index = self.started
        self.started += 1
        self.live[index] = task = asyncio.create_task(self.job(index, item))
        task.add_done_callback(lambda task: self.done(index, item, task))

    async def job(self, index: int, item: Any) -> None:
        task = asyncio.current_task()
        assert task is not None
        try:
            value = await self.start(item)
            if task.cancelling():
                await asyncio.sleep(0)
        except CancelledError as error:
            self.stop(error)
            raise
        except Exception as error:
            if not self.stopping and self.failed(index, error):
                self.stop(error)
        else:
            if self.ok(index, value):
                self.stop(None)
        finally:
            self.live.pop(index, None)
            self.changed.set()

    def done(self, index: int, item: Any, task: asyncio.Task[Any]) -> None:
        if self.live.pop(index, None) is not None:  # cancelled before its first step
            self.stop(CancelledError())
            if inspect.iscoroutine(item):
                item.close()
            self.changed.set()


def starter(limits: Any, name: str | None = None) -> Callable[[Any], Any]:
    """Return what starts a job: a coroutine as it is, a function by a call, with time-out and retries."""

    async def attempt(item: Any) -> Any:
        return await (item if inspect.isawaitable(item) else item())

    async def attempts(item: Any) -> Any:
        if limits.retry is None:
            return await attempt(item)
        return await retry(lambda: attempt(item), **limits.retry)

    async def start(item: Any) -> Any:
        if limits.timeout is None:
            return await attempts(item)
        async with timeout(limits.timeout):
            return await attempts(item)

    return start


async def _collect(items: Any, on_error: str, *, limits: Any, **window: Any) -> dict[int, Any]:
    values: dict[int, Any] = {}

    def ok(index: int, value: Any) -> bool:
        values[index] = value
        return False

    def failed(index: int, error: Exception) -> bool:
        if on_error == "return":
            values[index] = error
        return on_error == "raise"

    await Window(items, starter(limits), ok=ok, failed=failed, **window).run()
    return {index: values[index] for index in sorted(values)}


NO_LIMITS = SimpleNamespace(timeout=None, retry=None)


async def run_jobs(
    jobs: Any, *, workers: int, on_error: str, timeout: float | None, retry: Any, isolation: str
) -> list[Any]:
    limits = SimpleNamespace(timeout=timeout, retry=retry)
    return list((await _collect(jobs, on_error, limit=workers, limits=limits)).values())


async def async_map(
    func: Any,
    items: Any,
    *,
    limit: int | None,
    on_error: str,
    with_index: bool,
    timeout: float | None,
    retry: Any,
    isolation: str,
) -> list[Any]:
    limits = SimpleNamespace(timeout=timeout, retry=retry)
    if hasattr(items, "__aiter__"):
        bound: Any = (lambda item=item: func(item) async for item in items)
    else:
        bound = (lambda item=item: func(item) for item in items)
    values = await _collect(bound, on_error, limit=limit, limits=limits)
    return list(values.items()) if with_index else list(values.values())


async def gather(*aws: Any, return_exceptions: bool) -> list[Any]:
    on_error = "return" if return_exceptions else "raise"
    return list((await _collect(aws, on_error, limit=None, limits=NO_LIMITS)).values())


async def batch_gather(aws: Any, batch_size: int, *, on_error: str) -> list[Any]:
    values = await _collect(aws, on_error, limit=batch_size, limits=NO_LIMITS, chunked=True)
    return list(values.values())


async def fill_batch(func: Any, source: Any, size: int, *, max_failure_fraction: float) -> list[Any]:
    from spanloom import TooManyFailuresError

    values: dict[int, Any] = {}
    errors: list[Exception] = []

    def ok(index: int, value: Any) -> bool:
        values[index] = value
        return False

    def failed(index: int, error: Exception) -> bool:
        errors.append(error)
        return len(errors) > int(max_failure_fraction * size)

    bound = (lambda item=item: func(item) for item in source)
    window = Window(
        bound, starter(NO_LIMITS), limit=size, ok=ok, failed=failed, quota=lambda: size + len(errors)
    )
    try:
        await window.run()
    except Exception as error:
        if errors and error is errors[-1] and len(errors) > int(max_failure_fraction * size):
            raise TooManyFailuresError from error
        raise
    return [values[index] for index in sorted(values)]


async def race(*aws: Any, first: str) -> Any:
    winner: list[Any] = []
    errors: list[Exception] = []

    def ok(index: int, value: Any) -> bool:
        if not winner:
            winner.append(value)
        return True

    def failed(index: int, error: Exception) -> bool:
        errors.append(error)
        return first == "completed"

    await Window(aws, starter(NO_LIMITS), limit=None, ok=ok, failed=failed).run()
    if not winner:
        raise ExceptionGroup("all failed", errors)
    return winner[0]


class stream:  # noqa: N801 -- stands for spanloom.stream
    """Outcomes in order of their end; those that nobody has taken yet hold a slot."""

    def __init__(
        self,
        jobs: Any,
        *,
        limit: int | None,
        on_error: str,
        timeout: float | None,
        retry: Any,
        isolation: str,
    ) -> None:
        self.ready: deque[Any] = deque()
        self.on_error = on_error
        self.changed = asyncio.Event()
        self.window = Window(
            jobs,
            starter(SimpleNamespace(timeout=timeout, retry=retry)),
            limit=limit,
            ok=lambda index, value: self.push(index, value, None),
            failed=self.failed,
            backlog=lambda: len(self.ready),
        )

    def push(self, index: int, value: Any, error: Exception | None) -> bool:
        status = "ok" if error is None else "timeout" if isinstance(error, TimeoutError) else "error"
        self.ready.append(SimpleNamespace(index=index, value=value, error=error, status=status))
        self.changed.set()
        return False

    def failed(self, index: int, error: Exception) -> bool:
        if self.on_error == "return":
            self.push(index, None, error)
        return self.on_error == "raise"

    async def __aenter__(self) -> stream:
        self.heard = False
        self.pump = asyncio.create_task(self.window.run())
        self.pump.add_done_callback(lambda _: self.changed.set())
        return self

    def __aiter__(self) -> stream:
        return self

    async def __anext__(self) -> Any:
        while not self.ready:
            if self.pump.done():
                self.heard = True
                self.pump.result()
                raise StopAsyncIteration
            self.changed.clear()
            await self.changed.wait()
        outcome = self.ready.popleft()
        self.window.changed.set()
        return outcome

    async def __aexit__(self, kind: Any, error: Any, traceback: Any) -> None:
        self.window.stop(None)
        cancelled: CancelledError | None = None
        while not self.pump.done():
            try:
                await asyncio.wait([self.pump])
            except CancelledError as outside:
                cancelled = outside
        failure = None if self.pump.cancelled() else self.pump.exception()
        if cancelled is not None:
            raise cancelled
        if failure is not None and error is None and not self.heard:
            raise failure


async def retry(
    fn: Any,
    *,
    attempts: int,
    base_delay: float,
    max_delay: float,
    multiplier: float,
    attempt_timeout: float | None,
) -> Any:
    task = asyncio.current_task()
    assert task is not None
    cancels = task.cancelling()
    attempt = 1
    while True:
        try:
            if attempt_timeout is None:
                return await fn()
            async with timeout(attempt_timeout):
                return await fn()
        except Exception as error:
            if attempt == attempts or task.cancelling() > cancels:
                raise
            pause = min(max_delay, base_delay * multiplier ** (attempt - 1))
            ends = asyncio.get_running_loop().time() + pause
            if any(owner is task and ends > when for owner, when in deadlines.get()):
                raise error
        await asyncio.sleep(pause)
        attempt += 1


def policy(fields: dict[str, Any] | None) -> dict[str, Any] | None:
    """Return the form in which the runners here take a retry policy."""
    return fields
