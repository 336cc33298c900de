"""`run_sync`: a coroutine's result in code that cannot await."""

from __future__ import annotations

import asyncio
import contextvars
import inspect
import threading
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any, Final, TypeVar

from spanloom.exceptions import NestedLoopError

__all__ = ["THREAD", "run_in_thread", "run_sync"]

T = TypeVar("T")

THREAD: Final = "spanloom-run_sync"
"""Name of the threads in which coroutines of the program run."""
LOOK_S: Final = 0.1
"""Seconds between two checks whether the waiting task was cancelled."""
_FOREIGN: Final = ("attached to a different loop", "bound to a different event loop")
"""Parts of asyncio's messages about a future, and about a lock, event or queue, of another loop."""


def run_sync(coro: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine to its end and return its result, from code that is not async.

    Without a running event loop in this thread, a new loop runs it here. With one (in a notebook, in a
    callback), a new loop in a new thread runs it, while this thread, and so the outer loop, waits.
    Nothing is patched, so a coroutine that needs the outer loop cannot end; if asyncio reports that as
    an error about another loop, `NestedLoopError` explains it.

    The coroutine runs in a copy of the caller's context, so the trace goes on in it. Ctrl-C cancels it. When it has
    ended, ``KeyboardInterrupt`` is raised; if asyncio's handler of the outer loop took the Ctrl-C, ``CancelledError``.

    Args:
        coro: The coroutine; it is closed if it cannot be started.

    Returns:
        What the coroutine returns.

    Raises:
        BaseException: what the coroutine raises, the same object.
        NestedLoopError: it waits for something that belongs to the loop that this call blocks.
        OSError, RuntimeError: the system has no file descriptors for a new loop, or no new thread.
        TypeError: `coro` is not a coroutine.
    """
    given: object = coro
    if not inspect.iscoroutine(given):
        hint = "; call the function: run_sync(main())" if inspect.iscoroutinefunction(coro) else ""
        raise TypeError(f"run_sync needs a coroutine, not {type(coro).__name__}{hint}")
    # Not get_running_loop: its error would become the context of every error of the coroutine.
    if asyncio._get_running_loop() is not None:  # noqa: SLF001 -- documented for event loop implementers
        return run_in_thread(coro)
    return contextvars.copy_context().run(_run, coro)


def _run(coro: Coroutine[Any, Any, T], begin: Callable[[asyncio.AbstractEventLoop], None] | None = None) -> T:
    runner: Any
    try:
        with asyncio.Runner() as runner:
            if begin is not None:
                begin(runner.get_loop())
            result: T = runner.run(coro)
    finally:
        coro.close()  # in case no loop could be made; does nothing if the coroutine has ended
    return result


def _held_up() -> asyncio.Task[Any] | None:
    """Return the task that runs in this thread, if any; ``None`` outside the main thread, where no signals arrive."""
    if threading.current_thread() is not threading.main_thread() or asyncio._get_running_loop() is None:  # noqa: SLF001 -- as in run_sync
        return None
    return asyncio.current_task()


def _cancel(loop: asyncio.AbstractEventLoop, coro: Coroutine[Any, Any, Any]) -> None:
    for task in asyncio.all_tasks(loop):
        if task.get_coro() is coro:
            task.cancel()


def _wait(
    ended: threading.Event, cancel: Callable[[], None], task: asyncio.Task[Any] | None, cancels: int
) -> None:
    """Wait for a thread, and cancel what runs in it if a signal cancels the task that waits here.

    asyncio's SIGINT handler only cancels the task, which its loop, being blocked, cannot process.

    Args:
        ended: Set when the thread has ended.
        cancel: Cancels what runs in the thread.
        task: The task that waits here; ``None`` if signals do not reach this thread.
        cancels: ``task.cancelling()`` before the wait.
    """
    while not ended.wait(None if task is None else LOOK_S):
        asked = 0 if task is None else task.cancelling()
        if asked > cancels:
            cancels = asked
            cancel()


def run_in_thread(coro: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine on a new loop in a new thread, and wait for it; otherwise like `run_sync`."""
    context = contextvars.copy_context()
    results: list[T] = []
    errors: list[BaseException] = []
    loops: list[asyncio.AbstractEventLoop] = []
    begun, ended = threading.Event(), threading.Event()
    claim = threading.Lock()  # whose the coroutine is: the thread's, or ours if the thread has not come to it

    def begin(loop: asyncio.AbstractEventLoop) -> None:
        loops.append(loop)
        begun.set()

    def target() -> None:
        if not claim.acquire(blocking=False):
            return
        try:
            results.append(context.run(_run, coro, begin))
        except BaseException as error:  # noqa: BLE001 -- raised in the caller's thread
            errors.append(error)
        finally:
            begun.set()
            ended.set()

    def cancel() -> None:
        begun.wait()
        for loop in loops:
            with suppress(RuntimeError):  # the loop was closed: the coroutine has just ended
                loop.call_soon_threadsafe(_cancel, loop, coro)

    task = _held_up()
    cancels = 0 if task is None else task.cancelling()
    thread = threading.Thread(target=target, name=THREAD)
    try:
        thread.start()  # waits until the thread runs, so Ctrl-C may come after that as well as before
        _wait(ended, cancel, task, cancels)
    except BaseException:  # Ctrl-C, or the system has no more threads
        if claim.acquire(blocking=False):
            coro.close()
            raise
        cancel()
        ended.wait()  # unless Ctrl-C is pressed again
        raise
    thread.join()  # only now: a join that Ctrl-C interrupts would mark the thread as ended
    if not errors:
        return results[0]
    error = errors.pop()
    try:
        if isinstance(error, RuntimeError) and any(text in str(error) for text in _FOREIGN):
            raise NestedLoopError(
                "run_sync was called on a running event loop with a coroutine that waits for something of that very "
                "loop, which stands still meanwhile (nested async). Await the coroutine instead of calling run_sync, "
                "or create what it waits for inside the coroutine."
            ) from error
        raise error
    finally:
        del error
