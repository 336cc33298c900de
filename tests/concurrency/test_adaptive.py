"""AdaptiveLimiter: it finds what a server can take, in simulation against servers of known capacity."""

from __future__ import annotations

import asyncio
import math
from typing import Any

import pytest

from spanloom import AdaptiveLimiter, CallbackManager, EventType, RetryPolicy, async_map, use_callback_manager
from spanloom.concurrency.evidence import Measurement, is_collapse
from spanloom.concurrency.gradient import GradientRule
from spanloom.testing import capture_events, virtual_clock
from tests.concurrency.servers import OverloadedError, Server, keep_busy
from tests.concurrency.simulated import CASES, share_of_best

SETTLED = 0.85
"""Share of the best fixed limit's throughput that has to be reached."""
CAPACITIES = [8, 64, pytest.param(500, marks=pytest.mark.slow)]
SECONDS = 90


def settled(server: Server, limiter: AdaptiveLimiter, best: Server, seconds: float, **options: Any) -> float:
    """Return the throughput in the second half of the time, as a share of what the best fixed limit does."""
    with use_callback_manager(CallbackManager(recorder=0)):
        keep_busy(server, limiter, seconds, **options)
        keep_busy(best, best.capacity, seconds / 4)
    return server.throughput(seconds / 2, seconds) / best.throughput(seconds / 20, seconds / 4)


@pytest.mark.parametrize("cliff", ["", "errors", "thrash"])
@pytest.mark.parametrize(
    ("capacity", "seed"), [(8, 1), (8, 2), (64, 1), (64, 2), pytest.param(500, 1, marks=pytest.mark.slow)]
)
def test_it_settles_near_the_best_fixed_limit(capacity: int, cliff: str, seed: int) -> None:
    """Within 15 % of its throughput: with jitter, and where overload makes calls fail or everything slow."""
    server = Server(capacity, cliff=cliff, seed=seed)
    best = Server(capacity, cliff=cliff, seed=seed + 100)
    limiter = AdaptiveLimiter(maximum=1000)
    assert settled(server, limiter, best, SECONDS) >= SETTLED
    assert capacity * 0.5 <= limiter.size <= capacity * 2


@pytest.mark.parametrize("capacity", CAPACITIES)
def test_it_finds_a_server_without_jitter(capacity: int) -> None:
    """Calls that all take the same time end in bunches, which say nothing about how many run at once."""
    limiter = AdaptiveLimiter(maximum=1000)
    assert settled(Server(capacity, jitter=0), limiter, Server(capacity, jitter=0), SECONDS) >= SETTLED


@pytest.mark.parametrize(
    ("case", "capacity", "interval_s"),
    [("sudden", 64, 0.5), ("sudden, halved", 64, 0.5), ("sudden", 500, 2.0), ("sudden, halved", 500, 2.0)],
)
def test_bunches_of_calls_count_once(case: str, capacity: int, interval_s: float) -> None:
    """Calls alike, and a server that gets slow in one step: a bunch that counts twice is no faster server."""
    assert share_of_best(case, capacity, 0, interval_s) >= SETTLED


async def test_what_started_at_the_moment_of_a_change_is_left_over() -> None:
    """On a clock that stands still: or the next measurement would wait for calls that have ended."""
    now = 0.0
    limiter = AdaptiveLimiter(initial=4, maximum=8, clock=lambda: now)
    before = [limiter.attempt() for _ in range(4)]
    for call in before:
        await call.__aenter__()
    limiter.resize(8)
    after = limiter.attempt()
    await after.__aenter__()
    assert limiter._left_over == 4
    now = 1.0
    for call in before:
        await call.__aexit__(None, None, None)
    assert limiter._left_over == 0
    await after.__aexit__(None, None, None)
    assert limiter._left_over == 0


@pytest.mark.parametrize("capacity", CAPACITIES)
def test_it_follows_a_capacity_that_halves(capacity: int) -> None:
    """Midway the server takes half: the throughput becomes that of the best limit for the half."""
    server = Server(capacity)

    def halve() -> None:
        server.capacity = capacity // 2

    moment = SECONDS / 2 - 20
    assert (
        settled(server, AdaptiveLimiter(maximum=1000), Server(capacity // 2), SECONDS, at=(moment, halve))
        >= SETTLED
    )


@pytest.mark.parametrize(("capacity", "seed"), [(8, 1), (64, 2)])
def test_it_follows_a_capacity_that_halves_where_overload_makes_everything_slow(
    capacity: int, seed: int
) -> None:
    """A limit that is twice too high for such a server comes down to where it is not."""
    server = Server(capacity, cliff="thrash", seed=seed)
    best = Server(capacity // 2, cliff="thrash", seed=seed + 100)

    def halve() -> None:
        server.capacity = capacity // 2

    limiter = AdaptiveLimiter(maximum=1000)
    assert settled(server, limiter, best, SECONDS, at=(SECONDS / 2 - 20, halve)) >= SETTLED
    assert limiter.size <= capacity * 0.75


@pytest.mark.parametrize(("capacity", "off"), [(8, 0), (19, 1)])
@pytest.mark.parametrize("case", CASES)
def test_chance_has_hardly_a_part_in_where_it_settles(case: str, capacity: int, off: int) -> None:
    """On many servers of a kind, none of which the rule was tuned on: of 19 a single one may be off, and not far."""
    shares = [share_of_best(case, capacity, seed) for seed in range(91_000, 91_024)]
    assert sum(share < SETTLED for share in shares) <= off
    assert min(shares) >= SETTLED - 0.05


@pytest.mark.parametrize(
    ("capacity", "case", "seeds"),
    [
        (8, "plain, halved", [700016]),
        (8, "errors", [200100, 200180, 200239, 200294, 700018, 700071, 700092, 700185]),
        (8, "errors", [700217, 700247, 700248, 700274, 700279, 900204]),
        (8, "thrash, halved", [200260, 200265, 700105, 700223, 700236]),
        (8, "hard", [200247, 700024, 700216]),
        (8, "hard, halved", [200029]),
        (5, "thrash, halved", [200002]),
    ],
)
def test_no_chance_takes_a_slot_of_few_away_for_long(capacity: int, case: str, seeds: list[int]) -> None:
    """Servers that take few at once, with which a measurement or two by chance once cost up to a quarter, or half."""
    assert min(share_of_best(case, capacity, seed) for seed in seeds) >= SETTLED


def test_it_does_not_wait_for_the_calls_of_a_server_that_has_collapsed() -> None:
    """A measurement under the old limit would take half a minute there: it is cut short."""
    for seed in range(91_000, 91_005):
        server, limiter = Server(30, cliff="thrash", seed=seed), AdaptiveLimiter(maximum=1000)

        def halve(server: Server = server) -> None:
            server.capacity = 15

        with use_callback_manager(CallbackManager(recorder=0)):
            keep_busy(server, limiter, 45, at=(25, halve))
        first = next(
            change for change in limiter.changes if change.at_s > 26 and change.limit < change.previous
        )
        assert first.at_s < 36
        assert limiter.size <= 22


def test_few_calls_are_no_collapse() -> None:
    """Where nobody calls for a while in the middle of a measurement, the server has nothing to do with it."""
    limiter = AdaptiveLimiter(initial=16, maximum=16)

    async def main() -> None:
        clock = asyncio.get_running_loop().time

        async def call_until(end: float) -> None:
            while clock() < end:
                async with limiter:
                    await asyncio.sleep(0.5)

        for step in range(30):
            await asyncio.gather(*(call_until(clock() + 3 + step / 10) for _ in range(16)))
            await asyncio.sleep(5)

    with virtual_clock() as runner:
        runner.run(main())
    assert not limiter.changes


def test_calls_that_hang_do_not_end_the_measuring() -> None:
    """What ran at a change is not waited for for ever."""
    limiter = AdaptiveLimiter(initial=16, maximum=64)

    async def main() -> None:
        async def hang() -> None:
            async with limiter:
                await asyncio.sleep(1000)

        hanging = [asyncio.create_task(hang()) for _ in range(6)]
        await asyncio.sleep(0)
        limiter.resize(20)
        await async_map(lambda _: asyncio.sleep(0.5), range(500), limit=limiter)
        for task in hanging:
            task.cancel()
        await asyncio.gather(*hanging, return_exceptions=True)

    with virtual_clock() as runner:
        runner.run(main())
    assert [change.reason for change in limiter.changes][:2] == ["resize", "slow start"]


@pytest.mark.parametrize("capacity", CAPACITIES)
def test_a_burst_of_errors_brings_it_below_the_capacity(capacity: int) -> None:
    """Within three intervals of the first error."""
    server = Server(capacity, burst=(40, 50))
    limiter = AdaptiveLimiter(maximum=1000, adaptation_interval=2.0)
    sizes: list[int] = []
    with use_callback_manager(CallbackManager(recorder=0)):
        keep_busy(server, limiter, 48, at=(40 + 3 * 2.0 + 0.1, lambda: sizes.append(limiter.size)))
    assert sizes[0] < capacity
    assert any(change.reason == "errors" for change in limiter.changes)


def test_a_first_limit_that_is_too_high_comes_down() -> None:
    """A server that has never been seen idle is probed: the limit falls as long as less does as much."""
    limiter = AdaptiveLimiter(initial=192, maximum=1000)
    assert settled(Server(64), limiter, Server(64), SECONDS) >= SETTLED
    assert limiter.size < 128


def test_a_limit_that_nobody_uses_does_not_grow() -> None:
    """Two calls at a time say nothing about what ten would do."""
    limiter = AdaptiveLimiter(initial=10)
    keep_busy(Server(100), 2, 20)

    async def main() -> None:
        server = Server(100)

        async def caller() -> None:
            for _ in range(50):
                async with limiter:
                    await server.serve()

        await asyncio.gather(caller(), caller())

    with virtual_clock() as runner:
        runner.run(main())
    assert limiter.size == 10
    assert not limiter.changes


def test_a_limit_that_was_just_raised_and_is_refused_falls_at_once() -> None:
    """Not at the end of the interval, and only once: what it falls to has its interval."""
    limiter = AdaptiveLimiter(maximum=1000)

    async def main() -> None:
        clock = asyncio.get_running_loop().time

        async def job(_: int) -> None:
            fails = clock() > 6
            await asyncio.sleep(0.1 if fails else 0.5)
            if fails:
                raise OverloadedError

        await async_map(job, range(1500), limit=limiter, on_error="skip")

    with virtual_clock() as runner:
        runner.run(main())
    assert limiter.changes[1].reason == "slow start"
    raised, first, second = list(limiter.changes)[1:4]
    assert (first.reason, second.reason) == ("errors", "errors")
    assert first.at_s < raised.at_s + 2.0
    assert second.at_s >= first.at_s + 2.0


class FlakyServer(Server):
    """Of every fifty calls one fails, in the end."""

    calls = 0

    async def serve(self, _: object = None) -> None:
        self.calls += 1
        fails = self.calls % 50 == 0
        await super().serve()
        if fails:
            raise OverloadedError


def test_errors_now_and_then_are_no_overload() -> None:
    """Two in a hundred calls fail, whatever the load: the limit is found all the same."""
    server = FlakyServer(64)
    limiter = AdaptiveLimiter(maximum=1000)
    assert settled(server, limiter, Server(64), SECONDS) >= SETTLED
    assert all(change.reason != "errors" for change in limiter.changes)


@pytest.mark.parametrize(("tolerance", "backs_off"), [(0.0, True), (0.05, False)])
def test_without_tolerance_a_single_error_counts(tolerance: float, backs_off: bool) -> None:
    """``error_tolerance=0`` backs off at the first error; the default asks for evidence."""
    limiter = AdaptiveLimiter(initial=10, error_tolerance=tolerance)

    async def job(number: int) -> None:
        await asyncio.sleep(3)
        if number == 7:
            raise OverloadedError

    with virtual_clock() as runner:
        runner.run(async_map(job, range(8), limit=limiter, on_error="skip"))
    assert (limiter.size == 7) is backs_off
    assert [change.reason for change in limiter.changes] == (["errors"] if backs_off else [])


def test_only_what_is_called_overload_counts() -> None:
    """`is_overload` tells a refusal from a bug of the caller's."""
    limiter = AdaptiveLimiter(
        initial=10, error_tolerance=0, is_overload=lambda error: isinstance(error, OverloadedError)
    )

    async def job(_: int) -> None:
        await asyncio.sleep(3)
        raise ValueError

    with virtual_clock() as runner:
        runner.run(async_map(job, range(30), limit=limiter, on_error="skip"))
    assert not limiter.changes


def test_each_attempt_of_a_retried_job_is_measured_and_a_timeout_is_an_error() -> None:
    """Errors that a retry policy hides from the batch are seen; pauses between attempts are not measured."""
    limiter = AdaptiveLimiter(initial=10)
    policy = RetryPolicy(attempts=2, base_delay=50, max_delay=50, attempt_timeout=3)
    started: list[float] = []

    async def job(_: int) -> None:
        started.append(asyncio.get_running_loop().time())
        if len(started) <= 10:
            await asyncio.sleep(1000)

    with virtual_clock() as runner:
        runner.run(async_map(job, range(10), limit=limiter, retry=policy))
    assert len(started) == 20
    assert [change.reason for change in limiter.changes] == ["errors"]
    assert limiter.changes[0].at_s == pytest.approx(3)


async def test_every_change_is_an_event_with_its_reason() -> None:
    """A point event of the type limit_change, with the limit before and after."""
    limiter = AdaptiveLimiter(initial=10, error_tolerance=0, adaptation_interval=0.001, name="api")
    with capture_events() as captured, pytest.raises(OverloadedError):
        async with limiter:
            await asyncio.sleep(0.005)
            raise OverloadedError
    (event,) = captured.events
    assert event.type == EventType.LIMIT_CHANGE
    assert event.is_point
    assert event.payload == {"limiter": "api", "previous": 10, "limit": 7, "reason": "errors"}
    assert [change[1:] for change in limiter.changes] == [(10, 7, "errors")]


async def test_it_is_resized_while_others_wait() -> None:
    """More slots go to the longest waiting; fewer take none from who holds one."""
    limiter = AdaptiveLimiter(initial=2, minimum=1, maximum=8)
    order: list[int] = []
    leave = asyncio.Event()

    async def hold(number: int) -> None:
        async with limiter:
            order.append(number)
            await leave.wait()

    tasks = [asyncio.create_task(hold(number)) for number in range(6)]
    await asyncio.sleep(0)
    assert (order, limiter.in_use, limiter.waiting) == ([0, 1], 2, 4)
    limiter.resize(4)
    await asyncio.sleep(0)
    assert (order, limiter.in_use, limiter.waiting) == ([0, 1, 2, 3], 4, 2)
    limiter.resize(1)
    assert (limiter.in_use, limiter.waiting) == (4, 2)
    leave.set()
    await asyncio.gather(*tasks)
    assert order == [0, 1, 2, 3, 4, 5]
    assert (limiter.in_use, limiter.waiting) == (0, 0)
    assert [change[1:] for change in limiter.changes] == [(2, 4, "resize"), (4, 1, "resize")]
    for wrong in (0, 9):
        with pytest.raises(ValueError, match="size must be"):
            limiter.resize(wrong)


def test_it_goes_on_finding_its_limit_from_where_it_was_put() -> None:
    """Put far too high, or far too low, it comes back."""
    for size in (8, 400):
        server, limiter = Server(64), AdaptiveLimiter(maximum=1000)

        def put(limiter: AdaptiveLimiter = limiter, size: int = size) -> None:
            limiter.resize(size)

        assert settled(server, limiter, Server(64), SECONDS, at=(20, put)) >= SETTLED
        assert [change.limit for change in limiter.changes if change.reason == "resize"] == [size]


async def test_a_cancelled_call_counts_for_nothing() -> None:
    """Neither a success nor an error; its slot comes back."""
    limiter = AdaptiveLimiter(initial=1, error_tolerance=0, adaptation_interval=0.001)

    async def call() -> None:
        async with limiter:
            await asyncio.sleep(60)

    task = asyncio.create_task(call())
    await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert limiter.in_use == 0
    assert not limiter.changes
    assert limiter._measure.started == 0  # by which the share of errors is counted


@pytest.mark.parametrize(
    ("options", "kind", "message"),
    [
        ({"initial": 0}, ValueError, r"initial must be at least 1 \(got 0\)"),
        (
            {"initial": 200},
            ValueError,
            r"initial must be from minimum to maximum .*minimum=1, initial=200, maximum=100",
        ),
        ({"minimum": 6}, ValueError, "initial must be from minimum to maximum"),
        ({"minimum": 1.5}, TypeError, "minimum must be an int"),
        ({"adaptation_interval": 0}, ValueError, "adaptation_interval must be above 0"),
        ({"error_backoff_factor": 1.0}, ValueError, "error_backoff_factor must be between 0 and 1"),
        ({"throughput_window": 0}, ValueError, "throughput_window must be at least 1"),
        ({"stability_window": 0}, ValueError, "stability_window must be at least 1"),
        ({"error_tolerance": 1}, ValueError, "error_tolerance must be at least 0 and below 1"),
        ({"increase_threshold": float("nan")}, ValueError, "increase_threshold must be above 0"),
        (
            {"adaptation_interval": math.inf},
            ValueError,
            r"adaptation_interval must be above 0 and finite \(got inf\)",
        ),
        ({"error_tolerance": False}, TypeError, r"error_tolerance must be a number \(got False, bool\)"),
    ],
)
def test_it_refuses_bad_numbers(options: dict[str, Any], kind: type[Exception], message: str) -> None:
    """The message says what was given and what is allowed."""
    with pytest.raises(kind, match=message):
        AdaptiveLimiter(**options)


# the rule -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("started", "errors", "overload"),
    [
        (100, 0, False),
        (1, 1, False),
        (2, 2, True),
        (5, 2, False),
        (5, 3, True),
        (1000, 50, False),
        (1000, 80, True),
    ],
)
def test_errors_are_overload_only_where_chance_does_not_explain_them(
    started: int, errors: int, overload: bool
) -> None:
    """One in a hundred at most, if 5 % are normal."""
    assert GradientRule(1, 100).is_overload(started, errors) is overload


@pytest.mark.parametrize(
    ("expected", "count", "collapse"),
    [(60, 8, True), (60, 40, False), (4, 1, False), (10, 1, True), (-3, 0, False)],
)
def test_few_ends_are_a_collapse_only_where_chance_does_not_explain_them(
    expected: float, count: int, collapse: bool
) -> None:
    """Less than half of what was expected, and one in a hundred at most."""
    assert is_collapse(expected, count) is collapse


def test_the_limit_stays_within_its_bounds() -> None:
    """Whatever is measured."""
    rule = GradientRule(4, 16)
    limit = 8
    for throughput in (8, 16, 32, 64, 128, 1, 1, 1, 1):
        limit = rule.next(Measurement(limit, throughput, 0.01, 100, 0, is_full=True)).limit
        assert 4 <= limit <= 16
    for _ in range(10):
        limit = rule.next(Measurement(limit, 0, 0, 10, 10, is_full=True)).limit
    assert limit == 4
