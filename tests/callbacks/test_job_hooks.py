"""What a handler binds once for all jobs of a batch, and what it hears of generators that wait."""

from __future__ import annotations

import asyncio
import inspect
import time
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any

import pytest

from spanloom.callbacks import CallbackManager, guard, use_callback_manager
from spanloom.concurrency.jobs import run_jobs
from spanloom.concurrency.map import async_map
from spanloom.events import Event
from spanloom.events.handler import QuickHook
from spanloom.exceptions import HandlerError

Hook = Callable[[Event], object]


class Binding:
    """Takes lists, and binds a name to the jobs of each batch."""

    def __init__(self, *, start: bool = True, end: bool = True) -> None:
        self.start, self.end = start, end
        self.calls: list[str] = []
        self.listed = 0

    def job_hooks(self, batch: Event) -> tuple[Hook | None, Hook | None]:
        assert batch.end_ns is None
        self.calls.append(f"batch {batch.name}")

        def started(event: Event) -> None:
            self.calls.append(f"{batch.name} starts {event.job_index}")

        def ended(event: Event) -> None:
            self.calls.append(f"{batch.name} ends {event.job_index}")

        return (started if self.start else None), (ended if self.end else None)

    def on_event_start(self, event: Event) -> None:
        self.calls.append(f"start {event.type}")

    def on_events(self, events: Sequence[Event]) -> None:
        self.listed += len(events)


async def nothing(_: object) -> None:
    pass


def run(manager: CallbackManager, isolation: Any = "task") -> None:
    with use_callback_manager(manager):
        asyncio.run(async_map(nothing, range(2), limit=1, desc="b", isolation=isolation))


@pytest.mark.parametrize("isolation", ["task", "context"])
def test_what_a_handler_binds_is_called_in_place_of_its_inline_hooks(isolation: Any) -> None:
    """Once per batch it is asked; then its own functions are called, and lists hold everything as ever."""
    handler = Binding()
    manager = CallbackManager([handler], raise_handler_errors=True)
    run(manager, isolation)
    assert handler.calls == ["start batch", "batch b", "b starts 0", "b ends 0", "b starts 1", "b ends 1"]
    manager.close()
    assert handler.listed == 3


def test_what_it_does_not_want_costs_no_call() -> None:
    """`None` for both: a runner has nobody to tell, and the accounts still agree."""
    handler = Binding(start=False, end=False)
    manager = CallbackManager([handler], raise_handler_errors=True)
    run(manager)
    assert handler.calls == ["start batch", "batch b"]
    assert manager.flush(5)
    (stats,) = manager.stats().handlers
    assert (stats.produced, stats.delivered, stats.dropped) == (3, 3, 0)
    manager.close()


@pytest.mark.parametrize("how", ["raises", "is slow", "answers nonsense"])
def test_a_bound_function_is_guarded_like_any_hook(
    how: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """It may raise, or take its time: the work goes on, and it is not called a second time."""
    calls: list[str] = []

    class Bad(Binding):
        def job_hooks(self, batch: Event) -> Any:
            # From here on: the other one has bound its functions, and is not slow because the machine is.
            monkeypatch.setattr(guard, "SLOW_S", 0.01)

            def started(event: Event) -> None:
                calls.append(event.name)
                if how == "raises":
                    raise KeyboardInterrupt
                time.sleep(0.02)

            return started, None

    other = Binding()
    bad = Bad()
    manager = CallbackManager([other, bad])
    if how == "answers nonsense":
        monkeypatch.setattr(Bad, "job_hooks", lambda self, batch: 5)
        manager.set_handlers([other, bad := Bad()])
    run(manager)
    assert len(calls) == (how != "answers nonsense")
    assert [stats.quarantined for stats in manager.stats().handlers] == [False, True]
    assert [call for call in other.calls if "ends" in call] == ["b ends 0", "b ends 1"]
    assert len(caplog.records) == 1
    manager.close()


class Refusing:
    """Fails when a batch begins, by the hook that it is given."""

    def __init__(self, hook: str) -> None:
        setattr(self, hook, self.refuse)

    def refuse(self, event: Event) -> None:
        if event.type == "batch":
            raise ValueError(event.name)

    def on_events(self, events: Sequence[Event]) -> None:
        """Do nothing."""


@pytest.mark.parametrize("isolation", ["task", "context"])
@pytest.mark.parametrize("hook", ["job_hooks", "on_event_start"])
async def test_a_batch_that_a_handler_keeps_from_beginning_has_ended(hook: str, isolation: Any) -> None:
    """Under `raise_handler_errors` nothing stays open or current, and no coroutine is left unawaited."""
    manager = CallbackManager([Refusing(hook)], raise_handler_errors=True)
    jobs = [nothing(number) for number in range(3)]
    with use_callback_manager(manager):
        with manager.event("outer"):
            outer = manager.current.get()
            assert outer is not None
            with pytest.raises(HandlerError, match=hook):
                await run_jobs(jobs, workers=2, isolation=isolation)
            assert manager.current.get() is outer
            assert outer.trace.families == ()
            assert manager.in_flight() == [outer]
        assert [inspect.getcoroutinestate(job) for job in jobs] == [inspect.CORO_CLOSED] * 3
    assert manager.recorder is not None
    batch = next(event for event in manager.recorder.ended() if event.type == "batch")
    assert batch.status == "error"
    assert manager.stats().open == 0
    manager.close()


def test_a_handler_that_is_taken_out_hears_nothing_more_of_running_jobs() -> None:
    """What it has bound is not called after its close."""
    handler = Binding()
    manager = CallbackManager([handler])

    async def job(number: int) -> None:
        if number == 0:
            await asyncio.to_thread(manager.remove_handler, handler)

    with use_callback_manager(manager):
        asyncio.run(async_map(job, range(3), limit=1, desc="b"))
    assert [call for call in handler.calls if call.startswith("b ")] == ["b starts 0"]


def test_what_a_bound_function_emits_is_not_sent_to_it() -> None:
    """A hook that opens events itself does not call itself without end."""

    class Emitting(Binding):
        def job_hooks(self, batch: Event) -> tuple[Hook | None, Hook | None]:
            return (lambda event: manager.emit(name="mark")), None

    handler = Emitting()
    manager = CallbackManager([handler], raise_handler_errors=True)
    run(manager)
    manager.close()
    assert handler.listed == 3


class Quick(Binding):
    """Binds a hook of which a small part is enough for every second job."""

    def job_hooks(self, batch: Event) -> tuple[Hook | None, Hook | None]:
        def quick(event: Event) -> bool:
            self.calls.append(f"quick {event.job_index}")
            return event.job_index == 1

        return QuickHook(quick, lambda event: self.calls.append(f"full {event.job_index}")), None


@pytest.mark.parametrize("isolation", ["task", "context"])
def test_the_rest_of_a_quick_hook_is_called_where_its_small_part_is_not_enough(isolation: Any) -> None:
    """For each job by itself; whoever calls the whole of it gets the same."""
    handler = Quick()
    manager = CallbackManager([handler], raise_handler_errors=True)
    run(manager, isolation)
    assert [call for call in handler.calls if "start" not in call] == ["quick 0", "full 0", "quick 1"]
    manager.close()
    assert handler.listed == 3
    parts: list[str] = []
    whole = QuickHook(lambda event: parts.append("quick") is not None, lambda event: parts.append("full"))
    whole(Event())
    assert parts == ["quick", "full"]


@pytest.mark.parametrize("isolation", ["task", "context"])
@pytest.mark.parametrize("part", ["quick", "full"])
def test_a_quick_hook_that_raises_is_not_called_again(
    part: str, isolation: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """Whichever part it is: the jobs go on, the handler is in quarantine, and it is logged once."""

    class Failing(Quick):
        def job_hooks(self, batch: Event) -> tuple[Hook | None, Hook | None]:
            def fail(event: Event) -> bool:
                self.calls.append(part)
                raise SystemExit("harmful")

            return (QuickHook(fail, fail) if part == "quick" else QuickHook(lambda _: False, fail)), None

    handler = Failing()
    manager = CallbackManager([handler])
    run(manager, isolation)
    assert handler.calls.count(part) == 1
    assert [record.levelname for record in caplog.records] == ["ERROR"]
    with pytest.raises(HandlerError):
        run(CallbackManager([Failing()], raise_handler_errors=True), isolation)


def test_a_quick_hook_is_not_called_after_its_handler_is_taken_out() -> None:
    """Like any other hook."""
    handler = Quick()
    manager = CallbackManager([handler])

    async def job(number: int) -> None:
        if number == 0:
            await asyncio.to_thread(manager.remove_handler, handler)

    with use_callback_manager(manager):
        asyncio.run(async_map(job, range(3), limit=1, desc="b"))
    assert [call for call in handler.calls if "start" not in call] == ["quick 0", "full 0"]


def test_a_generator_that_waits_is_told_about() -> None:
    """`on_event_pause` at each yield, `on_event_resume` where its body goes on; a plain block has neither."""

    class Told:
        def __init__(self) -> None:
            self.calls: list[str] = []

        def on_event_start(self, event: Event) -> None:
            self.calls.append("start")

        def on_event_pause(self, event: Event) -> None:
            self.calls.append("pause")

        def on_event_resume(self, event: Event) -> None:
            self.calls.append("resume")

        def on_event_end(self, event: Event) -> None:
            self.calls.append("end")

    handler = Told()
    manager = CallbackManager([handler], raise_handler_errors=True)

    @manager.trace()
    async def numbers() -> AsyncIterator[int]:
        yield 1
        yield 2

    async def main() -> list[int]:
        return [number async for number in numbers()]

    assert asyncio.run(main()) == [1, 2]
    with manager.event(name="step"):
        pass
    assert handler.calls == ["start", "pause", "resume", "pause", "resume", "pause", "end", "start", "end"]
