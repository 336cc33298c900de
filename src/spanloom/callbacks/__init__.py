"""Carry events from the code that makes them to the handlers that want them."""

from spanloom.callbacks.ambient import (
    current_event,
    get_callback_manager,
    in_flight,
    link,
    propagate,
    use_callback_manager,
)
from spanloom.callbacks.context import EventContext
from spanloom.callbacks.manager import CallbackManager
from spanloom.callbacks.recorder import FlightRecorder
from spanloom.callbacks.stats import HandlerStats, ManagerStats

__all__ = [
    "CallbackManager",
    "EventContext",
    "FlightRecorder",
    "HandlerStats",
    "ManagerStats",
    "current_event",
    "get_callback_manager",
    "in_flight",
    "link",
    "propagate",
    "use_callback_manager",
]
