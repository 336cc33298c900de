"""What a search may cost."""

from __future__ import annotations

from typing import Final

__all__ = ["MOST", "UNASKED", "Budget"]

MOST: Final = 400_000
"""Objects that one look visits in search of who can still end a wait: half a second to two seconds of CPU time."""
UNASKED: Final = 200_000
"""Of a look that nobody has asked for, at a program of which nothing is known to be wrong. Nine tasks that wait for
httpx need 96,000; five that wait for a client of openai, which leads to all of pydantic, need more than `MOST`, and
nothing comes of that.
"""


class Budget:
    """How many objects may still be visited. Shared by all that one look asks.

    Args:
        objects: How many.
    """

    def __init__(self, objects: int) -> None:
        self.left = objects

    @property
    def spent(self) -> bool:
        """Whether there was not enough."""
        return self.left <= 0
