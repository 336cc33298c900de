"""What a search may cost."""

from __future__ import annotations

__all__ = ["Budget"]


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
