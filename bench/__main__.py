"""Measure spanloom beside its peers and print what was found as Markdown.

Usage: python -m bench [--quick | --full] [--only SUITE] [--json FILE] [--markdown FILE]

Exits with 0 whether the ceilings are held or not: time on a shared machine is no judge of a change. What
is judged in continuous integration is `python -m bench.instructions --check`, which counts.
"""

import argparse
import importlib
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from bench import machine, ours, report
from bench.figure import Figure
from bench.plan import FULL, QUICK, STANDARD, Plan

SUITES = {
    "core": "bench.suites.core",
    "handlers": "bench.suites.handlers",
    "otel": "bench.suites.otel",
    "delivery": "bench.suites.delivery",
    "record": "bench.suites.record",
    "gather": "bench.suites.gather",
    "retry": "bench.suites.retry",
    "instrument": "bench.suites.instrument",
    "memory": "bench.suites.memory",
    "import": "bench.suites.imports",
    "hold": "bench.suites.hold",
    "look": "bench.suites.look",
}


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench", description="Measure spanloom beside its peers.")
    size = parser.add_mutually_exclusive_group()
    size.add_argument("--quick", action="store_true", help="only what has a ceiling; some four minutes")
    size.add_argument("--full", action="store_true", help="every job count with every limit; some thirty")
    parser.add_argument("--only", action="append", choices=SUITES, metavar="SUITE", help=", ".join(SUITES))
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every figure there")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="write the report there, too")
    return parser.parse_args(argv)


def _measure(names: Sequence[str], plan: Plan) -> list[Figure]:
    figures: list[Figure] = []
    for name in names:
        started = time.monotonic()
        figures += importlib.import_module(SUITES[name]).measure(plan)
        print(f"{name}: {time.monotonic() - started:.0f} s", file=sys.stderr, flush=True)
    return figures


def main(argv: Sequence[str] | None = None) -> None:
    """Run the chosen suites and report."""
    chosen = _arguments(argv)
    plan = QUICK if chosen.quick else FULL if chosen.full else STANDARD
    if not ours.installed():
        print("spanloom is not installed here: measuring the peers alone", file=sys.stderr)
    figures = _measure(chosen.only or list(SUITES), plan)
    facts = machine.describe()
    text = report.markdown(figures, facts, rounds=plan.rounds)
    print(text)
    if chosen.markdown:
        chosen.markdown.write_text(text, encoding="utf-8")
    if chosen.json:
        chosen.json.write_text(report.as_json(figures, facts, rounds=plan.rounds), encoding="utf-8")


if __name__ == "__main__":
    main()
