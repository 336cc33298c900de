"""The evaluation loops and concurrency strategies of ``dotevals`` (0.23 to 0.28), on spanloom's engine.

Change the import and keep the code: ``from spanloom.compat.dotevals import ForEach, Adaptive``. Handlers see every run
as a batch of jobs; enable one, for example with ``SPANLOOM_HANDLERS=progress``.
"""

from spanloom.compat._dotevals.concurrency import (
    Concurrency,
    ConcurrencyStrategy,
    adaptive,
    fixed,
    sequential,
)
from spanloom.compat._dotevals.decorated import Evaluation
from spanloom.compat._dotevals.foreach import ForEach, foreach
from spanloom.compat._dotevals.records import EvaluationSummary, Record
from spanloom.compat._dotevals.strategies import (
    Adaptive,
    AsyncConcurrencyStrategy,
    AsyncSequential,
    Batch,
    Sequential,
    SlidingWindow,
    SyncConcurrencyStrategy,
)
from spanloom.compat._dotevals.throughput import ThroughputTracker

__all__ = [
    "Adaptive",
    "AsyncConcurrencyStrategy",
    "AsyncSequential",
    "Batch",
    "Concurrency",
    "ConcurrencyStrategy",
    "Evaluation",
    "EvaluationSummary",
    "ForEach",
    "Record",
    "Sequential",
    "SlidingWindow",
    "SyncConcurrencyStrategy",
    "ThroughputTracker",
    "adaptive",
    "fixed",
    "foreach",
    "sequential",
]
