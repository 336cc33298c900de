"""The vocabulary: what happened, when, under what, and how it ended. Knows nobody."""

from spanloom.events.codec import decode, decode_lines, encode, encode_lines
from spanloom.events.counts import BatchCounts
from spanloom.events.error import ErrorInfo, Frame
from spanloom.events.event import Event
from spanloom.events.handler import Handler
from spanloom.events.stored import StoredEvent
from spanloom.events.types import EventStatus, EventType

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
