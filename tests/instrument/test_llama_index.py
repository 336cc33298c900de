"""The llama_index targets: spans and callbacks of the real library are events, and nothing else changes."""

from __future__ import annotations

import asyncio
import gc
import inspect
import re
from collections.abc import Iterator
from typing import Any

import pytest
from llama_index.core import Document, MockEmbedding, VectorStoreIndex
from llama_index.core.base.llms.types import ChatMessage, ChatResponse
from llama_index.core.callbacks import CallbackManager, CBEventType
from llama_index.core.ingestion import IngestionPipeline
from llama_index.core.instrumentation import get_dispatcher
from llama_index.core.llms import MockLLM
from llama_index.core.llms.callbacks import llm_chat_callback
from llama_index.core.node_parser import SentenceSplitter
from llama_index.core.tools import FunctionTool
from llama_index_instrumentation.dispatcher import Dispatcher

import spanloom
from spanloom.compat.llama_index import DispatcherHandler
from spanloom.instrument.llama_spans import BRIDGING, bridging
from spanloom.testing import EventCapture, capture_events

ASK = [ChatMessage(content="one two three")]


@pytest.fixture(autouse=True)
def patched() -> Iterator[None]:
    spanloom.instrument("llama_index", "llama_index.callbacks")
    yield
    spanloom.uninstrument("llama_index", "llama_index.callbacks")


@pytest.fixture
def index() -> VectorStoreIndex:
    splitter = SentenceSplitter(chunk_size=32, chunk_overlap=0)
    return VectorStoreIndex.from_documents(
        [Document(text="A secret. " * 30)], transformations=[splitter], embed_model=MockEmbedding(embed_dim=4)
    )


def names(captured: EventCapture) -> dict[str, str | None]:
    """Return by the name of each event that of its parent."""
    by_id = {event.event_id: event for event in captured.started}
    return {
        event.name: None if event.parent_id is None else by_id[event.parent_id].name
        for event in captured.started
    }


async def test_a_query_is_a_tree(index: VectorStoreIndex) -> None:
    """A query has retrieval, embedding, synthesis and the model's call inside each other, each once."""
    engine = index.as_query_engine(llm=MockLLM(max_tokens=5))
    with capture_events() as captured:
        answer = await engine.aquery("what is the secret?")
    assert str(answer) == "text text text text text"
    assert captured.open == []
    parents = names(captured)
    assert parents["RetrieverQueryEngine.aquery"] is None
    assert parents["RetrieverQueryEngine._aquery"] == "RetrieverQueryEngine.aquery"
    assert parents["VectorIndexRetriever.aretrieve"] == "RetrieverQueryEngine._aquery"
    assert parents["MockEmbedding.aget_query_embedding"] == "VectorIndexRetriever._aretrieve"
    assert parents["CompactAndRefine.asynthesize"] == "RetrieverQueryEngine._aquery"
    assert parents["MockLLM.acomplete"] == "MockLLM.apredict"
    assert (
        not {"query", "retrieve", "synthesize", "embedding", "llm"} & parents.keys()
    )  # older callbacks, again
    types = {event.name: event.type for event in captured.started}
    assert types["VectorIndexRetriever.aretrieve"] == "retrieve"
    assert types["MockEmbedding.aget_query_embedding"] == "embedding"
    assert types["MockLLM.acomplete"] == "llm"
    assert not any("secret" in str(dict(event.payload)) for event in captured.events)
    (retrieval,) = (event for event in captured.events if event.name == "VectorIndexRetriever.aretrieve")
    assert retrieval.payload == {"top_k": 2}


def test_making_an_index_is_a_tree() -> None:
    """What only the older callbacks tell is there: the trace, the making of nodes, the chunking."""
    with capture_events() as captured:
        VectorStoreIndex.from_documents([Document(text="A secret.")], embed_model=MockEmbedding(embed_dim=4))
    assert captured.tree() == (
        "trace index_construction ok\n"
        "  step SentenceSplitter.__call__ ok\n"
        "    node_parsing node_parsing ok\n"
        "      step SentenceSplitter._parse_nodes ok\n"
        "        step SentenceSplitter.split_text_metadata_aware ok\n"
        "          chunking chunking ok\n"
        "  trace index_construction ok\n"
        "    step MockEmbedding.get_text_embedding_batch ok\n"
        "      embedding embedding ok\n"
        "      step MockEmbedding._get_text_embedding ok"
    )


async def test_embeddings_that_are_begun_in_one_go_are_siblings() -> None:
    """The chunks of an asynchronous batch are all begun before the first is done: none is under another."""
    with capture_events() as captured:
        await MockEmbedding(embed_dim=4, embed_batch_size=1).aget_text_embedding_batch(["a", "b"])
    assert captured.tree() == (
        "step MockEmbedding.aget_text_embedding_batch ok\n  embedding embedding ok\n  embedding embedding ok"
    )


async def test_a_pipeline_in_a_batch_is_under_its_job() -> None:
    """Spans that are told in a job of spanloom's are under that job, and batches in a span under the span."""

    async def ingest(text: str) -> int:
        pipeline = IngestionPipeline(transformations=[MockEmbedding(embed_dim=4)], disable_cache=True)
        return len(await pipeline.arun(documents=[Document(text=text)]))

    with capture_events() as captured:
        assert await spanloom.async_map(ingest, ["a", "b"], limit=2) == [1, 1]
    jobs = {event.event_id: event.job_index for event in captured.started if event.type == "job"}
    runs = [event for event in captured.started if event.name == "IngestionPipeline.arun"]
    assert sorted(jobs[event.parent_id or 0] for event in runs) == [0, 1]
    assert {event.job_index for event in captured.started if event.type == "embedding"} == {0, 1}


class Counted(MockLLM):
    """A model that says what it has used."""

    @llm_chat_callback()
    def chat(self, messages: Any, **kwargs: Any) -> ChatResponse:
        """Answer."""
        usage = {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}
        raw = {"model": "m-2026", "usage": usage, "choices": [{"finish_reason": "stop"}]}
        return ChatResponse(message=ChatMessage(content="a secret"), raw=raw)


def test_a_model_tells_what_its_answer_says_of_itself() -> None:
    """Tokens, the model that answered and the finish reason are read from the raw answer."""
    with capture_events() as captured:
        Counted().chat(ASK)
    (event,) = captured.events
    assert (event.type, event.name) == ("llm", "Counted.chat")
    assert event.payload == {
        "model": "unknown",
        "response_model": "m-2026",
        "finish_reason": "stop",
        "input_tokens": 3,
        "output_tokens": 2,
        "total_tokens": 5,
    }


def test_a_tool_has_its_type() -> None:
    """A tool's call is of type ``tool``."""
    with capture_events() as captured:
        FunctionTool.from_defaults(lambda name: name, name="look").call("a secret")
    assert captured.tree() == "tool FunctionTool.call ok"


async def test_a_stream_lasts_until_it_is_exhausted() -> None:
    """A model's stream is open until its last chunk, and is nobody's parent meanwhile."""
    with capture_events() as captured:
        stream = MockLLM().stream_complete("one two")
        assert spanloom.current_event() is None
        (call,) = captured.open
        pieces = [piece.delta for piece in stream]
    assert len(pieces) > 1
    assert (call.name, call.status, call.payload["stream"]) == ("MockLLM.stream_complete", "ok", True)
    first_s = call.payload["time_to_first_chunk_s"]
    assert isinstance(first_s, float)
    assert first_s > 0


@pytest.mark.parametrize("how", ["close", "drop"])
def test_a_stream_that_is_left_early_ends_as_cancelled(how: str) -> None:
    """Closed or dropped, also before its first chunk."""
    with capture_events() as captured:
        stream = MockLLM().stream_complete("one two")
        if how == "close":
            next(stream)
            stream.close()  # type: ignore[attr-defined]  # it is a generator
        del stream
        gc.collect()
    assert captured.tree() == "llm MockLLM.stream_complete cancelled GeneratorExit"


async def test_cancel_and_failure_are_told_apart() -> None:
    """A cancelled span ends as cancelled, a failed one with the error that is raised on."""
    dispatcher = get_dispatcher("tests")

    @dispatcher.span
    async def wait() -> None:
        with CallbackManager().event(CBEventType.SUB_QUESTION):
            await asyncio.Event().wait()

    @dispatcher.span
    async def fail() -> None:
        with CallbackManager().event(CBEventType.SUB_QUESTION):
            raise KeyError("x")

    with capture_events() as captured:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(wait(), 0.01)
        with pytest.raises(KeyError):
            await fail()
    prefix = "test_cancel_and_failure_are_told_apart.<locals>"
    assert captured.tree() == (
        f"step {prefix}.wait cancelled asyncio.exceptions.CancelledError\n"
        "  sub_question sub_question cancelled asyncio.exceptions.CancelledError\n"
        f"step {prefix}.fail error KeyError\n"
        "  sub_question sub_question error KeyError"
    )


def test_handlers_of_the_users_own_are_told_as_before() -> None:
    """Their span handlers and callback handlers are called as often as without us, and the methods look the same."""
    signature = inspect.signature(Dispatcher.span_enter)
    told: list[str] = []

    class Theirs:
        def span_enter(self, id_: str, **kwargs: Any) -> None:
            told.append("enter")

        def span_exit(self, id_: str, **kwargs: Any) -> None:
            told.append("exit")

    root = get_dispatcher("root")
    root.span_handlers.append(Theirs())  # type: ignore[arg-type]  # it has what is called
    try:
        for undo in (False, True):
            if undo:
                spanloom.uninstrument()
            with capture_events() as captured:
                MockEmbedding(embed_dim=2).get_query_embedding("x")
            assert bool(captured.started) is not undo
    finally:
        root.span_handlers.pop()
    assert told == ["enter", "enter", "exit", "exit"] * 2
    assert inspect.signature(Dispatcher.span_enter) == signature


def test_an_answer_without_raw_is_no_harm() -> None:
    """A model that says nothing of itself has an event without that."""
    with capture_events() as captured:
        assert MockLLM().complete("x").text == "x"
    (event,) = captured.events
    assert (event.status, event.payload) == ("ok", {"model": "unknown"})


def test_what_is_told_inside_of_something_told_is_not_told_back() -> None:
    """The end of the inner one is not the end of the outer one."""
    with bridging():
        with bridging():
            pass
        assert BRIDGING.get()
    assert not BRIDGING.get()


async def test_events_of_spanloom_are_spans_of_the_dispatcher() -> None:
    """Batches and jobs are spans between LlamaIndex's own; nothing is told twice, in either direction."""
    told: list[tuple[str, str | None, str]] = []

    class Theirs:
        def span_enter(self, id_: str, parent_id: str | None = None, **kwargs: Any) -> None:
            told.append(("enter", _name(parent_id), str(_name(id_))))

        def span_exit(self, id_: str, **kwargs: Any) -> None:
            told.append(("exit", None, str(_name(id_))))

        def span_drop(self, id_: str, err: BaseException, **kwargs: Any) -> None:
            told.append((type(err).__name__, None, str(_name(id_))))

    dispatcher = get_dispatcher("tests")

    @dispatcher.span
    async def work(text: str) -> None:
        if text == "b":
            raise KeyError(text)

    @dispatcher.span
    async def all_of(texts: list[str]) -> None:
        await spanloom.async_map(work, texts, limit=1, on_error="skip")

    root = get_dispatcher("root")
    root.span_handlers.append(Theirs())  # type: ignore[arg-type]  # it has what is called
    manager = spanloom.CallbackManager([DispatcherHandler()], raise_handler_errors=True)
    try:
        with spanloom.use_callback_manager(manager):
            await all_of(["a", "b"])
    finally:
        root.span_handlers.pop()
    batch = told[1][2]
    assert told == [
        ("enter", None, "all_of"),
        ("enter", "all_of", batch),
        ("enter", batch, batch),
        ("enter", batch, "work"),
        ("exit", None, "work"),
        ("exit", None, batch),
        ("enter", batch, batch),
        ("enter", batch, "work"),
        ("KeyError", None, "work"),
        ("KeyError", None, batch),
        ("exit", None, batch),
        ("exit", None, "all_of"),
    ]
    assert manager.stats().produced == 6


def _name(id_: str | None) -> str | None:
    return None if id_ is None else re.split("-[0-9a-f]{8}", id_)[0].rpartition(".")[2]
