"""What stops a batch early: time, errors, cost."""

from __future__ import annotations

import asyncio
import logging
import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

from spanloom.callbacks.decorate import is_coroutine_function
from spanloom.exceptions import BatchStoppedError
from spanloom.processing.bounds import check_amount
from spanloom.processing.result import WorkItemResult

__all__ = ["LAST_WORD_S", "GuardRails", "Guards"]

_log = logging.getLogger(__name__)

LAST_WORD_S: Final = 5.0
"""Seconds that the ``on_error`` of all middleware of an item has together when the item's own time is over."""


@dataclass(frozen=True, kw_only=True)
class GuardRails:
    """Bounds of a batch. Reaching any but `item_timeout` stops it: no call is started, and items without one fail.

    Items that the stop cuts off have a result like all others, with the error ``"BatchStoppedError: ..."``, which
    names the bound.

    Attributes:
        item_timeout: Seconds for an item: attempts, pauses, cool-downs and middleware together. The item then fails
            with a `FrameworkTimeoutError` and is not tried again; the ``on_error`` of its middleware has 5 more
            seconds. ``None`` for no bound.
        batch_timeout: Seconds for the whole batch, from its start; running calls are then cancelled.
        max_errors: By the classifier's category, the number of items failed for good at which the batch stops.
            Running calls may end.
        max_cost: Cost of all results together at which the batch stops. Running calls may end.
        cost: Returns the cost of a result, also of a failed item; for `max_cost`. If it raises, the batch stops: a
            cap that cannot be checked is none.

    Raises:
        ValueError: a number is out of range, or `max_cost` is given without `cost`.
        TypeError: one is not a number, `max_errors` is not a mapping from categories, or `cost` not a function.
    """

    item_timeout: float | None = None
    batch_timeout: float | None = None
    max_errors: Mapping[str, int] | None = None
    max_cost: float | None = None
    cost: Callable[[WorkItemResult[Any, Any]], float] | None = None

    def __post_init__(self) -> None:
        for what, seconds in (("item_timeout", self.item_timeout), ("batch_timeout", self.batch_timeout)):
            if seconds is not None:
                number = check_amount(seconds, what, above=0, finite=False, more=" seconds, or None")
                object.__setattr__(self, what, number)  # frozen: a plain assignment raises
        _check_errors(self.max_errors)
        if self.max_cost is not None:
            check_amount(self.max_cost, "max_cost", above=0, finite=False, more=", or None")
        cost: object = self.cost
        if cost is not None and (not callable(cost) or is_coroutine_function(cost)):
            raise TypeError(
                f"cost must be a plain function of a result that returns a number, or None (got {cost!r})"
            )
        if self.max_cost is not None and self.cost is None:
            raise ValueError("max_cost needs a cost: a function that tells what a result cost")


def _check_errors(given: object) -> None:
    if given is None:
        return
    if not isinstance(given, Mapping):
        raise TypeError(
            f"max_errors must be a mapping from categories of errors to numbers, such as {{'rate_limit': 5}}, or None "
            f"(got {given!r})"
        )
    for category, most in given.items():
        if not isinstance(category, str):
            raise TypeError(
                f"max_errors must have the names of categories, such as 'rate_limit', as its keys (got {category!r})"
            )
        check_amount(most, f"max_errors[{category!r}]", least=1, finite=False)


class Guards:
    """Enforces the bounds of one batch.

    Args:
        rails: The bounds.
        stopped: Called once, when the batch is stopped.
    """

    def __init__(self, rails: GuardRails, stopped: Callable[[], object]) -> None:
        self._rails = rails
        self._stopped = stopped
        self._timer: asyncio.TimerHandle | None = None
        self._scopes: dict[asyncio.Timeout, float] = {}
        self._cut_off_at: float | None = None
        self._errors: Counter[str] = Counter()
        self._cost = 0.0
        self._is_priced = rails.max_cost is not None and rails.cost is not None
        """Whether costs are counted; False once `cost` has failed."""
        self.reason: str | None = None
        """Why the batch was stopped; ``None`` if it was not."""

    def start(self) -> None:
        """Start the batch's timeout."""
        seconds = self._rails.batch_timeout
        if seconds is not None:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(seconds, self.stop, f"the batch has taken its {seconds:g} s")

    def end(self) -> None:
        """Stop the batch's timeout."""
        if self._timer is not None:
            self._timer.cancel()

    def check(self) -> None:
        """Return if a call may be started.

        Raises:
            BatchStoppedError: it may not.
        """
        if self.reason is not None:
            raise BatchStoppedError(self.reason)

    @contextmanager
    def watching(self, scope: asyncio.Timeout, grace_s: float = 0.0) -> Iterator[None]:
        """Let `stop` expire `scope`, of a running item, `grace_s` seconds after it."""
        self._scopes[scope] = grace_s
        try:
            yield
        finally:
            self._scopes.pop(scope, None)

    def scope(self, deadline: float) -> asyncio.Timeout:
        """Return a timeout scope until `deadline` on the loop's clock; infinity is no timeout."""
        return asyncio.timeout_at(deadline if deadline < math.inf else None)

    def last_word(self, deadline: float) -> asyncio.Timeout:
        """Return the timeout scope of an item's ``on_error`` middleware: until `deadline`, and at least 5 seconds.

        After a stop that cancels running calls: until 5 seconds after the stop, for all items.
        """
        if self._cut_off_at is not None:
            return self.scope(self._cut_off_at + LAST_WORD_S)
        return self.scope(max(deadline, asyncio.get_running_loop().time() + LAST_WORD_S))

    @property
    def item_timeout(self) -> float:
        """Seconds for one item; infinity for no bound."""
        return math.inf if self._rails.item_timeout is None else self._rails.item_timeout

    def stop(self, reason: str, *, now: bool = True) -> None:
        """Start no more calls.

        Args:
            reason: Text for the results of the items that are cut off.
            now: Cancel running calls, too.
        """
        if self.reason is None:
            self.reason = reason
            self._stopped()
        if now and self._cut_off_at is None:
            self._cut_off_at = present = asyncio.get_running_loop().time()
            for scope, grace_s in self._scopes.items():
                when = scope.when()
                if not scope.expired() and (when is None or when > present + grace_s):
                    scope.reschedule(present + grace_s)

    def count(self, result: WorkItemResult[Any, Any], category: str | None) -> None:
        """Count an ended item; stop the batch if a bound is reached.

        Args:
            result: Its result.
            category: The classifier's category of its error; ``None`` without one.
        """
        if category is not None:
            self._errors[category] += 1
            if self._errors[category] >= (self._rails.max_errors or {}).get(category, math.inf):
                self.stop(f"{self._errors[category]} items have failed with {category!r}", now=False)
        if self._is_priced and self._rails.max_cost is not None and self._rails.cost is not None:
            self._is_priced = False
            try:
                self._cost += _number(self._rails.cost(result))
            except Exception:  # noqa: BLE001 -- the user's function; what follows says what comes of it
                _log.exception("the cost function failed: the batch stops")
                self.stop("the cost function failed, so the spend cap cannot be kept", now=False)
                return
            self._is_priced = True
            if self._cost >= self._rails.max_cost:
                self.stop(f"{self._cost:g} spent of at most {self._rails.max_cost:g}", now=False)


def _number(cost: float) -> float:
    cost = float(cost)  # often a Decimal, which cannot be added to a float
    if math.isnan(cost):  # nothing would ever be above the cap
        raise ValueError("the cost is not a number")
    return cost
