"""The watcher of this process: made when the program asks for it, or for as long as one of its batches stands still."""

from __future__ import annotations

import atexit
import contextlib
import os
import threading
from collections.abc import Callable

from spanloom.callbacks.standing import STALL_AFTER_S, Standing
from spanloom.callbacks.watchdog import WATCHDOG
from spanloom.diagnosis.budget import MOST, UNASKED
from spanloom.diagnosis.history import Memory
from spanloom.diagnosis.history.live import refs
from spanloom.diagnosis.watch.answers import answers_of
from spanloom.diagnosis.watch.stalls import Reporter
from spanloom.diagnosis.watch.watcher import Watcher
from spanloom.diagnosis.watched import WATCHED

__all__ = ["current", "watch", "watch_for_now"]


class _Watch:
    """A watcher, and what it remembers.

    Args:
        standing: What is known of the batches.
        stays: Whether the program has asked for it.
    """

    def __init__(self, standing: Standing, *, stays: bool) -> None:
        self.stays: bool = stays
        self.watcher: Watcher = Watcher()
        self._memory = memory = Memory()
        watcher = self.watcher
        self.reporter: Reporter = Reporter(
            watcher.findings,
            lambda: list(watcher.pulses.values()),
            changed_s=lambda: max(memory.changed, watcher.lively_s()),
            tasks=lambda: len(refs()),
            glance=lambda objects: watcher.findings(min(MOST, max(UNASKED, objects))),
            standing=standing,
        )
        watcher.reporter = self.reporter
        watcher.observers += [memory.step, self.reporter]
        watcher.finders.append(lambda _: memory.findings())
        watcher.remembered = memory.gone
        watcher.answers.update(answers_of(watcher))

    def begin(self) -> None:
        """Begin to listen; the looks begin with `Watcher.start`."""
        self._memory.start()
        WATCHED.append(self.watcher.findings)

    def end(self) -> None:
        """Stop to look and to listen, and remove all traces."""
        with contextlib.suppress(ValueError):
            WATCHED.remove(self.watcher.findings)
        self.watcher.close()
        self._memory.stop()

    def after_fork_in_child(self) -> None:
        """Begin anew in a forked child, which has other tasks."""
        if self.stays:
            self._memory.after_fork()
        self.watcher.after_fork_in_child(restart=self.stays)
        if not self.stays:
            self.end()


class _Process:
    """Which watcher the process has, if any."""

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.watch: _Watch | None = None
        self._is_hooked = False

    def begin(self, standing: Standing, *, stays: bool) -> _Watch:
        """Make the watcher; the caller must hold the lock."""
        self.watch = made = _Watch(standing, stays=stays)
        made.begin()
        if not self._is_hooked:
            self._is_hooked = True
            os.register_at_fork(
                before=self._before_fork,
                after_in_parent=self._after_fork_in_parent,
                after_in_child=self._after_fork_in_child,
            )
            atexit.register(self._at_exit)
        return made

    def leave(self, made: _Watch) -> None:
        """End a watch, unless the program has asked for it meanwhile."""
        with self.lock:
            if made.stays or self.watch is not made:
                return
            self.watch = None
            made.end()

    def _at_exit(self) -> None:
        if self.watch is not None:
            self.watch.end()

    def _before_fork(self) -> None:
        if self.watch is not None:
            from spanloom.diagnosis.watch.forking import before_fork  # late: most programs never fork

            before_fork()
            self.watch.watcher.before_fork()

    def _after_fork_in_parent(self) -> None:
        if self.watch is not None:
            self.watch.watcher.after_fork_in_parent()

    def _after_fork_in_child(self) -> None:
        self.lock = threading.RLock()  # the old one may be held by a thread that the child does not have
        made = self.watch
        if made is not None:
            made.after_fork_in_child()
            self.watch = made if made.stays else None


_process = _Process()


def current() -> Watcher | None:
    """Return the watcher of this process, if there is one."""
    return None if _process.watch is None else _process.watch.watcher


def watch(*, stall_after: float | None = STALL_AFTER_S, dump_signal: int | None = None) -> Watcher:
    """Watch this process from now on; if it is watched already, only the arguments take effect.

    It can then be asked from another terminal, by ``spanloom why PID``. A batch that stands still is logged with the
    reason as a warning, and is a point event of type ``stall``. What blocks a loop for long is a point event of type
    ``loop_lag``.

    Args:
        stall_after: Seconds without progress after which a batch counts as standing still; ``None`` for never. The
            `stall_after` of a runner's call takes precedence for its batch.
        dump_signal: A signal, such as ``signal.SIGUSR1``, on which the findings and the stacks of all threads are
            written to standard error; ``None`` for none. The program must not use it itself.

    Returns:
        The watcher of the process.

    Raises:
        ValueError: `stall_after` is not more than 0, or `dump_signal` cannot be handled.
    """
    if stall_after is not None and not stall_after > 0:
        raise ValueError(f"stall_after is a time above 0 s, or None for never (got {stall_after})")
    with _process.lock:
        made = _process.watch or _process.begin(Standing(), stays=True)
        made.stays = True
        WATCHDOG.relieve()
        made.reporter.stall_after_s = stall_after
        if dump_signal is not None:
            from spanloom.diagnosis.watch.dump import Dump

            known = [one.signal_number for one in made.watcher.observers if isinstance(one, Dump)]
            if dump_signal not in known:
                made.watcher.observers.append(Dump(dump_signal, made.watcher.findings))
        made.watcher.start()
    return made.watcher


def watch_for_now(standing: Standing, stall_after: float | None) -> Callable[[], object]:
    """Watch this process until the returned function is called; for `Watchdog`. No effect if it is watched already.

    Args:
        standing: What is known of the batches.
        stall_after: As for `watch`.
    """
    with _process.lock:
        if _process.watch is not None:
            return lambda: None
        made = _process.begin(standing, stays=False)
        made.reporter.stall_after_s = stall_after
        made.watcher.start()
    return lambda: _process.leave(made)
