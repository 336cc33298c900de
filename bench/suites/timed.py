"""What the timed suites share: one cell, turned into figures."""

import statistics
from collections.abc import Mapping, Sequence

from bench.clock import Series, compare
from bench.contender import Contender
from bench.figure import Figure, figure
from bench.load import Load


def ratios(
    suite: str,
    group: str,
    column: str,
    reference: Contender,
    contenders: Sequence[Contender],
    load: Load,
    *,
    rounds: int,
    judged: bool,
    collector: bool = False,
    bases: Mapping[str, str] | None = None,
) -> list[Figure]:
    """Time one cell and make its figures.

    Args:
        suite, group, column: Where the figures stand in the report.
        reference, contenders, load, rounds, collector: See `bench.clock.compare`.
        judged: Whether this is the cell that the ceilings are written for.
        bases: For a contender's name that of its base: the figure is then what it adds to its base, round
            by round.

    Returns:
        One figure per contender, the reference's first.
    """
    series = compare(reference, contenders, load, rounds=rounds, collector=collector)
    by_name = {one.contender: one for one in series}
    jobs = load.count * load.repeat
    figures = []
    for one in series:
        base = by_name.get((bases or {}).get(one.contender, ""))
        figures.append(
            figure(
                suite,
                group,
                one.contender,
                column,
                "+x" if base else "x",
                _above(one, base) if base else one.ratios,
                judged=judged,
                ns_per_job=statistics.median(one.cpu_ns) / jobs,
            )
        )
    return figures


def _above(series: Series, base: Series) -> list[float]:
    return [ratio - less for ratio, less in zip(series.ratios, base.ratios, strict=True)]
