"""Streamed answers of models: the body of a response, and the chunks that are parsed from it."""

from __future__ import annotations

import weakref
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Generator, Iterator
from typing import TYPE_CHECKING, Any, Final

import wrapt

from spanloom.callbacks.decorate import hide_frame
from spanloom.instrument.functions import Args, KwArgs
from spanloom.instrument.harmless import guarded

if TYPE_CHECKING:
    from spanloom.instrument.model_call import ModelCall

    Proxy = wrapt.ObjectProxy[Any]
else:
    Proxy = wrapt.ObjectProxy  # its types have a parameter that the class itself does not

__all__ = ["read", "read_async", "watch"]

# Any: responses and streams are the libraries'.

_calls: Final[weakref.WeakKeyDictionary[Any, ModelCall]] = weakref.WeakKeyDictionary()
"""The call, by response."""


def watch(response: Any, call: ModelCall) -> None:
    """End `call` when the body of `response` has been read, has failed, or has been closed or dropped."""
    _calls[response] = call
    response.stream = _Body(response.stream, call)


class _Body(Proxy):
    """A proxy of the body of a response, of the same class for `isinstance`, which the HTTP library checks."""

    def __init__(self, wrapped: Any, call: ModelCall) -> None:
        super().__init__(wrapped)
        self._self_call = call
        # Not __del__: nothing must happen while the interpreter shuts down.
        weakref.finalize(self, call.close).atexit = False

    def __iter__(self) -> Iterator[bytes]:
        call = self._self_call
        try:
            yield from self.__wrapped__
        except BaseException as error:
            _end_unless_reading(call, error)
            raise
        _end_unless_reading(call, None)

    async def __aiter__(self) -> AsyncIterator[bytes]:
        call = self._self_call
        try:
            async for part in self.__wrapped__:
                yield part
        except BaseException as error:
            _end_unless_reading(call, error)
            raise
        _end_unless_reading(call, None)

    def close(self) -> None:
        try:
            self.__wrapped__.close()
        finally:
            _close_unless_reading(self._self_call)

    async def aclose(self) -> None:
        try:
            await self.__wrapped__.aclose()
        finally:
            _close_unless_reading(self._self_call)


def _end_unless_reading(call: ModelCall, error: BaseException | None) -> None:
    if call.is_reading:
        return  # the parser ends the call, with the library's own exception
    if isinstance(error, GeneratorExit):
        call.close()
    else:
        call.end(error)


def _close_unless_reading(call: ModelCall) -> None:
    if not call.is_reading:
        call.close()


def read(make: Callable[..., Any], stream: Any, args: Args, kwargs: KwArgs) -> Any:
    """Make the parsing iterator of `stream`, whose chunks are passed to the call of the answer, too."""
    chunks = make(*args, **kwargs)
    return guarded("a stream", _parsed, chunks, stream) or chunks


def read_async(make: Callable[..., Any], stream: Any, args: Args, kwargs: KwArgs) -> Any:
    """Do the same for an asynchronous stream."""
    chunks = make(*args, **kwargs)
    return guarded("a stream", _parsed, chunks, stream) or chunks


def _parsed(chunks: Any, stream: Any) -> object:
    for kind, proxy in ((Generator, _Parsed), (AsyncGenerator, _AsyncParsed)):
        if isinstance(chunks, kind):
            return proxy(chunks, stream.response)
    raise TypeError(f"it is no generator but of type {type(chunks).__name__}")


class _Chunks(Proxy):
    """The chunks of a stream. Its call is known only when `request` has returned, after this was made."""

    def __init__(self, chunks: Any, response: Any) -> None:
        super().__init__(chunks)
        self._self_response = response


class _Parsed(_Chunks):
    """The iterator that yields them."""

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        return self.send(None)

    def send(self, value: Any) -> Any:
        call = _calls.get(self._self_response)
        if call is None:
            return self.__wrapped__.send(value)
        call.is_reading = True
        try:
            chunk = self.__wrapped__.send(value)
        except BaseException as error:
            call.finish_reading(error)
            hide_frame(error)
            raise
        guarded("a stream", call.take, chunk)
        return chunk


class _AsyncParsed(_Chunks):
    """The same, asynchronous."""

    def __aiter__(self) -> AsyncIterator[Any]:
        return self

    def __anext__(self) -> Any:
        return self.asend(None)

    async def asend(self, value: Any) -> Any:
        call = _calls.get(self._self_response)
        if call is None:
            return await self.__wrapped__.asend(value)
        call.is_reading = True
        try:
            chunk = await self.__wrapped__.asend(value)
        except BaseException as error:
            call.finish_reading(error)
            hide_frame(error)
            raise
        guarded("a stream", call.take, chunk)
        return chunk
