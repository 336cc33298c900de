"""The look: what asking a program of 10,000 tasks why it stands still takes, and for how long it holds the loop."""

import json

from bench import ours
from bench.figure import Figure, figure
from bench.plan import Plan
from bench.subprocesses import python

SUITE = "look"
TASKS = 10_000
PROGRAMS = ("sleeping", "queueing", "replying", "running")
WAYS = {"why": "why() in a thread", "asked": "spanloom why, from outside"}


def measure(plan: Plan) -> list[Figure]:
    """Look in fresh interpreters, at each of the programs in each way; the longest hold is that of all looks."""
    if not ours.installed():
        return []
    figures = []
    for way, row in WAYS.items():
        for program in PROGRAMS:
            arguments = ["-m", "bench.looks", program, way, str(TASKS), str(plan.looks)]
            found = json.loads(python(arguments).stdout)
            for column, group in (
                ("hold", f"{TASKS:,} tasks, the longest of {plan.looks} looks"),
                ("cpu", f"{TASKS:,} tasks, CPU time of a look"),
                ("wall", f"{TASKS:,} tasks, from the question to the answer"),
            ):
                name = f"{program}, {column}"
                figures.append(figure(SUITE, group, row, name, "ms", found[column], judged=True))
    return figures
