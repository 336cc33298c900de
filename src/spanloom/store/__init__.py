"""The record: one SQLite file with the events of runs, written while they run and readable after a crash."""

import typing

from spanloom._offers import offered as _offered
from spanloom.store.locate import default_path, locate
from spanloom.store.retention import Retention

if typing.TYPE_CHECKING:
    from spanloom.store.model import Counts as Counts
    from spanloom.store.model import Record as Record
    from spanloom.store.model import Run as Run
    from spanloom.store.model import RunState as RunState
    from spanloom.store.model import Summary as Summary
    from spanloom.store.reader import StoreReader as StoreReader

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

# Loaded late: a writer of records does not need them.
_LATE: typing.Final = {
    "Counts": "spanloom.store.model",
    "Record": "spanloom.store.model",
    "Run": "spanloom.store.model",
    "RunState": "spanloom.store.model",
    "Summary": "spanloom.store.model",
    "StoreReader": "spanloom.store.reader",
}


def __getattr__(name: str) -> object:
    return _offered(__name__, _LATE, name)
