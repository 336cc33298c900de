"""tenacity: one event of type ``retry`` for each call, or loop over attempts, of a ``Retrying``.

Theory of operation. tenacity asks ``Retrying.iter(retry_state)`` what to do next, in all of its forms: to attempt, to
sleep, to return or to raise. What it answers, and the outcomes that are told to the `RetryCallState`, are the events.
``__call__`` is watched besides, as nothing else tells of an exception that leaves a sleep, a cancel for one. A loop,
``for attempt in Retrying(...)``, may be left without a word: if the policy looks at exceptions only, an attempt that
ended well was the last one; otherwise the end is when the state of the call goes.

stamina is made of tenacity. Its calls are those of another target.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from types import ModuleType
from typing import Any, Final, cast

from spanloom.callbacks.decorate import hide_frame
from spanloom.concurrency.names import bare_name
from spanloom.instrument.functions import Args, KwArgs
from spanloom.instrument.harmless import guarded
from spanloom.instrument.patches import Patches
from spanloom.instrument.side_table import SideTable
from spanloom.instrument.tries import UNWANTED, Tries, caller_name, watch

__all__ = ["VERSIONS", "is_of_stamina", "patch", "watch_calls"]

VERSIONS: Final[Mapping[str, str]] = {"tenacity": "9.2.1"}

_SKIPPED: Final = ("spanloom", "stamina", "tenacity", "wrapt")
_EXCEPTIONS_ONLY: Final = frozenset({"retry_if_exception", "_TenacityBackoffCallbackAdapter"})
"""Classes of policies that do not look at results."""

_tries: Final[SideTable[Tries]] = SideTable()
"""The watched call, by its `RetryCallState`."""
_called: ContextVar[Tries | None] = ContextVar("spanloom_tenacity_call", default=None)
"""The call that ``__call__`` has opened, until the first ``iter`` shows its state."""


def patch(module: ModuleType, patches: Patches) -> None:
    """Watch the calls of tenacity that are not stamina's."""
    watch_calls(module, patches, lambda retrying: not is_of_stamina(retrying))


def watch_calls(tenacity: Any, patches: Patches, mine: Callable[[Any], bool]) -> None:
    """Watch the calls of those Retrying objects that are `mine`."""
    watching = _Watching(mine, tenacity.DoAttempt, tenacity.DoSleep)
    patches.wrap(tenacity.BaseRetrying, "iter", watching.iter)
    patches.wrap(tenacity.AsyncRetrying, "iter", watching.async_iter)
    patches.wrap(tenacity.Retrying, "__call__", watching.call)
    patches.wrap(tenacity.AsyncRetrying, "__call__", watching.async_call)
    patches.wrap(tenacity.AsyncRetrying, "__anext__", watching.async_next)
    patches.wrap(tenacity.RetryCallState, "set_result", watching.set_result)
    patches.wrap(tenacity.RetryCallState, "set_exception", watching.set_exception)


class _Watching:
    """The functions that are called in place of tenacity's methods.

    Args:
        mine: Tells whether a Retrying object is watched.
        attempt: Class of the answer "attempt".
        sleep: Class of the answer "sleep", a number of seconds.
    """

    def __init__(self, mine: Callable[[Any], bool], attempt: type, sleep: type) -> None:
        self._mine = mine
        self._attempt = attempt
        self._sleep = sleep

    # calls ----------------------------------------------------------------------------------------------

    def call(self, wrapped: Callable[..., Any], retrying: Any, args: Args, kwargs: KwArgs) -> Any:
        tries = guarded("tenacity", self._opened, retrying, args)
        try:
            result = wrapped(*args, **kwargs)
        except BaseException as error:
            _end(tries, error)
            hide_frame(error)
            raise
        _end(tries, None)
        return result

    async def async_call(self, wrapped: Callable[..., Any], retrying: Any, args: Args, kwargs: KwArgs) -> Any:
        tries = guarded("tenacity", self._opened, retrying, args)
        try:
            result = await wrapped(*args, **kwargs)
        except BaseException as error:
            _end(tries, error)
            hide_frame(error)
            raise
        _end(tries, None)
        return result

    def _opened(self, retrying: Any, args: Args) -> Tries | None:
        if (
            not args
            or not self._mine(retrying)
            or not getattr(retrying, "enabled", True)
            or _is_ours(args[0])
        ):
            return None
        tries = watch(caller_name(args[0], _SKIPPED))
        if tries is not None:
            tries.owner = retrying
            _called.set(tries)
        return tries

    # what to do next ------------------------------------------------------------------------------------

    def iter(self, wrapped: Callable[..., Any], retrying: Any, args: Args, kwargs: KwArgs) -> Any:
        tries = guarded("tenacity", self._asked, retrying, args, kwargs)
        try:
            answer = wrapped(*args, **kwargs)
        except BaseException as error:
            _end(tries, error)
            hide_frame(error)
            raise
        if tries is not None:
            guarded("tenacity", self._answered, tries, args, kwargs, answer)
        return answer

    async def async_iter(self, wrapped: Callable[..., Any], retrying: Any, args: Args, kwargs: KwArgs) -> Any:
        tries = guarded("tenacity", self._asked, retrying, args, kwargs)
        try:
            answer = await wrapped(*args, **kwargs)
        except BaseException as error:
            _end(tries, error)
            hide_frame(error)
            raise
        if tries is not None:
            guarded("tenacity", self._answered, tries, args, kwargs, answer)
        return answer

    async def async_next(self, wrapped: Callable[..., Any], retrying: Any, args: Args, kwargs: KwArgs) -> Any:
        try:
            return await wrapped(*args, **kwargs)
        except BaseException as error:
            if not isinstance(error, StopAsyncIteration):  # a cancel of its sleep, for one
                state = getattr(retrying, "_retry_state", None)
                if state is not None:
                    _end(self._known(state), error)
            hide_frame(error)
            raise

    def _known(self, state: Any) -> Tries | None:
        tries = _tries.get(state)
        return tries if tries is not None and tries.owner is self else None

    def _asked(self, retrying: Any, args: Args, kwargs: KwArgs) -> Tries | None:
        state = _state_of(args, kwargs)
        tries = _tries.get(state)
        if tries is not None:
            if tries.owner is not self:
                return None
            tries.resume()
            return tries
        is_new = state.outcome is None and state.attempt_number == 1
        if not is_new or not self._mine(retrying) or _is_ours(state.fn):
            return None
        called = _called.get()
        if state.fn is not None and called is not None and called.owner is retrying:
            _called.set(None)
            tries = called
        else:
            tries = watch(_name_of(retrying, state))
        if tries is not None:
            tries.owner = self
            _tries[state] = tries
        return tries

    def _answered(self, tries: Tries, args: Args, kwargs: KwArgs, answer: Any) -> None:
        if isinstance(answer, self._attempt):
            tries.attempt()
        elif isinstance(answer, self._sleep):
            outcome = _state_of(args, kwargs).outcome
            error = None if outcome is None else outcome.exception()
            tries.back_off(float(cast("float", answer)), UNWANTED if error is None else type(error).__name__)
        else:
            tries.end()

    # outcomes -------------------------------------------------------------------------------------------

    def set_result(self, wrapped: Callable[..., Any], state: Any, args: Args, kwargs: KwArgs) -> Any:
        guarded("tenacity", self._succeeded, state)
        return wrapped(*args, **kwargs)

    def set_exception(self, wrapped: Callable[..., Any], state: Any, args: Args, kwargs: KwArgs) -> Any:
        guarded("tenacity", self._failed, state, args, kwargs)
        return wrapped(*args, **kwargs)

    def _succeeded(self, state: Any) -> None:
        tries = self._known(state)
        if tries is None:
            return
        tries.attempted(None)
        if state.fn is not None:
            return
        kinds = {base.__name__ for base in type(state.retry_object.retry).__mro__}
        if kinds & _EXCEPTIONS_ONLY:
            tries.end()
        else:
            tries.step_aside()

    def _failed(self, state: Any, args: Args, kwargs: KwArgs) -> None:
        tries = self._known(state)
        if tries is not None:
            raised = args[0] if args else kwargs["exc_info"]
            tries.attempted(raised[1])


def _end(tries: Tries | None, error: BaseException | None) -> None:
    if tries is not None:
        tries.end(error)


def _state_of(args: Args, kwargs: KwArgs) -> Any:
    return args[0] if args else kwargs["retry_state"]


def _is_ours(fn: Any) -> bool:
    """Tell whether spanloom runs a policy of tenacity's, and makes the events itself."""
    return getattr(fn, "__module__", None) == "spanloom.concurrency.tenacity"


def is_of_stamina(retrying: Any) -> bool:
    """Tell whether stamina has made a Retrying object for a call of its own."""
    before_sleep = getattr(retrying, "before_sleep", None)
    return _caller_of(retrying) is not None or _is_in_stamina(getattr(before_sleep, "__module__", None))


def _caller_of(retrying: Any) -> Any:
    """Return what of stamina uses a Retrying object, or ``None`` if nothing does."""
    owner = getattr(getattr(retrying, "before", None), "__self__", None)
    return owner if _is_in_stamina(type(owner).__module__) else None


def _is_in_stamina(module: object) -> bool:
    return isinstance(module, str) and module.startswith("stamina.")


def _name_of(retrying: Any, state: Any) -> str:
    name = getattr(_caller_of(retrying), "_name", None) or getattr(retrying, "_name", None)
    if not isinstance(name, str) or name.startswith("<"):
        return caller_name(state.fn, _SKIPPED)
    return _without_module(bare_name(name))


def _without_module(name: str) -> str:
    module = name.rpartition(".")[0]
    while module and module not in sys.modules:
        module = module.rpartition(".")[0]
    return name[len(module) + 1 :] if module else name
