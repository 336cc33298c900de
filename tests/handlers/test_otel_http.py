"""Requests of HTTP clients as spans: kind and attributes are those of the semantic conventions."""

from __future__ import annotations

import pytest
from opentelemetry.sdk.trace import SpanProcessor
from opentelemetry.trace import SpanKind

from spanloom.events import EventType
from tests.handlers.otel_setup import Setup


class Watching(SpanProcessor):
    """A processor that might do anything, so spans take the SDK's way."""


@pytest.mark.parametrize("way", ["lean", "sdk"])
@pytest.mark.parametrize("profile", ["plain", "gen_ai", "openinference"])
def test_a_request_is_a_client_span(way: str, profile: str) -> None:
    """Method, host and status go by the names of the conventions, and what these do not know by ours."""
    setup = Setup(profile=profile)
    if way == "sdk":
        setup.provider.add_span_processor(Watching())
    payload = {"method": "GET", "server_address": "h", "server_port": 81}
    with setup.manager.event(EventType.REQUEST, payload, name="GET h:81") as event:
        event.set(status_code=429, retry_after_s=7.0, redirects=2)
    (span,) = setup.spans()
    attributes = dict(span.attributes or {})
    assert (span.name, span.kind) == ("GET", SpanKind.CLIENT)
    assert {key: value for key, value in attributes.items() if not key.startswith("spanloom.")} == {
        "http.request.method": "GET",
        "http.response.status_code": 429,
        "server.address": "h",
        "server.port": 81,
    } | ({"openinference.span.kind": "CHAIN"} if "openinference.span.kind" in attributes else {})
    assert attributes["spanloom.payload.retry_after_s"] == 7.0
    assert attributes["spanloom.payload.redirects"] == 2
    assert not any(
        key.startswith(("spanloom.payload.status", "spanloom.payload.server")) for key in attributes
    )


@pytest.mark.parametrize("way", ["lean", "sdk"])
@pytest.mark.parametrize(
    ("name", "payload", "title"),
    [
        ("GET", {"method": "GET"}, "GET"),
        ("GET [::1]:81", {"method": "GET", "server_address": "::1", "server_port": 81}, "GET"),
        ("GET (other hosts)", {"method": "GET", "server_address": "a.example"}, "GET"),
        ("HTTP a.example", {"method": "BREW", "server_address": "a.example"}, "HTTP"),
        ("GET /users/{id}", {"method": "GET", "server_address": "a.example"}, "GET /users/{id}"),
        ("GET a.example", {}, "GET a.example"),
        ("GET a.example", {"method": "GET", "server_address": 7, "server_port": "x"}, "GET a.example"),
        ("my request", {"method": "GET"}, "my request"),
    ],
)
def test_the_span_of_a_request_is_named_for_its_method_alone(
    way: str, name: str, payload: dict[str, object], title: str
) -> None:
    """As the conventions want it where there is no template of the URL; what a program has named keeps its name."""
    setup = Setup()
    if way == "sdk":
        setup.provider.add_span_processor(Watching())
    with setup.manager.event(EventType.REQUEST, payload, name=name):
        pass
    (span,) = setup.spans()
    assert span.name == title


def test_a_method_that_nobody_knows_is_another_one() -> None:
    """What a program makes up is no value of ``http.request.method``, of which there are few."""
    setup = Setup()
    with setup.manager.event(EventType.REQUEST, {"method": "BREW"}, name="HTTP"):
        pass
    attributes = dict(setup.span("HTTP").attributes or {})
    assert attributes["http.request.method"] == "_OTHER"
    assert attributes["http.request.method_original"] == "BREW"
