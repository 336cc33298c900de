"""Evaluate how well a reader of dates does, as a script or as tests.

``python examples/evaluate_dates.py`` asks every question, some at a time, keeps the answers in ``dates.db``, and says
what it comes to; the second time it asks nothing. ``pytest examples/evaluate_dates.py --concurrent`` runs the
evaluations as tests. The model is a stand-in that answers late, and whose line is dead now and then.
"""

from __future__ import annotations

import asyncio
import datetime
import random

from spanloom import Checkpoint, RetryPolicy
from spanloom.evaluation import ForEach

DATES = [
    ("2024-02-29", "2024-02-29"),
    ("29.02.2024", "2024-02-29"),
    ("February 29, 2024", "2024-02-29"),
    ("29 Feb 2024", "2024-02-29"),
    ("2023-02-29", "none"),
    ("the day before yesterday", "none"),
    ("2024/2/29", "2024-02-29"),
]
FORMATS = ("%Y-%m-%d", "%d.%m.%Y", "%B %d, %Y", "%d %b %Y")

foreach = ForEach(max_concurrency=3, retries=RetryPolicy(attempts=8, base_delay=0.01))
stored = ForEach(
    max_concurrency=3,
    retries=RetryPolicy(attempts=8, base_delay=0.01),
    storage=Checkpoint("dates.db"),
)
line = random.Random(1)


async def ask(text: str) -> str:
    """Return the date in `text` as ISO 8601 has it, or ``none``."""
    await asyncio.sleep(0.01)
    if line.random() < 0.2:
        raise ConnectionError("the line is dead")
    for form in FORMATS:
        try:
            return datetime.datetime.strptime(text, form).date().isoformat()  # noqa: DTZ007 -- a date has no zone
        except ValueError:
            pass
    return "none"


@foreach("text,expected", DATES)
async def eval_exact(text: str, expected: str) -> bool:
    """Count the right answers."""
    return await ask(text) == expected


@foreach("text,expected", DATES)
async def eval_abstains(text: str, expected: str) -> dict[str, bool]:
    """Count what it does not answer, and what it should not."""
    answer = await ask(text)
    return {"abstained": answer == "none", "wrongly": answer == "none" != expected}


@stored("text,expected", DATES)
async def stored_exact(text: str, expected: str) -> bool:
    """Count the right answers, and keep them."""
    return await ask(text) == expected


async def main() -> None:
    """Run all, and print what they come to."""
    results = await stored_exact()
    print(f"exact: {results}")
    for record in results:
        if not record.value:
            print(f"  wrong: {record.row['text']}")
    print(f"asked: {sum(record.status != 'skipped' for record in results)}")
    print(f"abstains: {await eval_abstains()}")


if __name__ == "__main__":
    asyncio.run(main())
