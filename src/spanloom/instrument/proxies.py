"""Proxies of objects whose asynchronous calls wait for a limiter."""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Coroutine, Generator
from types import BuiltinFunctionType, FunctionType, MethodType, TracebackType
from typing import TYPE_CHECKING, Any, Final, TypeVar

import wrapt

from spanloom.instrument.unstarted import Unstarted

__all__ = ["limited_value"]

T = TypeVar("T")
# Its types have a parameter that the class itself does not.
if TYPE_CHECKING:
    from spanloom.instrument.limiting import LimiterBlock

    Proxy = wrapt.ObjectProxy[Any]
else:
    Proxy = wrapt.ObjectProxy

_FUNCTIONS: Final = (FunctionType, MethodType, BuiltinFunctionType)
_PLAIN: Final = (str, bytes, int, float, complex, bool, type(None), tuple, list, dict, set, frozenset, type)


def limited_value(value: Any, limiter: LimiterBlock) -> Any:
    """Return a proxy of `value` whose asynchronous calls wait for `limiter`; plain values as they are."""
    if isinstance(value, _FUNCTIONS):
        return _Function(value, limiter)
    return value if isinstance(value, _PLAIN) else _Client(value, limiter)


class _Limited(Proxy):
    """A proxy with a limiter."""

    def __init__(self, wrapped: object, limiter: LimiterBlock) -> None:
        super().__init__(wrapped)
        self._self_limiter = limiter


class _Function(_Limited):
    """A function whose result is limited if it is asynchronous."""

    def __call__(self, /, *args: Any, **kwargs: Any) -> Any:
        unstarted = Unstarted()
        value = self.__wrapped__(*args, **kwargs)
        if not inspect.iscoroutine(value):
            return _result(value, self._self_limiter)
        unstarted.work = value
        call: Any = _run(unstarted, self._self_limiter)
        call.__name__, call.__qualname__ = value.__name__, value.__qualname__  # jobs are named after it
        return call


class _Client(_Function):
    """An object whose attributes, and the results of calling it, are limited."""

    def __getattr__(self, name: str) -> Any:
        value = getattr(self.__wrapped__, name)
        return value if name.startswith("_") else limited_value(value, self._self_limiter)

    async def __aenter__(self) -> Any:
        entered = await self.__wrapped__.__aenter__()
        return self if entered is self.__wrapped__ else limited_value(entered, self._self_limiter)

    async def __aexit__(self, *raised: Any) -> Any:
        return await self.__wrapped__.__aexit__(*raised)


def _result(value: Any, limiter: LimiterBlock) -> Any:
    """Return the limited form of `value`, which a call has returned and which is no coroutine."""
    if hasattr(value, "__aenter__"):
        return (
            _Holding(value, limiter) if not inspect.isawaitable(value) else _HoldingOrAwaited(value, limiter)
        )
    if hasattr(value, "__aiter__"):
        if hasattr(value, "__anext__"):
            return _iterate(value, limiter)
        return _IteratedOrAwaited(value, limiter) if inspect.isawaitable(value) else _Iterated(value, limiter)
    return _await(value, limiter) if inspect.isawaitable(value) else value


async def _run(unstarted: Unstarted, limiter: LimiterBlock) -> Any:
    try:
        async with limiter:
            return await unstarted.work
    finally:
        unstarted.work.close()  # cancelled while it waited for its slot, before it started


async def _await(call: Awaitable[T], limiter: LimiterBlock) -> T:
    try:
        async with limiter:
            return await call
    finally:
        _close(call)


def _close(call: object) -> None:
    """Close a coroutine that may never have started, or what holds one, as aiohttp's requests do."""
    if isinstance(call, Coroutine):
        call.close()


async def _iterate(values: AsyncIterable[T], limiter: LimiterBlock) -> AsyncIterator[T]:
    async with limiter:
        try:
            async for value in values:
                yield value
        finally:
            close = getattr(values, "aclose", None)
            if close is not None:
                await close()


class _Iterated(_Limited):
    """An async iterable: each iteration holds a slot until it is exhausted or closed."""

    def __aiter__(self) -> AsyncIterator[Any]:
        return _iterate(self.__wrapped__, self._self_limiter)


class _IteratedOrAwaited(_Iterated):
    """One that may be awaited instead, as the lists of openai's client may."""

    def __await__(self) -> Generator[Any, Any, Any]:
        return _await(self.__wrapped__, self._self_limiter).__await__()


class _Holding:
    """An async context manager that holds a slot for as long as its block lasts."""

    def __init__(self, block: Any, limiter: LimiterBlock) -> None:
        self._block = block
        self._limiter = limiter

    async def __aenter__(self) -> Any:
        try:
            await self._limiter.__aenter__()
        except BaseException:
            _close(self._block)
            raise
        try:
            return await self._block.__aenter__()
        except BaseException as error:
            await self._limiter.__aexit__(type(error), error, error.__traceback__)
            raise

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> bool | None:
        try:
            suppressed: bool | None = await self._block.__aexit__(kind, error, traceback)
            return suppressed
        finally:
            await self._limiter.__aexit__(kind, error, traceback)


class _HoldingOrAwaited(_Holding):
    """One that may be awaited instead, as aiohttp's requests may."""

    def __await__(self) -> Generator[Any, Any, Any]:
        return _await(self._block, self._limiter).__await__()
