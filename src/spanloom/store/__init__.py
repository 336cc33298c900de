"""The record: one SQLite file with the events of runs, written while they run and readable after a crash."""

from spanloom.store.locate import default_path, locate
from spanloom.store.model import Counts, Record, Run, RunState, Summary
from spanloom.store.reader import StoreReader
from spanloom.store.retention import Retention

__all__ = [
    "Counts",
    "Record",
    "Retention",
    "Run",
    "RunState",
    "StoreReader",
    "Summary",
    "default_path",
    "locate",
]
