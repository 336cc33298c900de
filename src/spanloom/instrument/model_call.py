"""One request to a model: its event, and what happens inside the client on the way to the answer.

Theory of operation. The clients of openai and anthropic come from one generator and have the same inside: every method
of theirs ends in ``request`` of the client, which makes one HTTP request, pauses in ``_sleep_for_retry`` and makes
another one. A `ModelCall` is the event of one such ``request``. It is current while that runs, so that what the client
does over HTTP is under it. Its attempts are events of their own where the client may make more than one, and so are
the pauses.

An answer that has been read when ``request`` returns ends the event. A streamed one does not: the event and its last
attempt are no longer current then, but stay open until the body of the answer has been read, has failed, or has been
closed or dropped.
"""

from __future__ import annotations

import sys
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Final

from spanloom.callbacks.ambient import get_callback_manager
from spanloom.events import keys, model_keys
from spanloom.events.clock import monotonic_ns
from spanloom.events.types import EventType
from spanloom.instrument.model_answers import answered, streamed

if TYPE_CHECKING:
    from spanloom.callbacks.context import EventContext

__all__ = ["ModelCall"]

_NS_PER_S: Final = 1_000_000_000
_ANSWERING: Final = frozenset({EventType.LLM, EventType.EMBEDDING})
"""Types of events whose answers have metadata of a model."""

# Any: clients, options and answers are the libraries', none of which is imported here.


class ModelCall:
    """The event of one request.

    Args:
        type: Of the event.
        name: Of the event and of its attempts.
        payload: The payload of the event at its start.
        retries: Whether the client may make more than one attempt.

    Attributes:
        is_reading: Whether a parser reads the body now: then that ends the event, and the body does not.
    """

    current: Final[ContextVar[ModelCall | None]] = ContextVar("spanloom_model_call", default=None)
    """The call whose ``request`` runs in this context, or ``None``."""

    def __init__(self, type: str, name: str, payload: dict[str, object], *, retries: bool) -> None:
        self._manager = get_callback_manager()
        self._name = name
        self._handling = sys.exception()
        self._outer = self.current.get()
        self._number = 1
        self._attempt: EventContext | None = None
        self._pause: EventContext | None = None
        self.is_reading: bool = False
        self._event = self._manager.event(type, payload, name=name)
        self._opened = self._event.start()
        self.current.set(self)
        if retries:
            self._begin_attempt()

    def _begin_attempt(self) -> None:
        self._attempt = self._manager.attempt(EventType.ATTEMPT, self._name, self._number)
        self._attempt.start()

    # inside the client ------------------------------------------------------------------------------------

    def begin_pause(self, failure: BaseException | None) -> None:
        """End the attempt that failed, and begin the pause after it.

        Args:
            failure: What made it fail; ``None`` for the exception that is being handled.
        """
        error = failure or sys.exception()
        if error is self._handling:  # the caller's own exception, which it was handling before the request
            error = None
        attempt, self._attempt = self._attempt, None
        if attempt is not None:
            attempt.end(error)
        said = {} if error is None else {keys.ERROR: type(error).__name__}
        self._pause = self._manager.attempt(EventType.BACKOFF, self._name, self._number, said)
        self._pause.start()

    def pause_is(self, seconds: float) -> None:
        """Record how long the pause is to last."""
        if self._pause is not None:
            self._pause.set(**{keys.DELAY_S: seconds})

    def end_pause(self, error: BaseException | None) -> None:
        """End the pause and, if nothing has ended it early, begin the next attempt."""
        pause, self._pause = self._pause, None
        if pause is None:
            return
        pause.end(error)
        if error is None:
            self._number += 1
            self._begin_attempt()

    # the answer -------------------------------------------------------------------------------------------

    def fail(self, error: BaseException, shown: BaseException | None = None) -> None:
        """End the event by what ``request`` has raised.

        Args:
            error: What it has raised.
            shown: The exception that the events record; ``None`` for `error` itself.
        """
        self.leave()
        request_id = getattr(error, "request_id", None)  # the libraries' own exceptions have one
        if isinstance(request_id, str):
            self._event.set(**{model_keys.REQUEST_ID: request_id})
        self.end(shown or error)

    def leave(self) -> None:
        """Make the event not current any more, as ``request`` is left; it and its last attempt stay open."""
        if self.current.get() is self:
            self.current.set(self._outer)
        self._outer = self._handling = None

    def take_answer(self, answer: object) -> None:
        """Add the metadata of an answer to the event: of the library's object, or of the body of a raw answer."""
        found = answered(answer)
        if self._opened.type not in _ANSWERING:  # other API objects have a status and a model, too
            found = {key: found[key] for key in found.keys() & {model_keys.REQUEST_ID}}
        if found:
            self._event.set(**found)

    def take_response(self, response: Any) -> bool:
        """Add the metadata of an HTTP response, and tell whether the event stays open until its body has been read."""
        request_id = response.headers.get("x-request-id") or response.headers.get("request-id")
        if request_id is not None:
            self._event.set(**{model_keys.REQUEST_ID: request_id})
        if response.is_closed:
            self.take_answer(response.content)
            return False
        from spanloom.instrument.model_stream import watch  # late: wrapt takes longer to import than spanloom

        if self._attempt is not None:
            self._attempt.suspend()
        self._event.suspend()
        watch(response, self)
        return True

    # the stream -------------------------------------------------------------------------------------------

    def take(self, chunk: object) -> None:
        """Add the metadata that a chunk of a streamed answer has."""
        self.is_reading = False
        if self._opened.type not in _ANSWERING:
            return
        found, known = streamed(chunk), self._opened.payload
        if model_keys.TIME_TO_FIRST_CHUNK_S not in known:
            found[model_keys.TIME_TO_FIRST_CHUNK_S] = (monotonic_ns() - self._opened.start_ns) / _NS_PER_S
        reason, before = found.get(model_keys.FINISH_REASON), known.get(model_keys.FINISH_REASON)
        if reason is not None and before is not None:  # each of several choices has its own reason
            found[model_keys.FINISH_REASON] = [*_listed(before), *_listed(reason)]
        if found:
            self._event.set(**found)

    def finish_reading(self, error: BaseException) -> None:
        """End the event by what the parser of its chunks has raised."""
        self.is_reading = False
        self.end(None if isinstance(error, (StopIteration, StopAsyncIteration)) else error)

    def close(self) -> None:
        """End the event of an answer that nobody reads any further.

        Cancelled, unless the model has given its finish reason: what comes after that is no part of the answer.
        """
        self.end(None if model_keys.FINISH_REASON in self._opened.payload else GeneratorExit())

    def end(self, error: BaseException | None) -> None:
        """End the event and its last attempt; only the first call counts."""
        attempt, self._attempt = self._attempt, None
        if attempt is not None:
            attempt.end(error)
        self._event.end(error)


def _listed(value: object) -> list[object]:
    return value if isinstance(value, list) else [value]
