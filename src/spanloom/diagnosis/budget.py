"""How many objects the search for givers may visit."""

from __future__ import annotations

from typing import Final

__all__ = ["MOST", "UNASKED", "Budget"]

MOST: Final = 400_000
"""Objects that one look may visit: half a second to two seconds of CPU time."""
UNASKED: Final = 200_000
"""The same for a look that nobody has asked for, at a program that shows no fault.

Nine tasks that wait for httpx need 96,000. Five that wait for a client of openai, which leads to all of pydantic, need
more than `MOST`, so more would not help.
"""


class Budget:
    """How many objects may still be visited. Shared by all closures of one look.

    Args:
        objects: How many.
    """

    def __init__(self, objects: int) -> None:
        self.left = objects

    @property
    def spent(self) -> bool:
        """Whether it is used up, so that the search may be incomplete."""
        return self.left <= 0
