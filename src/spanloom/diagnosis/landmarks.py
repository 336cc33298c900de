"""Code objects of asyncio by which stacks are recognised.

They are read when the watching begins, before the program can have patched these functions. The modules that use them
are loaded much later.
"""

from __future__ import annotations

import asyncio
from types import CodeType
from typing import Final

__all__ = ["GET", "LOCK_ACQUIRE", "SEMAPHORE_ACQUIRE", "SLEEP", "WAIT", "WAIT_FOR"]

LOCK_ACQUIRE: Final[CodeType] = asyncio.Lock.acquire.__code__
SEMAPHORE_ACQUIRE: Final[CodeType] = asyncio.Semaphore.acquire.__code__
SLEEP: Final[CodeType] = asyncio.sleep.__code__
WAIT: Final[CodeType] = asyncio.wait.__code__
GET: Final[CodeType] = asyncio.Queue.get.__code__
WAIT_FOR: Final[CodeType] = asyncio.wait_for.__code__
