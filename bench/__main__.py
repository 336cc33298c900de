"""Measure spanloom beside its peers and print what was found as Markdown.

Usage: python -m bench [--quick | --full] [--only SUITE] [--json FILE] [--markdown FILE]

Exits with 0 whether the ceilings are held or not: time on a shared machine is no judge of a change. What
is judged in continuous integration is `python -m bench.instructions --check`, which counts.
"""

import argparse
import importlib
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from bench import machine, ours, report
from bench.figure import Figure
from bench.plan import FULL, QUICK, STANDARD, Plan
from bench.suites import SUITES


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench", description="Measure spanloom beside its peers.")
    size = parser.add_mutually_exclusive_group()
    size.add_argument("--quick", action="store_true", help="only what has a ceiling; some ten minutes")
    size.add_argument(
        "--full", action="store_true", help="every job count with every limit; three quarters of an hour"
    )
    parser.add_argument("--only", action="append", choices=SUITES, metavar="SUITE", help=", ".join(SUITES))
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every figure there")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="write the report there, too")
    return parser.parse_args(argv)


def _measure(names: Sequence[str], plan: Plan, report_so_far: Callable[[list[Figure]], None]) -> None:
    figures: list[Figure] = []
    for name in names:
        started = time.monotonic()
        figures += importlib.import_module(SUITES[name].module).measure(plan)
        print(f"{name}: {time.monotonic() - started:.0f} s", file=sys.stderr, flush=True)
        report_so_far(figures)


def main(argv: Sequence[str] | None = None) -> None:
    """Run the chosen suites and report."""
    chosen = _arguments(argv)
    plan = QUICK if chosen.quick else FULL if chosen.full else STANDARD
    if not ours.installed():
        print("spanloom is not installed here: measuring the peers alone", file=sys.stderr)
    facts = machine.describe()
    text = ""

    def report_so_far(figures: list[Figure]) -> None:
        """Write what there is after each suite: half an hour's work is not lost by the suite that comes after it."""
        nonlocal text
        text = report.markdown(figures, facts, rounds=plan.rounds)
        if chosen.markdown:
            chosen.markdown.write_text(text, encoding="utf-8")
        if chosen.json:
            chosen.json.write_text(report.as_json(figures, facts, rounds=plan.rounds), encoding="utf-8")

    _measure(chosen.only or list(SUITES), plan, report_so_far)
    print(text)


if __name__ == "__main__":
    main()
