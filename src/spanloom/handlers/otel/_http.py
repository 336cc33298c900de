"""Spans of HTTP requests, by OpenTelemetry's semantic conventions for HTTP clients.

Source: semantic conventions 1.44.0, docs/http/http-spans.md. They are stable, so no option is needed.
"""

from __future__ import annotations

from typing import Final

from opentelemetry.util.types import AttributeValue

from spanloom.events import Event, http_keys
from spanloom.events.http_names import OTHER_HOSTS, host_of, method_of
from spanloom.handlers.otel._plain import plain_text
from spanloom.handlers.otel._profiles import Field, Rules, fields, text, whole

__all__ = ["describe_request", "entitle_request"]

_METHOD: Final = "http.request.method"
_TABLE: Final = {
    http_keys.METHOD: Field(_METHOD, text),
    http_keys.SERVER_ADDRESS: Field("server.address", text),
    http_keys.SERVER_PORT: Field("server.port", whole),
    http_keys.STATUS_CODE: Field("http.response.status_code", whole),
}


def describe_request(event: Event, rules: Rules) -> tuple[dict[str, AttributeValue], frozenset[str]]:
    """Return the conventions' attributes of a request, and the payload keys that these cover."""
    attributes, used = fields(event.payload, _TABLE, rules)
    method = attributes.get(_METHOD)
    if method is not None and method not in http_keys.METHODS:
        attributes[f"{_METHOD}_original"] = method
        attributes[_METHOD] = "_OTHER"
    return attributes, frozenset(used)


def entitle_request(event: Event) -> str:
    """Return the name of the span of a request.

    Of one that an instrumented client made it is the method, as the conventions want it: the host, which is in the
    event's name, has attributes of its own. Another one has the name that its program gave it.
    """
    method, _, target = event.name.partition(" ")
    payload = event.payload if target else {}
    if not target or method != method_of(payload.get(http_keys.METHOD)):
        return plain_text(event.name)
    address, port = payload.get(http_keys.SERVER_ADDRESS), payload.get(http_keys.SERVER_PORT)
    if not isinstance(address, str) or not (port is None or isinstance(port, int)):
        return plain_text(event.name)
    return method if target in (OTHER_HOSTS, host_of(address, port)) else plain_text(event.name)
