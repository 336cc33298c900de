"""LlamaIndex's older callbacks as events: what its callback managers report.

Most of what they tell is told by the dispatcher as well. Such a callback gets no event besides that of its span. Each
of the others has an event of its own: the chunking of texts, a sub-question, the trace of an index that is made.
"""

from __future__ import annotations

import sys
from asyncio import CancelledError
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from typing import Any, Final

from spanloom.callbacks.ambient import current_event, get_callback_manager
from spanloom.callbacks.context import EventContext
from spanloom.events import model_keys
from spanloom.events.types import EventType
from spanloom.instrument.harmless import guarded
from spanloom.instrument.llama_spans import BRIDGING, Span, bridging, enclosing_span

__all__ = ["UNSEEN", "on_end", "on_start", "on_trace_end", "on_trace_start"]

# Any: payloads and further arguments are the library's, and its users'.

_WHAT: Final = "llama_index.callbacks"
_TOLD_ALREADY: Final[Mapping[str, Callable[[Span], bool]]] = {
    "llm": lambda span: span.event.type == EventType.LLM,
    "embedding": lambda span: span.event.type == EventType.EMBEDDING,
    "retrieve": lambda span: span.event.type == EventType.RETRIEVE or span.method.endswith("retrieve"),
    "function_call": lambda span: span.event.type == EventType.TOOL,
    "query": lambda span: span.method.endswith("query"),
    "synthesize": lambda span: span.method.endswith("synthesize"),
}
"""By type of callback: whether a span reports the same."""
_TYPES: Final[Mapping[str, str]] = {"function_call": EventType.TOOL}
_LEAVES: Final = frozenset({"chunking", "llm", "embedding"})
"""Types that have no children: LlamaIndex may start several of them before it ends the first."""
UNSEEN: Final = (CancelledError, GeneratorExit, KeyboardInterrupt, SystemExit)
"""Exceptions that pass the library's ``except Exception``, so that it reports a normal end."""


class _Callback:
    """An open callback with an event of its own."""

    __slots__ = ("context", "handling")

    def __init__(self, context: EventContext) -> None:
        self.context = context
        self.handling = sys.exception()
        with bridging():
            context.start()

    def end(self, error: BaseException | None) -> None:
        """End its event by `error`, or by the exception that is being raised through it."""
        if error is None:
            passing = sys.exception()
            if passing is not self.handling and isinstance(passing, UNSEEN):
                error = passing
        self.handling = None
        self.context.end(error)


_open: Final[dict[str, _Callback]] = {}
"""The open callbacks, by LlamaIndex's id."""
_traces: Final[ContextVar[tuple[_Callback | None, Any]]] = ContextVar("spanloom_llama_index_traces")
"""The open traces of this context, a linked list of pairs, innermost first; ``None`` for one that a span reports."""


# Each is called in the place of a method of the callback manager; see `Patches.wrap`.


def on_start(tell: Callable[..., Any], _: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
    """Open an event for a callback that starts, unless a span tells of it."""
    event_id = tell(*args, **kwargs)
    if not BRIDGING.get() and get_callback_manager().active:
        guarded(
            _WHAT,
            _start,
            event_id,
            *args[:2],
            *(kwargs[key] for key in ("event_type", "payload") if key in kwargs),
        )
    return event_id


def _start(event_id: str, event_type: Any, payload: Mapping[str, Any] | None = None) -> None:
    text = str(getattr(event_type, "value", event_type))
    span = enclosing_span(current_event())
    told_already = _TOLD_ALREADY.get(text)
    if text == "exception" or (span is not None and told_already is not None and told_already(span)):
        return
    context = get_callback_manager().event(_TYPES.get(text, text), _shown(payload), name=text)
    _open[event_id] = _Callback(context)
    if text in _LEAVES:
        context.suspend()


def on_end(tell: Callable[..., Any], _: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
    """End the event of a callback that ends."""
    if _open:
        guarded(_WHAT, _end, args, kwargs)
    return tell(*args, **kwargs)


def _end(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
    payload = args[1] if len(args) > 1 else kwargs.get("payload")
    event_id = args[2] if len(args) > 2 else kwargs.get("event_id")
    callback = _open.pop(event_id or "", None)
    if callback is not None:
        error = (payload or {}).get("exception")
        callback.end(error if isinstance(error, BaseException) else None)


def on_trace_start(tell: Callable[..., Any], _: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
    """Open an event for a trace, unless it is inside of a span or another callback."""
    if get_callback_manager().active:
        guarded(_WHAT, _start_trace, args[0] if args else kwargs.get("trace_id"))
    return tell(*args, **kwargs)


def _start_trace(name: str | None) -> None:
    if name is None:
        return
    manager = get_callback_manager()
    told = BRIDGING.get() or enclosing_span(current_event()) is not None
    _traces.set((None if told else _Callback(manager.as_trace(name)), _traces.get(None)))


def on_trace_end(tell: Callable[..., Any], _: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
    """End the event of a trace."""
    try:
        return tell(*args, **kwargs)
    finally:
        if (args[0] if args else kwargs.get("trace_id")) is not None:
            guarded(_WHAT, _end_trace)


def _end_trace() -> None:
    innermost = _traces.get(None)
    if innermost is not None:
        trace, outer = innermost
        _traces.set(outer)
        if trace is not None:
            passing = sys.exception()
            trace.end(None if passing is trace.handling else passing)


def _shown(payload: Mapping[str, Any] | None) -> dict[str, object]:
    """Return what may be shown of a payload: the name of the model, and how many nodes were asked for."""
    given = payload or {}
    found: dict[str, object] = {}
    if isinstance(given.get("model_name"), str):
        found[model_keys.MODEL] = given["model_name"]
    if isinstance(given.get("top_k"), int):
        found[model_keys.TOP_K] = given["top_k"]
    return found
