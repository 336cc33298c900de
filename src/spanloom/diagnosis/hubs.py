"""What so much refers to that following it would reach the whole program."""

from __future__ import annotations

import asyncio
import concurrent.futures
import logging
from typing import Final

__all__ = ["is_hub"]

_HUBS: Final = (asyncio.AbstractEventLoop, asyncio.Handle, logging.Logger, logging.Manager)
"""What everything refers to and nobody reaches a neighbour through: their own work is that of other actors."""
_POOLS: Final = ("concurrent.futures.thread", "concurrent.futures.process")


def is_hub(kind: type) -> bool:
    """Return whether `kind` is a loop, a logger, or a pool of the standard library: the threads of one are actors."""
    return issubclass(kind, _HUBS) or (
        issubclass(kind, concurrent.futures.Executor)
        and any(base.__module__ in _POOLS for base in kind.__mro__)
    )
