"""The adapter between spanloom's handlers and those of the real package, which is installed for this."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import Any

import llama_index.core
import pytest
from llama_index.core.async_utils import run_jobs as their_run_jobs
from llama_index.core.base.llms.types import ChatMessage, CompletionResponse
from llama_index.core.callbacks import CallbackManager as TheirManager
from llama_index.core.callbacks import CBEventType as TheirType
from llama_index.core.callbacks import EventPayload as TheirPayload
from llama_index.core.callbacks import LlamaDebugHandler as TheirDebugHandler
from llama_index.core.callbacks import TokenCountingHandler as TheirTokenCountingHandler
from llama_index.core.callbacks.base_handler import BaseCallbackHandler as TheirBase
from llama_index.core.llms import MockLLM
from llama_index.core.query_engine import CustomQueryEngine
from pydantic import BaseModel

import spanloom
from spanloom.compat.llama_index import (
    CallbackManager,
    CBEventType,
    EventPayload,
    LlamaDebugHandler,
    LlamaIndexHandler,
    SpanloomHandler,
    TokenCountingHandler,
    run_jobs,
)
from spanloom.handlers.debug import DebugHandler
from spanloom.testing import capture_events


class Engine(CustomQueryEngine):
    """A query engine as users write them, with a model in it."""

    llm: MockLLM

    def custom_query(self, query_str: str) -> str:
        with self.callback_manager.event(TheirType.QUERY, {TheirPayload.QUERY_STR: query_str}):
            return str(self.llm.complete(query_str))


def engine(manager: Any) -> Engine:
    return Engine(llm=MockLLM(callback_manager=manager, max_tokens=3), callback_manager=manager)


async def double(number: int) -> int:
    await asyncio.sleep(0)
    return 2 * number


# -- the vocabulary ------------------------------------------------------------------------------------------


def test_the_enums_have_every_member_of_the_real_ones() -> None:
    """Each type and each payload key is there, equal to the real one, as a key of a dict, too."""
    for real, ours in ((TheirType, CBEventType), (TheirPayload, EventPayload)):
        assert {member.name: member for member in real}.items() <= {
            member.name: member for member in ours
        }.items()
        assert all({member: 1}[ours[member.name]] for member in real)
        assert str(real["EXCEPTION"]) == str(ours["EXCEPTION"])


# -- their components and handlers on the facade's manager ---------------------------------------------------


def test_their_components_run_with_our_manager() -> None:
    """A real query engine and a real model tell our manager, and so our handlers and spanloom's."""
    handler = LlamaDebugHandler(print_trace_on_end=False)
    with capture_events() as captured:
        answer = engine(CallbackManager([handler])).query("one two three four")
    assert str(answer) == "text text text"
    assert [event.event_type for event in handler.get_events()] == ["query", "llm", "llm", "query"]
    by_name = {event.name: event for event in captured.events}
    assert [by_name[name].status for name in ("query", "llm")] == ["ok", "ok"]
    assert by_name["llm"].trace_id == by_name["query"].trace_id


def test_their_handlers_do_on_our_manager_what_they_do_on_theirs(capsys: pytest.CaptureFixture[str]) -> None:
    """The real debug handler prints the same tree and keeps the same events, of its own enum, under either manager."""
    seen = []
    for kind in (TheirManager, CallbackManager):
        handler = TheirDebugHandler()
        manager: Any = kind([handler])
        with manager.as_trace("outer"), manager.as_trace("inner"):
            engine(manager).query("one two three four")
        lines = [line.partition("->")[0] for line in capsys.readouterr().out.splitlines()]
        events = [
            (type(event.event_type), event.event_type, list(event.payload or ()))
            for event in handler.get_events()
        ]
        seen.append((lines, events))
    assert seen[0] == seen[1]
    assert "Trace: outer" in seen[1][0]


async def test_their_handler_sees_our_jobs() -> None:
    """A type that the real enum does not have comes as a text with a value and a name."""
    handler = TheirDebugHandler(print_trace_on_end=False)
    manager = CallbackManager([handler])
    with manager.as_trace("t"):
        assert await run_jobs([double(1), double(2)]) == [2, 4]
    pairs = handler.get_event_pairs(CBEventType.ASYNC_JOB)  # type: ignore[arg-type] # equal to the text
    assert [len(pair) for pair in pairs] == [2, 2]
    assert (pairs[0][0].event_type.value, pairs[0][0].event_type.name) == ("async_job", "ASYNC_JOB")


def test_their_token_budget_stops_the_work_on_our_manager() -> None:
    """The real handler's ValueError comes out of the call that used the budget up."""
    manager = CallbackManager([TheirTokenCountingHandler(tokenizer=str.split, token_budget=5)])
    with pytest.raises(ValueError, match="Token budget exceeded"):
        engine(manager).query("one two three four")


def test_both_count_the_same_tokens() -> None:
    """Our handler counts what the real one counts, by the same tokenizer."""
    theirs, ours = TheirTokenCountingHandler(), TokenCountingHandler()
    manager: Any = TheirManager([theirs, ours])
    engine(manager).query("How many tokens are in this question, would you say?")
    with manager.event(TheirType.EMBEDDING) as event:
        event.on_end({TheirPayload.CHUNKS: ["a text", "another text"]})
    answer = CompletionResponse(text="x", raw={"usage": {"input_tokens": 7, "output_tokens": 8}})
    with manager.event(TheirType.LLM) as event:
        event.on_end({TheirPayload.PROMPT: "p", TheirPayload.COMPLETION: answer})
    assert ours.total_llm_token_count == theirs.total_llm_token_count > 15
    assert ours.total_embedding_token_count == theirs.total_embedding_token_count > 0


def test_tiktoken_counts_by_default(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the real package, tokens are those of tiktoken; its files come from the package's own cache here."""
    cache = Path(llama_index.core.__file__).parent / "_static" / "tiktoken_cache"
    monkeypatch.setenv("TIKTOKEN_CACHE_DIR", str(cache))
    monkeypatch.delitem(sys.modules, "llama_index.core.utils")
    handler = TokenCountingHandler()
    handler.on_event_end(
        CBEventType.LLM, {EventPayload.PROMPT: "Antidisestablishmentarianism", EventPayload.COMPLETION: "!"}
    )
    assert (handler.prompt_llm_token_count, handler.completion_llm_token_count) == (6, 1)


def test_messages_of_theirs_can_be_counted() -> None:
    """A chat's messages are counted by their role and content."""
    handler = TokenCountingHandler(str.split)
    llm = MockLLM(callback_manager=CallbackManager([handler]), max_tokens=3)
    llm.chat([ChatMessage(role="user", content="one two three four")])
    assert handler.llm_token_counts[-1].prompt_token_count == 1 + 4 + 3


# -- their handlers on spanloom's own manager ----------------------------------------------------------------


async def test_their_handler_works_on_spanlooms_manager(capsys: pytest.CaptureFixture[str]) -> None:
    """Scopes and jobs come to the real debug handler as events, and it prints their tree at the end of the trace."""
    handler = TheirDebugHandler()
    with spanloom.use_callback_manager(spanloom.CallbackManager([LlamaIndexHandler(handler)])) as manager:
        with manager.as_trace("nightly"), manager.event("llm"):
            await spanloom.run_jobs([double(1), double(2)])
        assert not manager.stats().handlers[0].quarantined
    shown = [line.partition(" ->")[0] for line in capsys.readouterr().out.splitlines()]
    assert shown[1:-1] == [
        "Trace: nightly",
        "    |_CBEventType.LLM",
        "      |_batch",
        "        |_async_job",
        "        |_async_job",
    ]
    assert handler.get_event_time_info(TheirType.LLM).total_count == 1


# -- spanloom's handlers on their manager --------------------------------------------------------------------


def test_spanlooms_handlers_work_on_their_manager() -> None:
    """What real components tell the real manager is counted by a handler of spanloom's."""
    handler = DebugHandler()
    bridge = SpanloomHandler(handler)
    assert isinstance(bridge, TheirBase)
    engine(TheirManager([bridge])).query("one two three four")
    assert bridge.manager is not None
    assert bridge.manager.flush()
    types = handler.summary()["types"]
    assert {name: types[name]["count"] for name in types} == {"trace": 1, "query": 1, "llm": 1}
    with pytest.raises(ValueError, match="either handlers or a manager"):
        SpanloomHandler(handler, manager=spanloom.CallbackManager())


async def test_batches_inside_their_events_are_under_them() -> None:
    """Without handlers of its own the bridge feeds the ambient manager, and runners inside are in the same trace."""
    manager: Any = TheirManager([SpanloomHandler()])
    with capture_events() as captured, manager.as_trace("chat"), manager.event(TheirType.QUERY):
        await their_run_jobs([double(1)])
        await spanloom.run_jobs([double(1)])
    by_type = {event.type: event for event in captured.events}
    assert by_type["batch"].parent_id == by_type["query"].event_id
    assert by_type["query"].parent_id == by_type["trace"].event_id
    assert [by_type[name].name for name in ("trace", "query")] == ["chat", "query"]
    assert spanloom.current_event() is None


@pytest.mark.parametrize(
    ("error", "status"), [(ValueError("x"), "error"), (asyncio.CancelledError(), "cancelled"), (None, "ok")]
)
def test_events_of_their_manager_end_as_what_they_ended_as(error: BaseException | None, status: str) -> None:
    """A failure is an error and a cancel a cancel, though the real manager does not tell them apart from successes."""
    manager: Any = TheirManager([SpanloomHandler()])

    def work() -> None:
        with manager.as_trace("chat"), manager.event(TheirType.QUERY):
            if error is not None:
                raise error

    with capture_events() as captured:
        try:
            raise asyncio.CancelledError  # what is being handled around it is none of its business
        except asyncio.CancelledError:
            if error is None:
                work()
            else:
                with pytest.raises(type(error)):
                    work()
    assert [(event.type, event.status) for event in captured.events] == [("query", status), ("trace", status)]


def test_an_exception_event_of_theirs_ends() -> None:
    """The real manager starts one for a trace that fails and never ends it; here nothing stays open."""
    manager: Any = TheirManager([SpanloomHandler()])
    with capture_events() as captured, pytest.raises(ValueError, match="x"), manager.as_trace("chat"):
        raise ValueError("x")
    assert [(event.type, event.status) for event in captured.events] == [
        ("exception", "error"),
        ("trace", "error"),
    ]
    assert not [event for event in spanloom.in_flight() if event.type == "exception"]


def test_our_handlers_work_on_their_manager() -> None:
    """The facade's debug handler keeps what the real manager tells it."""
    handler = LlamaDebugHandler(print_trace_on_end=False)
    manager: Any = TheirManager([handler])
    with manager.as_trace("chat"):
        engine(manager).query("one two three four")
    assert handler.get_event_time_info(CBEventType.LLM).total_count == 1


def test_our_manager_may_be_a_field_of_a_model() -> None:
    """A pydantic model with a field of our type keeps the very manager it is given, as with theirs."""

    class Holder(BaseModel):
        callback_manager: CallbackManager

    manager = CallbackManager()
    assert Holder(callback_manager=manager).callback_manager is manager


def test_their_settings_take_our_manager(monkeypatch: pytest.MonkeyPatch) -> None:
    """``Settings.callback_manager`` may be ours: components that are given none then use it."""
    handler = LlamaDebugHandler(print_trace_on_end=False)
    monkeypatch.setattr(llama_index.core.Settings, "_callback_manager", CallbackManager([handler]))
    llm = MockLLM(callback_manager=llama_index.core.Settings.callback_manager)
    llm.complete("x")
    assert handler.get_event_time_info(CBEventType.LLM).total_count == 1


def test_a_manager_without_handlers_has_those_of_the_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """Or of ``set_global_handler``, which comes last in every manager, and of whose type there is but one."""
    handler, theirs = LlamaDebugHandler(print_trace_on_end=False), TheirDebugHandler(print_trace_on_end=False)
    settings = llama_index.core.Settings
    for kind in (CallbackManager, TheirManager):
        monkeypatch.setattr(settings, "_callback_manager", None)
        monkeypatch.setattr(llama_index.core, "global_handler", None)
        make: Any = kind
        assert make().handlers == []
        monkeypatch.setattr(settings, "_callback_manager", CallbackManager([handler]))
        assert make().handlers == make([]).handlers == [handler]
        assert make([theirs]).handlers == [theirs]
        monkeypatch.setattr(llama_index.core, "global_handler", theirs)
        assert make().handlers == [theirs]
        assert make([handler]).handlers == [handler, theirs]
        with pytest.raises(ValueError, match="Cannot add two handlers of the same type"):
            make([TheirDebugHandler()])
