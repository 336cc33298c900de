"""OTLP/HTTP with protobuf bodies, through the client that the SDK's exporter has set up.

Endpoint, headers, certificates, timeout, compression and proxies are read from the exporter, as configured by the
environment or in code. The exporter itself can neither send a body that is already encoded nor be aborted, and it
makes retries of its own.
"""

from __future__ import annotations

import copy
import email.utils
import gzip
import math
import operator
import time
import zlib
from collections.abc import Mapping
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any, Final, NamedTuple
from urllib.parse import urlsplit

from google.protobuf.message import DecodeError
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse

from spanloom.handlers.otel._http_session import AbortableAdapter
from spanloom.handlers.otel._transport import Reply, Verdict, one_line

if TYPE_CHECKING:
    from opentelemetry.sdk.trace.export import SpanExporter
    from requests import Response, Session

__all__ = ["HttpTransport", "http_transport"]

RETRYABLE: Final = frozenset({429, 502, 503, 504})
"""OTLP specification 1.x, "Retryable Response Codes"; all other 4xx and 5xx "MUST NOT be retried"."""
TOO_LARGE: Final = 413
MAX_ANSWER: Final = 64 << 10
"""Bytes of an answer that are read: the specification asks for a few hundred, a broken peer may never stop."""
MAX_WRAPPED: Final = 10
"""Exceptions that are unwrapped to find out what the system said."""
UNLIMITED: Final = 1 << 62

_SETTINGS: Final = operator.attrgetter("_endpoint", "_headers", "_timeout", "_compression")


class _Settings(NamedTuple):
    """What the exporter was configured to do."""

    session: Session
    url: str
    headers: Mapping[str, str]
    timeout_s: float
    compression: str
    options: Mapping[str, Any]  # the arguments `verify` and `cert` of requests, whose types are its own
    max_body: int


class HttpTransport:
    """Posts requests to one URL.

    Args:
        settings: What the exporter was configured to do.
        metrics: The exporter's own, a context manager around each export; ``None`` if it has none.
    """

    def __init__(self, settings: _Settings, metrics: Any = None) -> None:
        self._settings = settings
        self._metrics = metrics
        self.timeout_s = settings.timeout_s
        self.max_body = settings.max_body
        self._headers = dict(settings.headers)
        if settings.compression != "none":
            self._headers["Content-Encoding"] = settings.compression
        self.renew()

    def renew(self) -> None:
        """Use connections of this process only."""
        self._session, self._adapter = _abortable(self._settings.session)

    def send(self, body: bytes, *, spans: int, timeout_s: float) -> Reply:
        """Post `body`; every failure is returned as a reply."""
        from requests.exceptions import RequestException

        with self._metrics.export_operation(spans) if self._metrics is not None else nullcontext() as result:
            try:
                reply = self._post(_compress(body, self._settings.compression), timeout_s)
            except (RequestException, OSError, ValueError) as error:
                # A URL or a header that cannot be sent is a ValueError of requests, and hopeless; all else may pass.
                is_hopeless = isinstance(error, ValueError)
                verdict = Verdict.REFUSED if is_hopeless else Verdict.RETRY
                reply = Reply(verdict, "not sent", one_line(_cause(error, self._settings.url)))
                if result is not None:
                    result.error = error
            else:
                if result is not None and reply.verdict is not Verdict.ACCEPTED:
                    result.error = ConnectionError(reply.reason)
        return reply

    def abort(self) -> None:
        """Cut the connections, also one that is being made."""
        if self._adapter is not None:
            self._adapter.abort()

    def close(self) -> None:
        """Close the idle connections, where they are not the user's session's."""
        if self._adapter is not None:
            self._session.close()

    def _post(self, data: bytes, timeout_s: float) -> Reply:
        deadline = time.monotonic() + timeout_s
        response = self._session.post(
            self._settings.url,
            data=data,
            headers=self._headers,
            timeout=timeout_s,
            stream=True,
            allow_redirects=False,  # headers with credentials are for the endpoint that they were given for
            **self._settings.options,
        )
        with response:
            answer = _read(response, deadline)
            return _judge(response.status_code, response.headers, answer)


def _cause(error: BaseException, url: str) -> str:
    """Return the address of a failed request, and the system's error: ``localhost:4318: Connection refused``.

    requests and urllib3 wrap that in three sentences of theirs, with the names of their classes.
    """
    inner: BaseException | None = error
    for _ in range(MAX_WRAPPED):
        if inner is None or (isinstance(inner, OSError) and inner.strerror):
            break
        wrapped = (getattr(inner, "reason", None), *inner.args[:1], inner.__cause__, inner.__context__)
        inner = next((one for one in wrapped if isinstance(one, BaseException)), None)
    if not isinstance(inner, OSError) or not inner.strerror:
        return str(error)
    return f"{urlsplit(url).netloc.rpartition('@')[2]}: {inner.strerror}"


def http_transport(exporter: SpanExporter) -> HttpTransport | None:
    """Return a transport to where `exporter` sends; ``None`` if it keeps its settings in an unknown way."""
    settings = _settings_of(exporter)
    if settings is None:
        return None
    return HttpTransport(settings, getattr(exporter, "_metrics", None))


def _settings_of(exporter: object) -> _Settings | None:
    from requests import Session

    client: object = getattr(
        exporter, "_client", exporter
    )  # in older releases the exporter is its own client
    options: dict[str, Any] = {}
    session = getattr(getattr(client, "_transport", None), "_session", None)
    if session is None:
        session = getattr(exporter, "_session", None)
        options = {
            "verify": getattr(exporter, "_certificate_file", None),
            "cert": getattr(exporter, "_client_cert", None),
        }
    elif session.verify is not True:
        # Said once more with each request: else REQUESTS_CA_BUNDLE would take precedence over what OTLP was told.
        options = {"verify": session.verify}
    try:
        url, headers, timeout_s, compression = _SETTINGS(client)
    except AttributeError:
        return None
    encoding = getattr(compression, "value", "none")
    if not isinstance(session, Session) or encoding not in {"none", "gzip", "deflate"}:
        return None
    return _Settings(
        session,
        url,
        headers,
        float(timeout_s),
        encoding,
        {name: value for name, value in options.items() if value is not None},
        getattr(exporter, "_max_request_size", 0) or UNLIMITED,
    )


def _abortable(session: Session) -> tuple[Session, AbortableAdapter | None]:
    """Return a session with the same settings, and connections of its own that can be cut.

    A session with adapters or of a class of the user's own is used as it is.
    """
    from requests import Session
    from requests.adapters import HTTPAdapter

    if type(session) is not Session or any(
        type(item) is not HTTPAdapter for item in session.adapters.values()
    ):
        return session, None
    own = copy.copy(session)
    own.adapters = copy.copy(session.adapters)
    adapter = AbortableAdapter()
    for prefix in list(own.adapters):
        own.mount(prefix, adapter)
    return own, adapter


def _compress(body: bytes, compression: str) -> bytes:
    if compression == "gzip":
        # Level 6 is what the SDK's 9 yields within a hundredth, in half the time.
        return gzip.compress(body, compresslevel=6, mtime=0)
    return zlib.compress(body) if compression == "deflate" else body


def _read(response: Response, deadline: float) -> bytes:
    """Return the beginning of the answer, about `MAX_ANSWER` bytes at most, and only until `deadline`."""
    parts: list[bytes] = []
    size = 0
    try:
        for part in response.iter_content(4096):
            parts.append(part)
            size += len(part)
            if size >= MAX_ANSWER or time.monotonic() >= deadline:
                break
    except (OSError, ValueError):
        # The status is known by now, and it is the status that counts. (All errors of requests are OSErrors.)
        pass
    return b"".join(parts)


def _judge(status: int, headers: Mapping[str, str], answer: bytes) -> Reply:
    if 200 <= status < 300:
        return _accepted(answer)
    reason = f"http {status}"
    message = one_line(answer.decode("utf-8", "replace"))
    if status in RETRYABLE:
        return Reply(Verdict.RETRY, reason, message, retry_after_s=_retry_after(headers.get("Retry-After")))
    if status == TOO_LARGE:
        return Reply(Verdict.TOO_LARGE, "too large", message)
    if 300 <= status < 400:
        message = f"a redirect to {one_line(headers.get('Location', 'nowhere'))}; set the endpoint to where it leads"
    return Reply(Verdict.REFUSED, reason, message)


def _accepted(answer: bytes) -> Reply:
    try:
        partial = ExportTraceServiceResponse.FromString(answer).partial_success
    except DecodeError:
        return Reply(Verdict.ACCEPTED)  # JSON, or a proxy's page: the status says that it was taken
    rejected = max(0, partial.rejected_spans)
    return Reply(
        Verdict.ACCEPTED, "rejected by the collector", one_line(partial.error_message), rejected=rejected
    )


def _retry_after(value: str | None) -> float | None:
    """Return the seconds that ``Retry-After`` (RFC 9110, section 10.2.3) stands for."""
    if value is None:
        return None
    try:
        seconds = float(value)
    except ValueError:
        try:
            seconds = email.utils.parsedate_to_datetime(value).timestamp() - time.time()
        except (TypeError, ValueError, OverflowError):
            return None
    return max(0.0, seconds) if math.isfinite(seconds) else None
