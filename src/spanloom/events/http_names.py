"""Names of events of type ``request``: the method and the host, ``GET api.example.com:8443``.

Host and port tell a slow server from a quick one, and there are few of them. What else is in a URL is in no name: there
is no end of paths and queries, and they, like user and password, are nobody's business.
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
"""Stands for every method that is none of `METHODS`."""
OTHER_HOSTS: Final = "(other hosts)"
"""Stands for every host beyond `MAX_HOSTS`, and for what is no name of a host."""
MAX_HOSTS: Final = 64
"""Hosts of a process that have names of their own: more than most programs were written for, and few enough for a
table; with three methods each also for the 250 names of a type that `DebugHandler` tells apart.
"""
MAX_NAMES: Final = 1024
"""Names that are remembered by what they are made of, so that they are made once."""
_NAME: Final = re.compile(r"[a-z0-9_](?:[a-z0-9._-]{0,251}[a-z0-9_])?")
"""A host name, in letters that DNS has: IDNA's A-labels are. Underscores, because networks of containers have them."""


def method_of(method: object) -> str:
    """Return `method` if it is one of `METHODS`, else `OTHER_METHOD`: a program may make up any text."""
    return method if isinstance(method, str) and method in METHODS else OTHER_METHOD


@lru_cache(maxsize=256)
def host_of(address: str, port: int | None) -> str | None:
    """Return host and port as they stand in a name: in lower case, IPv6 in brackets and its shortest form.

    Args:
        address: Name or address of the host, as it goes over the wire: an international name by its A-labels.
        port: Its port; ``None`` if that is the default of the scheme.

    Returns:
        ``api.example.com``, ``127.0.0.1:8000`` or ``[::1]:8000``; without the dot at the end of a rooted name, and
        without the zone of an address. ``None`` if `address` is none: nothing of it can get into a name then.
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
    """Makes the names of one process: at most `MAX_HOSTS` hosts have their own, those that are asked for first."""

    def __init__(self) -> None:
        self._names: dict[tuple[str, str, int | None], str] = {}
        self._hosts: set[str] = set()
        self._numbers = count()  # `next` is atomic, so no lock that a fork could copy while it is held

    def of(self, method: str, address: str | None, port: int | None) -> str:
        """Return the name of a request.

        Args:
            method: ``GET`` or another one, in upper case.
            address: As for `host_of`; ``None`` or empty if it is not known: the method alone is the name then.
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
"""Those of this process."""
