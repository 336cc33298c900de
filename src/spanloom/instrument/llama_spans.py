"""LlamaIndex's spans as events: what its dispatcher reports.

Theory of operation. Every method that LlamaIndex finds worth it tells a dispatcher when it is entered, exited or
dropped, by an id that holds its name; what a span says of itself, the model's name or the tokens, comes as events of
the dispatcher with the id of the span. Each span is an event of spanloom's and current while it is open, so that what
happens inside is under it: batches, requests, other spans.

A method that streams is exited with the stream it returns. Its event stays open, and is current no longer, until the
last of the stream's events, or until the stream is dropped.
"""

from __future__ import annotations

import re
import weakref
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Final

from spanloom.callbacks.ambient import get_callback_manager
from spanloom.callbacks.context import EventContext
from spanloom.events import model_keys
from spanloom.events.clock import monotonic_ns
from spanloom.events.event import Event, ScopeEvent
from spanloom.events.types import EventType
from spanloom.instrument.harmless import guarded
from spanloom.instrument.model_answers import answered

__all__ = [
    "BRIDGING",
    "Span",
    "bridging",
    "enclosing_span",
    "on_drop",
    "on_enter",
    "on_event",
    "on_exit",
    "span_id_of",
]

# Any: spans' arguments and events are the library's, and its users'.

BRIDGING: Final[ContextVar[bool]] = ContextVar("spanloom_llama_index_bridging", default=False)
"""True while one system reports to the other, so that the report is not sent back."""

_WHAT: Final = "llama_index"
_UUID: Final = re.compile(r"-[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$")
_NS_PER_S: Final = 1_000_000_000

_LLM: Final = frozenset(
    f"{prefix}{method}" for prefix in ("", "a", "stream_", "astream_") for method in ("chat", "complete")
)
_KINDS: Final = (
    ("BaseLLM", _LLM, EventType.LLM),
    ("MultiModalLLM", _LLM, EventType.LLM),
    ("BaseRetriever", frozenset({"retrieve", "aretrieve"}), EventType.RETRIEVE),
    ("BaseTool", frozenset({"__call__", "call", "acall"}), EventType.TOOL),
)
"""``(name of a base class, its methods, type of their events)``."""
_EMBEDDING: Final = re.compile("a?get_.*embedding")
_SETTINGS: Final[Mapping[str, str]] = {
    "model": model_keys.MODEL,
    "model_name": model_keys.MODEL,
    "temperature": model_keys.TEMPERATURE,
    "max_tokens": model_keys.MAX_TOKENS,
}


class Span:
    """One open span.

    Attributes:
        context: The `EventContext` of its event.
        event: Its event.
        id_: LlamaIndex's id of the span.
        method: Name of LlamaIndex's method.
        is_answering: Whether a model has been asked and has not answered to the end.
        is_left: Whether the method has returned, with a stream.
    """

    __slots__ = ("context", "event", "id_", "is_answering", "is_left", "method")

    def __init__(self, context: EventContext, id_: str, method: str) -> None:
        self.context: EventContext = context
        self.id_: str = id_
        self.event: ScopeEvent = context.start()
        self.method: str = method
        self.is_answering: bool = False
        self.is_left: bool = False

    def end(self, error: BaseException | None = None) -> None:
        """End its event; only the first call counts."""
        _by_event.pop(self.event.event_id, None)
        self.context.end(error)


_open: Final[dict[str, Span]] = {}
"""By the id that LlamaIndex gave it."""
_by_event: Final[dict[int, Span]] = {}
"""By the id of its event."""


def enclosing_span(event: Event | None) -> Span | None:
    """Return the open span whose event `event` is, or ``None``."""
    return None if event is None else _by_event.get(event.event_id)


@contextmanager
def bridging() -> Iterator[None]:
    """Do not send back what one system reports to the other in this block."""
    token = BRIDGING.set(True)
    try:
        yield
    finally:
        BRIDGING.reset(token)


def span_id_of(event_id: int) -> str | None:
    """Return the id that LlamaIndex gave the span whose event this is, if it is one and open."""
    span = _by_event.get(event_id)
    return None if span is None else span.id_


# Each is called in the place of a method of the dispatcher, which has keyword arguments only; see `Patches.wrap`.


def on_enter(tell: Callable[..., Any], _: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
    """Open an event for a span that is entered."""
    if not BRIDGING.get() and get_callback_manager().active:
        guarded(_WHAT, _enter, kwargs)
    return tell(*args, **kwargs)


def on_exit(tell: Callable[..., Any], _: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
    """End the event of a span that is exited, unless it returns a stream."""
    guarded(_WHAT, _exit, kwargs)
    return tell(*args, **kwargs)


def on_drop(tell: Callable[..., Any], _: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
    """End the event of a span that an exception has left."""
    span = _open.pop(kwargs.get("id_", ""), None)
    if span is not None:
        span.end(kwargs.get("err"))
    return tell(*args, **kwargs)


def on_event(tell: Callable[..., Any], _: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
    """Attach what an event of the dispatcher says of a span to the span's event."""
    if _open:
        guarded(_WHAT, _take, args[0] if args else kwargs["event"])
    return tell(*args, **kwargs)


def _enter(kwargs: Mapping[str, Any]) -> None:
    id_, instance = kwargs["id_"], kwargs.get("instance")
    name = _UUID.sub("", id_)
    method = name.rpartition(".")[2]
    type = _type_of(instance, method)
    payload: dict[str, object] = {}
    top_k = getattr(instance, "similarity_top_k", None)
    if type == EventType.RETRIEVE and isinstance(top_k, int):
        payload[model_keys.TOP_K] = top_k
    with bridging():
        span = Span(get_callback_manager().event(type, payload, name=name), id_, method)
    _open[id_] = _by_event[span.event.event_id] = span


def _type_of(instance: object, method: str) -> str:
    if _EMBEDDING.fullmatch(method):
        return EventType.EMBEDDING
    bases = {kind.__name__ for kind in type(instance).__mro__}
    for base, methods, type_ in _KINDS:
        if method in methods and base in bases:
            return type_
    return EventType.STEP


def _exit(kwargs: Mapping[str, Any]) -> None:
    id_, result = kwargs["id_"], kwargs.get("result")
    span = _open.get(id_)
    if span is None:
        return
    if span.is_answering and (hasattr(result, "__next__") or hasattr(result, "__anext__")):
        span.is_left = True
        span.context.suspend()
        weakref.finalize(result, _end, id_, GeneratorExit()).atexit = False
        return
    _end(id_, None)


def _end(id_: str, error: BaseException | None) -> None:
    span = _open.pop(id_, None)
    if span is not None:
        span.end(error)


def _take(event: Any) -> None:
    span = _open.get(getattr(event, "span_id", None) or "")
    take = _TAKEN.get(type(event).__name__)
    if span is not None and take is not None:
        take(span, event)


def _take_start(span: Span, event: Any) -> None:
    span.is_answering = type(event).__name__ != "EmbeddingStartEvent"
    found: dict[str, object] = {}
    for name, key in _SETTINGS.items():
        value = event.model_dict.get(name)
        if key not in found and isinstance(value, (str, int, float)):
            found[key] = value
    span.context.set(**found)


def _take_progress(span: Span, _: Any) -> None:
    if span.is_answering and model_keys.TIME_TO_FIRST_CHUNK_S not in span.event.payload:
        waited_s = (monotonic_ns() - span.event.start_ns) / _NS_PER_S
        span.context.set(**{model_keys.STREAM: True, model_keys.TIME_TO_FIRST_CHUNK_S: waited_s})


def _take_end(span: Span, event: Any) -> None:
    if event.response is not None:
        counted = {"usage": event.response.additional_kwargs}  # where integrations put token counts
        span.context.set(**(answered(counted) | answered(event.response.raw)))
    _over(span, event, None)


def _take_failure(span: Span, event: Any) -> None:
    _over(span, event, event.exception)


def _over(span: Span, event: Any, error: BaseException | None) -> None:
    span.is_answering = False
    if span.is_left:
        _end(event.span_id, error)


_TAKEN: Final[Mapping[str, Callable[[Span, Any], None]]] = {
    "LLMChatStartEvent": _take_start,
    "LLMCompletionStartEvent": _take_start,
    "EmbeddingStartEvent": _take_start,
    "LLMChatInProgressEvent": _take_progress,
    "LLMCompletionInProgressEvent": _take_progress,
    "LLMChatEndEvent": _take_end,
    "LLMCompletionEndEvent": _take_end,
    "ExceptionEvent": _take_failure,
}
"""By name of the event's class, as we do not import LlamaIndex."""
