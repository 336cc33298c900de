"""Instructions per job, counted by valgrind's callgrind: what continuous integration judges a change by.

Usage: python -m bench.instructions [--check | --update] [--only NAME]

Time on a shared machine moves by tens of per cent, the number of instructions by nothing. Each contender
runs two loads of different size in fresh interpreters; counted is only what happens inside one call that
the probe makes for the purpose, and the difference divided by the difference in jobs is free of whatever a
run costs once. The ratio to the bare pool is compared with the one in instructions.json. What runs on
other threads is not counted; what the loop's own thread does is.
"""

import argparse
import json
import platform
import re
import shutil
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from bench import ours
from bench.subprocesses import python

COUNTS = (500, 1_500)
LIMIT = 64
JOBS = ("sleep0", "future")
TOLERANCE = (
    0.03  # of the ratio: below what one honest change costs, above what another build of CPython moves
)
AT_ONCE = 2
STORE = Path(__file__).with_name("instructions.json")

POOL = "pool"
PEERS = {POOL: "bench.peers.pool:POOL", "a bare task per job": "bench.peers.window:WINDOW"}
OURS = {
    "run_jobs": "bench.ours.runners:RUN_JOBS",
    "run_jobs, recorder off": "bench.ours.runners:RUN_JOBS_UNHEARD",
    "run_jobs, context": "bench.ours.runners:CONTEXT",
    "run_jobs, context, recorder off": "bench.ours.runners:CONTEXT_UNHEARD",
    "gather, four at a time": "bench.ours.calls:GATHER_FOURS",
    "race, four at a time": "bench.ours.calls:RACE_FOURS",
    "retry": "bench.ours.calls:RETRY",
    "retry, no events": "bench.ours.calls:RETRY_UNHEARD",
}

_CALLGRIND = (
    "valgrind",
    "--tool=callgrind",
    "--callgrind-out-file=/dev/null",
    "--collect-atstart=no",
    # the C function behind functools.reduce, by its names up to and from CPython 3.13 on
    "--toggle-collect=functools_reduce",
    "--toggle-collect=_functools_reduce",
)
_COLLECTED = re.compile(r"Collected\s*:\s*(\d+)")

Ratios = dict[str, dict[str, float]]
"""Ratio to the bare pool, by contender, then by kind of job."""


def _collected(contender: str, job: str, count: int) -> int:
    arguments = ["-m", "bench.probe", "count", contender, job, f"{count:06}", str(LIMIT)]
    found = _COLLECTED.search(python(arguments, under=_CALLGRIND).stderr)
    if found is None or not int(found[1]):
        raise RuntimeError(
            "callgrind saw no call of functools.reduce: this interpreter was built without symbols, as a "
            "distribution's often is; use one of pyenv's, uv's or your own build"
        )
    return int(found[1])


def per_job(contender: str, job: str) -> float:
    """Return the instructions that one job more takes.

    Args:
        contender: `module:NAME` of a contender.
        job: A name of `bench.load.JOBS`.
    """
    fewer, more = COUNTS
    return (_collected(contender, job, more) - _collected(contender, job, fewer)) / (more - fewer)


def measure(contenders: dict[str, str]) -> tuple[dict[str, dict[str, float]], Ratios]:
    """Count every contender on every kind of job.

    Returns:
        Instructions per job, and their ratios to the bare pool's.
    """
    pairs = [(name, job) for name in contenders for job in JOBS]
    for name in contenders:
        # without valgrind: fails early and clearly, and leaves compiled modules for those who count
        python(["-m", "bench.probe", "count", contenders[name], JOBS[0], "000001", str(LIMIT)])
    with ThreadPoolExecutor(AT_ONCE) as threads:
        counted = list(threads.map(lambda pair: per_job(contenders[pair[0]], pair[1]), pairs))
    counts: dict[str, dict[str, float]] = {}
    for (name, job), instructions in zip(pairs, counted, strict=True):
        counts.setdefault(name, {})[job] = instructions
    ratios = {name: {job: row[job] / counts[POOL][job] for job in JOBS} for name, row in counts.items()}
    return counts, ratios


def load() -> dict[str, Ratios]:
    """Return the stored ratios by version of Python, such as `3.11`."""
    stored: dict[str, Ratios] = json.loads(STORE.read_text(encoding="utf-8")) if STORE.exists() else {}
    return stored


def update(ratios: Ratios, version: str) -> None:
    """Make these the stored ratios of one version of Python."""
    rounded = {name: {job: round(value, 4) for job, value in row.items()} for name, row in ratios.items()}
    stored = load()
    stored[version] = {**stored.get(version, {}), **rounded}
    STORE.write_text(json.dumps(stored, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def regressions(ratios: Ratios, allowed: Ratios) -> list[str]:
    """Return a sentence for each ratio that has grown by more than the tolerance, or has none to compare with."""
    found = []
    for name, row in ratios.items():
        for job, ratio in row.items():
            ceiling = allowed.get(name, {}).get(job)
            if ceiling is None:
                found.append(
                    f"{name} ({job}): {ratio:.4f}, and nothing stored to compare with; run with --update"
                )
            elif ratio > ceiling * (1 + TOLERANCE):
                found.append(
                    f"{name} ({job}): {ratio:.4f} is {ratio / ceiling - 1:.1%} above the stored {ceiling:.4f}"
                )
    return found


def _table(counts: dict[str, dict[str, float]], ratios: Ratios, allowed: Ratios) -> str:
    lines = ["| | " + " | ".join(JOBS) + " |", "| --- |" + " ---: |" * len(JOBS)]
    for name, row in counts.items():
        cells = []
        for job, instructions in row.items():
            stored = allowed.get(name, {}).get(job)
            beside = f", stored {stored:.3f}" if stored is not None else ""
            cells.append(f"{ratios[name][job]:.3f} x ({instructions:,.0f}{beside})")
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def main(argv: Sequence[str] | None = None) -> int:
    """Count, print, and check or store; return the exit status."""
    contenders = {**PEERS, **(OURS if ours.installed() else {})}
    parser = argparse.ArgumentParser(
        prog="python -m bench.instructions", description="Count instructions per job."
    )
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--check", action="store_true", help="exit with 1 if a ratio is above the stored one")
    what.add_argument("--update", action="store_true", help="store the ratios in instructions.json")
    parser.add_argument(
        "--only", action="append", choices=contenders, metavar="NAME", help=", ".join(contenders)
    )
    chosen = parser.parse_args(argv)
    if shutil.which("valgrind") is None:
        parser.error("valgrind is not installed; it is a package of that name in every Linux distribution")
    names = {POOL, *chosen.only} if chosen.only else set(contenders)
    counts, ratios = measure({name: contenders[name] for name in contenders if name in names})
    version = ".".join(platform.python_version_tuple()[:2])
    allowed = load().get(version, {})
    print(f"Instructions per job as a ratio to the bare pool, CPython {version}, limit {LIMIT}:\n")
    print(_table(counts, ratios, allowed))
    if chosen.update:
        update(ratios, version)
    if chosen.check:
        found = regressions(ratios, allowed)
        print("\n" + ("\n".join(found) or f"None is more than {TOLERANCE:.0%} above what is stored."))
        return 1 if found else 0
    return 0


if __name__ == "__main__":
    sys.exit(main())
