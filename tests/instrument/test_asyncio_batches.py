"""What a patched asyncio shows: batches with jobs, queue times and parents, for programs that nobody has changed."""

from __future__ import annotations

import asyncio
import gc
import io
import itertools
import threading
import time
import warnings
from collections.abc import AsyncIterator, Sequence
from typing import Any

import pytest

import spanloom
from spanloom import CallbackManager, Event, run_jobs, use_callback_manager
from spanloom.handlers.progress import ProgressHandler
from spanloom.instrument.task_batch import CHUNK
from tests.instrument.conftest import ended, tree
from tests.virtual import in_virtual_time


async def work(delay: float = 0.001) -> float:
    await asyncio.sleep(delay)
    return delay


async def broken() -> None:
    await asyncio.sleep(0)
    raise ValueError("broken")


async def test_a_gather_with_a_semaphore_is_a_batch(patched: CallbackManager) -> None:
    """Its coroutines are jobs; what they wait for the semaphore is their queue time, and their run time is the rest."""
    semaphore = asyncio.Semaphore(2)

    began, entered, left = [0] * 6, [0] * 6, [0] * 6

    async def worker(n: int) -> int:
        began[n] = time.perf_counter_ns()
        async with semaphore:
            entered[n] = time.perf_counter_ns()
            await asyncio.sleep(0.002)
            left[n] = time.perf_counter_ns()
        return n

    assert await asyncio.gather(*[worker(n) for n in range(6)]) == list(range(6))
    (batch,) = ended(patched, "batch")
    name = worker.__qualname__.rpartition("<locals>.")[2]
    assert (batch.name, batch.status, batch.payload["runner"]) == (name, "ok", "asyncio.gather")
    assert batch.counts is not None
    assert (batch.counts.total, batch.counts.ok, batch.counts.in_flight) == (6, 6, 0)
    jobs = sorted(ended(patched, "job"), key=lambda job: job.job_index or 0)
    assert [job.job_index for job in jobs] == list(range(6))
    assert all(job.start_ns <= began[n] for n, job in enumerate(jobs[:2]))
    assert all(left[n] <= job.start_ns <= entered[n + 2] for n, job in enumerate(jobs[2:]))
    assert all(batch.start_ns <= job.start_ns - (job.queue_ns or 0) <= began[0] for job in jobs)
    assert all(batch.start_ns <= job.start_ns <= (job.end_ns or 0) <= (batch.end_ns or 0) for job in jobs)
    assert ended(patched, "slot_wait") == []


async def test_jobs_whose_first_step_is_still_to_come_are_not_in_flight(patched: CallbackManager) -> None:
    """Whether they have to wait shows in that step; until then, those before them may hold the loop for a while."""
    slots = asyncio.Semaphore(1)
    seen: list[int] = []

    async def job(number: int) -> None:
        async with slots:
            if number == 0:
                seen.append(sum(event.type == "job" for event in patched.in_flight()))

    await asyncio.gather(*(job(number) for number in range(100)))
    assert seen == [CHUNK]
    assert [event for event in patched.in_flight() if event.type == "job"] == []


class Lists:
    """Takes events in lists."""

    def __init__(self) -> None:
        self.count = 0

    def on_events(self, events: Sequence[Event]) -> None:
        self.count += len(events)


async def test_what_ends_beside_a_loop_that_never_waits_is_handed_over_meanwhile(
    patched: CallbackManager,
) -> None:
    """Handlers' threads get their turn in programs that nobody has changed, too, and long before the batch ends."""
    patched.add_handler(handler := Lists())
    slots = asyncio.Semaphore(64)
    seen: list[int] = []

    async def job(number: int) -> None:
        async with slots:
            await asyncio.sleep(0)
            if number == 19_999:
                seen.append(handler.count)

    await asyncio.gather(*(job(number) for number in range(20_000)))
    assert seen[0] > 1_000


async def test_jobs_that_wait_for_their_slot_are_not_in_flight(patched: CallbackManager) -> None:
    """While the batch runs, those in the queue have not started."""
    semaphore = asyncio.Semaphore(2)
    seen: list[tuple[int, int, int | None]] = []

    async def worker() -> None:
        async with semaphore:
            await asyncio.sleep(0)  # both at once, whatever the machine does
            (batch,) = [event for event in patched.in_flight() if event.counts is not None]
            assert batch.counts is not None
            jobs = [event for event in patched.in_flight() if event.type == "job"]
            seen.append((len(jobs), batch.counts.in_flight, batch.counts.waiting))

    await asyncio.gather(*(worker() for _ in range(6)))
    assert seen == [(2, 2, 4), (2, 2, 4), (2, 2, 2), (2, 2, 2), (2, 2, 0), (2, 2, 0)]


async def test_what_has_started_since_is_found_without_looking_at_all_that_is_open(
    patched: CallbackManager,
) -> None:
    """Jobs lie in the order in which they have got their slots, whatever the order in which they came."""
    semaphore, gates = asyncio.Semaphore(100), [asyncio.Event() for _ in range(400)]

    async def worker(number: int) -> None:
        if number < 300:  # the last hundred need no slot, and start at once
            async with semaphore:
                await gates[number].wait()
        else:
            await gates[number].wait()

    batch = asyncio.ensure_future(asyncio.gather(*map(worker, range(400))))
    await asyncio.sleep(0.01)
    since_ns = time.perf_counter_ns()
    for gate in gates[:3]:
        gate.set()
    while len(started := [job for job in _jobs(patched, since_ns) if job.start_ns >= since_ns]) < 3:
        await asyncio.sleep(0)
    assert [job.job_index for job in started] == [100, 101, 102]
    assert len(_jobs(patched, since_ns)) == 3
    assert len(_jobs(patched, 0)) == 200
    for gate in gates:
        gate.set()
    await batch


def _jobs(manager: CallbackManager, since_ns: int) -> list[Event]:
    found = manager.opened_since(since_ns, 0, jobs=True)
    return sorted((one for one in found if one.type == "job"), key=lambda job: job.start_ns)


@pytest.mark.parametrize("failing", [False, True])
async def test_no_more_jobs_run_at_once_than_the_semaphore_lets_in(
    patched: CallbackManager, failing: bool
) -> None:
    """A job has ended before the one that gets its slot starts, also one that fails or is cancelled in the queue."""
    semaphore = asyncio.Semaphore(3)

    async def worker(n: int) -> None:
        async with semaphore:
            await asyncio.sleep(0.001 * (n % 2))
            if failing and n % 3 == 0:
                raise ValueError(n)

    tasks = [asyncio.ensure_future(worker(n)) for n in range(60)]
    batch = asyncio.gather(*tasks, return_exceptions=True)
    asyncio.get_running_loop().call_later(0.002, tasks[-1].cancel)
    await batch
    jobs = ended(patched, "job")
    assert len(jobs) == 60
    assert all(job.start_ns <= (job.end_ns or 0) for job in jobs)
    steps = sorted(step for job in jobs for step in ((job.start_ns, 1), (job.end_ns or 0, -1)))
    assert max(itertools.accumulate(by for _, by in steps)) == 3


async def test_a_later_wait_for_a_semaphore_is_an_event(patched: CallbackManager) -> None:
    """Only the first thing that a job does is its queue; a wait in its middle lies under it."""
    semaphore = asyncio.Semaphore(1)

    async def worker() -> None:
        await asyncio.sleep(0)
        async with semaphore:
            await asyncio.sleep(0.001)

    await asyncio.gather(worker(), worker())
    name = worker.__qualname__.rpartition("<locals>.")[2]
    assert tree(patched) == [
        f"batch {name} ok",
        f"  job {name} ok",
        f"  job {name} ok",
        "    slot_wait Semaphore ok",
    ]


async def test_a_wait_after_an_event_is_no_queue_time(patched: CallbackManager) -> None:
    """A job that has made an event has started, though it waits for its slot in its first step."""
    semaphore = asyncio.Semaphore(1)

    began: dict[int | None, int] = {}

    async def worker(n: int) -> None:
        began[n] = time.perf_counter_ns()
        if n != 2:
            with patched.event("step", name="before"):
                pass
        async with semaphore:
            with patched.event("step", name="inside"):
                await asyncio.sleep(0.001)

    await asyncio.gather(*(worker(n) for n in range(4)))
    jobs = {job.event_id: job for job in ended(patched, "job")}
    assert all(jobs[step.parent_id or 0].start_ns <= step.start_ns for step in ended(patched, "step"))
    waits = [jobs[wait.parent_id or 0].job_index for wait in ended(patched, "slot_wait")]
    assert waits == [1, 3]
    queued = {job.job_index for job in jobs.values() if job.start_ns > began[job.job_index]}
    assert queued == {2}


async def test_a_wait_after_an_event_in_the_first_step_is_an_event(patched: CallbackManager) -> None:
    """What a job did before it waited is a part of it: it has started by then, and lasts longer than what is in it."""
    semaphore = asyncio.Semaphore(1)

    async def worker() -> None:
        with patched.event("step", name="parse"):
            pass
        async with semaphore:
            await asyncio.sleep(0.001)

    await asyncio.gather(worker(), worker())
    name = worker.__qualname__.rpartition("<locals>.")[2]
    assert tree(patched) == [
        f"batch {name} ok",
        f"  job {name} ok",
        "    step parse ok",
        f"  job {name} ok",
        "    step parse ok",
        "    slot_wait Semaphore ok",
    ]
    jobs = {job.event_id: job for job in ended(patched, "job")}
    for event in ended(patched, "step"):
        assert jobs[event.parent_id or 0].start_ns <= event.start_ns


async def test_a_job_that_is_cancelled_in_the_queue_has_no_run_time(patched: CallbackManager) -> None:
    """It ends where it would have started, as cancelled."""
    semaphore = asyncio.Semaphore(1)

    async def worker() -> None:
        async with semaphore:
            await asyncio.sleep(60)

    outer = asyncio.gather(worker(), worker())
    await asyncio.sleep(0.005)
    before = time.perf_counter_ns()
    outer.cancel()
    with pytest.raises(asyncio.CancelledError):
        await outer
    first, second = sorted(ended(patched, "job"), key=lambda job: job.job_index or 0)
    assert (first.status, second.status) == ("cancelled", "cancelled")
    assert first.start_ns < before <= second.start_ns
    assert [batch.status for batch in ended(patched, "batch")] == ["cancelled"]


async def test_batches_lie_in_jobs(patched: CallbackManager) -> None:
    """A gather in a job of a gather is a batch under that job, and what is started there has its parents, too."""

    async def outer(n: int) -> None:
        await asyncio.gather(work(), work())
        with patched.event("step", name=f"step {n}"):
            await asyncio.create_task(work())

    with patched.as_trace("program"):
        await asyncio.gather(outer(0), outer(1))
    name = outer.__qualname__.rpartition("<locals>.")[2]
    inner = ["    batch work ok", "      job work ok", "      job work ok"]
    below = [line.replace("    ", "      ", 1) for line in inner]
    job = f"    job {name} ok"
    assert tree(patched) == [
        "trace program ok",
        f"  batch {name} ok",
        job,
        *below,
        "      step step 0 ok",
        "        task work ok",
        job,
        *below,
        "      step step 1 ok",
        "        task work ok",
    ]


async def test_tasks_that_are_gathered_at_once_are_its_jobs(patched: CallbackManager) -> None:
    """``create_task`` and then ``gather`` is a batch; a task that has begun by then stays what it is."""
    early = asyncio.create_task(work(0.005))
    await asyncio.sleep(0)
    tasks = [asyncio.create_task(work()), asyncio.ensure_future(work())]
    await asyncio.gather(early, *tasks)
    assert tree(patched) == ["task work ok", "batch work ok", "  job work ok", "  job work ok"]


async def test_tasks_of_the_loop_are_jobs_where_they_are_gathered(patched: CallbackManager) -> None:
    """``loop.create_task`` has no events; such a task is a job from when a gather is given it, and of one only."""
    loop = asyncio.get_running_loop()
    tasks = [loop.create_task(work()) for _ in range(2)]
    await asyncio.sleep(0)
    first = asyncio.gather(*tasks)
    await asyncio.gather(*tasks)
    await first
    assert tree(patched) == ["batch work ok", "  job work ok", "  job work ok"]


async def test_the_first_failure_ends_the_batch_when_the_last_job_has_ended(patched: CallbackManager) -> None:
    """The batch has the error that ``gather`` raises, and encloses the jobs that run on."""
    with pytest.raises(ValueError, match="broken"):
        await asyncio.gather(broken(), work(0.01))
    assert [event.type for event in patched.in_flight()] == ["batch", "job"]
    while patched.in_flight():
        await asyncio.sleep(0)
    (batch,) = ended(patched, "batch")
    assert (batch.name, batch.status, batch.error and batch.error.message) == ("broken", "error", "broken")
    assert tree(patched) == ["batch broken error", "  job broken error", "  job work ok"]


async def test_returned_exceptions_fail_their_jobs_only(patched: CallbackManager) -> None:
    """With ``return_exceptions`` the batch is ok, and counts what has failed."""
    await asyncio.gather(broken(), work(), return_exceptions=True)
    (batch,) = ended(patched, "batch")
    assert batch.counts is not None
    assert (batch.status, batch.counts.failed, batch.counts.ok) == ("ok", 1, 1)


async def test_a_group_is_a_batch(patched: CallbackManager) -> None:
    """Its tasks are jobs under the event that is current where its block begins."""
    with patched.as_trace("program"):
        async with asyncio.TaskGroup() as group:
            with patched.event("step", name="inside"):
                group.create_task(work())
            await asyncio.sleep(0.005)
            group.create_task(work())
        async with asyncio.TaskGroup():
            pass
    assert tree(patched) == [
        "trace program ok",
        "  step inside ok",
        "  batch work ok",
        "    job work ok",
        "    job work ok",
    ] or tree(patched) == [
        "trace program ok",
        "  batch work ok",
        "    job work ok",
        "    job work ok",
        "  step inside ok",
    ]


async def test_a_group_that_fails_is_a_batch_that_fails(patched: CallbackManager) -> None:
    """It has the error of its first job that failed; the others were cancelled."""
    with pytest.raises(ExceptionGroup):
        async with asyncio.TaskGroup() as group:
            group.create_task(work(1))
            group.create_task(broken())
    (batch,) = ended(patched, "batch")
    assert (batch.status, batch.error and batch.error.message) == ("error", "broken")
    assert sorted(str(job.status) for job in ended(patched, "job")) == ["cancelled", "error"]


async def test_the_others_are_batches_too(patched: CallbackManager) -> None:
    """``as_completed`` and ``wait`` run what they are given as batches, which say by whom they are run."""
    for first in asyncio.as_completed([work(), work(0.002)]):
        await first
    await asyncio.wait([asyncio.create_task(work()) for _ in range(2)])
    await asyncio.wait([asyncio.create_task(work()) for _ in range(2)], return_when=asyncio.FIRST_COMPLETED)
    while patched.in_flight():
        await asyncio.sleep(0.001)
    assert [dict(batch.payload)["runner"] for batch in ended(patched, "batch")] == [
        "asyncio.as_completed",
        "asyncio.wait",
        "asyncio.wait",
    ]
    assert len(ended(patched, "job")) == 6


@in_virtual_time
async def test_deadlines_and_threads_have_events(patched: CallbackManager) -> None:
    """``wait_for``, ``timeout`` and ``to_thread``: events that enclose what runs in them, a thread's events as well."""

    def in_thread() -> None:
        with patched.event("step", name="in thread"):
            pass

    await asyncio.wait_for(work(), 1)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.001):
            await asyncio.create_task(work(1))
    await asyncio.to_thread(in_thread)
    name = in_thread.__qualname__.rpartition("<locals>.")[2]
    assert tree(patched) == [
        "deadline work ok",
        "deadline timeout timeout",
        "  task work cancelled",
        f"call {name} ok",
        "  step in thread ok",
    ]
    assert dict(ended(patched, "deadline")[0].payload) == {"delay_s": 1}


async def test_a_deadline_that_is_entered_twice_ends_all_the_same(patched: CallbackManager) -> None:
    """The second time is refused; the event of the first ends with its block, and is around nothing after it."""
    block = asyncio.timeout(1)
    async with block:
        with pytest.raises(RuntimeError, match="already been entered"):
            async with block:
                pass
    with pytest.raises(RuntimeError, match="already been entered"):
        async with block:
            pass
    assert [event.status for event in ended(patched, "deadline")] == ["ok"]
    assert patched.in_flight() == []
    assert patched.current.get() is None


async def test_what_libraries_do_inside_is_not_shown(patched: CallbackManager) -> None:
    """What asyncio, anyio and spanloom themselves start has no events beside those that it has."""
    import anyio

    async with anyio.create_task_group() as group:
        group.start_soon(asyncio.sleep, 0)
    await anyio.to_thread.run_sync(int)
    assert tree(patched) == []
    await run_jobs([work(), work()])
    await patched.aclose()
    assert tree(patched) == ["batch work ok", "  job work ok", "  job work ok"]


async def test_a_bar_shows_how_far_it_is(manager: CallbackManager) -> None:
    """The progress handler has a bar for a batch that nobody wrote as one."""
    out = io.StringIO()
    spanloom.instrument("asyncio")
    with use_callback_manager(CallbackManager([ProgressHandler(file=out)])) as shown:
        await asyncio.gather(*(work(0.005) for _ in range(7)))
        shown.close()
    assert "work" in out.getvalue()
    assert "7/7" in out.getvalue()


async def test_without_listeners_nothing_is_done(patched: CallbackManager) -> None:
    """A manager without recorder and handlers costs a look: no batch, no events, the same results."""
    with use_callback_manager(CallbackManager(recorder=0)):
        assert await asyncio.gather(work(0), work(0)) == [0, 0]
    assert tree(patched) == []


def test_loops_in_two_threads_do_not_mix(patched: CallbackManager) -> None:
    """Two loops at once, on one manager: each batch has its own jobs, each job its own children."""

    async def child(name: str) -> None:
        with patched.event("step", name=name):
            await asyncio.sleep(0.0005)

    async def main(name: str) -> None:
        for _ in range(20):
            await asyncio.gather(*(child(name) for _ in range(10)))

    def run(name: str) -> None:
        with use_callback_manager(patched), patched.as_trace(name):
            asyncio.run(main(name))

    threads = [threading.Thread(target=run, args=(name,)) for name in ("one", "two")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert patched.recorder is not None
    names: dict[int, set[str]] = {}
    steps = 0
    for event in patched.recorder.ended():
        if event.type in ("trace", "step"):
            names.setdefault(event.trace_id, set()).add(event.name)
            steps += event.type == "step"
    assert sorted(map(sorted, names.values())) == [["one"], ["two"]]
    assert steps == 400


async def test_hooks_run_in_the_context_of_the_job(patched: CallbackManager) -> None:
    """A handler's inline hooks see the job as the current event, and what they set does not leave it."""
    import contextvars

    var: contextvars.ContextVar[str] = contextvars.ContextVar("var", default="")
    seen: list[object] = []

    class Hooks:
        wants = frozenset({"job"})

        def on_event_start(self, event: Event) -> None:
            seen.append(spanloom.current_event() is event)
            var.set(f"job {event.job_index}")

        def on_event_end(self, event: Event) -> None:
            seen.append(event.status)

    async def look() -> str:
        await asyncio.sleep(0)
        return var.get()

    patched.add_handler(Hooks())
    assert await asyncio.gather(look(), look()) == ["job 0", "job 1"]
    assert var.get() == ""
    assert seen == [True, True, "ok", "ok"]


async def test_a_loop_that_is_gone_is_not_kept_alive(manager: CallbackManager) -> None:
    """A batch whose loop was closed under it keeps neither its tasks nor the loop alive, and ends when they go."""
    import weakref

    spanloom.instrument("asyncio")
    own = CallbackManager()
    loops: list[Any] = []

    def run() -> None:
        loop = asyncio.new_event_loop()
        loops.append(weakref.ref(loop))
        loop.set_exception_handler(lambda *_: None)

        async def main() -> None:
            asyncio.gather(work(60), work(60))
            await asyncio.sleep(0.001)

        with use_callback_manager(own):
            loop.run_until_complete(main())
        loop.close()

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    gc.collect()
    assert loops[0]() is None
    assert own.in_flight() == []
    assert {event.status for event in ended(own, "batch")} == {"cancelled"}


async def test_the_deadline_of_a_generator_is_not_around_what_its_consumer_does(
    patched: CallbackManager,
) -> None:
    """Between two values, and after it was left early, the consumer's batches are where they would be without it."""

    async def numbers() -> AsyncIterator[int]:
        async with asyncio.timeout(5):
            yield 1
            yield 2

    async for _ in numbers():
        break
    await asyncio.gather(work())
    one, other = numbers(), numbers()
    assert [await anext(one), await anext(other)] == [1, 1]
    await asyncio.gather(work())
    await one.aclose()
    await other.aclose()
    await asyncio.gather(work())
    assert [batch.parent_id for batch in ended(patched, "batch")] == [None] * 3
    assert len(ended(patched, "deadline")) == 3


@pytest.mark.parametrize("turns", [0, 1, 2])
def test_what_a_closed_loop_leaves_behind_ends_as_cancelled(patched: CallbackManager, turns: int) -> None:
    """Its pending tasks will never end, nor the batch that waits for them: their events end when the tasks go."""

    async def main() -> None:
        asyncio.create_task(work(100))  # noqa: RUF006 -- dropped on purpose
        asyncio.gather(work(100), asyncio.create_task(work(100)))
        for _ in range(turns):
            await asyncio.sleep(0)

    loop = asyncio.new_event_loop()
    # Or each of the tasks would be reported as destroyed, as it should.
    loop.set_exception_handler(lambda _, context: None)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # never awaited, if the loop takes no further turn
        loop.run_until_complete(main())
        loop.close()
        gc.collect()
    assert patched.in_flight() == []
    assert {event.status for event in ended(patched, "job") + ended(patched, "batch")} <= {"cancelled"}
    assert [event.status for event in ended(patched, "batch")] == ["cancelled"]
