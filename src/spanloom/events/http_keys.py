"""Payload keys of an event of type ``request``: one HTTP request of a client library, its response included.

There is no key for the path and query of a URL, for headers or for bodies: they are private by default.
"""

from __future__ import annotations

from typing import Final

from spanloom.events.model_keys import SERVER_ADDRESS, SERVER_PORT

__all__ = ["METHOD", "METHODS", "REDIRECTS", "RETRY_AFTER_S", "SERVER_ADDRESS", "SERVER_PORT", "STATUS_CODE"]

METHOD: Final = "method"
"""``GET`` or another method, of the first request if there were redirects."""
METHODS: Final = frozenset(
    {"CONNECT", "DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT", "QUERY", "TRACE"}
)
"""Methods of RFC 9110, section 9.1, and RFC 5789, and QUERY. Any other method could be arbitrary text."""
STATUS_CODE: Final = "status_code"
"""Status code of the response, an int; of the last one if there were redirects. Missing if none came."""
RETRY_AFTER_S: Final = "retry_after_s"
"""Seconds that the response asks to wait, if it does (RFC 9110, section 10.2.3)."""
REDIRECTS: Final = "redirects"
"""How many redirects were followed, if any were."""
