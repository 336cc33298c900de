"""The thread that watches a process, and how one asks it from outside."""

from spanloom.diagnosis.watch.stalls import STALL_AFTER_S
from spanloom.diagnosis.watch.watcher import Watcher, current, watch

__all__ = ["STALL_AFTER_S", "Watcher", "current", "watch"]
