"""Hubs: objects that so much refers to that following them would reach the whole program."""

from __future__ import annotations

import asyncio
import concurrent.futures
import logging
from typing import Final

__all__ = ["is_hub"]

_HUBS: Final = (asyncio.AbstractEventLoop, asyncio.Handle, logging.Logger, logging.Manager)
"""Types that are not followed: what they call is added by the actors of their own (`spanloom.diagnosis.actors`)."""
_POOLS: Final = ("concurrent.futures.thread", "concurrent.futures.process")


def is_hub(kind: type) -> bool:
    """Return whether `kind` is a loop, a handle, a logger, or an executor of the standard library."""
    return issubclass(kind, _HUBS) or (
        issubclass(kind, concurrent.futures.Executor)
        and any(base.__module__ in _POOLS for base in kind.__mro__)
    )
