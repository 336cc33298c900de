"""The plan: how much a run of the benchmarks measures."""

from dataclasses import dataclass, replace
from itertools import product

Cell = tuple[int, int]
"""How many jobs, and how many of them at once."""

BUDGET_CELL: Cell = (10_000, 64)
"""Where the ceilings are written for."""
COUNTS = (1_000, 10_000, 100_000)
LIMITS = (8, 64, 1_000)
FILL_JOBS = 5_000  # jobs in the shortest timed run, some 10 ms: shorter ones are repeated until they fill it


@dataclass(frozen=True, slots=True)
class Plan:
    """How much is measured.

    Attributes:
        rounds: Timed rounds of each cell.
        cells: The cells of the core suite, the budget cell first.
        collector: Whether the core suite measures the budget cell once more with the garbage collector on.
        memory_counts: Job counts between which the slope of lists is taken.
        stream_counts: The same of the streams, whose slope is nothing.
        processes: How many fresh interpreters each import is timed in.
        hold_count: Jobs of the run in which the loop is watched.
        looks: Looks at each of the programs of many tasks.
    """

    rounds: int
    cells: tuple[Cell, ...]
    collector: bool
    memory_counts: tuple[int, int]
    stream_counts: tuple[int, int]
    processes: int
    hold_count: int
    looks: int


_CROSS = (BUDGET_CELL, (10_000, 8), (10_000, 1_000), (1_000, 64), (100_000, 64))
_GRID = (BUDGET_CELL, *(cell for cell in product(COUNTS, LIMITS) if cell != BUDGET_CELL))

STANDARD = Plan(
    rounds=9,
    cells=_CROSS,
    collector=True,
    memory_counts=(20_000, 100_000),
    stream_counts=(100_000, 1_000_000),
    processes=15,
    hold_count=100_000,
    looks=20,
)
"""Every job count at one limit, every limit at one job count: half an hour."""
FULL = replace(STANDARD, cells=_GRID)
"""Every job count at every limit: three quarters of an hour."""
QUICK = Plan(
    rounds=7,
    cells=(BUDGET_CELL,),
    collector=False,
    memory_counts=(10_000, 40_000),
    stream_counts=(50_000, 200_000),
    processes=7,
    hold_count=20_000,
    looks=20,
)
"""What has a ceiling: some ten minutes."""


def repeats(count: int) -> int:
    """Return how often a call of `count` jobs is repeated within one timed run."""
    return max(1, FILL_JOBS // count)


def describe(cell: Cell, *, collector: bool = False) -> str:
    """Name a cell for the report."""
    count, limit = cell
    return f"n = {count:,}, limit {limit:,}, garbage collector {'on' if collector else 'frozen'}"
