"""The sender: takes spans from a store, has them sent, and acts on the answers.

The rules are those of the OTLP specification. A request that can be retried is retried for as long as
there is somebody to do it, after an exponential back-off with jitter, and no sooner than the
collector asked for. One that cannot be is dropped and counted by its reason; a plain HTTP 500 is of
that kind (the specification: "MUST NOT be retried"), 502, 503 and 504 are not. One that is too
large is halved, down to a single span.
"""

from __future__ import annotations

import logging
import random
import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from opentelemetry import context
from opentelemetry.context import _SUPPRESS_INSTRUMENTATION_KEY

from spanloom.handlers.otel._counts import Ledger
from spanloom.handlers.otel._schedule import MAX_BODY, STEADY_S, Schedule
from spanloom.handlers.otel._store import Parcel, Store
from spanloom.handlers.otel._transport import Reply, Transport, Verdict

__all__ = ["Sender"]

_logger = logging.getLogger("spanloom.handlers.otel")

BACKOFF_S: Final = 0.5
"""The first pause; each is twice the one before, +/- 20 %, up to `MAX_BACKOFF_S`."""
MAX_BACKOFF_S: Final = 30.0
MAX_HELPERS: Final = 8
"""Requests that may be under way besides the sender's own when somebody waits: with those, what memory holds is sent in
one round and a bit, also where the sender's own, a small one, was begun a moment before."""
CROWD_BYTES: Final = 8 << 20
"""What waits in memory when one request at a time is not enough, though nobody waits for it."""
CROWD_HELPERS: Final = 2
"""Requests that are then under way besides: with what they hold, memory stays below 64 MB."""
PATIENCE_S: Final = 2.0
"""Seconds without an answer after which there is no point in waiting for room."""
MIN_PAUSE_S: Final = 0.1
"""The shortest pause, when the end of the process is near."""
MAX_RETRY_AFTER_S: Final = 300.0
"""The longest ``Retry-After`` that is honoured: a wrong number must not silence us for days."""
ERROR_PAUSE_S: Final = 1.0
"""The pause after an unexpected error, which may repeat."""
ADOPT_EVERY_S: Final = 30.0
"""How often the spool of a process that died meanwhile is looked for."""
_FINAL: Final = frozenset({Verdict.ACCEPTED, Verdict.REFUSED})
_HOPELESS: Final = (TypeError, ValueError)
"""Errors of a request that cannot be made from its arguments, so that a retry does not help."""


class Sender:
    """Does the sending of one pipeline, on a thread of its own.

    Args:
        transport: The way to the collector.
        store: Where frames wait.
        ledger: The accounts.
        schedule: When and how much to send.
    """

    def __init__(self, transport: Transport, store: Store, ledger: Ledger, schedule: Schedule) -> None:
        self._transport = transport
        self._store = store
        self._ledger = ledger
        self._schedule = schedule
        self.max_body = min(transport.max_body, MAX_BODY)
        self.wake = threading.Event()
        self.is_parked = True
        self.is_sending = False
        self._target = (
            0  # own spans that somebody waits for: no more waiting for company until they are settled
        )
        self._is_nudged = False
        self._gave_up = False
        self._helpers: list[threading.Thread] = []
        self._returned: deque[Parcel] = deque()  # what a helper could not deliver at once
        self._deadline: float | None = None
        # By the monotonic clock: when the last request was begun, when the collector was last heard of (or asked again
        # after some time), and until when it has asked to be left alone.
        self._sent_at = self._moved_at = self._quiet_until = float("-inf")
        self.is_failing = self._is_full = False
        self.trouble = ""  # why spans were turned away last: in words, for whoever waits
        self._thread: threading.Thread | None = None
        # Of the threads. Reentrant, since a signal's handler may flush while the thread below it does.
        self._lock = threading.RLock()

    # called by others -----------------------------------------------------------------------------------

    def start(self) -> None:
        """Start the thread, if it is not running."""
        if self._thread is None:
            with self._lock:
                if self._thread is None:
                    # Set before it runs, for a signal's handler that comes here in between.
                    self._thread = threading.Thread(
                        target=self._run, name="spanloom-otel-sender", daemon=True
                    )
                    try:
                        self._thread.start()
                    except RuntimeError:
                        self._thread = None  # the interpreter is shutting down; close() counts what is left

    def hurry(self, target: int) -> None:
        """Send without delay until so many own spans are settled; also cut a back-off short, once."""
        self._target = max(self._target, target)
        self._is_nudged = True
        self.wake.set()
        self._get_help()

    @property
    def is_moving(self) -> bool:
        """Whether the collector takes what it is sent, as far as can be told: then waiting makes room in the store."""
        if self.is_failing or self._deadline is not None or self._thread is None:
            return False
        return not self.is_sending or time.monotonic() - self._moved_at < PATIENCE_S

    def want_room(self) -> None:
        """Have what waits sent, though it is little: there is no room for more."""
        self._is_full = True
        self.wake.set()

    def help_if_crowded(self) -> None:
        """Have up to `CROWD_HELPERS` more requests under way, if that much waits and the collector takes it."""
        if self.is_sending and not self.is_failing and self._store.waiting_bytes >= CROWD_BYTES:
            self._get_help(CROWD_HELPERS)

    def stop(self, deadline: float) -> None:
        """Send what is there until `deadline` (of the monotonic clock), then end the thread."""
        self._deadline = deadline
        self._is_nudged = True
        self.wake.set()
        self._get_help()

    def join(self, timeout: float) -> bool:
        """Wait for the end of the thread, and of those that help it; True if they are over."""
        with self._lock:
            threads = [self._thread, *self._helpers] if self._thread is not None else []
            self._thread = self._thread or threading.current_thread()  # nobody starts another one any more
        if not threads:
            self._run()  # it never began: do here, within the deadline, what it would have done
            return True
        until = time.monotonic() + timeout
        for thread in threads:
            thread.join(max(0.0, until - time.monotonic()))
        return not any(thread.is_alive() for thread in threads)

    # on threads that help when somebody waits --------------------------------------------------------------

    def _get_help(self, most: int = MAX_HELPERS) -> None:
        """Start helpers, so that several requests wait for a slow collector's answers concurrently.

        Not with a spool: there the time is not short, and what is settled is noted in order.
        """
        if self._store.is_durable or self._thread is None:
            return
        requests = -(-self._store.waiting_bytes // self.max_body)
        wanted = requests if self.is_sending else requests - 1
        with self._lock:
            for _ in range(min(wanted, most - len(self._living_helpers()))):
                helper = threading.Thread(target=self._help, name="spanloom-otel-sender-helper", daemon=True)
                try:
                    helper.start()
                except RuntimeError:
                    return  # the interpreter is shutting down
                self._helpers.append(helper)

    def _living_helpers(self) -> list[threading.Thread]:
        """Forget the helpers that are over, and return the others."""
        with self._lock:
            self._helpers = [helper for helper in self._helpers if helper.is_alive()]
            return list(self._helpers)

    def _help(self) -> None:
        with _uninstrumented():
            while self._left() > 0 and self._store.waiting and not self._is_quiet:
                parcel = self._store.take(self._schedule.max_spans, self.max_body)
                if parcel is None:
                    break
                reply = self._send(parcel.body(), len(parcel.frames))
                if reply.verdict in _FINAL:
                    if self._store.settle(parcel):
                        self._account(parcel, reply)
                else:
                    self._leave_alone(reply)
                    self._returned.append(parcel)
                    self.wake.set()
                    break

    # on the thread -----------------------------------------------------------------------------------------

    def _run(self) -> None:
        with _uninstrumented():
            try:
                while not self._gave_up and self._left() > 0 and self._turn_safely():
                    pass
            finally:
                self._store.stop()
                self._store.close()
                self._transport.close()

    def _turn_safely(self) -> bool:
        """Do one thing; False if there is nothing more to do. No error of a disk or a library ends the thread."""
        try:
            if self._deadline is not None and not self._has_more():
                return False
            self._turn()
        except Exception:
            _logger.exception("the sending of spans has failed, and goes on")
            time.sleep(max(0.0, min(ERROR_PAUSE_S, self._left())))
        return True

    def _has_more(self) -> bool:
        for helper in self._living_helpers():
            if not self._store.waiting:
                helper.join(max(0.0, self._left()))  # it may yet return what it has
        return bool(self._returned or self._store.waiting) or self._store.adopt(now=True)

    def _turn(self) -> None:
        if not (self._returned or self._store.waiting) and not self._store.adopt():
            self._park()
            return
        if not self._returned:
            self._wait_for_company()
        self.is_sending = True
        if self._returned:
            parcel: Parcel | None = self._returned.popleft()
        else:
            self._is_full = False
            parcel = self._store.take(self._schedule.max_spans, self.max_body)
        if parcel is not None:
            self._sent_at = time.monotonic()
            if not self.is_failing:
                self._moved_at = self._sent_at
            self._deliver(parcel)
        self.is_sending = False

    def _park(self) -> None:
        self.is_parked = True
        if not (self._store.waiting or self._returned) and self._deadline is None:
            self.wake.wait(ADOPT_EVERY_S if self._store.is_durable else None)
        self.is_parked = False
        self.wake.clear()

    def _wait_for_company(self) -> None:
        until = time.monotonic() + self._schedule.delay_s
        while self._store.waiting < self._schedule.eager_spans and not self._is_hurried:
            now = time.monotonic()
            left, early = until - now, self._sent_at + STEADY_S - now
            if left <= 0 or self._store.waiting_bytes >= self.max_body or not self._store.waiting:
                return
            if early <= 0 and self._store.waiting >= self._schedule.steady_spans:
                return
            self.wake.wait(min(left, early if early > 0 else STEADY_S))
            self.wake.clear()

    @property
    def _is_hurried(self) -> bool:
        return self._is_full or self._deadline is not None or self._ledger.own_settled < self._target

    def _left(self) -> float:
        """Seconds until `stop`'s deadline."""
        return float("inf") if self._deadline is None else self._deadline - time.monotonic()

    def _deliver(self, parcel: Parcel) -> None:
        """Settle every span of `parcel`, or give up because this process is closing."""
        parts = [parcel]
        retries = 0
        while parts and self._left() > 0:
            if not self._wait_until(self._quiet_until, self._quiet_until):
                self._gave_up = True
                return
            part = parts.pop()
            body = part.body()
            reply = self._send(body, len(part.frames))
            if reply.verdict is Verdict.RETRY:
                parts.append(part)
                retries += 1
                if not self._pause(reply, retries):
                    self._gave_up = True
                    return
                continue
            retries = 0
            self.is_failing = False
            if reply.verdict is Verdict.TOO_LARGE and len(part.frames) > 1:
                self.max_body = max(1, min(self.max_body, len(body) // 2))
                parts.extend(reversed(part.halves()))
            elif self._store.settle(part):
                self._account(part, reply)

    def _send(self, body: bytes, spans: int) -> Reply:
        if len(body) > self._transport.max_body:
            return Reply(Verdict.TOO_LARGE, "too large")
        limit = min(self._transport.timeout_s, self._schedule.timeout_s, self._left())
        try:
            return self._transport.send(body, spans=spans, timeout_s=max(0.001, limit))
        except Exception as error:  # noqa: BLE001 -- an exporter's session or channel may be anybody's code
            verdict = Verdict.REFUSED if isinstance(error, _HOPELESS) else Verdict.RETRY
            return Reply(verdict, type(error).__name__, str(error)[:200])

    def _account(self, part: Parcel, reply: Reply) -> None:
        lost = len(part.frames)
        self._moved_at = time.monotonic()
        if reply.verdict is Verdict.ACCEPTED:
            lost = min(reply.rejected, lost)
            self._ledger.export(len(part.frames) - lost, replayed=part.replayed)
        self.trouble = _told(reply) if lost else ""
        if self._ledger.drop(lost, reply.reason, replayed=part.replayed):
            _logger.warning("spans are being dropped: %s", self.trouble)

    def _pause(self, reply: Reply, retries: int) -> bool:
        """Wait before a request is sent again; False if there is no time for that any more."""
        self.is_failing = True
        self.trouble = _told(reply)
        self._leave_alone(reply)
        if retries == 1:
            _logger.warning("spans cannot be sent, and will be sent again: %s", self.trouble)
        if self._deadline is not None and self._store.is_durable:
            return False  # tried since the close began, and not lost by waiting for the next process
        asked_s, pause_s = _asked_s(reply), _pause_s(reply, retries)
        if self._deadline is not None:
            pause_s = max(asked_s, min(pause_s, max(MIN_PAUSE_S, self._left() / 2)))
        now = time.monotonic()
        if not self._wait_until(now + pause_s, now + asked_s):
            return False
        self._is_nudged = False
        return True

    def _wait_until(self, until: float, least: float) -> bool:
        """Wait until `until`, or until `least` if somebody is in a hurry; False if there is no time for that."""
        while (left := (least if self._is_nudged else until) - time.monotonic()) > 0:
            if self._left() <= left:
                return False
            self.wake.wait(left)
            self.wake.clear()
        return True

    @property
    def _is_quiet(self) -> bool:
        return time.monotonic() < self._quiet_until

    def _leave_alone(self, reply: Reply) -> None:
        """Note, for all threads, how long the collector has asked to be left alone."""
        self._quiet_until = max(self._quiet_until, time.monotonic() + _asked_s(reply))


def _told(reply: Reply) -> str:
    return f"{reply.reason} ({reply.message})" if reply.message else reply.reason


def _asked_s(reply: Reply) -> float:
    """Return how long the collector is left alone in any case."""
    return min(reply.retry_after_s or 0.0, MAX_RETRY_AFTER_S)


def _pause_s(reply: Reply, retries: int) -> float:
    """Return how long to pause: as long as the collector asked for, and at least the back-off."""
    backoff_s: float = min(BACKOFF_S * 2.0 ** min(retries - 1, 16), MAX_BACKOFF_S)
    return max(_asked_s(reply), backoff_s * random.uniform(0.8, 1.2))  # noqa: S311 -- jitter, not crypto


@contextmanager
def _uninstrumented() -> Iterator[None]:
    """Keep the instrumentation of HTTP clients and gRPC from making spans of the sending of spans."""
    token = context.attach(context.set_value(_SUPPRESS_INSTRUMENTATION_KEY, True))
    try:
        yield
    finally:
        context.detach(token)
