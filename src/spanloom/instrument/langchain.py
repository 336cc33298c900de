"""A LangChain callback handler that makes its runs events.

Theory of operation. LangChain tells of each run, a chain's, a model's, a tool's, by an id and the id of the run that it
is part of. Each is an event, and where it can be, the current one, so that requests and batches inside are under it.
It cannot be in a generator: what is made current there is so for its consumer, too, between two values.

Which event a run is under: the run that LangChain says it is part of, or what is current, if that is inside of that
run: a job of a batch, say. A run that LangChain says is part of none is under what was current before its siblings:
``batch`` begins the runs of all inputs in one context before it goes on with any.
"""

from __future__ import annotations

import asyncio
import inspect
import sys
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from functools import partial
from types import FrameType
from typing import Any, Final
from uuid import UUID

from langchain_core.callbacks.base import BaseCallbackHandler

from spanloom.callbacks.ambient import get_callback_manager
from spanloom.callbacks.context import EventContext
from spanloom.events import model_keys
from spanloom.events.event import Event, ScopeEvent
from spanloom.events.types import EventType
from spanloom.instrument.model_answers import answered

__all__ = ["BEGUN", "LangChainHandler", "back_to", "whereabouts"]

# Any: what LangChain tells is its own, and its users'.

_LIBRARY: Final = "langchain_core"
_IN_GENERATOR: Final = inspect.CO_GENERATOR | inspect.CO_ASYNC_GENERATOR
_SETTINGS: Final[Mapping[str, str]] = {
    "ls_provider": model_keys.PROVIDER,
    "ls_model_name": model_keys.MODEL,
    "ls_temperature": model_keys.TEMPERATURE,
    "ls_max_tokens": model_keys.MAX_TOKENS,
}


class _Run:
    """One run that is open.

    Attributes:
        context: The `EventContext` of its event.
        event: Its event.
        outer: The innermost run that was open around it, or ``None``.
        outer_event: The parent of its event.
        parts: The ids of the runs that are part of it.
    """

    __slots__ = ("context", "event", "outer", "outer_event", "parts")

    def __init__(
        self, context: EventContext, event: ScopeEvent, outer: _Run | None, under: Event | None
    ) -> None:
        self.context: EventContext = context
        self.event: ScopeEvent = event
        self.outer: _Run | None = outer
        self.outer_event: Event | None = under
        self.parts: set[UUID] = set()

    def end(self, error: BaseException | None = None) -> None:
        """End its event, and make the event around it current again in this context."""
        if _innermost.get() is self:
            _innermost.set(self.outer)
        self.context.end(error)


_innermost: Final[ContextVar[_Run | None]] = ContextVar("spanloom_langchain_run", default=None)
BEGUN: Final[ContextVar[list[Callable[[BaseException], object]] | None]] = ContextVar(
    "spanloom_langchain_begun", default=None
)
"""What ends the runs that the call of a model, a tool or a retriever in this context has begun."""


class LangChainHandler(BaseCallbackHandler):
    """Make LangChain's runs events of the ambient manager.

    ::

        chain.invoke(question, config={"callbacks": [LangChainHandler()]})

    After ``spanloom.instrument("langchain")`` every run is seen, and there is no need for that. Chains are of the type
    ``step``, models ``llm``, with model and tokens, tools ``tool``, retrievers ``retrieve``. Contents are not recorded.
    """

    run_inline = True
    """Run the hooks in the caller's own context: elsewhere no event could be made current."""

    def __init__(self) -> None:
        self._runs: dict[UUID, _Run] = {}

    # starts -----------------------------------------------------------------------------------------------

    def on_chain_start(self, serialized: Any, inputs: Any, **told: Any) -> None:
        """Begin a chain."""
        self._begin(EventType.STEP, serialized, told)

    def on_tool_start(self, serialized: Any, input_str: str, **told: Any) -> None:
        """Begin the call of a tool."""
        self._begin(EventType.TOOL, serialized, told, {model_keys.TOOL: _name_of(serialized, told)})

    def on_retriever_start(self, serialized: Any, query: str, **told: Any) -> None:
        """Begin a retrieval."""
        self._begin(EventType.RETRIEVE, serialized, told)

    def on_llm_start(self, serialized: Any, prompts: list[str], **told: Any) -> None:
        """Begin the call of a model that completes texts."""
        self._begin(EventType.LLM, serialized, told, _settings(told, "text_completion"))

    def on_chat_model_start(self, serialized: Any, messages: Any, **told: Any) -> None:
        """Begin the call of a model that chats."""
        self._begin(EventType.LLM, serialized, told, _settings(told, "chat"))

    def _begin(
        self, type: str, serialized: Any, told: Mapping[str, Any], payload: dict[str, object] | None = None
    ) -> None:
        manager = get_callback_manager()
        if not manager.active:
            return
        current = manager.current
        before, here = current.get(), _innermost.get()
        part_of = self._runs.get(told["parent_run_id"]) if told.get("parent_run_id") else None
        if part_of is not None:
            under = before if here is part_of else part_of.event
            outer: _Run | None = part_of
        elif here is not None and before is here.event:  # a sibling, started in the same context
            under, outer = here.outer_event, here.outer
        else:
            under, outer = before, here
        current.set(under)
        context = manager.event(type, payload, name=_name_of(serialized, told))
        run = _Run(context, context.start(), outer, under)
        self._runs[told["run_id"]] = run
        if part_of is not None:
            part_of.parts.add(told["run_id"])
        if _is_in_generator():
            context.suspend()
            current.set(before)
        else:
            _innermost.set(run)
        begun = BEGUN.get()
        if begun is not None and type != EventType.STEP:
            begun.append(partial(self._end, told["run_id"]))

    # ends -------------------------------------------------------------------------------------------------

    def on_chain_end(self, outputs: Any, *, run_id: UUID, **told: Any) -> None:
        """End a chain."""
        self._end(run_id)

    def on_tool_end(self, output: Any, *, run_id: UUID, **told: Any) -> None:
        """End the call of a tool."""
        self._end(run_id)

    def on_retriever_end(self, documents: Any, *, run_id: UUID, **told: Any) -> None:
        """End a retrieval."""
        self._end(run_id)

    def on_llm_end(self, response: Any, *, run_id: UUID, **told: Any) -> None:
        """End the call of a model, with what its answer says of itself."""
        run = self._runs.get(run_id)
        if run is not None:
            run.context.set(**_answered(response))
            self._end(run_id)

    def on_chain_error(self, error: BaseException, *, run_id: UUID, **told: Any) -> None:
        """End a chain that failed."""
        self._end(run_id, error)

    def on_tool_error(self, error: BaseException, *, run_id: UUID, **told: Any) -> None:
        """End the call of a tool that failed."""
        self._end(run_id, error)

    def on_retriever_error(self, error: BaseException, *, run_id: UUID, **told: Any) -> None:
        """End a retrieval that failed."""
        self._end(run_id, error)

    def on_llm_error(self, error: BaseException, *, run_id: UUID, **told: Any) -> None:
        """End the call of a model that failed."""
        self._end(run_id, error)

    def _end(self, run_id: UUID, error: BaseException | None = None) -> None:
        run = self._runs.pop(run_id, None)
        if run is None:
            return
        if isinstance(error, (asyncio.CancelledError, GeneratorExit)):
            for part in run.parts:  # LangChain may report their ends much later
                self._end(part, error)
        run.end(error)


def whereabouts() -> tuple[Event | None, _Run | None]:
    """Return the current event and the innermost run of this context; for `back_to`."""
    return get_callback_manager().current.get(), _innermost.get()


def back_to(event: Event | None, run: _Run | None) -> None:
    """Make the event and run of `whereabouts` current again, if the current run has ended, perhaps in another task.

    LangChain reports the end of an asynchronous run in a task of its own, whose context is not that of the
    caller, so nothing can be restored there.
    """
    current = get_callback_manager().current
    here = current.get()
    if here is not None and here is not event and here.end_ns is not None:
        current.set(event)
    inner = _innermost.get()
    if inner is not None and inner is not run and inner.event.end_ns is not None:
        _innermost.set(run)


def _name_of(serialized: Any, told: Mapping[str, Any]) -> str:
    if isinstance(told.get("name"), str):
        return str(told["name"])
    known = serialized or {}
    return str(known.get("name") or (known.get("id") or ["run"])[-1])


def _is_in_generator() -> bool:
    """Tell whether the library calls from a generator: that runs in its consumer's context."""
    frame: FrameType | None = sys._getframe(2)  # noqa: SLF001 -- the caller of the caller
    while frame is not None:
        if str(frame.f_globals.get("__name__")).startswith(_LIBRARY):
            if frame.f_code.co_flags & _IN_GENERATOR:
                return True
        elif frame.f_globals.get("__name__") != __name__:
            return False
        frame = frame.f_back
    return False


def _settings(told: Mapping[str, Any], operation: str) -> dict[str, object]:
    found: dict[str, object] = {model_keys.OPERATION: operation}
    metadata = told.get("metadata") or {}
    for name, key in _SETTINGS.items():
        if isinstance(metadata.get(name), (str, int, float)):
            found[key] = metadata[name]
    return found


def _answered(result: Any) -> dict[str, object]:
    """Return model, tokens and finish reason of the first answer; LangChain has them in one of several places."""
    output = result.llm_output or {}
    found = answered({"usage": output.get("token_usage") or output.get("usage")})
    generation = result.generations[0][0] if result.generations and result.generations[0] else None
    message = getattr(generation, "message", None)
    metadata: Mapping[str, Any] = getattr(message, "response_metadata", None) or {}
    usage: Mapping[str, Any] = getattr(message, "usage_metadata", None) or {}
    for name, key in (
        ("input_tokens", model_keys.INPUT_TOKENS),
        ("output_tokens", model_keys.OUTPUT_TOKENS),
        ("total_tokens", model_keys.TOTAL_TOKENS),
    ):
        if isinstance(usage.get(name), int):
            found[key] = usage[name]
    for part, name, key in (
        ("input_token_details", "cache_read", model_keys.CACHED_INPUT_TOKENS),
        ("input_token_details", "cache_creation", model_keys.CACHE_WRITE_TOKENS),
        ("output_token_details", "reasoning", model_keys.REASONING_TOKENS),
    ):
        if isinstance((usage.get(part) or {}).get(name), int):
            found[key] = usage[part][name]
    for names, key in (
        (("model_name", "model"), model_keys.RESPONSE_MODEL),
        (("finish_reason", "stop_reason"), model_keys.FINISH_REASON),
        (("request_id", "id"), model_keys.REQUEST_ID),
    ):
        for name in names:
            if isinstance(metadata.get(name), str):
                found.setdefault(key, metadata[name])
    return found
