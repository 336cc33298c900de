"""The manager: ids, parents, traces, and one end for each start."""

from __future__ import annotations

import asyncio
import collections
import contextvars
import threading
from contextlib import nullcontext
from functools import partial
from typing import Any, ClassVar

import pytest

from spanloom.callbacks import CallbackManager, EventContext, use_callback_manager
from spanloom.callbacks import traces as traces_module
from spanloom.concurrency.jobs import run_jobs
from spanloom.events import Event
from spanloom.events.event import JobEvent
from spanloom.events.trace import Trace
from tests.callbacks.recorders import Ends, Inline, Lists, recorded, stats_of


def shape(events: list[Event]) -> list[tuple[str, str | None, str | None]]:
    """Return name, parent's name and status of each event."""
    names = {event.event_id: event.name for event in events}
    return [(event.name, names.get(event.parent_id or 0), event.status) for event in events]


# scopes ---------------------------------------------------------------------------------------------


def test_a_block_is_one_event() -> None:
    """Entry starts the event, exit ends it, and what is inside is its child."""
    manager = CallbackManager([handler := Inline()])
    with manager.event("step", {"a": 1}, name="outer") as outer:
        assert manager.current.get() is outer.event
        with manager.event("step", name="inner"):
            manager.emit("mark", {"b": 2}, name="dot")
    assert manager.current.get() is None
    assert handler.calls == [
        "trace outer",
        "start outer",
        "start inner",
        "point dot",
        "end inner ok",
        "end outer ok",
        "trace of 2 children ended",
    ]
    assert shape(recorded(manager)) == [
        ("dot", "inner", "ok"),
        ("inner", "outer", "ok"),
        ("outer", None, "ok"),
    ]
    dot, inner, root = recorded(manager)
    assert (dot.payload, dot.is_point, dot.duration_ns) == ({"b": 2}, True, 0)
    assert (root.payload, root.event_id, root.trace_id) == ({"a": 1}, outer.event_id, outer.trace_id)
    assert dot.trace_id == inner.trace_id == root.trace_id
    assert root.start_ns <= inner.start_ns <= dot.start_ns <= inner.end_ns <= root.end_ns  # type: ignore[operator]  # all have ended


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (ValueError("no"), "error"),
        (asyncio.CancelledError(), "cancelled"),
        (GeneratorExit(), "cancelled"),
        (TimeoutError(), "timeout"),
        (KeyboardInterrupt(), "error"),
    ],
)
async def test_what_leaves_the_block_ends_the_event_and_goes_on(error: BaseException, status: str) -> None:
    """The exception decides the status and is raised on, the same object, by `with` and by `async with`."""
    manager = CallbackManager()
    with pytest.raises(type(error)) as caught, manager.event():
        raise error
    assert caught.value is error
    with pytest.raises(type(error)) as caught:
        async with manager.event():
            raise error
    assert caught.value is error
    assert [event.status for event in recorded(manager)] == [status, status]
    assert recorded(manager)[0].error.type == type(error).__qualname__.replace(
        "Cancelled", "asyncio.exceptions.Cancelled"
    )  # type: ignore[union-attr]  # it has one


def test_names_and_payloads() -> None:
    """The name is the type by default; the payload is copied; `set` adds to it before, in and after the block."""
    manager = CallbackManager()
    given = {"a": 1}
    context = manager.event("llm", given)
    assert context.set(b=2) is context
    with context:
        context.set(c=3)
    context.set(d=4)
    context.set(self=5)
    given["a"] = 9
    with manager.event().set(only="this"):
        pass
    first, second = recorded(manager)
    assert (first.type, first.name, first.payload) == (
        "llm",
        "llm",
        {"a": 1, "b": 2, "c": 3, "d": 4, "self": 5},
    )
    assert (second.type, second.name, second.payload) == ("step", "step", {"only": "this"})
    assert type(second.name) is str


def test_a_context_opens_one_event() -> None:
    """A context is for one event: before its start it has no ids, and a second start says what to do."""
    manager = CallbackManager()
    context = manager.event(name="a")
    for attribute in ("event_id", "trace_id"):
        with pytest.raises(RuntimeError, match="enter the context with 'with' first"):
            getattr(context, attribute)
    context.end()
    with context:
        pass
    with pytest.raises(RuntimeError, match=r"already opened event 'a'; call manager.event\(...\) again"):
        context.start()
    assert len(recorded(manager)) == 1


@pytest.mark.parametrize(
    ("first", "then", "status"), [(ValueError(), None, "error"), (None, ValueError(), "ok")]
)
def test_the_first_end_counts(first: Exception | None, then: Exception | None, status: str) -> None:
    """Ending twice is harmless, and does not change how it ended, nor when."""
    manager = CallbackManager([handler := Inline()])
    context = manager.event(name="a")
    event = context.start()
    context.end(first)
    ended = event.end_ns, event.status, event.error
    context.end(then)
    assert (event.end_ns, event.status, event.error) == ended
    assert handler.calls.count(f"end a {status}") == 1
    assert manager.stats().produced == 1


def test_ends_in_any_order_leave_the_right_event_current() -> None:
    """An outer context that ends first does not make itself, or a stranger, current."""
    manager = CallbackManager()
    outer, inner = manager.event(name="outer"), manager.event(name="inner")
    outer.start()
    inner.start()
    outer.end()
    assert manager.current.get() is inner.event
    inner.end()
    assert [event.name for event in recorded(manager)] == ["outer", "inner"]


def test_an_attempt_has_its_number() -> None:
    """Tries are numbered."""
    manager = CallbackManager()
    with manager.attempt("attempt", "fetch", 3, {"k": 1}):
        pass
    (event,) = recorded(manager)
    assert (event.attempt, event.name, event.payload) == (3, "fetch", {"k": 1})


# by id ------------------------------------------------------------------------------------------------


def test_events_can_be_started_and_ended_by_id() -> None:
    """The end is found by its id, wherever the event stands: never the top of some stack."""
    manager = CallbackManager([handler := Inline()])
    first = manager.on_event_start("llm", {"a": 1}, name="first")
    second = manager.on_event_start("llm", parent_id=first, name="second")
    third = manager.on_event_start("tool", event_id=77)
    assert third == 77
    assert manager.current.get() is None
    manager.on_event_end(first, {"b": 2})
    manager.on_event_end(third, error=TimeoutError())
    manager.on_event_end(second, error=ValueError())
    ends = [call for call in handler.calls if call.startswith("end")]
    assert ends == ["end first ok", "end tool timeout", "end second error"]
    assert shape(recorded(manager)) == [
        ("first", None, "ok"),
        ("tool", None, "timeout"),
        ("second", "first", "error"),
    ]
    assert recorded(manager)[0].payload == {"a": 1, "b": 2}


def test_an_event_by_id_lies_under_the_current_one() -> None:
    """Without a parent's id, the current event is the parent; the event itself does not become current."""
    manager = CallbackManager()
    with manager.event(name="around") as around:
        event_id = manager.on_event_start("llm")
        assert manager.current.get() is around.event
        manager.on_event_end(event_id)
    assert shape(recorded(manager))[0] == ("llm", "around", "ok")


async def test_a_running_job_can_be_a_parent() -> None:
    """The id of a job, which another library carried through, is a parent like any other."""
    from spanloom import run_jobs, use_callback_manager

    manager = CallbackManager()
    ids = []

    async def job() -> None:
        current = manager.current.get()
        assert isinstance(current, JobEvent)
        ids.append(manager.on_event_start("llm", parent_id=current.event_id))
        manager.on_event_end(ids[0])
        with pytest.raises(ValueError, match="is not an open event"):
            manager.on_event_start("llm", parent_id=current.event_id ^ 1)

    with use_callback_manager(manager):
        await run_jobs([job()])
    llm = recorded(manager)[0]
    assert (llm.job_index, llm.parent_id) == (0, recorded(manager)[1].event_id)


@pytest.mark.parametrize("event_id", [0, -1, 2**64])
def test_an_id_out_of_range_is_refused(event_id: int) -> None:
    """Ids that the wire cannot hold are refused, with the range."""
    manager = CallbackManager()
    with pytest.raises(ValueError, match=rf"from 1 to 2\*\*64 - 1 \(got {event_id}\)"):
        manager.on_event_start("llm", event_id=event_id)
    assert manager.stats().open == 0


@pytest.mark.parametrize("wrong", [1.5, "1", True])
def test_an_id_that_is_no_int_is_refused(wrong: Any) -> None:
    """It could not be written down anywhere."""
    manager = CallbackManager()
    for what in ("event_id", "parent_id"):
        with pytest.raises(
            TypeError, match=rf"{what} must be an int \(got {wrong!r}, {type(wrong).__name__}\)"
        ):
            manager.on_event_start("llm", **{what: wrong})
    assert manager.stats().open == 0


def test_wrong_ids_are_refused() -> None:
    """An id that is taken, a parent that is not open, an end without a start: each says so."""
    manager = CallbackManager()
    event_id = manager.on_event_start("llm")
    with pytest.raises(ValueError, match="is taken by an open event"):
        manager.on_event_start("llm", event_id=event_id)
    with pytest.raises(ValueError, match="is not an open event of this manager"):
        manager.on_event_start("llm", parent_id=event_id ^ 1)
    manager.on_event_end(event_id)
    with pytest.raises(ValueError, match="is still open"):
        manager.on_event_end(event_id)
    with manager.event() as block, pytest.raises(ValueError, match="was started by on_event_start"):
        manager.on_event_end(block.event_id)
    assert manager.stats().open == 0


# traces -----------------------------------------------------------------------------------------------


def test_a_trace_has_a_root_and_a_map() -> None:
    """Everything under one root has its trace id; the map gives each parent's children; nested traces are children."""
    manager = CallbackManager([handler := Inline()])
    with manager.as_trace("work") as root:
        with manager.event(name="a") as a, manager.as_trace("nested") as nested:
            pass
        with manager.event(name="b") as b:
            assert manager.trace_map(root.trace_id) == {
                root.event_id: [a.event_id, b.event_id],
                a.event_id: [nested.event_id],
            }
    assert nested.trace_id == root.trace_id
    assert manager.trace_map(root.trace_id)[root.event_id] == [a.event_id, b.event_id]
    assert [call for call in handler.calls if call.startswith("trace")] == [
        "trace work",
        "trace of 3 children ended",
    ]
    assert [event.type for event in recorded(manager)] == ["trace", "step", "step", "trace"]


def test_a_trace_without_a_block() -> None:
    """`start_trace` makes its root current until `end_trace`; the error decides the status."""
    manager = CallbackManager()
    root = manager.start_trace("work")
    with manager.event(name="a"):
        pass
    manager.end_trace(root, error=ValueError())
    assert manager.current.get() is None
    assert shape(recorded(manager)) == [("a", "work", "ok"), ("work", None, "error")]
    with pytest.raises(ValueError, match="was opened by start_trace and is still open"):
        manager.end_trace(root)


def test_a_point_event_alone_is_a_trace() -> None:
    """A point event with nothing around it is a trace of its own, told as one."""
    manager = CallbackManager([handler := Inline()])
    manager.emit(name="dot")
    assert handler.calls == ["trace dot", "point dot", "trace of 0 children ended"]
    (event,) = recorded(manager)
    assert manager.trace_map(event.trace_id) == {}


def test_ended_traces_are_forgotten_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """The last ended traces can be asked for, older ones raise a KeyError that says why; open ones stay."""
    monkeypatch.setattr(traces_module, "KEPT_TRACES", 3)
    manager = CallbackManager()
    open_root = manager.on_event_start("trace")
    open_id = manager.in_flight()[0].trace_id
    ids = []
    for _ in range(5):
        with manager.as_trace("t") as root:
            ids.append(root.trace_id)
    for trace_id in (open_id, *ids[2:]):
        assert manager.trace_map(trace_id) == {}
    for trace_id in ids[:2]:
        with pytest.raises(KeyError, match=f"{trace_id:032x} is not open"):
            manager.trace_map(trace_id)
    manager.on_event_end(open_root)


def test_large_traces_are_forgotten_earlier(monkeypatch: pytest.MonkeyPatch) -> None:
    """What ended traces remember is bounded all together, but the last one is always kept."""
    monkeypatch.setattr(traces_module, "KEPT_ENTRIES", 10)
    manager = CallbackManager()
    ids = []
    for size in (4, 5, 3, 50):
        with manager.as_trace("t") as root:
            for _ in range(size):
                manager.emit()
        ids.append(root.trace_id)
        if size == 3:
            assert len(manager.trace_map(ids[1])[root_of(manager, ids[1])]) == 5
            with pytest.raises(KeyError):
                manager.trace_map(ids[0])
    assert len(manager.trace_map(ids[3])) == 1
    for trace_id in ids[:3]:
        with pytest.raises(KeyError):
            manager.trace_map(trace_id)


def test_two_threads_may_forget_the_same_traces(monkeypatch: pytest.MonkeyPatch) -> None:
    """A thread that finds the oldest ended trace forgotten already leaves it at that."""

    class Emptied(collections.deque[Trace]):
        def popleft(self) -> Trace:
            self.clear()
            return super().popleft()

    monkeypatch.setattr(traces_module, "KEPT_TRACES", 1)
    table = traces_module.TraceTable()
    table._ended = Emptied()
    for number in (1, 2):
        table.ended(Trace("t", number))
    assert len(table._ended) == 0


def root_of(manager: CallbackManager, trace_id: int) -> int:
    return next(
        event.event_id
        for event in recorded(manager)
        if event.trace_id == trace_id and event.parent_id is None
    )


async def test_a_thousand_traces_at_once_stay_apart() -> None:
    """Concurrent traces on one manager give as many complete, unmixed trees."""
    manager = CallbackManager(recorder=100_000)
    expected: dict[int, dict[int, list[int]]] = {}

    async def one(number: int) -> None:
        with manager.as_trace(f"t{number}") as root:
            await asyncio.sleep(0)
            with manager.event(name="a") as a:
                await asyncio.sleep(0)
                with manager.event(name="b") as b:
                    await asyncio.sleep(0)
            with manager.event(name="c") as c:
                await asyncio.sleep(0)
        expected[root.trace_id] = {root.event_id: [a.event_id, c.event_id], a.event_id: [b.event_id]}

    async with asyncio.TaskGroup() as group:
        for number in range(1000):
            group.create_task(one(number))
    assert len(expected) == 1000
    assert {trace_id: manager.trace_map(trace_id) for trace_id in expected} == expected
    by_trace: dict[int, list[str]] = {}
    for event in recorded(manager):
        by_trace.setdefault(event.trace_id, []).append(event.name)
    assert {tuple(names[:3]) for names in by_trace.values()} == {("b", "a", "c")}
    assert manager.in_flight() == []


# managers ---------------------------------------------------------------------------------------------


def test_two_managers_do_not_see_each_other() -> None:
    """Events of one manager are neither parents nor traces of the other's."""
    one, other = CallbackManager(), CallbackManager()
    with one.event(name="one") as outer, other.event(name="other") as inner:
        assert one.current.get() is outer.event
        assert other.current.get() is inner.event
    assert recorded(other)[0].parent_id is None
    assert inner.trace_id != outer.trace_id
    with pytest.raises(KeyError):
        one.trace_map(inner.trace_id)


def test_a_new_thread_starts_with_nothing() -> None:
    """Each thread has a stack of its own."""
    manager = CallbackManager()
    with manager.event(name="main"):
        thread = threading.Thread(target=lambda: manager.emit(name="thread"))
        thread.start()
        thread.join()
    assert shape(recorded(manager)) == [("thread", None, "ok"), ("main", None, "ok")]


async def test_tasks_inherit_and_do_not_leak() -> None:
    """A task started in a block lies under it; what the task opens is not seen by its starter."""
    manager = CallbackManager()
    opened = asyncio.Event()
    go_on = asyncio.Event()

    async def work() -> None:
        with manager.event(name="inner"):
            opened.set()
            await go_on.wait()

    with manager.event(name="outer") as outer:
        task = asyncio.create_task(work())
        await opened.wait()
        assert manager.current.get() is outer.event
        go_on.set()
        await task
    assert shape(recorded(manager)) == [("inner", "outer", "ok"), ("outer", None, "ok")]


def test_a_negative_recorder_is_refused() -> None:
    """The size of the recorder is checked when the manager is made."""
    with pytest.raises(ValueError, match=r"recorder must be at least 0 \(got -1\)"):
        CallbackManager(recorder=-1)


@pytest.mark.parametrize("recorder", [True, False, 1.5, float("nan"), "10", None])
def test_a_recorder_that_is_no_number_of_events_is_refused(recorder: Any) -> None:
    """True would keep a single event, and of what is no int the deque would not say what it is for."""
    with pytest.raises(TypeError, match=r"recorder must be an int of at least 0 \(got .*, "):
        CallbackManager(recorder=recorder)


@pytest.mark.parametrize("handlers", [Inline(), None, 3])
def test_handlers_that_are_no_list_are_refused(handlers: Any) -> None:
    """A handler that is given alone is told from a list of them, and nothing changes."""
    says = rf"handlers must be a list of handlers, not {type(handlers).__name__}; put it into one: \["
    with pytest.raises(TypeError, match=says):
        CallbackManager(handlers)
    manager = CallbackManager([first := Inline()])
    with pytest.raises(TypeError, match=says):
        manager.set_handlers(handlers)
    assert manager.handlers == [first]


def test_a_class_whose_hooks_need_no_object_is_a_handler() -> None:
    """Only what could never be called is refused."""

    class Whole:
        names: ClassVar[list[str]] = []

        @classmethod
        def on_event_start(cls, event: Event) -> None:
            cls.names.append(f"start {event.name}")

        @staticmethod
        def on_event_end(event: Event) -> None:
            Whole.names.append(f"end {event.name}")

    with CallbackManager([Whole]).event(name="a"):
        pass
    assert Whole.names == ["start a", "end a"]


def test_a_manager_without_listeners_is_not_active() -> None:
    """With the recorder off and no handler, nobody would notice an event; each of them changes that."""
    manager = CallbackManager(recorder=0)
    assert not manager.active
    handler = Ends()
    manager.add_handler(handler)
    assert manager.active
    manager.remove_handler(handler)
    assert not manager.active
    assert CallbackManager().active


# handlers come and go -------------------------------------------------------------------------------


def test_a_handler_added_in_the_middle_sees_no_end_without_a_start() -> None:
    """What was open when a handler came, events and traces, is not told to it."""
    manager = CallbackManager()
    late = Inline()
    with manager.as_trace("old"):
        with manager.event(name="open"):
            manager.add_handler(late)
        with manager.event(name="new"):
            pass
    with manager.as_trace("next"):
        pass
    assert late.calls == [
        "start new",
        "end new ok",
        "trace next",
        "start next",
        "end next ok",
        "trace of 0 children ended",
    ]


def test_a_removed_handler_hears_nothing_more() -> None:
    """The last call to a handler is its ``close``, also for events that were open when it was removed."""
    manager = CallbackManager([handler := Inline(), lists := Lists()])
    with manager.as_trace("old"):
        with manager.event(name="open"):
            manager.remove_handler(handler)
            manager.remove_handler(lists)
        manager.emit()
    assert handler.calls == ["trace old", "start old", "start open", "close"]
    assert lists.closed == 1
    assert lists.events == []


def test_removing_says_whether_everything_was_handed_over() -> None:
    """True in time, False if the handler was still busy when time ran out."""
    gate = threading.Event()

    class Slow:
        def on_events(self, events: list[Event]) -> None:
            gate.wait(10)

    manager = CallbackManager([quick := Lists(), slow := Slow()])
    manager.emit(name="a")
    assert manager.remove_handler(quick) is True
    assert manager.remove_handler(slow, timeout=0.05) is False
    gate.set()


def test_a_handler_can_be_removed_and_added_again() -> None:
    """After its ``close`` it may come back, with new accounts."""
    manager = CallbackManager([handler := Inline()])
    manager.emit(name="a")
    manager.remove_handler(handler)
    manager.emit(name="b")
    manager.add_handler(handler)
    manager.emit(name="c")
    assert [call for call in handler.calls if call.startswith("point")] == ["point a", "point c"]
    assert stats_of(manager, handler).produced == 1


def test_removing_a_stranger_is_an_error() -> None:
    """The message names what is there."""
    manager = CallbackManager([Inline()])
    with pytest.raises(ValueError, match=r"Lists is not a handler of this manager; it has \['Inline'\]"):
        manager.remove_handler(Lists())


@pytest.mark.parametrize(
    ("timeout", "kind"), [("2", TypeError), (None, TypeError), (float("nan"), ValueError)]
)
async def test_a_timeout_that_is_no_number_takes_no_handler_out(timeout: Any, kind: type[Exception]) -> None:
    """A handler that is out and not closed would keep its files, and what waits for it."""
    manager = CallbackManager([handler := Lists()])
    manager.emit(name="a")
    for call in (
        manager.flush,
        manager.close,
        partial(manager.remove_handler, handler),
        partial(manager.set_handlers, []),
    ):
        with pytest.raises(kind, match="timeout must be a number"):
            call(timeout)
    with pytest.raises(kind, match="timeout must be a number"):
        await manager.aclose(timeout)
    assert manager.handlers == [handler]
    assert manager.close()
    assert (handler.names, handler.closed) == (["a"], 1)


def test_the_set_of_handlers_can_be_replaced() -> None:
    """Those that stay keep their place and their counts, those that go are closed, none is there twice."""
    stays, goes, comes = Inline(), Inline(), Inline()
    manager = CallbackManager([goes, stays])
    manager.emit()
    manager.set_handlers([comes, stays, comes])
    assert manager.handlers == [comes, stays]
    assert goes.calls[-1] == "close"
    assert "close" not in stays.calls
    assert [stats.produced for stats in manager.stats().handlers] == [0, 1]
    manager.handlers.clear()
    assert manager.handlers == [comes, stays]


class Nothing:
    def on_events_of_another_kind(self) -> None: ...


class Wrong:
    on_event = 3


class AsyncEnd:
    async def on_event_end(self, event: Event) -> None: ...


class OneType(Inline):
    wants = "job"


@pytest.mark.parametrize(
    ("handler", "says"),
    [
        (
            Nothing(),
            "a handler must define at least one of on_event_start, .* close; Nothing defines none of them",
        ),
        (Wrong(), "Wrong.on_event must be a method, not int"),
        (AsyncEnd(), r"AsyncEnd.on_event_end is async, but only on_events may be"),
        (OneType(), "OneType.wants must be a set of event types, not the string 'job'"),
        (Inline, r"a handler must be an object, and Inline is a class; make one: Inline\(\)"),
        ("debug", "a handler must be an object, not the name 'debug'; names are for SPANLOOM_HANDLERS"),
    ],
)
def test_what_is_no_handler_is_refused(handler: object, says: str) -> None:
    """A mistake in a handler is told when it is added, and nothing changes."""
    manager = CallbackManager([first := Inline()])
    for add in (
        manager.add_handler,
        lambda handler: manager.set_handlers([handler]),
        lambda handler: CallbackManager([handler]),
    ):
        with pytest.raises(TypeError, match=says):
            add(handler)
    assert manager.handlers == [first]


def test_a_handler_gets_the_types_it_wants() -> None:
    """`wants` filters events of all kinds; what is not wanted is not even counted."""

    class Choosy(Inline):
        wants = frozenset({"llm", "mark"})

    class ChoosyLists(Lists):
        wants = {"llm"}  # noqa: RUF012 -- any set will do

    manager = CallbackManager([inline := Choosy(), lists := ChoosyLists()])
    with manager.event("llm"), manager.event("tool"):
        manager.emit("mark")
        manager.emit("other")
    manager.flush()
    assert [call for call in inline.calls if not call.startswith("trace")] == [
        "start llm",
        "point mark",
        "end llm ok",
    ]
    assert lists.names == ["llm"]
    assert [stats.produced for stats in manager.stats().handlers] == [2, 1]


def test_only_what_is_defined_is_called_and_counted() -> None:
    """A handler with one hook is told of nothing else, and its account holds nothing else."""

    class Starts:
        def __init__(self) -> None:
            self.names: list[str] = []

        def on_event_start(self, event: Event) -> None:
            self.names.append(event.name)

    manager = CallbackManager([starts := Starts(), ends := Ends()])
    with manager.event(name="a"):
        manager.emit()
    assert (starts.names, ends.seen) == (["a"], ["a"])
    assert [stats.produced for stats in manager.stats().handlers] == [0, 1]


def test_a_handler_for_one_event_is_guarded_without_being_added() -> None:
    """A runner's own bar is told of its batch only, and is as harmless as any handler."""
    manager = CallbackManager()
    guard = manager.guard(handler := Inline())
    with manager.event(name="a") as context:
        assert context.event is not None
        guard.start(context.event)
    guard.end(context.event)
    assert guard.close(1)
    assert handler.calls == ["start a", "end a ok", "close"]
    assert manager.handlers == []


def test_many_event_types_do_not_fill_the_memory() -> None:
    """A type made up for each event costs nothing that stays."""
    manager = CallbackManager([Ends()])
    for number in range(5_000):
        with manager.event(f"type {number}"):
            pass
    assert len(manager._table.routes) <= 2_000


# accounts -----------------------------------------------------------------------------------------------


def test_the_totals_are_the_sums_of_the_handlers() -> None:
    """The manager's account holds its own events, and the sums over its handlers."""
    manager = CallbackManager([Inline(), Ends(), Lists()])
    with manager.event():
        with manager.event():
            manager.emit()
        stats = manager.stats()
        assert (stats.produced, stats.open, stats.recorded) == (2, 1, 2)
    manager.flush()
    stats = manager.stats()
    assert (stats.produced, stats.open, stats.recorded) == (3, 0, 3)
    assert [one.handler for one in stats.handlers] == ["Inline", "Ends", "Lists"]
    assert [one.delivered for one in stats.handlers] == [3, 2, 3]
    assert (stats.delivered, stats.dropped, stats.pending) == (8, 0, 0)


def test_a_manager_is_a_context() -> None:
    """Its block closes it: handlers are closed and gone, the recorder goes on."""
    with CallbackManager([handler := Inline()]) as manager:
        pass
    assert handler.calls == ["close"]
    assert manager.handlers == []
    with manager.event():
        pass
    assert len(recorded(manager)) == 1
    assert handler.calls == ["close"]


def test_contexts_are_what_the_manager_hands_out() -> None:
    """`event`, `attempt` and `as_trace` all return the public context class."""
    manager = CallbackManager()
    for context in (manager.event(), manager.attempt("attempt", "a", 1), manager.as_trace("t")):
        assert isinstance(context, EventContext)


# parents that have ended ----------------------------------------------------------------------------


def test_an_ended_event_that_is_still_current_is_no_parent() -> None:
    """What begins after it, in a context that nobody could take it out of, lies under the innermost one still open."""
    manager = CallbackManager()
    left, deeper = manager.event(name="left"), manager.event(name="deeper")
    with manager.event(name="outer"):
        left.start()
        deeper.start()
        contextvars.copy_context().run(lambda: (left.end(), deeper.end()))
        assert manager.current.get() is deeper.event
        with manager.event(name="next"):
            pass
        manager.on_event_end(manager.on_event_start("step", name="held"))
        manager.emit(name="dot")
    parents = {name: parent for name, parent, _ in shape(recorded(manager))}
    assert parents["deeper"] == "left"
    assert (parents["next"], parents["held"], parents["dot"]) == ("outer", "outer", "outer")


def test_what_begins_after_everything_around_it_has_ended_is_a_root() -> None:
    """There is no open event that it could lie under, so it begins a trace."""
    manager = CallbackManager()
    left = manager.event(name="left")
    left.start()
    contextvars.copy_context().run(left.end)
    with manager.event(name="next") as event:
        assert event.trace_id != left.trace_id
    manager.emit(name="dot")
    assert {parent for _, parent, _ in shape(recorded(manager))} == {None}


@pytest.mark.parametrize("in_step", [False, True])
async def test_a_task_that_outlives_its_job_lies_under_the_job_around_it(in_step: bool) -> None:
    """Its own job and batch have ended: the innermost open event is the job that started the batch."""
    manager = CallbackManager()
    over = asyncio.Event()
    tasks: list[asyncio.Task[None]] = []

    async def late() -> None:
        await over.wait()
        with manager.event(name="late"):
            pass

    async def inner() -> None:
        with manager.event(name="step") if in_step else nullcontext():
            tasks.append(asyncio.create_task(late()))

    async def outer() -> None:
        await run_jobs([inner()], desc="inner")
        over.set()
        await tasks[0]

    with use_callback_manager(manager):
        await run_jobs([outer()], desc="outer")
    (event,) = [event for event in recorded(manager) if event.name == "late"]
    (job,) = [job for job in recorded(manager) if job.type == "job" and job.event_id == event.parent_id]
    assert job.name == "outer"


def test_a_manager_at_a_prompt_names_its_handlers() -> None:
    """And says that there are none."""
    assert repr(CallbackManager([Inline(), Inline()])) == "<CallbackManager Inline, Inline>"
    assert repr(CallbackManager()) == "<CallbackManager no handlers>"
