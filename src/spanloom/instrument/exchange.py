"""An HTTP request and its response, by whatever client, as one event."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, TypeVar

from spanloom.callbacks.ambient import get_callback_manager
from spanloom.concurrency.retry_after import parse_retry_after
from spanloom.events import http_keys
from spanloom.events.event import Event, ScopeEvent, data_of
from spanloom.events.http_names import request_names
from spanloom.events.types import EventType

if TYPE_CHECKING:
    from spanloom.callbacks.manager import CallbackManager
    from spanloom.callbacks.route import Route

__all__ = ["Exchange", "open_exchange"]

E = TypeVar("E", bound=BaseException)


def open_exchange(method: str, address: str | None, port: int | None) -> Exchange | None:
    """Open the event of a request that begins now; ``None`` if nobody listens.

    Args:
        method: ``GET`` or another one.
        address: Name or address of the host, an international name as A-labels (``xn--...``); ``None`` if unknown.
        port: Its port; ``None`` if that is the default of the scheme.
    """
    manager = get_callback_manager()
    return Exchange(manager, method.upper(), address, port) if manager.active else None


class Exchange:
    """The event of one request: current until the response is there, open until that is read or closed.

    If nobody closes the response, its event ends as cancelled when the response is freed.

    Args:
        manager: Carries the events.
        method, address, port: As for `open_exchange`.
    """

    __slots__ = ("__weakref__", "_begun", "_handled", "_manager", "_outer")

    def __init__(self, manager: CallbackManager, method: str, address: str | None, port: int | None) -> None:
        self._manager = manager
        # By id: a reference to the exception would keep its frames alive, and perhaps the response with them.
        self._handled = id(sys.exception())
        self._outer: Event | None = manager.current.get()
        data: dict[str, object] = {http_keys.METHOD: method}
        if address is not None:
            data[http_keys.SERVER_ADDRESS] = address
        if port is not None:
            data[http_keys.SERVER_PORT] = port
        name = request_names.of(method, address, port)
        self._begun: tuple[ScopeEvent, Route] | None = manager.begin(
            EventType.REQUEST, name, data, self._outer
        )
        manager.current.set(self._begun[0])

    def answered(self, status_code: int | None, retry_after: object = None, redirects: int = 0) -> None:
        """Record the response.

        Args:
            status_code: Its status, if there is one.
            retry_after: The text of its header ``Retry-After``, or ``None``.
            redirects: How many were followed.
        """
        if self._begun is None:
            return
        data = data_of(self._begun[0])
        if status_code is not None:
            data[http_keys.STATUS_CODE] = status_code
        retry_after_s = parse_retry_after(retry_after)
        if retry_after_s is not None:
            data[http_keys.RETRY_AFTER_S] = retry_after_s
        if redirects:
            data[http_keys.REDIRECTS] = redirects

    def step_aside(self) -> None:
        """Make the event current again that was so before the request: the response has come, and is read elsewhere."""
        if self._begun is not None and self._manager.current.get() is self._begun[0]:
            self._manager.current.set(self._outer)
            event, route = self._begun
            route.pause(event)  # else the request's span would stay OpenTelemetry's current one

    def raised(self, *kinds: type[E]) -> E | None:
        """Return the exception that is being handled, if it is of `kinds`, and was not when the request began."""
        error = sys.exception()
        return error if isinstance(error, kinds) and id(error) != self._handled else None

    def end(self, error: BaseException | None = None) -> None:
        """End the event, with the error of the request if it has failed; only the first call counts."""
        begun = self._begun
        if begun is not None:
            self._begun = None
            outer, self._outer = self._outer, None
            self._manager.leave(begun, outer, error)

    def __del__(self) -> None:
        # Not while the interpreter shuts down: handlers may be gone.
        if getattr(self, "_begun", None) is not None and not sys.is_finalizing():
            self.end(GeneratorExit())
