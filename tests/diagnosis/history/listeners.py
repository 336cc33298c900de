"""There is one listener at a time: the watcher of this process, where a test has made it, rests meanwhile."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from spanloom.diagnosis.history.memory import Memory
from spanloom.diagnosis.watch.process import current


@contextmanager
def others_rest() -> Iterator[None]:
    """Have the watcher of this process, where there is one, listen to nothing."""
    watcher = current()
    if watcher is None:
        yield
        return
    watcher.stop()
    owners = [getattr(observer, "__self__", None) for observer in watcher.observers]
    memories = [owner for owner in owners if isinstance(owner, Memory)]
    for memory in memories:
        memory.stop()
    yield
    for memory in memories:
        memory.start()
    watcher.start()
