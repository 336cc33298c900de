"""The OpenTelemetry context of a job: set in every job, read in few.

A context with the stand-in for a job's span takes that object, a dict, and a copy of the dict. A job that makes no span
of its own and sends nothing over the network needs none of them. So an empty context is set, which fills itself when it
is first read, in whatever way.
"""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar
from typing import Any, cast

from opentelemetry import context as context_api
from opentelemetry.context import Context
from opentelemetry.context.contextvars_context import ContextVarsRuntimeContext

from spanloom.events import Event
from spanloom.events.event import JobEvent
from spanloom.events.handler import QuickHook
from spanloom.handlers.otel._live import EVENT_KEY, SPAN_KEY, LiveSpan, Maker
from spanloom.handlers.otel._series import Series

__all__ = ["JobContext", "job_attacher"]


class _Surroundings:
    """What the contexts of one batch's jobs have in common.

    Attributes:
        maker: Makes the real spans.
        outer: The context in which the jobs' batch has started.
        beside: What it holds but for its spans.
    """

    __slots__ = ("beside", "maker", "outer")

    def __init__(self, maker: Maker, outer: Context) -> None:
        self.maker = maker
        self.outer = outer
        self.beside = {key: value for key, value in outer.items() if key not in (SPAN_KEY, EVENT_KEY)}


class JobContext(Context):
    """The context of a job: that of its batch, with the stand-in for the job's span as the current one.

    Attributes:
        event: The job.
        around: What it shares with the other jobs.
    """

    __slots__ = ("around", "event")

    event: Event
    around: _Surroundings
    __init__ = object.__init__  # that of `dict` would look for arguments, for half of what making it takes

    def _look(self) -> None:
        """Fill in the entries; if several threads do so at once, one of them makes the stand-in."""
        if not dict.__contains__(self, SPAN_KEY):
            around = self.around
            dict.update(self, around.beside)
            live = dict.setdefault(self, EVENT_KEY, LiveSpan(self.event, around.maker, around.outer))
            dict.setdefault(self, SPAN_KEY, live)


def _looking(method: Callable[..., Any]) -> Callable[..., Any]:
    def looked(self: JobContext, *arguments: object) -> Any:  # Any: as `method` has it
        self._look()
        return method(self, *arguments)

    return looked


for _name in (
    "__contains__", "__eq__", "__getitem__", "__iter__", "__len__", "__ne__", "__or__", "__repr__", "__reversed__",
    "__ror__", "copy", "get", "items", "keys", "values",
):  # fmt: skip
    # All that reads a dictionary. What copies it in C, ``dict()`` or ``**``, calls these where there are any.
    setattr(JobContext, _name, _looking(getattr(dict, _name)))


def job_attacher(
    maker: Maker,
    base: Context,
    otherwise: Callable[[Event], object],
    places: Series | None = None,
) -> QuickHook:
    """Return a hook that makes the span of a started job current. Written as one function: calls cost more than steps.

    Args:
        maker: Makes the real spans.
        base: What is current where the jobs' batch has just started, and so, as a rule, where its jobs start.
        otherwise: Called instead for a job that starts inside something else, such as a span around its input.
        places: Gives places to the jobs; ``None`` if they need none.
    """
    get_current, attach = _accessors()
    around = _Surroundings(maker, base)

    def job_opened(event: JobEvent) -> bool:
        current = get_current()
        # What the last job of this worker, or another handler at the start of this one, has left there may be there.
        if current is not base and not (isinstance(current, JobContext) and current.around.outer is base):
            return False
        if places is not None:
            if places.ahead > 0 and event.index > places.last:  # as nearly always, so it is done here
                places.ahead -= 1
                places.last = event.index
            else:
                places.place(event)
        context = JobContext()
        context.event = event
        context.around = around
        attach(context)
        return True

    return QuickHook(cast("Callable[[Event], bool]", job_opened), otherwise)


def _accessors() -> tuple[Callable[[], Context], Callable[[Context], object]]:
    """Return what reads and what sets OpenTelemetry's context: the methods of its variable, where it has one.

    The functions of the API come to the same, four calls later.
    """
    runtime = getattr(context_api, "_RUNTIME_CONTEXT", None)
    variable = getattr(runtime, "_current_context", None)
    plain = ContextVarsRuntimeContext
    if isinstance(variable, ContextVar) and isinstance(runtime, plain):
        kind = type(runtime)
        if kind.get_current is plain.get_current and kind.attach is plain.attach:
            return variable.get, variable.set
    return context_api.get_current, context_api.attach
