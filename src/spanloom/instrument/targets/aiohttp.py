"""aiohttp: one event of type ``request`` for each request of a `ClientSession`, its redirects included.

The public way in, a `TraceConfig`, is given to a session when it is made, and could neither be given to those there
are already nor be taken away again. So the one method is patched that all others call. The event ends when the body
has arrived, or when the response is released or closed.
"""

from __future__ import annotations

import functools
import weakref
from asyncio import CancelledError
from collections.abc import Callable, Mapping
from types import ModuleType
from typing import Any, Final

from spanloom.callbacks.decorate import hide_frame
from spanloom.concurrency.overload import status_code_of
from spanloom.concurrency.retry_after import retry_after_of
from spanloom.instrument.exchange import Exchange, open_exchange
from spanloom.instrument.functions import Args, KwArgs
from spanloom.instrument.harmless import guarded
from spanloom.instrument.patches import Patches
from spanloom.instrument.side_table import SideTable

__all__ = ["VERSIONS", "patch"]

VERSIONS: Final[Mapping[str, str]] = {"aiohttp": "3.14.5"}

_received: Final[SideTable[Exchange]] = SideTable()
"""The exchange, by the response whose body has not arrived yet."""


def patch(module: ModuleType, patches: Patches) -> None:
    """Patch the requests of sessions, and the methods that release or close responses."""
    watching = _Watching((module.ClientError, OSError, CancelledError, TimeoutError))
    patches.wrap(module.ClientSession, "_request", watching.request)
    patches.wrap(module.ClientResponse, "release", watching.let_go)
    patches.wrap(module.ClientResponse, "close", watching.let_go)


class _Watching:
    """What is called in the place of aiohttp's methods.

    Args:
        errors: Exceptions that are failures of a response; all others are those of its reader.
    """

    def __init__(self, errors: tuple[type[BaseException], ...]) -> None:
        self._errors = errors

    async def request(self, wrapped: Callable[..., Any], session: Any, args: Args, kwargs: KwArgs) -> Any:
        exchange = guarded("aiohttp", _opened, session, args, kwargs)
        try:
            response = await wrapped(*args, **kwargs)
        except BaseException as error:
            if exchange is not None:
                exchange.answered(guarded("aiohttp", status_code_of, error), retry_after_of(error))
                exchange.end(error)
            hide_frame(error)
            raise
        if exchange is not None and not guarded("aiohttp", _answered, exchange, response):
            exchange.end()
        return response

    def let_go(self, wrapped: Callable[..., Any], response: Any, args: Args, kwargs: KwArgs) -> Any:
        exchange = _received.pop(response)
        if exchange is not None:
            guarded("aiohttp", self._end, exchange, response)
        return wrapped(*args, **kwargs)

    def _end(self, exchange: Exchange, response: Any) -> None:
        error = exchange.raised(*self._errors)
        exchange.end(response.content.exception() if error is None else error)


def _opened(session: Any, args: Args, kwargs: KwArgs) -> Exchange | None:
    from yarl import URL

    method = args[0] if args else kwargs["method"]
    try:
        url = URL(args[1] if len(args) > 1 else kwargs["str_or_url"])
    except (TypeError, ValueError):
        return None  # aiohttp will refuse it itself: no sign of an unknown version
    if not url.absolute:
        url = getattr(session, "_base_url", None) or url
    return open_exchange(method, url.raw_host, None if url.is_default_port() else url.explicit_port)


def _answered(exchange: Exchange, response: Any) -> bool:
    exchange.answered(response.status, response.headers.get("Retry-After"), len(response.history))
    exchange.step_aside()
    if response.closed:
        exchange.end()
    else:
        _received[response] = exchange
        # Weak: the connection, which holds the body, outlives a response that is dropped.
        response.content.on_eof(functools.partial(_end_if_alive, weakref.ref(exchange)))
    return True


def _end_if_alive(reference: weakref.ref[Exchange]) -> None:
    exchange = reference()
    if exchange is not None:
        exchange.end()
