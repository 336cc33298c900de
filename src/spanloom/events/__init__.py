"""The vocabulary: what happened, when, under what, and how it ended. Knows nobody."""

import typing

from spanloom._offers import offered as _offered
from spanloom.events.counts import BatchCounts
from spanloom.events.error import ErrorInfo, Frame
from spanloom.events.event import Event
from spanloom.events.handler import Handler
from spanloom.events.types import EventStatus, EventType

if typing.TYPE_CHECKING:
    from spanloom.events.codec import decode as decode
    from spanloom.events.codec import decode_lines as decode_lines
    from spanloom.events.codec import encode as encode
    from spanloom.events.codec import encode_lines as encode_lines
    from spanloom.events.stored import StoredEvent as StoredEvent

__all__ = [
    "BatchCounts",
    "ErrorInfo",
    "Event",
    "EventStatus",
    "EventType",
    "Frame",
    "Handler",
    "StoredEvent",
    "decode",
    "decode_lines",
    "encode",
    "encode_lines",
]

# For lines of JSON, which few write.
_LATE: typing.Final = {
    "StoredEvent": "spanloom.events.stored",
    "decode": "spanloom.events.codec",
    "decode_lines": "spanloom.events.codec",
    "encode": "spanloom.events.codec",
    "encode_lines": "spanloom.events.codec",
}


def __getattr__(name: str) -> object:
    return _offered(__name__, _LATE, name)
