"""Trace context across processes: the parent that a carrier names, and a carrier that names ours.

Whatever propagators are configured (``OTEL_PROPAGATORS``: by default W3C trace context and baggage) do the reading
and writing. Here is what is around them: where the carrier comes from, and for how long its span is current.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, MutableMapping
from types import TracebackType

from opentelemetry import context as context_api
from opentelemetry import propagate
from opentelemetry import trace as trace_api
from opentelemetry.context import Context
from opentelemetry.propagators.textmap import Getter, Setter
from opentelemetry.trace import Span, SpanContext, Status, StatusCode
from opentelemetry.util.types import Attributes, AttributeValue

from spanloom.events.link import header_of
from spanloom.handlers.otel._live import SPAN_KEY, StandIn, open_context

__all__ = ["RemoteParent", "environment_parent", "inject", "inject_environment", "remote_parent"]


def remote_parent(carrier: Mapping[str, object]) -> RemoteParent:
    """Return a ``with`` block in which traces continue the one that `carrier` names.

    A trace that starts in the block is a part of the sender's: same trace id, the sender's span as parent, its flags
    and its ``tracestate``; the sender's baggage is current, too. An event inside another one keeps its parent, and is
    linked to the sender's span instead: a span has one parent. A carrier that names no span changes nothing.

    Args:
        carrier: Headers by name, in any case: the headers of a request, or the metadata of a message. Values may be
            texts, bytes, or lists of them.
    """
    return RemoteParent(carrier)


def inject(carrier: MutableMapping[str, str] | None = None) -> dict[str, str]:
    """Return the headers that make the current span the parent of another process's trace.

    Args:
        carrier: Headers to add them to, in place; a copy with all of them is returned.

    Returns:
        ``traceparent`` and, where there is something to say, ``tracestate`` and ``baggage``, unless
        ``OTEL_PROPAGATORS`` names others. Empty if no span is current.
    """
    headers: dict[str, str] = {}
    propagate.inject(headers, open_context(context_api.get_current()))
    if carrier is not None:
        carrier.update(headers)
        return dict(carrier)
    return headers


def inject_environment(environment: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return an environment for a child process in which its traces continue the current one.

    It holds ``TRACEPARENT`` and, where there is something to say, ``TRACESTATE`` and ``BAGGAGE``. A handler in the
    child process reads them when it is first used, and so do other tools. What is current there comes first.

    Args:
        environment: The variables to start from; ``None`` for those of this process. Not changed. Its own trace
            context, if it has one, is left out: mixed with ours it would be nobody's.
    """
    variables = dict(os.environ if environment is None else environment)
    for field in propagate.get_global_textmap().fields:
        variables.pop(_variable(field), None)
    propagate.inject(variables, open_context(context_api.get_current()), setter=_ToVariables())
    return variables


def environment_parent() -> Context | None:
    """Return the parent context that this process's environment names; ``None`` if it names none."""
    context = propagate.extract(os.environ, Context(), getter=_FromVariables())
    return context or None


class RemoteParent:
    """See `remote_parent`. Made anew for each block."""

    __slots__ = ("_carrier", "_entered", "_span")

    def __init__(self, carrier: Mapping[str, object]) -> None:
        self._carrier = carrier
        self._span: _RemoteSpan | None = None
        self._entered: tuple[Context, Context] | None = None

    def __enter__(self) -> None:
        outer = context_api.get_current()
        inner = propagate.extract(self._carrier, outer, getter=_FromHeaders())
        remote = trace_api.get_current_span(inner)
        if remote is not trace_api.get_current_span(outer):
            self._span = _RemoteSpan(remote, outer)
            inner = trace_api.set_span_in_context(self._span, inner)
        self._entered = outer, inner
        context_api.attach(inner)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        # Not ``detach``: a generator may be closed in another context than it was started in. See `LiveSpan`.
        if self._span is not None:
            self._span.has_ended = True
        if self._entered is None:
            return
        current = context_api.get_current()
        is_here = self._span is not None and current.get(SPAN_KEY) is self._span
        if is_here or current is self._entered[1]:
            context_api.attach(self._entered[0])


class _RemoteSpan(StandIn):
    """Stands for a span of another process while its block lasts, and for `outer` after that."""

    __slots__ = ("_remote", "has_ended")

    def __init__(self, remote: Span, outer: Context) -> None:
        self._remote = remote
        self.outer = outer
        self.has_ended: bool = False

    @property
    def is_over(self) -> bool:
        return self.has_ended

    @property
    def _answers(self) -> Span:
        return self._behind() if self.has_ended else self._remote

    def get_span_context(self) -> SpanContext:
        return self._answers.get_span_context()

    def is_recording(self) -> bool:
        return self._answers.is_recording()

    def set_attribute(self, key: str, value: AttributeValue) -> None:
        self._answers.set_attribute(key, value)

    def set_attributes(self, attributes: Mapping[str, AttributeValue]) -> None:
        self._answers.set_attributes(attributes)

    def add_event(self, name: str, attributes: Attributes = None, timestamp: int | None = None) -> None:
        self._answers.add_event(name, attributes, timestamp)

    def add_link(self, context: SpanContext, attributes: Attributes = None) -> None:
        self._answers.add_link(context, attributes)

    def update_name(self, name: str) -> None:
        self._answers.update_name(name)

    def set_status(self, status: Status | StatusCode, description: str | None = None) -> None:
        self._answers.set_status(status, description)

    def record_exception(
        self,
        exception: BaseException,
        attributes: Attributes = None,
        timestamp: int | None = None,
        escaped: bool = False,
    ) -> None:
        self._answers.record_exception(exception, attributes, timestamp, escaped)

    def end(self, end_time: int | None = None) -> None:
        """Do nothing: it is not ours to end."""


class _FromHeaders(Getter[Mapping[str, object]]):
    def get(self, carrier: Mapping[str, object], key: str) -> list[str] | None:
        value = header_of(carrier, key.lower())
        return None if value is None else [value]

    def keys(self, carrier: Mapping[str, object]) -> list[str]:
        return [key for key in carrier if isinstance(key, str)]


class _FromVariables(Getter[Mapping[str, str]]):
    def get(self, carrier: Mapping[str, str], key: str) -> list[str] | None:
        value = carrier.get(_variable(key), "")
        return [value] if value else None

    def keys(self, carrier: Mapping[str, str]) -> list[str]:
        return list(carrier)


class _ToVariables(Setter[dict[str, str]]):
    def set(self, carrier: dict[str, str], key: str, value: str) -> None:
        carrier[_variable(key)] = value


def _variable(key: str) -> str:
    """Return the name of the variable for a header, as the specification of environment carriers has it.

    Source: https://opentelemetry.io/docs/specs/otel/context/env-carriers/
    """
    return re.sub(r"^(?=[0-9])", "_", re.sub(r"[^A-Z0-9_]", "_", key.upper()))
