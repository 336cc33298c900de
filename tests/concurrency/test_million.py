"""A million jobs: memory stays flat, or grows with the results that were asked for and nothing else."""

from __future__ import annotations

import json
import subprocess
import sys
import textwrap

import pytest

PRELUDE = """
import asyncio, json, resource, sys
from spanloom import run_jobs, stream

async def job(number):
    await asyncio.sleep(0)
    return number

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
"""


def run(program: str, *args: int) -> dict[str, int]:
    """Run a program in an interpreter of its own, and return the JSON that it prints."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", PRELUDE + textwrap.dedent(program), *map(str, args)],
        capture_output=True,
        text=True,
        check=True,
    )
    result: dict[str, int] = json.loads(done.stdout)
    return result


@pytest.mark.slow
@pytest.mark.parametrize("isolation", ["task", "context"])
def test_a_million_outcomes_are_streamed_in_flat_memory(isolation: str) -> None:
    """From the first 50,000 jobs of a stream to the millionth, the peak of resident memory stands still."""
    seen = run(
        f"""
        async def main():
            count = total = early = 0
            async with stream(job, range(1_000_000), limit=64, isolation="{isolation}") as outcomes:
                async for outcome in outcomes:
                    count += 1
                    total += outcome.value
                    if count == 50_000:
                        early = peak()
            print(json.dumps(dict(count=count, total=total, grown=peak() - early)))

        asyncio.run(main())
        """
    )
    assert seen["count"] == 1_000_000
    assert seen["total"] == sum(range(1_000_000))
    assert seen["grown"] < 2 * 2**20, f"{seen['grown'] / 950_000:.2f} B a job"


@pytest.mark.slow
@pytest.mark.parametrize("isolation", ["task", "context"])
def test_a_million_results_cost_what_a_list_of_them_costs(isolation: str) -> None:
    """From 100,000 to 1,000,000 jobs of run_jobs, memory grows by under 100 B a job: two lists of numbers."""
    program = f"""
        count = int(sys.argv[1])
        results = asyncio.run(run_jobs(map(job, range(count)), workers=64, isolation="{isolation}"))
        print(json.dumps(dict(right=results == list(range(count)) and 1 or 0, peak=peak())))
    """
    few, many = run(program, 100_000), run(program, 1_000_000)
    assert few["right"] == many["right"] == 1
    per_job = (many["peak"] - few["peak"]) / 900_000
    # 8 B for the slot in the list, 32 for the number, as much again for the list it is compared with.
    assert per_job < 100, f"{per_job:.1f} B a job"


@pytest.mark.slow
def test_the_first_outcome_comes_when_its_job_ends() -> None:
    """The first of a million outcomes is there before the input has been pulled further than the limit."""
    seen = run(
        """
        pulled = 0

        def numbers():
            global pulled
            for pulled in range(1, 1_000_001):
                yield pulled

        async def main():
            async with stream(job, numbers(), limit=8) as outcomes:
                async for outcome in outcomes:
                    print(json.dumps(dict(first=outcome.value, pulled=pulled)))
                    break

        asyncio.run(main())
        """
    )
    assert seen["first"] == 1
    assert seen["pulled"] <= 8
