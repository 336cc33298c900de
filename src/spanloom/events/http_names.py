"""Names of events of type ``request``: the method and the host, ``GET api.example.com:8443``.

Host and port tell a slow server from a fast one, and there are few of them. Names hold nothing else of a URL: paths and
queries are unbounded, and they are private, like user and password.
"""

from __future__ import annotations

import re
from functools import lru_cache
from itertools import count
from typing import Final

from spanloom.events.http_keys import METHODS

__all__ = [
    "MAX_HOSTS",
    "OTHER_HOSTS",
    "OTHER_METHOD",
    "RequestNames",
    "host_of",
    "method_of",
    "request_names",
]

OTHER_METHOD: Final = "HTTP"
"""Stands for every method that is not in `METHODS`."""
OTHER_HOSTS: Final = "(other hosts)"
"""Stands for every host beyond `MAX_HOSTS`, and for text that is not a host name."""
MAX_HOSTS: Final = 64
"""Hosts per process with names of their own: more than most programs use, and few enough for a table. With three
methods each, they also fit the 250 names per type that `DebugHandler` tells apart.
"""
MAX_NAMES: Final = 1024
"""Names cached by method, address and port."""
_NAME: Final = re.compile(r"[a-z0-9_](?:[a-z0-9._-]{0,251}[a-z0-9_])?")
"""A host name in DNS characters, which IDNA's A-labels use, too. Underscores occur in container networks."""


def method_of(method: object) -> str:
    """Return `method` if it is one of `METHODS`, else `OTHER_METHOD`: a program may make up any text."""
    return method if isinstance(method, str) and method in METHODS else OTHER_METHOD


@lru_cache(maxsize=256)
def host_of(address: str, port: int | None) -> str | None:
    """Return host and port as a name shows them: lower case, IPv6 in brackets and in its shortest form.

    Args:
        address: Host name or IP address as sent over the wire: an international name as A-labels.
        port: Its port; ``None`` for the default of the scheme.

    Returns:
        ``api.example.com``, ``127.0.0.1:8000`` or ``[::1]:8000``; without the trailing dot of a rooted name, and
        without the zone of an address. ``None`` if `address` is neither a host name nor an IP address.
    """
    host = _address6(address) if ":" in address else address.lower().removesuffix(".")
    if host is None or not (host.startswith("[") or _NAME.fullmatch(host)):
        return None
    return host if port is None else f"{host}:{port}"


def _address6(text: str) -> str | None:
    from ipaddress import AddressValueError, IPv6Address  # 3 ms, for an address that few have

    try:
        return f"[{IPv6Address(text.partition('%')[0])}]"
    except AddressValueError:
        return None


class RequestNames:
    """Make the request names of one process; only the first `MAX_HOSTS` hosts get names of their own."""

    def __init__(self) -> None:
        self._names: dict[tuple[str, str, int | None], str] = {}
        self._hosts: set[str] = set()
        self._numbers = count()  # `next` is atomic, so no lock that a fork could copy while it is held

    def of(self, method: str, address: str | None, port: int | None) -> str:
        """Return the name of a request.

        Args:
            method: ``GET`` or another one, in upper case.
            address: As for `host_of`; ``None`` or empty if unknown: then the name is the method alone.
            port: As for `host_of`.
        """
        title = method_of(method)
        if not address:
            return title
        key = title, address, port
        name = self._names.get(key)
        if name is None:
            name = f"{title} {self._told_apart(host_of(address, port))}"
            if len(self._names) < MAX_NAMES:
                self._names[key] = name
        return name

    def _told_apart(self, host: str | None) -> str:
        if host is None:
            return OTHER_HOSTS
        if host not in self._hosts:
            if len(self._hosts) >= MAX_HOSTS or next(self._numbers) >= MAX_HOSTS:
                return OTHER_HOSTS
            self._hosts.add(host)
        return host


request_names: Final = RequestNames()
"""The request names of this process."""
