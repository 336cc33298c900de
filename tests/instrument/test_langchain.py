"""The langchain target: every run of the real library is an event under the right one, and nothing else changes."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest
from langchain_core.callbacks.base import BaseCallbackManager
from langchain_core.documents import Document
from langchain_core.language_models.fake_chat_models import FakeListChatModel, GenericFakeChatModel
from langchain_core.messages import AIMessage
from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.retrievers import BaseRetriever
from langchain_core.runnables import Runnable, RunnableLambda, RunnableParallel
from langchain_core.tools import tool
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.trace import get_current_span

import spanloom
from spanloom.handlers.otel import OpenTelemetryHandler
from spanloom.instrument import harmless
from spanloom.instrument.langchain import LangChainHandler
from spanloom.testing import capture_events

SEQUENCE = (
    "step RunnableSequence ok\n"
    "  step ChatPromptTemplate ok\n"
    "  llm FakeListChatModel ok\n"
    "  step StrOutputParser ok"
)


TARGETS = ("langchain", "langchain.chat_models", "langchain.llms", "langchain.retrievers", "langchain.tools")


@pytest.fixture(autouse=True)
def patched() -> Iterator[None]:
    spanloom.instrument(*TARGETS)
    yield
    spanloom.uninstrument(*TARGETS)


def sequence(**model: Any) -> Runnable[Any, str]:
    prompt = ChatPromptTemplate.from_template("tell a secret of {name}")
    return prompt | FakeListChatModel(responses=["one two", "three"], **model) | StrOutputParser()


def test_a_chain_is_a_tree() -> None:
    """The runs of a chain are under it, and nothing is current any more when it is over."""
    with capture_events() as captured:
        assert sequence().invoke({"name": "ann"}) == "one two"
        assert spanloom.current_event() is None
    assert captured.tree() == SEQUENCE
    assert not any("secret" in str(dict(event.payload)) for event in captured.events)


def test_an_inside_that_makes_events_is_under_its_run() -> None:
    """What a function in a chain does by itself is under that function's run."""

    def inside(_: object) -> str:
        with spanloom.get_callback_manager().event("step", name="mine"):
            return "done"

    with capture_events() as captured:
        assert RunnableLambda(inside).invoke("x") == "done"
    assert captured.tree() == "step inside ok\n  step mine ok"


def test_the_runs_of_a_batch_are_siblings() -> None:
    """``batch`` begins all its runs in one context; none of them is under another."""
    with capture_events() as captured, spanloom.get_callback_manager().as_trace("all"):
        assert sorted(sequence().batch([{"name": "a"}, {"name": "b"}])) == ["one two", "three"]
        inside = spanloom.current_event()
    one = "\n".join(f"  {line}" for line in SEQUENCE.splitlines())
    assert captured.tree() == f"trace all ok\n{one}\n{one}"
    assert inside is not None
    assert inside.name == "all"


async def test_the_runs_of_an_asynchronous_batch_are_siblings() -> None:
    """So are those of ``abatch``, and their parts are under them."""
    with capture_events() as captured:
        await sequence().abatch([{"name": "a"}, {"name": "b"}], config={"max_concurrency": 1})
    assert captured.tree() == f"{SEQUENCE}\n{SEQUENCE}"


async def test_a_run_in_a_job_is_under_the_job() -> None:
    """A batch inside of a chain is under its run, and what its jobs ask is under the jobs."""
    model = FakeListChatModel(responses=["x"])

    async def ask(texts: list[str]) -> list[str]:
        return [str(answer.content) for answer in await spanloom.async_map(model.ainvoke, texts, limit=1)]

    with capture_events() as captured:
        assert await RunnableLambda(ask).ainvoke(["a", "b"]) == ["x", "x"]
    assert captured.tree() == (
        "step ask ok\n"
        "  batch FakeListChatModel.ainvoke ok\n"
        "    job FakeListChatModel.ainvoke #0 ok\n"
        "      llm FakeListChatModel ok\n"
        "    job FakeListChatModel.ainvoke #1 ok\n"
        "      llm FakeListChatModel ok"
    ).replace("FakeListChatModel.ainvoke", captured.started[1].name)


def test_a_model_tells_what_its_answer_says_of_itself() -> None:
    """Tokens, the model that answered and the finish reason are attached, and what was asked of whom."""
    answer = AIMessage(
        "a secret",
        usage_metadata={
            "input_tokens": 3,
            "output_tokens": 2,
            "total_tokens": 5,
            "input_token_details": {"cache_read": 1},
            "output_token_details": {"reasoning": 2},
        },
        response_metadata={"model_name": "m-2026", "finish_reason": "stop", "id": "chat-1"},
    )
    model = GenericFakeChatModel(messages=iter([answer]))
    with capture_events() as captured:
        model.invoke("another secret", config={"metadata": {"ls_model_name": "m", "ls_temperature": 0.5}})
    (event,) = captured.events
    assert event.payload == {
        "operation": "chat",
        "provider": "genericfakechatmodel",
        "model": "m",
        "temperature": 0.5,
        "input_tokens": 3,
        "output_tokens": 2,
        "total_tokens": 5,
        "cached_input_tokens": 1,
        "reasoning_tokens": 2,
        "response_model": "m-2026",
        "finish_reason": "stop",
        "request_id": "chat-1",
    }


def test_tools_and_retrievers_have_their_types() -> None:
    """A tool's call is of type ``tool``, a search of type ``retrieve``; a model asked by a tool is under it."""

    @tool
    def look(name: str) -> str:
        """Look."""
        return str(FakeListChatModel(responses=["seen"]).invoke(name).content)

    class Found(BaseRetriever):
        def _get_relevant_documents(self, query: str, **_: Any) -> list[Document]:
            return [Document(page_content=query)]

    with capture_events() as captured:
        assert look.invoke({"name": "a secret"}) == "seen"
        assert len(Found().invoke("a secret")) == 1
    assert captured.tree() == "tool look ok\n  llm FakeListChatModel ok\nretrieve Found ok"


async def test_a_stream_lasts_until_it_is_exhausted() -> None:
    """A streamed chain is open until its last value, and is nobody's parent between two of them."""
    with capture_events() as captured:
        async for _ in sequence().astream({"name": "a"}):
            assert spanloom.current_event() is None
            assert captured.open
    assert captured.tree() == SEQUENCE


async def test_opentelemetrys_current_span_is_as_it_was() -> None:
    """After a batch, and between two values of a stream, the current span is the one around it."""
    manager = spanloom.CallbackManager([OpenTelemetryHandler(tracer_provider=TracerProvider())])
    with spanloom.use_callback_manager(manager), manager.event(name="around") as around:
        sequence().batch([{"name": "a"}, {"name": "b"}])
        assert get_current_span().get_span_context().span_id == around.event_id
        await sequence().abatch([{"name": "a"}, {"name": "b"}])
        assert get_current_span().get_span_context().span_id == around.event_id
        async for _ in sequence().astream({"name": "a"}):
            assert get_current_span().get_span_context().span_id == around.event_id
    manager.close()


async def test_a_stream_that_is_left_early_ends_as_cancelled() -> None:
    """Closing the stream ends all runs that are open in it."""
    with capture_events() as captured:
        stream = sequence().astream({"name": "a"})
        await anext(stream)
        await stream.aclose()  # type: ignore[attr-defined]  # it is a generator
        for _ in range(10):
            await asyncio.sleep(0)
    assert captured.open == []
    assert captured.tree() == (
        "step RunnableSequence cancelled GeneratorExit\n"
        "  step ChatPromptTemplate ok\n"
        "  llm FakeListChatModel cancelled GeneratorExit\n"
        "  step StrOutputParser cancelled GeneratorExit"
    )


class Waiting(FakeListChatModel):
    async def _agenerate(self, *args: Any, **kwargs: Any) -> Any:
        await asyncio.Event().wait()


class Searching(BaseRetriever):
    def _get_relevant_documents(self, query: str, **_: Any) -> list[Document]:
        return []

    async def _aget_relevant_documents(self, query: str, **_: Any) -> list[Document]:
        await asyncio.Event().wait()
        return []


@tool
async def waiting(name: str) -> str:
    """Wait."""
    await asyncio.Event().wait()
    return name


@pytest.mark.parametrize(
    ("runnable", "given", "kind"),
    [
        (Waiting(responses=["x"]), "x", "llm"),
        (waiting, {"name": "x"}, "tool"),
        (Searching(), "x", "retrieve"),
    ],
)
async def test_a_cancelled_call_ends_as_cancelled(runnable: Any, given: Any, kind: str) -> None:
    """LangChain tells nothing of the end of a model, a tool or a search that is cancelled: it ends all the same."""
    with capture_events() as captured:
        task = asyncio.ensure_future(runnable.ainvoke(given))
        while not captured.open:
            await asyncio.sleep(0.001)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert captured.open == []
    assert [(event.type, event.status) for event in captured.events] == [(kind, "cancelled")]


def test_a_failure_is_the_error_of_its_run_and_of_those_around_it() -> None:
    """An exception ends the runs that it leaves, and is raised, the same object."""
    failure = KeyError("x")

    def fail(_: object) -> None:
        raise failure

    with capture_events() as captured, pytest.raises(KeyError) as raised:
        (RunnableParallel(one=RunnableLambda(fail)) | StrOutputParser()).invoke("x")
    assert raised.value is failure
    assert [(event.name, event.status) for event in captured.started] == [
        ("RunnableSequence", "error"),
        ("RunnableParallel<one>", "error"),
        ("fail", "error"),
    ]


def test_a_handler_of_ones_own_is_enough() -> None:
    """Without patching, the handler sees the runs that it is passed to; with both, each run is told once."""
    with capture_events() as captured:
        sequence().invoke({"name": "a"}, config={"callbacks": [LangChainHandler()]})
    assert captured.tree() == SEQUENCE
    spanloom.uninstrument(*TARGETS)
    with capture_events() as captured:
        sequence().invoke({"name": "a"}, config={"callbacks": [LangChainHandler()]})
    assert captured.tree() == SEQUENCE


def test_nothing_is_seen_any_more_once_it_is_undone() -> None:
    """After `uninstrument` no event is made."""
    spanloom.uninstrument(*TARGETS)
    with capture_events() as captured:
        sequence().invoke({"name": "a"})
    assert captured.started == []


def test_a_manager_that_has_changed_is_left_as_it_is(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """If our handler cannot be put among those of a run, the run goes on without it, with one warning."""
    monkeypatch.setattr(harmless, "_told", set())
    monkeypatch.delattr(BaseCallbackManager, "add_handler")
    with capture_events() as captured:
        for _ in range(2):
            assert sequence().invoke({"name": "a"})
    assert captured.started == []
    assert len([record for record in caplog.records if record.name == "spanloom"]) == 1


async def test_nothing_of_a_model_is_current_after_its_call() -> None:
    """LangChain tells of its end in a task of its own; what the caller does next is under what the call was under."""
    model = FakeListChatModel(responses=["one"], sleep=0.001)
    with capture_events() as captured, spanloom.get_callback_manager().as_trace("all") as around:
        spanloom.instrument("asyncio")
        try:
            await model.ainvoke("1")
            assert spanloom.current_event() is around.event
            await model.ainvoke("2")
        finally:
            spanloom.uninstrument("asyncio")
    assert captured.tree() == "trace all ok\n  llm FakeListChatModel ok\n  llm FakeListChatModel ok"


async def test_what_langchain_does_for_itself_is_no_batch() -> None:
    """The inputs of a batch are jobs; the tasks that tell handlers of its runs are not, nor is anything under them."""
    with capture_events() as captured:
        spanloom.instrument("asyncio")
        try:
            await sequence(sleep=0.001).abatch([{"name": "a"}, {"name": "b"}])
        finally:
            spanloom.uninstrument("asyncio")
    batches = {event.event_id: event for event in captured.events if event.type == "batch"}
    assert not [batch.name for batch in batches.values() if "Callback" in batch.name]
    sequences = [event for event in captured.events if event.name == "RunnableSequence"]
    assert [event.parent_id for event in sequences] == [None, None]
