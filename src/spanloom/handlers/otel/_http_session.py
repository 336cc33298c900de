"""Connections of requests and urllib3 that another thread can cut, and whose answers have a total timeout.

A thread that waits in `recv` for a peer that never answers cannot be stopped, but its socket can be shut down, which
gives it an error at once. urllib3 lets us replace the classes of its pools and connections. The timeout of a socket
applies to each piece that arrives; a peer that sends a byte now and then would never exceed it.
"""

from __future__ import annotations

import http.client
import io
import socket
import threading
import time
import weakref
from typing import Any

from requests.adapters import HTTPAdapter
from urllib3 import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.connection import HTTPConnection, HTTPSConnection

__all__ = ["AbortableAdapter"]


class AbortableAdapter(HTTPAdapter):
    """An adapter all of whose connections can be cut at once."""

    def __init__(self) -> None:
        self._sockets = _Sockets()
        self._pools = _pools_that_register(self._sockets)
        super().__init__()

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        super().init_poolmanager(*args, **kwargs)
        self.poolmanager.pool_classes_by_scheme = self._pools

    def proxy_manager_for(self, *args: Any, **kwargs: Any) -> Any:
        manager = super().proxy_manager_for(*args, **kwargs)
        if set(manager.pool_classes_by_scheme.values()) == {HTTPConnectionPool, HTTPSConnectionPool}:
            manager.pool_classes_by_scheme = self._pools  # not a SOCKS proxy, which has classes of its own
        return manager

    def abort(self) -> None:
        """Cut every connection. Safe from any thread."""
        for sock in self._sockets.all():
            try:
                sock.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass  # it is closed by now, or was never connected


class _Sockets:
    """A thread-safe weak set of sockets."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._sockets: weakref.WeakSet[socket.socket] = weakref.WeakSet()

    def add(self, sock: socket.socket) -> None:
        with self._lock:
            self._sockets.add(sock)

    def all(self) -> list[socket.socket]:
        with self._lock:
            return list(self._sockets)


class _TimedResponse(http.client.HTTPResponse):
    """An answer whose headers and body together must arrive within the timeout of its socket."""

    def __init__(self, sock: socket.socket, *args: Any, **kwargs: Any) -> None:
        super().__init__(sock, *args, **kwargs)
        timeout_s = sock.gettimeout()
        if timeout_s is not None:
            raw = self.fp.detach()
            self.fp = io.BufferedReader(_TimedStream(sock, raw, time.monotonic() + timeout_s))


class _TimedStream(io.RawIOBase):
    def __init__(self, sock: socket.socket, raw: Any, deadline: float) -> None:
        self._sock = sock
        self._raw = raw
        self._deadline = deadline

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        left = self._deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError("timed out")
        self._sock.settimeout(left)
        count: int | None = self._raw.readinto(buffer)
        return count

    def close(self) -> None:
        self._raw.close()
        super().close()


def _pools_that_register(sockets: _Sockets) -> dict[str, type[HTTPConnectionPool]]:
    class Registered(HTTPConnection):
        _double: socket.socket | None = None
        response_class = _TimedResponse

        def _new_conn(self) -> socket.socket:
            sock = super()._new_conn()
            # A second descriptor: TLS takes the first away from its object while it shakes hands.
            self._double = sock.dup()
            sockets.add(self._double)
            return sock

        def close(self) -> None:
            try:
                super().close()
            finally:
                if self._double is not None:
                    self._double.close()
                    self._double = None

    class RegisteredTls(Registered, HTTPSConnection):
        pass

    class Pool(HTTPConnectionPool):
        ConnectionCls = Registered

    class TlsPool(HTTPSConnectionPool):
        ConnectionCls = RegisteredTls

    return {"http": Pool, "https": TlsPool}
