"""httpx: one event of type ``request`` for each ``send`` of a client, which all of its methods end in.

Redirects and the requests of an authentication are part of it. A streamed response is open until it is closed, which
is done by whoever reads it to its end.
"""

from __future__ import annotations

from asyncio import CancelledError
from collections.abc import Callable, Mapping
from types import ModuleType
from typing import Any, Final

from spanloom.callbacks.decorate import hide_frame
from spanloom.instrument.exchange import Exchange, open_exchange
from spanloom.instrument.functions import Args, KwArgs
from spanloom.instrument.harmless import guarded
from spanloom.instrument.patches import Patches
from spanloom.instrument.side_table import SideTable

__all__ = ["VERSIONS", "patch", "patch_clients"]

VERSIONS: Final[Mapping[str, str]] = {"httpx": "0.28.1"}

_streamed: Final[SideTable[Exchange]] = SideTable()
"""The exchange, by open response."""


def patch(module: ModuleType, patches: Patches) -> None:
    """Patch both clients, and the closing of responses."""
    # After `httpx2.alias_httpx()` the module of this name is httpx2, which is a target itself.
    if module.__name__ != "httpx2":
        patch_clients(module, patches)


def patch_clients(module: Any, patches: Patches) -> None:
    """Patch httpx, or what has its shape."""
    errors = (module.HTTPError, module.StreamError, CancelledError, TimeoutError)
    closing = _Closing(errors)
    patches.wrap(module.AsyncClient, "send", _async_send)
    patches.wrap(module.Client, "send", _send)
    patches.wrap(module.Response, "aclose", closing.aclose)
    patches.wrap(module.Response, "close", closing.close)


async def _async_send(wrapped: Callable[..., Any], client: object, args: Args, kwargs: KwArgs) -> Any:
    del client
    exchange = guarded("httpx", _opened, args, kwargs)
    try:
        response = await wrapped(*args, **kwargs)
    except BaseException as error:
        if exchange is not None:
            exchange.end(error)
        hide_frame(error)
        raise
    if exchange is not None and not guarded("httpx", _answered, exchange, response):
        exchange.end()
    return response


def _send(wrapped: Callable[..., Any], client: object, args: Args, kwargs: KwArgs) -> Any:
    del client
    exchange = guarded("httpx", _opened, args, kwargs)
    try:
        response = wrapped(*args, **kwargs)
    except BaseException as error:
        if exchange is not None:
            exchange.end(error)
        hide_frame(error)
        raise
    if exchange is not None and not guarded("httpx", _answered, exchange, response):
        exchange.end()
    return response


def _opened(args: Args, kwargs: KwArgs) -> Exchange | None:
    request = args[0] if args else kwargs["request"]
    url = request.url
    # Not `host`: that decodes some of the international names.
    return open_exchange(request.method, url.raw_host.decode("ascii"), url.port)


def _answered(exchange: Exchange, response: Any) -> bool:
    exchange.answered(response.status_code, response.headers.get("retry-after"), len(response.history))
    if response.is_closed:
        exchange.end()
    else:
        exchange.step_aside()
        _streamed[response] = exchange
    return True


class _Closing:
    """What is called in the place of the methods that close a response.

    Args:
        errors: Exceptions that are failures of a response; all others are those of its reader.
    """

    def __init__(self, errors: tuple[type[BaseException], ...]) -> None:
        self._errors = errors

    async def aclose(self, wrapped: Callable[..., Any], response: object, args: Args, kwargs: KwArgs) -> Any:
        exchange = _streamed.pop(response)
        try:
            closed = await wrapped(*args, **kwargs)
        except BaseException as error:
            if exchange is not None:
                exchange.end(error)
            hide_frame(error)
            raise
        if exchange is not None:
            exchange.end(exchange.raised(*self._errors))
        return closed

    def close(self, wrapped: Callable[..., Any], response: object, args: Args, kwargs: KwArgs) -> Any:
        exchange = _streamed.pop(response)
        try:
            closed = wrapped(*args, **kwargs)
        except BaseException as error:
            if exchange is not None:
                exchange.end(error)
            hide_frame(error)
            raise
        if exchange is not None:
            exchange.end(exchange.raised(*self._errors))
        return closed
