"""Can the configured OTLP endpoint be reached? Only that endpoint is contacted, by a request without data.

The probe is an export request without a span in it, which every collector answers and none stores. It is made by hand,
of the standard library: an exporter's retries and its log would hide what is the matter.
"""

from __future__ import annotations

import http.client
import os
import socket
import ssl
from collections.abc import Iterator
from typing import Final, NamedTuple
from urllib.parse import unquote, urlsplit

from spanloom._wiring import wanted_handlers
from spanloom.cli._checks import Check, Verdict
from spanloom.redaction import redact_text

__all__ = ["endpoint", "protocol_of", "target_of"]

TIMEOUT_S: Final = 3.0
"""Seconds for the connection, and again for the answer."""
MAX_REASON: Final = 200
_AREA: Final = "endpoint"
_PREFIX: Final = "OTEL_EXPORTER_OTLP"


class _Target(NamedTuple):
    scheme: str
    host: str
    port: int
    path: str

    @property
    def shown(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return redact_text(f"{self.scheme}://{host}:{self.port}{self.path}")


def endpoint(timeout_s: float = TIMEOUT_S) -> Iterator[Check]:
    """Yield whether the endpoint that is configured for traces can be reached; nothing is sent anywhere else."""
    url = _variable("ENDPOINT")
    if not url and "otel" not in wanted_handlers():
        yield Check(_AREA, "traces", Verdict.NOTE, "none: OTEL_EXPORTER_OTLP_ENDPOINT is not set")
        return
    protocol = protocol_of()
    try:
        target = target_of(url, protocol)
    except ValueError as error:
        yield Check(_AREA, "traces", Verdict.PROBLEM, f"not the address of a collector: {error}")
        return
    try:
        said = _connect(target, timeout_s) if protocol == "grpc" else _post(target, timeout_s)
    except TimeoutError:
        yield Check(_AREA, "traces", Verdict.PROBLEM, f"{target.shown} did not answer within {timeout_s:g} s")
    except (OSError, http.client.HTTPException, ValueError) as error:
        why = getattr(error, "strerror", None) or str(error) or type(error).__name__
        yield Check(_AREA, "traces", Verdict.PROBLEM, f"{target.shown} cannot be reached: {redact_text(why)}")
    else:
        yield said


def _variable(name: str) -> str:
    own = os.environ.get(f"{_PREFIX}_TRACES_{name}", "").strip()
    return own or os.environ.get(f"{_PREFIX}_{name}", "").strip()


def protocol_of() -> str:
    """Return the protocol that is configured for traces."""
    return _variable("PROTOCOL") or "http/protobuf"


def target_of(url: str, protocol: str) -> _Target:
    """Parse the address of a collector.

    Args:
        url: As in ``OTEL_EXPORTER_OTLP_ENDPOINT``; empty for the default.
        protocol: ``grpc``, or one over HTTP.

    Raises:
        ValueError: it is no such address; the message says why.
    """
    is_grpc = protocol == "grpc"
    if not url:
        return _Target("http", "localhost", 4317 if is_grpc else 4318, "" if is_grpc else "/v1/traces")
    if "://" not in url:
        if not is_grpc:
            raise ValueError(f"{redact_text(url)!r} has no http:// or https:// in front")
        url = f"http://{url}"  # host:port, as gRPC has it
    parts = urlsplit(url)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise ValueError(f"{redact_text(url)!r} is not of the form http://host:port")
    default = 4317 if is_grpc else (443 if parts.scheme == "https" else 80)
    path = parts.path
    if not is_grpc and not os.environ.get(f"{_PREFIX}_TRACES_ENDPOINT", "").strip():
        path = path.rstrip("/") + "/v1/traces"  # as the specification has it: only the general one is a base
    return _Target(parts.scheme, parts.hostname, parts.port or default, "" if is_grpc else path or "/")


def _connect(target: _Target, timeout_s: float) -> Check:
    with socket.create_connection((target.host, target.port), timeout_s):
        return Check(
            _AREA, "traces", Verdict.OK, f"{target.shown} takes connections (gRPC: no more was asked)"
        )


def _post(target: _Target, timeout_s: float) -> Check:
    connection: http.client.HTTPConnection
    if target.scheme == "https":
        context = ssl.create_default_context(cafile=_variable("CERTIFICATE") or None)
        connection = http.client.HTTPSConnection(target.host, target.port, timeout=timeout_s, context=context)
    else:
        connection = http.client.HTTPConnection(target.host, target.port, timeout=timeout_s)
    try:
        headers = {"Content-Type": "application/x-protobuf", "User-Agent": "spanloom-doctor"} | _headers()
        connection.request("POST", target.path, body=b"", headers=headers)
        answer = connection.getresponse()
        status, reason = answer.status, answer.reason[:MAX_REASON]
    finally:
        connection.close()
    if 200 <= status < 300:
        return Check(_AREA, "traces", Verdict.OK, f"{target.shown} takes spans")
    advice = {
        401: "; OTEL_EXPORTER_OTLP_HEADERS has to have its credentials",
        403: "; OTEL_EXPORTER_OTLP_HEADERS has to have its credentials",
        404: "; it is there, but is no OTLP receiver at that path",
        405: "; it is there, but is no OTLP receiver at that path",
    }.get(status, "")
    return Check(_AREA, "traces", Verdict.PROBLEM, f"{target.shown} answers {status} {reason}{advice}")


def _headers() -> dict[str, str]:
    pairs = (part.partition("=") for part in _variable("HEADERS").split(","))
    return {unquote(name.strip()): unquote(value.strip()) for name, equals, value in pairs if equals}
