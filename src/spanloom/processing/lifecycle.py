"""Preparing each strategy once, and cleaning up once."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import msgspec

from spanloom.processing.call_strategy import LLMCallStrategy

__all__ = ["Lifecycle"]

_log = logging.getLogger(__name__)


class _Entry(msgspec.Struct, eq=False):
    strategy: LLMCallStrategy[Any]
    lock: asyncio.Lock
    ready: bool = False


class Lifecycle:
    """The strategies of a processor, known by what they are and not by what they are equal to."""

    def __init__(self) -> None:
        self._entries: dict[int, _Entry] = {}

    async def prepare(self, strategy: LLMCallStrategy[Any]) -> None:
        """Return when `strategy` is prepared; whoever comes first prepares it.

        Raises:
            Exception: what its ``prepare`` raised; the next one who comes tries again.
        """
        entry = self._entries.get(id(strategy))
        if entry is None:
            entry = self._entries[id(strategy)] = _Entry(strategy, asyncio.Lock())
        if entry.ready:
            return
        async with (
            entry.lock
        ):  # a lock and not a shared future: a cancelled item must not take the others along
            if not entry.ready:
                await strategy.prepare()
                entry.ready = True

    async def clean_up(self) -> None:
        """Clean up each strategy that was prepared, once; what fails is logged.

        Raises:
            BaseException: a ``cleanup`` was cancelled, or raised something else that is no `Exception`: the first of
                these, after all have been cleaned up.
        """
        entries, self._entries = self._entries, {}
        first: BaseException | None = None
        for entry in entries.values():
            cleanup = getattr(entry.strategy, "cleanup", None)
            if not entry.ready or cleanup is None:
                continue
            try:
                await cleanup()
            except Exception as error:  # noqa: BLE001 -- the results are there; they do not get worse by this
                _log.warning("cleanup of %s failed: %s", type(entry.strategy).__name__, error, exc_info=True)
            except GeneratorExit:
                raise  # nobody can await anything any more
            except BaseException as error:  # noqa: BLE001 -- raised below; the others hold what they hold meanwhile
                first = first or error
        try:
            if first is not None:
                raise first
        finally:
            del first  # its traceback leads to this frame
