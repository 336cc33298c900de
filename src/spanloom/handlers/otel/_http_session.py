"""Connections of requests and urllib3 that another thread can cut.

A thread that waits in `recv` for a peer that never answers cannot be told to stop; its socket can be shut down,
and then it gets an error at once. urllib3 has a place to name the classes of its pools and connections.
"""

from __future__ import annotations

import socket
import weakref
from typing import Any

from requests.adapters import HTTPAdapter
from urllib3 import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.connection import HTTPConnection, HTTPSConnection

__all__ = ["AbortableAdapter"]


class AbortableAdapter(HTTPAdapter):
    """An adapter all of whose connections can be cut at once."""

    def __init__(self) -> None:
        self._sockets: weakref.WeakSet[socket.socket] = weakref.WeakSet()
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
        """Cut every connection; from any thread."""
        for sock in list(self._sockets):
            try:
                sock.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass  # it is closed by now, or was never connected


def _pools_that_register(sockets: weakref.WeakSet[socket.socket]) -> dict[str, type[HTTPConnectionPool]]:
    class Registered(HTTPConnection):
        _double: socket.socket | None = None

        def _new_conn(self) -> socket.socket:
            sock = super()._new_conn()
            # A second descriptor: TLS takes the first away from its object while it shakes hands.
            self._double = sock.dup()
            sockets.add(self._double)
            return sock

        def close(self) -> None:
            super().close()
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
