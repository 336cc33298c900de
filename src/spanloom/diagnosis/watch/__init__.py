"""The thread that watches a process, and how one asks it from outside."""

from spanloom.callbacks.standing import STALL_AFTER_S
from spanloom.diagnosis.watch.process import current, watch
from spanloom.diagnosis.watch.watcher import Watcher

__all__ = ["STALL_AFTER_S", "Watcher", "current", "watch"]
