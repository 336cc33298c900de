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
    """The strategies of a processor, told apart by identity, not by equality."""

    def __init__(self) -> None:
        self._entries: dict[int, _Entry] = {}

    async def prepare(self, strategy: LLMCallStrategy[Any]) -> None:
        """Wait until `strategy` is prepared; the first caller prepares it.

        Raises:
            Exception: what its ``prepare`` raised; the next caller tries again.
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
            BaseException: the first cancel, or other exception that is not an `Exception`, of a ``cleanup``; raised
                after all have been cleaned up.
        """
        entries, self._entries = self._entries, {}
        first: BaseException | None = None
        for entry in entries.values():
            cleanup = getattr(entry.strategy, "cleanup", None)
            if not entry.ready or cleanup is None:
                continue
            try:
                await cleanup()
            except Exception as error:  # noqa: BLE001 -- it does not affect the results
                _log.warning("cleanup of %s failed: %s", type(entry.strategy).__name__, error, exc_info=True)
            except GeneratorExit:
                raise  # nobody can await anything any more
            except BaseException as error:  # noqa: BLE001 -- raised below, when the others are cleaned up
                first = first or error
        try:
            if first is not None:
                raise first
        finally:
            del first  # its traceback leads to this frame
