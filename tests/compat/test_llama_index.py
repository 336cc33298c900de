"""The facade of LlamaIndex's callbacks and asynchronous utilities."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import inspect
import json
import logging
import subprocess
import sys
import threading
import weakref
from collections.abc import AsyncIterator, Iterator
from types import SimpleNamespace
from typing import Any

import pytest

import spanloom
from spanloom.compat import llama_index
from spanloom.compat.llama_index import (
    BaseCallbackHandler,
    CallbackManager,
    CBEvent,
    CBEventType,
    EventContext,
    EventPayload,
    EventStats,
    LlamaDebugHandler,
    LlamaIndexHandler,
    TokenCountingHandler,
    asyncio_run,
    batch_gather,
    chunks,
    get_asyncio_module,
    run_async_tasks,
    run_jobs,
    trace_method,
)
from spanloom.events.types import EventStatus
from spanloom.testing import capture_events

LLM, QUERY, EMBEDDING = CBEventType.LLM, CBEventType.QUERY, CBEventType.EMBEDDING


class Recorder(BaseCallbackHandler):
    """Writes down every call."""

    def __init__(self) -> None:
        super().__init__([], [])
        self.calls: list[tuple[Any, ...]] = []
        self.maps: list[dict[str, list[str]]] = []

    def on_event_start(
        self, event_type: Any, payload: Any = None, event_id: str = "", parent_id: str = "", **kwargs: Any
    ) -> str:
        self.calls.append(("start", event_type, payload, event_id, parent_id, kwargs))
        return event_id

    def on_event_end(self, event_type: Any, payload: Any = None, event_id: str = "", **kwargs: Any) -> None:
        self.calls.append(("end", event_type, payload, event_id, kwargs))

    def start_trace(self, trace_id: str | None = None) -> None:
        self.calls.append(("start_trace", trace_id))

    def end_trace(self, trace_id: str | None = None, trace_map: Any = None) -> None:
        self.calls.append(("end_trace", trace_id))
        self.maps.append({parent: list(ids) for parent, ids in trace_map.items() if ids})


class Raiser(Recorder):
    """Fails at every call."""

    def on_event_start(self, *args: Any, **kwargs: Any) -> str:
        super().on_event_start(*args, **kwargs)
        raise RuntimeError("broken handler")

    def on_event_end(self, *args: Any, **kwargs: Any) -> None:
        raise RuntimeError("broken handler")


async def double(number: int) -> int:
    await asyncio.sleep(0)
    return 2 * number


async def fail(error: BaseException) -> None:
    await asyncio.sleep(0)
    raise error


def kinds(recorder: Recorder) -> list[tuple[Any, ...]]:
    return [call[:2] for call in recorder.calls]


# -- events ------------------------------------------------------------------------------------------------------------


def test_an_event_is_told_to_handlers_with_its_payloads_ids_and_further_arguments() -> None:
    """Start and end come with the payload, one id, the parent "root" and whatever keywords were given."""
    recorder = Recorder()
    manager = CallbackManager([recorder])
    event_id = manager.on_event_start(LLM, {"a": 1}, extra="x")
    manager.on_event_end(LLM, {"b": 2}, event_id=event_id, more="y")
    assert recorder.calls == [
        ("start", LLM, {"a": 1}, event_id, "root", {"extra": "x"}),
        ("end", LLM, {"b": 2}, event_id, {"more": "y"}),
    ]


def test_a_given_id_is_taken() -> None:
    """`event_id=` is the id of the event, and `parent_id=` that of the parent the handlers are told."""
    recorder = Recorder()
    manager = CallbackManager([recorder])
    assert manager.on_event_start(QUERY, event_id="mine", parent_id="other") == "mine"
    manager.on_event_end(QUERY, event_id="mine")
    assert recorder.calls[0] == ("start", QUERY, None, "mine", "other", {})


def test_every_event_is_one_of_spanloom() -> None:
    """The ambient manager gets traces, events and what runs inside, each under what encloses it."""
    with capture_events() as captured:
        manager = CallbackManager()
        with manager.as_trace("chat"), manager.event(QUERY) as query:
            asyncio.run(run_jobs([double(1)]))
            with manager.event(CBEventType.FUNCTION_CALL):
                pass
    by_name = {event.name: event for event in captured.events}
    assert [(by_name[name].type, by_name[name].status) for name in ("chat", "query", "function_call")] == [
        ("trace", "ok"),
        ("query", "ok"),
        ("tool", "ok"),
    ]
    assert by_name["query"].parent_id == by_name["chat"].event_id
    assert f"{by_name['query'].event_id:016x}" == query.event_id
    batch = next(event for event in captured.events if event.type == "batch")
    assert batch.parent_id == by_name["function_call"].parent_id == by_name["query"].event_id


def test_contents_of_payloads_stay_out_of_spans() -> None:
    """A span has the model's name and top_k, and nothing of prompts and answers."""
    with capture_events() as captured:
        manager = CallbackManager()
        payload: dict[Any, Any] = {
            EventPayload.PROMPT: "secret",
            EventPayload.SERIALIZED: {"model": "gpt-x", "api_key": "secret"},
            EventPayload.TOP_K: 3,
        }
        with manager.event(LLM, payload) as event:
            event.on_end({EventPayload.COMPLETION: "secret", EventPayload.MODEL_NAME: "gpt-y"})
    assert dict(captured.events[0].payload) == {"model": "gpt-y", "top_k": 3}


def test_an_event_context_starts_and_ends_once(caplog: pytest.LogCaptureFixture) -> None:
    """A second start logs a warning, a second end does nothing, and both flags tell."""
    recorder = Recorder()
    with CallbackManager([recorder]).event(QUERY, {"q": 1}) as event:
        assert isinstance(event, EventContext)
        assert (event.started, event.finished) == (True, False)
        event.on_start({"again": 1})
        event.on_end(payload={"r": 2})
        event.on_end(payload={"r": 3})
    assert event.finished
    assert [call[2] for call in recorder.calls] == [{"q": 1}, {"r": 2}]
    assert "has started already" in caplog.text


async def test_an_event_context_works_with_async_with() -> None:
    """``async with`` does what ``with`` does."""
    recorder = Recorder()
    async with CallbackManager([recorder]).event(QUERY):
        await asyncio.sleep(0)
    assert kinds(recorder) == [("start", QUERY), ("end", QUERY)]


@pytest.mark.parametrize(
    "error", [ValueError("x"), asyncio.CancelledError(), KeyboardInterrupt(), GeneratorExit()]
)
def test_an_exception_ends_its_events_and_is_raised_on(error: BaseException) -> None:
    """Every event that an exception ends has that very object in its payload, and the span its status."""
    recorder = Recorder()
    manager = CallbackManager([recorder])
    with (
        capture_events() as captured,
        pytest.raises(type(error)) as raised,
        manager.event(QUERY),
        manager.event(CBEventType.RETRIEVE),
    ):
        raise error
    assert raised.value is error
    assert [call[2] for call in recorder.calls if call[0] == "end"] == [{EventPayload.EXCEPTION: error}] * 2
    assert not vars(error)
    expected = "error" if isinstance(error, (ValueError, KeyboardInterrupt)) else "cancelled"
    assert {event.status for event in captured.events} == {expected}


def test_events_end_by_their_id_in_any_order() -> None:
    """An end out of order ends its own event, and what follows is under what is still open."""
    recorder = Recorder()
    manager = CallbackManager([recorder])
    outer = manager.on_event_start(QUERY)
    inner = manager.on_event_start(CBEventType.RETRIEVE)
    manager.on_event_end(QUERY, event_id=outer)
    below = manager.on_event_start(CBEventType.TREE)
    manager.on_event_end(CBEventType.TREE, event_id=below)
    manager.on_event_end(CBEventType.RETRIEVE, event_id=inner)
    alone = manager.on_event_start(QUERY)
    manager.on_event_end(QUERY, event_id=alone)
    parents = [call[4] for call in recorder.calls if call[0] == "start"]
    assert parents == ["root", outer, inner, "root"]
    assert spanloom.current_event() is None


def test_an_end_in_another_thread_leaves_nothing_behind() -> None:
    """An event that another thread has ended is no parent any more where it was started."""
    recorder = Recorder()
    manager = CallbackManager([recorder])
    event_id = manager.on_event_start(QUERY)
    thread = threading.Thread(target=manager.on_event_end, args=(QUERY,), kwargs={"event_id": event_id})
    thread.start()
    thread.join()
    with manager.event(QUERY):
        pass
    assert recorder.calls[-2][4] == "root"
    assert spanloom.current_event() is None


def test_leaves_have_no_children() -> None:
    """What happens inside a call of a model is beside it in the map, as in LlamaIndex, and below it in the trace."""
    recorder = Recorder()
    manager = CallbackManager([recorder])
    with (
        capture_events() as captured,
        manager.as_trace("t"),
        manager.event(LLM) as llm,
        manager.event(QUERY) as query,
    ):
        pass
    assert recorder.maps == [{"root": [llm.event_id, query.event_id]}]
    by_name = {event.name: event for event in captured.events}
    assert by_name["query"].parent_id == by_name["llm"].event_id


# -- handlers ----------------------------------------------------------------------------------------------------------


def test_handlers_can_be_added_removed_and_replaced() -> None:
    """`add_handler`, `remove_handler` and `set_handlers` change who is told, and leave the caller's list alone."""
    first, second = Recorder(), Recorder()
    given = [first]
    manager = CallbackManager(given)
    manager.add_handler(second)
    assert manager.handlers == [first, second]
    assert given == [first]
    manager.remove_handler(first)
    with manager.event(QUERY):
        pass
    manager.set_handlers([first])
    with manager.event(LLM):
        pass
    manager.handlers = []
    with manager.event(EMBEDDING):
        pass
    assert kinds(second) == [("start", QUERY), ("end", QUERY)]
    assert kinds(first) == [("start", LLM), ("end", LLM)]


def test_a_handler_that_raises_is_never_felt(caplog: pytest.LogCaptureFixture) -> None:
    """It is logged once, by its name, called no more, and neither the work nor the next handler notice."""
    raiser, recorder = Raiser(), Recorder()
    manager = CallbackManager([raiser, recorder])
    with manager.as_trace("t"):
        for _ in range(3):
            with manager.event(QUERY):
                pass
    assert len(raiser.calls) == 2  # the trace, and the start that failed
    assert len(recorder.calls) == 8
    assert [record.getMessage() for record in caplog.records if record.levelno >= logging.ERROR] == [
        "handler Raiser failed in on_event_start and gets no more events; add it again to try anew"
    ]


def test_a_handler_that_raises_does_not_replace_the_callers_error() -> None:
    """The exception of the block is raised, whatever handlers do at its end."""
    error = KeyError("mine")
    with pytest.raises(KeyError) as raised, CallbackManager([Raiser()]).event(QUERY):
        raise error
    assert raised.value is error


def test_a_failed_handler_that_is_added_again_is_called_again() -> None:
    """`add_handler` gives it another chance."""
    raiser = Raiser()
    manager = CallbackManager([raiser])
    for _ in range(2):
        with manager.event(QUERY):
            pass
        manager.remove_handler(raiser)
        manager.add_handler(raiser)
    assert len(raiser.calls) == 2


def test_handlers_that_come_and_go_leave_nothing_behind() -> None:
    """A manager whose handlers change all the time does not grow, and the list may be changed directly."""
    manager = CallbackManager()
    kept: weakref.WeakSet[Recorder] = weakref.WeakSet()
    for _ in range(50):
        handler = Recorder()
        kept.add(handler)
        manager.handlers.append(handler)
        with manager.event(QUERY):
            pass
        assert len(handler.calls) == 2
        manager.handlers.clear()
    del handler
    gc.collect()
    assert len(kept) <= 3


def test_a_handler_cannot_change_the_payload_of_others() -> None:
    """Each handler has a copy of the payload."""

    class Changer(Recorder):
        def on_event_start(self, event_type: Any, payload: Any = None, *args: Any, **kwargs: Any) -> str:
            payload.clear()
            return ""

    recorder, payload = Recorder(), {"a": 1}
    with CallbackManager([Changer(), recorder]).event(QUERY, payload):
        pass
    assert recorder.calls[0][2] == payload == {"a": 1}


def test_ignored_types_are_not_told() -> None:
    """`event_starts_to_ignore` and `event_ends_to_ignore` are heeded."""
    handler = LlamaDebugHandler([CBEventType.CHUNKING], [LLM], print_trace_on_end=False)
    manager = CallbackManager([handler])
    for event_type in (CBEventType.CHUNKING, LLM, EMBEDDING):
        with manager.event(event_type):
            pass
    assert [event.event_type for event in handler.get_events()] == [
        CBEventType.CHUNKING,
        LLM,
        EMBEDDING,
        EMBEDDING,
    ]


def test_a_handler_of_spanloom_is_sent_to_its_own_manager() -> None:
    """A handler of spanloom's own kind is refused, and the error says where it belongs."""
    from spanloom.handlers.debug import DebugHandler

    with pytest.raises(TypeError, match=r"get_callback_manager\(\)\.add_handler\(DebugHandler"):
        CallbackManager([DebugHandler()])  # type: ignore[list-item] # that is the point


# -- traces ------------------------------------------------------------------------------------------------------------


def test_only_the_outermost_trace_reaches_handlers() -> None:
    """A trace inside another one is not told, and its events are in the map of the outer one."""
    recorder = Recorder()
    manager = CallbackManager([recorder])
    with manager.as_trace("outer"):
        with manager.event(QUERY) as query, manager.as_trace("inner"), manager.event(LLM) as llm:
            pass
        manager.start_trace("raw")
        manager.end_trace("raw")
    assert [call for call in recorder.calls if "trace" in call[0]] == [
        ("start_trace", "outer"),
        ("end_trace", "outer"),
    ]
    assert recorder.maps == [{"root": [query.event_id], query.event_id: [llm.event_id]}]
    assert manager.trace_map == recorder.maps[0]


async def test_concurrent_traces_have_maps_of_their_own() -> None:
    """A hundred traces at once on one manager give a hundred complete, unmixed maps."""
    recorder = Recorder()
    manager = CallbackManager([recorder])

    async def one(number: int) -> None:
        with manager.as_trace(f"trace {number}"):
            await asyncio.sleep(0)
            with manager.event(QUERY, event_id=f"query {number}"):
                await asyncio.sleep(0)
                with manager.event(EMBEDDING, event_id=f"embedding {number}"):
                    await asyncio.sleep(0)

    await asyncio.gather(*(one(number) for number in range(100)))
    wanted = [{"root": [f"query {i}"], f"query {i}": [f"embedding {i}"]} for i in range(100)]
    assert sorted(recorder.maps, key=str) == sorted(wanted, key=str)


def test_a_trace_that_fails_tells_of_its_exception_once() -> None:
    """An exception that no event has told of is an event of its own, with a start and an end; told ones are not."""
    recorder = Recorder()
    manager = CallbackManager([recorder])
    error = ValueError("x")
    with pytest.raises(ValueError, match="x"), manager.as_trace("outer"), manager.as_trace("inner"):
        raise error
    with pytest.raises(ValueError, match="x"), manager.as_trace("told"), manager.event(QUERY):
        raise error
    payload = {EventPayload.EXCEPTION: error}
    told = [call[:3] for call in recorder.calls if call[1] == CBEventType.EXCEPTION]
    assert told == [("start", CBEventType.EXCEPTION, payload), ("end", CBEventType.EXCEPTION, payload)]
    assert not vars(error)


def test_the_map_of_the_current_trace_can_be_read() -> None:
    """Inside a trace, `trace_map` is that of this trace so far; a trace that has ended cannot end again."""
    recorder = Recorder()
    manager = CallbackManager([recorder])
    with manager.as_trace("t"):
        with manager.event(QUERY) as query:
            pass
        assert manager.trace_map == {"root": [query.event_id]}
        manager.end_trace("t")
    assert [call for call in recorder.calls if call[0] == "end_trace"] == [("end_trace", "t")]


def test_ends_without_a_start_do_nothing() -> None:
    """`end_trace` without a trace is no error; an unknown event's end is told to the handlers only."""
    recorder = Recorder()
    manager = CallbackManager([recorder])
    manager.end_trace("none")
    manager.start_trace(None)
    manager.on_event_end(LLM, {"a": 1}, event_id="unknown")
    manager.on_event_end(LLM)
    assert kinds(recorder) == [("end", LLM), ("end", LLM)]
    assert recorder.calls[0][3] == "unknown"


def test_events_outside_of_traces_are_remembered_within_bounds() -> None:
    """A manager that never has a trace keeps at most 10,000 entries."""
    manager = CallbackManager()
    for _ in range(10_001):
        with manager.event(LLM):
            pass
    assert len(manager.trace_map["root"]) == 1


# -- jobs --------------------------------------------------------------------------------------------------------------


async def test_jobs_are_events_under_what_runs_them() -> None:
    """Each job of a runner is an ASYNC_JOB, its events are under it, and a failed one has its very exception."""
    recorder = Recorder()
    manager = CallbackManager([recorder])
    error = ValueError("x")

    async def job(number: int) -> None:
        with manager.event(EMBEDDING, event_id=f"embedding {number}"):
            await asyncio.sleep(0)
        if number == 2:
            raise error

    with manager.as_trace("t"), manager.event(QUERY) as query, pytest.raises(ValueError, match="x"):
        await run_jobs([job(number) for number in range(3)])
    starts = [call for call in recorder.calls if call[:2] == ("start", CBEventType.ASYNC_JOB)]
    ends = {call[3]: call[2] for call in recorder.calls if call[:2] == ("end", CBEventType.ASYNC_JOB)}
    assert [call[4] for call in starts] == [query.event_id] * 3
    ids = [call[3] for call in starts]
    assert [ends[event_id] for event_id in ids] == [None, None, {EventPayload.EXCEPTION: error}]
    below = [recorder.maps[0][event_id] for event_id in ids]
    assert below == [["embedding 0"], ["embedding 1"], ["embedding 2"]]


@pytest.mark.parametrize("isolation", ["task", "context"])
async def test_jobs_of_spanlooms_own_runners_are_told_too(isolation: Any) -> None:
    """A batch of any runner tells the handlers of its jobs, once each, and leaves no frame behind."""
    recorder = Recorder()
    manager = CallbackManager([recorder])
    with manager.as_trace("t"):
        await spanloom.async_map(double, range(20), limit=3, isolation=isolation)
    await spanloom.async_map(double, range(20), limit=3)
    assert len(recorder.maps[0]["root"]) == 20
    assert len(recorder.calls) == 2 + 2 * 20
    assert llama_index.CallbackManager().frame() is None


async def test_each_manager_around_a_job_is_told_once() -> None:
    """Two managers with traces around a batch both hear of its jobs, each with ids of its own tree as parents."""
    outer, inner = Recorder(), Recorder()
    first, second = CallbackManager([outer]), CallbackManager([inner])
    with (
        first.as_trace("a"),
        first.event(QUERY) as query,
        second.as_trace("b"),
        first.event(QUERY) as deepest,
    ):
        await run_jobs([double(1)])
    told = {
        name: [call[4] for call in recorder.calls if call[:2] == ("start", CBEventType.ASYNC_JOB)]
        for name, recorder in (("first", outer), ("second", inner))
    }
    assert told == {"first": [deepest.event_id], "second": ["root"]}
    assert outer.maps[0]["root"] == [query.event_id]


async def test_a_job_that_never_began_is_told_in_full() -> None:
    """A job that is cancelled before its first step has a start and an end like any other, or neither."""
    recorder = Recorder()
    manager = CallbackManager([recorder])

    async def main() -> None:
        with manager.as_trace("t"):
            await run_jobs([double(1), double(2)])

    task = asyncio.create_task(main())
    await asyncio.sleep(0)  # the tasks of the jobs are there, and have not run
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    jobs = [call for call in recorder.calls if call[1] == CBEventType.ASYNC_JOB]
    starts, ends = ([call[3] for call in jobs if call[0] == kind] for kind in ("start", "end"))
    assert sorted(starts) == sorted(ends)
    assert llama_index.CallbackManager().frame() is None


async def test_cancelled_jobs_end_as_cancelled() -> None:
    """A cancel ends running jobs with a CancelledError in their payload, and none is told twice or never."""
    recorder = Recorder()
    manager = CallbackManager([recorder])

    async def main() -> None:
        with manager.as_trace("t"):
            await run_jobs([asyncio.sleep(60) for _ in range(10)], workers=3)

    before = asyncio.all_tasks()
    task = asyncio.create_task(main())
    async with asyncio.timeout(30):
        while sum(call[1] == CBEventType.ASYNC_JOB for call in recorder.calls) < 3:
            await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert asyncio.all_tasks() == before
    jobs = [call for call in recorder.calls if call[1] == CBEventType.ASYNC_JOB]
    assert [call[0] for call in jobs] == ["start"] * 3 + ["end"] * 3
    assert {type(call[2][EventPayload.EXCEPTION]) for call in jobs[3:]} == {asyncio.CancelledError}
    assert recorder.calls[-1] == ("end_trace", "t")


def test_the_relay_costs_nothing_where_the_module_is_not_used() -> None:
    """Importing the facade puts no hook into any batch; only a manager with a handler does."""
    program = (
        "from spanloom.compat import llama_index as l; from spanloom.callbacks.everywhere import EVERYWHERE as e\n"
        "def n(m):\n    with m.event('x'): pass\n    return len(e.guards)\n"
        "import json; print(json.dumps([n(l.CallbackManager()), n(l.CallbackManager([l.LlamaDebugHandler()]))]))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == [0, 1]


# -- LlamaDebugHandler -------------------------------------------------------------------------------------------------


def test_the_debug_handler_pairs_times_and_forgets() -> None:
    """It keeps starts and ends by type and in order, pairs them by id, sums their durations, and can be emptied."""
    handler = LlamaDebugHandler(print_trace_on_end=False)
    manager = CallbackManager([handler])
    with manager.event(QUERY, {"q": 1}) as query, manager.event(LLM):
        pass
    manager.on_event_start(EMBEDDING)
    assert [event.event_type for event in handler.get_events()] == [QUERY, LLM, LLM, QUERY, EMBEDDING]
    assert handler.sequential_events == handler.get_events()
    assert [[event.id_ for event in pair] for pair in handler.get_event_pairs(QUERY)] == [
        [query.event_id] * 2
    ]
    assert handler.get_events(QUERY)[0].payload == {"q": 1}
    assert set(handler.event_pairs_by_type) == {QUERY, LLM, EMBEDDING}
    info = handler.get_event_time_info()
    assert info.total_count == 2
    assert info.total_secs == pytest.approx(2 * info.average_secs)
    assert info.total_secs > handler.get_event_time_info(LLM).total_secs > 0
    assert len(handler.get_llm_inputs_outputs()) == 1
    handler.flush_event_logs()
    assert handler.get_events() == []
    assert handler.get_event_time_info(QUERY) == EventStats(0.0, 0.0, 0)
    assert dict(handler.event_pairs_by_type) == {}


def test_the_debug_handler_prints_each_trace(capsys: pytest.CaptureFixture[str]) -> None:
    """A trace is printed at its end: its name, then a line per event, deeper and deeper."""
    manager = CallbackManager([LlamaDebugHandler()])
    with manager.as_trace("chat"), manager.event(QUERY):
        with manager.event(CBEventType.RETRIEVE), manager.event(EMBEDDING):
            pass
        with manager.event(LLM):
            pass
    lines = capsys.readouterr().out.splitlines()
    assert lines[1] == "Trace: chat"
    shown = [(len(line) - len(line.lstrip()), line.split()[0], line.split()[-1]) for line in lines[2:-1]]
    assert shown == [
        (4, "|_CBEventType.QUERY", "seconds"),
        (6, "|_CBEventType.RETRIEVE", "seconds"),
        (8, "|_CBEventType.EMBEDDING", "seconds"),
        (6, "|_CBEventType.LLM", "seconds"),
    ]


def test_the_debug_handler_prints_into_a_logger(
    capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    """With a logger nothing goes to stdout."""
    caplog.set_level(logging.DEBUG)
    manager = CallbackManager([LlamaDebugHandler(logger=logging.getLogger("mine"))])
    with manager.as_trace("chat"):
        pass
    assert capsys.readouterr().out == ""
    assert "Trace: chat" in [record.getMessage() for record in caplog.records if record.name == "mine"]


def test_events_without_an_id_get_one() -> None:
    """Two events made without an id are two."""
    assert CBEvent(LLM).id_ != CBEvent(LLM).id_
    handler = LlamaDebugHandler()
    assert handler.on_event_start(LLM) != handler.on_event_start(LLM)
    assert len(handler.get_event_pairs(LLM)) == 2


# -- TokenCountingHandler ----------------------------------------------------------------------------------------------


def test_tokens_are_counted_by_the_provider_or_else_by_the_tokenizer() -> None:
    """What the answer says of its usage counts; a prompt, messages or chunks without it are counted as text."""
    handler = TokenCountingHandler(str.split)
    manager = CallbackManager([handler])

    def llm(payload: dict[Any, Any]) -> tuple[int, int]:
        with manager.event(LLM) as event:
            event.on_end(payload)
        count = handler.llm_token_counts[-1]
        assert count.event_id == event.event_id
        return count.prompt_token_count, count.completion_token_count

    answer = SimpleNamespace(
        raw={"usage": {"prompt_tokens": 30, "completion_tokens": 12}}, additional_kwargs={}
    )
    silent = "three words here"
    message = SimpleNamespace(role="user", content="four words are here", additional_kwargs={})
    assert llm({EventPayload.PROMPT: "two words", EventPayload.COMPLETION: answer}) == (30, 12)
    assert llm({EventPayload.PROMPT: "two words", EventPayload.COMPLETION: silent}) == (2, 3)
    assert llm({EventPayload.MESSAGES: [message], EventPayload.RESPONSE: silent}) == (8, 3)
    assert llm({"other": 1}) == (0, 0)
    with manager.event(EMBEDDING) as embedding:
        embedding.on_end({EventPayload.CHUNKS: ["one", "two words"]})
    assert (handler.prompt_llm_token_count, handler.completion_llm_token_count) == (40, 18)
    assert (handler.total_llm_token_count, handler.total_embedding_token_count) == (58, 3)
    handler.reset_counts()
    assert (handler.total_llm_token_count, handler.total_embedding_token_count) == (0, 0)


@pytest.mark.parametrize(
    ("usage", "tokens"),
    [
        ({"input_tokens": 3, "output_tokens": 2, "cache_read_input_tokens": 100}, (103, 2)),
        ({"input_tokens": 3, "output_tokens": 2, "cache_creation_input_tokens": None}, (3, 2)),
        (
            {"prompt_tokens": 30, "completion_tokens": 2, "prompt_tokens_details": {"cached_tokens": 20}},
            (30, 2),
        ),
        ({"prompt_token_count": 30, "candidates_token_count": 2, "cached_content_token_count": 20}, (30, 2)),
        ({}, (0, 0)),
    ],
)
def test_cached_tokens_count_where_the_provider_leaves_them_out(
    usage: dict[str, Any], tokens: tuple[int, int]
) -> None:
    """Anthropic's cached tokens are added; those of OpenAI and Gemini are in the sum already."""
    response = SimpleNamespace(raw=SimpleNamespace(model_dump=lambda: {"usage": usage}), additional_kwargs={})
    assert llama_index.get_tokens_from_response(response) == tokens


def test_tokens_are_printed_when_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    """`verbose` prints the counts of each call; ignored types are not counted at all."""
    handler = TokenCountingHandler(str.split, verbose=True)
    handler.on_event_end(LLM, {EventPayload.PROMPT: "one two", EventPayload.COMPLETION: "three"})
    handler.on_event_end(EMBEDDING, {EventPayload.CHUNKS: ["one two", "three"]})
    assert capsys.readouterr().out.splitlines() == [
        "LLM Prompt Token Usage: 2",
        "LLM Completion Token Usage: 1",
        "Embedding Token Usage: 3",
    ]
    deaf = TokenCountingHandler(str.split, event_ends_to_ignore=[LLM])
    deaf.on_event_end(LLM, {EventPayload.PROMPT: "one two"})
    assert deaf.llm_token_counts == []


def test_a_used_up_token_budget_stops_the_work() -> None:
    """The end that uses it up and every start after it raise ValueError; each event has ended, for everybody else."""
    recorder = Recorder()
    handler = TokenCountingHandler(str.split, token_budget=3)
    manager = CallbackManager([handler, recorder])
    payload = {EventPayload.PROMPT: "one two", EventPayload.COMPLETION: "three"}
    with manager.event(LLM) as event:
        event.on_end(payload)
    with capture_events() as captured:
        used_up = pytest.raises(ValueError, match="Token budget exceeded! Limit: 3, Current: 6")
        with used_up, manager.event(LLM) as event:
            event.on_end(payload)
        with pytest.raises(ValueError, match="Token budget exceeded"), manager.event(QUERY):
            pytest.fail("the block must not run")
    assert [event.status for event in captured.events] == [EventStatus.OK, EventStatus.ERROR]
    assert [call[0] for call in recorder.calls] == ["start", "end"] * 3
    assert manager.frame() is None
    with pytest.raises(KeyError, match="mine"), CallbackManager([recorder]).event(QUERY) as query:
        manager.set_handlers([recorder])
        manager.add_handler(handler)
        raise KeyError("mine")
    assert query.finished


def test_without_tiktoken_tokens_are_estimated_and_that_is_said(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Words and signs are counted, with one warning."""
    monkeypatch.setitem(sys.modules, "tiktoken", None)
    monkeypatch.setitem(sys.modules, "llama_index.core.utils", None)
    handler = TokenCountingHandler()
    for _ in range(2):
        handler.on_event_end(LLM, {EventPayload.PROMPT: "Hello, world!", EventPayload.COMPLETION: "Hi"})
    assert handler.total_llm_token_count == 10
    assert len(caplog.records) == 1


# -- runners -----------------------------------------------------------------------------------------------------------

variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="")


async def read() -> str:
    return variable.get()


def test_asyncio_run_works_without_a_loop_and_with_a_running_one() -> None:
    """The result comes in both cases, and the coroutine sees the caller's context variables."""

    async def inside() -> str:
        return asyncio_run(read())

    variable.set("seen")
    assert asyncio_run(read()) == "seen"
    assert asyncio.run(inside()) == "seen"
    variable.set("")


async def test_a_trace_goes_on_inside_asyncio_run() -> None:
    """Events in the other thread are in the map of the caller's trace, under its event."""
    recorder = Recorder()
    manager = CallbackManager([recorder])

    async def inside() -> None:
        with manager.event(EMBEDDING, event_id="embedding"):
            await asyncio.sleep(0)

    with manager.as_trace("t"), manager.event(QUERY) as query:
        asyncio_run(inside())
    assert recorder.maps == [{"root": [query.event_id], query.event_id: ["embedding"]}]


def test_asyncio_run_uses_the_loop_that_is_set() -> None:
    """A loop that is set for the thread and stands still runs the coroutine, again and again."""
    seen: list[object] = []

    async def note() -> None:
        seen.append(asyncio.get_running_loop())

    def in_thread() -> None:
        loop = asyncio.new_event_loop()
        asyncio.set_event_loop(loop)
        asyncio_run(note())
        asyncio_run(note())
        seen.append(loop)
        loop.close()
        asyncio_run(note())

    thread = threading.Thread(target=in_thread)
    thread.start()
    thread.join()
    assert seen[0] is seen[1] is seen[2]
    assert seen[3] is not seen[0]


@pytest.mark.parametrize("error", [ValueError("x"), RuntimeError("my own"), KeyboardInterrupt()])
def test_asyncio_run_raises_the_coroutines_own_error(error: BaseException) -> None:
    """The very object comes out, RuntimeErrors too, with a loop running and without."""

    async def inside() -> None:
        asyncio_run(fail(error))

    with pytest.raises(type(error)) as raised:
        asyncio_run(fail(error))
    assert raised.value is error
    if isinstance(error, Exception):
        with pytest.raises(type(error)) as raised:
            asyncio.run(inside())
        assert raised.value is error


@pytest.mark.parametrize("what", ["future", "lock"])
async def test_asyncio_run_explains_nested_async(what: str) -> None:
    """A coroutine that waits for the loop which is blocked fails with an error that names the way out."""
    future = asyncio.get_running_loop().create_future()
    lock = asyncio.Lock()
    await lock.acquire()
    waiter = asyncio.create_task(lock.acquire())
    await asyncio.sleep(0)  # the lock belongs to this loop from here on

    async def wait() -> None:
        await (future if what == "future" else lock.acquire())

    with pytest.raises(RuntimeError, match=r"nested async.*async entry points"):
        asyncio_run(wait())
    waiter.cancel()


@pytest.mark.parametrize("show_progress", [False, True])
def test_run_async_tasks_keeps_order_and_errors(show_progress: bool) -> None:
    """Results come in input order, and the task's own error in both modes; a generator will do."""
    assert run_async_tasks((double(number) for number in range(5)), show_progress) == [0, 2, 4, 6, 8]
    assert run_async_tasks([], show_progress) == []
    error = ValueError("x")
    with pytest.raises(ValueError, match="x") as raised:
        run_async_tasks([double(1), fail(error)], show_progress)
    assert raised.value is error


def test_a_bar_is_shown_under_the_given_name(capsys: pytest.CaptureFixture[str]) -> None:
    """`show_progress` shows a bar on stderr, called as the caller says; without it nothing is printed."""
    run_async_tasks([double(1)], True, "embedding texts")
    asyncio.run(run_jobs([double(1)], True, 2, "reading pages"))
    shown = capsys.readouterr()
    assert "embedding texts" in shown.err
    assert "reading pages" in shown.err
    run_async_tasks([double(1)])
    asyncio.run(run_jobs([double(1)]))
    assert capsys.readouterr() == ("", "")
    assert shown.out == ""


async def test_run_async_tasks_works_inside_a_running_loop() -> None:
    """A notebook's cell may call it; nothing is patched."""
    assert run_async_tasks([double(1)]) == [2]


async def test_run_jobs_keeps_to_its_workers_and_to_the_order() -> None:
    """At most `workers` run at once, a generator is pulled lazily, and `None` is a result."""
    running = peak = made = 0

    async def job(number: int) -> int | None:
        nonlocal running, peak
        running += 1
        peak = max(peak, running)
        assert made <= number + 3
        await asyncio.sleep(0.001 * (10 - number))
        running -= 1
        return number or None

    def jobs() -> Iterator[Any]:
        nonlocal made
        for number in range(10):
            made += 1
            yield job(number)

    assert await run_jobs(jobs(), False, 3) == [None, *range(1, 10)]
    assert peak == 3
    assert await run_jobs([], workers=1) == []
    with pytest.raises(ValueError, match="workers"):
        await run_jobs([], workers=0)


async def test_run_jobs_ends_the_others_when_one_fails() -> None:
    """The first failure is raised as it is when all other jobs have ended."""
    ended = []

    async def slow() -> None:
        try:
            await asyncio.sleep(60)
        finally:
            ended.append(1)

    error = ValueError("x")
    before = asyncio.all_tasks()
    with pytest.raises(ValueError, match="x") as raised:
        await run_jobs([slow(), slow(), fail(error), slow(), slow()])
    assert raised.value is error
    assert asyncio.all_tasks() == before
    assert len(ended) == 3


async def test_batch_gather_runs_chunk_after_chunk(capsys: pytest.CaptureFixture[str]) -> None:
    """A chunk starts when the one before has ended, and `verbose` prints a line for each."""
    log: list[str] = []

    async def job(number: int) -> int:
        log.append(f"start {number}")
        await asyncio.sleep(0)
        log.append(f"end {number}")
        return number

    assert await batch_gather((job(number) for number in range(5)), 2) == list(range(5))
    wanted = [
        "start 0",
        "start 1",
        "end 0",
        "end 1",
        "start 2",
        "start 3",
        "end 2",
        "end 3",
        "start 4",
        "end 4",
    ]
    assert log == wanted
    assert capsys.readouterr().out == ""
    log.clear()
    assert await batch_gather([job(number) for number in range(5)], 2, True) == list(range(5))
    assert log == wanted
    assert capsys.readouterr().out.splitlines() == [f"Completed {done} out of 5 tasks" for done in (2, 4, 5)]
    with pytest.raises(ValueError, match="batch_size"):
        await batch_gather([], 0)


@pytest.mark.parametrize("verbose", [False, True])
async def test_batch_gather_leaves_no_coroutine_behind(verbose: bool) -> None:
    """A failure closes the awaitables that were never started."""
    left = [double(number) for number in range(5)]
    task = asyncio.create_task(asyncio.sleep(60))
    with pytest.raises(ValueError, match="x"):
        await batch_gather([fail(ValueError("x")), double(0), *left, task], 2, verbose)
    assert [coroutine.cr_frame for coroutine in left] == [None] * 5
    await asyncio.sleep(0)
    assert task.cancelled()


def test_chunks_are_filled_up_with_none() -> None:
    """The last chunk has ``None`` for what is missing, iterators are read lazily, and a size below 1 is refused."""
    assert list(chunks(range(5), 2)) == [(0, 1), (2, 3), (4, None)]
    source = iter(range(10))
    assert next(iter(chunks(source, 3))) == (0, 1, 2)
    assert next(source) == 3
    with pytest.raises(ValueError, match="size"):
        chunks([], 0)


async def test_get_asyncio_module_gathers_with_and_without_a_bar() -> None:
    """Without a bar it is ``asyncio`` itself; with one, `gather` cancels the others when one fails."""
    assert get_asyncio_module() is asyncio
    module = get_asyncio_module(show_progress=True)
    assert module.sleep is asyncio.sleep
    assert await module.gather(double(1), double(2), desc="two") == [2, 4]
    with pytest.raises(ValueError, match="x"):
        await module.gather(fail(ValueError("x")), asyncio.sleep(60))
    with pytest.warns(DeprecationWarning, match="get_asyncio_module"):
        assert llama_index.asyncio_module() is asyncio


# -- trace_method ------------------------------------------------------------------------------------------------------


class Engine:
    def __init__(self, manager: CallbackManager | None) -> None:
        if manager is not None:
            self.callback_manager = self.other = manager
        self.manager = manager or CallbackManager()

    @trace_method("sync")
    def query(self) -> int:
        with self.manager.event(QUERY):
            return 1

    @trace_method("async")
    async def aquery(self) -> int:
        await asyncio.sleep(0)
        with self.manager.event(QUERY):
            return 2

    @trace_method("generator", callback_manager_attr="other")
    def stream(self) -> Iterator[int]:
        for number in range(2):
            with self.manager.event(QUERY):
                yield number

    @trace_method("async generator")
    async def astream(self) -> AsyncIterator[int]:
        for number in range(2):
            with self.manager.event(QUERY):
                await asyncio.sleep(0)
            yield number


async def test_trace_method_traces_methods_of_every_kind() -> None:
    """Each call is one trace that lasts as long as the body runs, generators included."""
    recorder = Recorder()
    engine = Engine(CallbackManager([recorder]))
    assert inspect.iscoroutinefunction(engine.aquery)
    assert engine.query() == 1
    assert await engine.aquery() == 2
    for number in engine.stream():
        assert engine.callback_manager.frame() is None, number
        assert spanloom.current_event() is None
    assert [number async for number in engine.astream()] == [0, 1]
    names = ["sync", "async", "generator", "async generator"]
    assert [call[1] for call in recorder.calls if call[0] == "end_trace"] == names
    assert [len(tree["root"]) for tree in recorder.maps] == [1, 1, 2, 2]
    assert Engine.query.__name__ == "query"


def test_a_generator_that_is_closed_early_ends_its_trace() -> None:
    """The trace and its open events end when the generator is closed, in whatever context."""
    recorder = Recorder()
    stream = Engine(CallbackManager([recorder])).stream()
    assert next(stream) == 0
    contextvars.Context().run(stream.close)  # type: ignore[attr-defined] # it is a generator
    assert [call[0] for call in recorder.calls] == ["start_trace", "start", "end", "end_trace"]


async def test_trace_method_without_a_manager_warns_and_runs(caplog: pytest.LogCaptureFixture) -> None:
    """An object that has no manager runs its method without a trace."""
    engine = Engine(None)
    assert (engine.query(), await engine.aquery(), list(engine.stream())) == (1, 2, [0, 1])
    assert len(caplog.records) == 3
    assert "no attribute callback_manager" in caplog.text


# -- their handlers on spanloom's manager ------------------------------------------------------------------------------


async def test_a_handler_of_theirs_on_spanlooms_manager_gets_everything() -> None:
    """Traces, scopes and jobs come as LlamaIndex's events, with a map under "root" and errors in the payload."""
    recorder = Recorder()
    error = ValueError("x")
    with spanloom.use_callback_manager(spanloom.CallbackManager([LlamaIndexHandler(recorder)])) as manager:
        with manager.as_trace("t"), manager.event("tool", {"a": 1}, name="search").set(b=2) as tool:
            await spanloom.run_jobs([double(1), fail(error)], on_error="return")
        with pytest.raises(ValueError, match="x"), manager.event("mine") as root:
            raise error
    hexed = f"{tool.event_id:016x}"
    first = recorder.calls[:2]
    assert first == [
        ("start_trace", "t"),
        ("start", CBEventType.FUNCTION_CALL, {"a": 1, "b": 2}, hexed, "root", {}),
    ]
    ends = [call for call in recorder.calls if call[:2] == ("end", CBEventType.ASYNC_JOB)]
    assert [call[2] for call in ends] == [None, {EventPayload.EXCEPTION: error}]
    assert recorder.maps[0]["root"] == [hexed]
    assert recorder.maps[1]["root"] == [f"{root.event_id:016x}"]
    mine = next(call for call in recorder.calls if call[:2] == ("start", "mine"))
    assert (mine[1].value, mine[1].name) == ("mine", "MINE")
    assert repr(recorder.calls[-2][2][EventPayload.EXCEPTION]) == repr(error)


async def test_a_handler_of_theirs_that_fails_is_quarantined_by_spanlooms_manager() -> None:
    """Its failure is counted there, a used up token budget too, and the work goes on."""
    for handler in (Raiser(), TokenCountingHandler(str.split, token_budget=-1)):
        manager = spanloom.CallbackManager([LlamaIndexHandler(handler)])
        with spanloom.use_callback_manager(manager):
            assert await spanloom.run_jobs([double(1)]) == [2]
        assert manager.stats().handlers[0].quarantined


def test_an_exception_that_is_gone_is_told_by_its_text() -> None:
    """An event that ends long after its exception has one with the same type name and text, or a cancel."""
    recorder = Recorder()
    manager = spanloom.CallbackManager([LlamaIndexHandler(recorder)])
    for error in (ValueError("x"), asyncio.CancelledError(), asyncio.CancelledError("why")):
        manager.on_event_end(manager.on_event_start("mine"), error=error)
    told = [call[2][EventPayload.EXCEPTION] for call in recorder.calls if call[0] == "end"]
    assert [str(error) for error in told] == ["ValueError: x", "", "why"]
    assert [isinstance(error, asyncio.CancelledError) for error in told] == [False, True, True]


def test_the_facade_leaves_no_cycle_of_its_own() -> None:
    """An event and the exception that ended it are freed when nobody holds them any more."""

    class MarkError(Exception):
        pass

    manager = CallbackManager([LlamaDebugHandler(print_trace_on_end=False)])
    manager.set_handlers([])
    with pytest.raises(MarkError), manager.as_trace("t"), manager.event(QUERY):
        raise MarkError
    gc.collect()
    assert not [value for value in gc.get_objects() if isinstance(value, MarkError)]


def test_the_enums_have_all_of_theirs() -> None:
    """Members are equal to their values, so that either package's may be used."""
    assert len(CBEventType) == 15
    assert len(EventPayload) == 22
    assert CBEventType("llm") == "llm"
    assert hash(CBEventType.LLM) == hash("llm")
    assert {"formatted_prompt": 1}[EventPayload.PROMPT] == 1
