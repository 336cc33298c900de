"""A figure: one number of a report, with its spread and the ceiling it must keep."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from bench.ceilings import ceiling

DECIMALS = 2
"""Of every unit: "at most as much as" is kept at 1.00, which a median of 1.002 is no evidence against."""


@dataclass(frozen=True, slots=True)
class Figure:
    """One measured number.

    Attributes:
        suite: The suite that measured it.
        group: The cell: what was held fixed; one table of the report.
        row: Who was measured.
        column: On what: the kind of job, or the size.
        unit: What the number is: `x` a ratio to the reference, `+x` that ratio less the ratio of the row's
            own base, `B` bytes a job, `ms` milliseconds, `us` microseconds a job, `lost` spans, `/s` spans per second.
        median: The median of the rounds.
        q1: Their first quartile.
        q3: Their third quartile.
        ceiling: The most that is allowed, None where nothing is promised.
        ns_per_job: Median CPU time a job in nanoseconds, where that makes sense: of this machine only.
    """

    suite: str
    group: str
    row: str
    column: str
    unit: str
    median: float
    q1: float
    q3: float
    ceiling: float | None = None
    ns_per_job: float | None = None

    @property
    def held(self) -> bool | None:
        """Whether the median, to the decimals that a report shows, keeps its ceiling; None where there is none."""
        return None if self.ceiling is None else round(self.median, DECIMALS) <= self.ceiling


def figure(
    suite: str,
    group: str,
    row: str,
    column: str,
    unit: str,
    values: Sequence[float],
    *,
    judged: bool = False,
    ns_per_job: float | None = None,
) -> Figure:
    """Summarise the values of the rounds.

    Args:
        suite, group, row, column, unit: See `Figure`.
        values: One value a round, at least one.
        judged: Look up the ceiling: true only in the cell that the budgets are written for.
        ns_per_job: See `Figure`.
    """
    if len(values) > 1:
        q1, median, q3 = statistics.quantiles(values, n=4, method="inclusive")
    else:
        q1 = median = q3 = values[0]
    allowed = ceiling(suite, row, column) if judged else None
    return Figure(suite, group, row, column, unit, median, q1, q3, allowed, ns_per_job)
