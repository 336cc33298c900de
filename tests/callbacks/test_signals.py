"""What a signal raises while a hook runs is the program's, what the hook raises is the handler's."""

from __future__ import annotations

import asyncio
import concurrent.futures
import gc
import logging
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from types import FrameType

import pytest

from spanloom import CallbackManager, run_jobs, use_callback_manager
from spanloom.callbacks.signals import is_from_signal
from spanloom.events import Event

pytestmark = pytest.mark.skipif(os.name == "nt", reason="signals are POSIX's")


@pytest.fixture
def handler_of() -> Iterator[Callable[[signal.Signals, object], None]]:
    """Set handlers of signals, and take them back."""
    before: dict[signal.Signals, object] = {}

    def use(number: signal.Signals, handler: object) -> None:
        before.setdefault(number, signal.getsignal(number))
        signal.signal(number, handler)  # type: ignore[arg-type]  # what the signal module itself returns

    yield use
    for number, handler in before.items():
        signal.signal(number, handler)  # type: ignore[arg-type]  # the same


class Sends:
    """Sends the process a signal from inside a hook, once."""

    def __init__(self, number: signal.Signals) -> None:
        self.number: signal.Signals | None = number
        self.ended: list[str] = []

    def on_event_end(self, event: Event) -> None:
        number, self.number = self.number, None
        if number is not None:
            os.kill(os.getpid(), number)
            for _ in range(1000):
                time.sleep(0.001)
        self.ended.append(event.name)


def exits(number: int, frame: FrameType | None) -> None:
    raise SystemExit(3)


class Handler:
    def times_out(self, number: int, frame: FrameType | None) -> None:
        self.raises()

    def raises(self) -> None:
        raise TimeoutError("by a signal")


@pytest.mark.parametrize(
    ("number", "handler", "error"),
    [
        (signal.SIGINT, signal.default_int_handler, KeyboardInterrupt),
        (signal.SIGTERM, exits, SystemExit),
        (signal.SIGALRM, Handler().times_out, TimeoutError),
    ],
)
def test_what_a_signal_raises_in_a_hook_goes_to_the_program(
    handler_of: Callable[[signal.Signals, object], None],
    number: signal.Signals,
    handler: object,
    error: type[BaseException],
) -> None:
    """Ctrl-C, a SIGTERM that ends the program, a timeout by SIGALRM: raised where the event ends; the handler stays."""
    handler_of(number, handler)
    sends = Sends(number)
    with CallbackManager([sends]) as manager:
        with pytest.raises(error), manager.event(name="interrupted"):
            pass
        with manager.event(name="after"):
            pass
        (stats,) = manager.stats().handlers
    assert sends.ended == ["after"]
    assert (stats.errors, stats.quarantined) == (0, False)


@pytest.mark.parametrize("by_id", [False, True])
def test_an_event_that_a_signal_keeps_from_starting_ends(by_id: bool) -> None:
    """Ctrl-C in a hook for starts: nobody else could end the event, which would be open for ever."""

    class Presses:
        def __init__(self) -> None:
            self.ended: list[tuple[str, str | None]] = []

        def on_event_start(self, event: Event) -> None:
            signal.raise_signal(signal.SIGINT)

        def on_event_end(self, event: Event) -> None:
            self.ended.append((event.name, event.status))

    with CallbackManager([presses := Presses()]) as manager:
        with pytest.raises(KeyboardInterrupt):
            if by_id:
                manager.on_event_start("step", name="interrupted")
            else:
                manager.event(name="interrupted").start()
        assert manager.in_flight() == []
        assert manager.current.get() is None
    assert presses.ended == [("interrupted", "error")]


def test_ctrl_c_in_a_hook_of_a_job_ends_the_batch(caplog: pytest.LogCaptureFixture) -> None:
    """The hooks that runners call let it through, too: under asyncio the second Ctrl-C is raised on the spot."""

    class SendsTwice:
        def on_event_end(self, event: Event) -> None:
            if event.type == "job":
                for _ in range(2):
                    os.kill(os.getpid(), signal.SIGINT)
                    sum(range(100_000))

    async def job(seconds: float) -> None:
        await asyncio.sleep(seconds)

    async def main() -> None:
        with use_callback_manager(CallbackManager([SendsTwice()])):
            await run_jobs([job(0.01), job(10)])

    began = time.monotonic()
    with caplog.at_level(
        logging.CRITICAL, "asyncio"
    ):  # which says that a task has got it and nobody awaits that
        with pytest.raises(KeyboardInterrupt):
            asyncio.run(main())
        gc.collect()
    assert time.monotonic() - began < 5


def test_what_code_raises_itself_is_not_a_signals() -> None:
    """A KeyboardInterrupt that is raised like any other, here or in another thread, comes from no signal."""

    def interrupt() -> None:
        raise KeyboardInterrupt

    def again() -> None:
        with concurrent.futures.ThreadPoolExecutor(1) as threads:
            threads.submit(interrupt).result()

    for function in (interrupt, again):
        with pytest.raises(KeyboardInterrupt) as caught:
            function()
        assert not is_from_signal(caught.value)
    assert not is_from_signal(KeyboardInterrupt())


def test_no_signal_is_raised_in_another_thread(caplog: pytest.LogCaptureFixture) -> None:
    """Whatever is raised in a hook on another thread is the hook's."""
    caught: list[bool] = []

    def run() -> None:
        try:
            signal.default_int_handler(signal.SIGINT, None)
        except KeyboardInterrupt as error:
            caught.append(is_from_signal(error))

    thread = threading.Thread(target=run)
    with caplog.at_level(logging.ERROR):
        thread.start()
        thread.join()
    assert caught == [False]
