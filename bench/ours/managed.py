"""The managers that spanloom's contenders run under: made before the clock starts, flushed while it runs."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass

from bench.contender import Contender, Run, Session
from spanloom import CallbackManager, use_callback_manager

FLUSH_TIMEOUT_S = 60.0


@dataclass(frozen=True, slots=True)
class Handlers:
    """Handlers, and how to wait for what lies behind them.

    Attributes:
        handlers: Given to one manager.
        settle: Called after the manager's own flush, on the clock.
    """

    handlers: Sequence[object]
    settle: Callable[[], None] = lambda: None


OpenHandlers = Callable[[], AbstractContextManager[Handlers]]


@contextmanager
def _default(run: Run) -> Iterator[Session]:
    with use_callback_manager(CallbackManager()):
        yield Session(run)


@contextmanager
def _unheard(run: Run) -> Iterator[Session]:
    with use_callback_manager(CallbackManager(recorder=0)):
        yield Session(run)


@contextmanager
def _handled(run: Run, open_handlers: OpenHandlers) -> Iterator[Session]:
    with open_handlers() as given:
        manager = CallbackManager(given.handlers, raise_handler_errors=True)

        def settle() -> None:
            # a drain thread that has not caught up yet would hide its share of the price
            manager.flush(FLUSH_TIMEOUT_S)
            given.settle()

        with use_callback_manager(manager):
            yield Session(run, settle)
        manager.close()


def default(name: str, run: Run) -> Contender:
    """Make a contender with no handler and the flight recorder on: what a user gets who sets up nothing."""
    return Contender(name, lambda: _default(run))


def unheard(name: str, run: Run) -> Contender:
    """Make a contender with no handler and no recorder: nobody listens."""
    return Contender(name, lambda: _unheard(run))


def handled(name: str, run: Run, handlers: OpenHandlers) -> Contender:
    """Make a contender with handlers and the recorder; its clock stops when they have everything."""
    return Contender(name, lambda: _handled(run, handlers))
