"""`LlamaDebugHandler`: every start and end, in lists, and the tree of each trace on the screen."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any

from spanloom.compat._llama_index.base_handler import PythonicallyPrintingBaseHandler
from spanloom.compat._llama_index.schema import BASE_TRACE_EVENT, CBEvent, CBEventType, EventStats

__all__ = ["LlamaDebugHandler"]

# Any: payloads and further arguments are the components' and their users'.


class LlamaDebugHandler(PythonicallyPrintingBaseHandler):
    """Keep the start and the end of every event, with their payloads, until `flush_event_logs`.

    For debugging: it holds all that it was given. spanloom's ``DebugHandler`` counts and times in bounded memory.

    Args:
        event_starts_to_ignore: Event types whose start is not kept.
        event_ends_to_ignore: Event types whose end is not kept.
        print_trace_on_end: Print the tree of each trace when it ends.
        logger: Gets what would be printed, at level DEBUG; ``None`` prints to ``sys.stdout``.
    """

    def __init__(
        self,
        event_starts_to_ignore: Iterable[CBEventType] | None = None,
        event_ends_to_ignore: Iterable[CBEventType] | None = None,
        print_trace_on_end: bool = True,
        logger: logging.Logger | None = None,
    ) -> None:
        super().__init__(event_starts_to_ignore, event_ends_to_ignore, logger)
        self.print_trace_on_end: bool = print_trace_on_end
        self._trace_id: str | None = None
        self._tree: Mapping[str, list[str]] = {}
        self.flush_event_logs()

    def flush_event_logs(self) -> None:
        """Forget all events."""
        self._by_type: defaultdict[CBEventType, list[CBEvent]] = defaultdict(list)
        self._by_id: defaultdict[str, list[CBEvent]] = defaultdict(list)
        self._sequence: list[CBEvent] = []

    def _keep(self, event: CBEvent) -> str:
        self._by_type[event.event_type].append(event)
        self._by_id[event.id_].append(event)
        self._sequence.append(event)
        return event.id_

    def on_event_start(
        self,
        event_type: CBEventType,
        payload: dict[str, Any] | None = None,
        event_id: str = "",
        parent_id: str = "",
        **kwargs: Any,
    ) -> str:
        """Keep the start of an event, and return its id: a fresh one if none is given."""
        return self._keep(CBEvent(event_type, payload, id_=event_id))

    def on_event_end(
        self,
        event_type: CBEventType,
        payload: dict[str, Any] | None = None,
        event_id: str = "",
        **kwargs: Any,
    ) -> None:
        """Keep the end of an event."""
        self._keep(CBEvent(event_type, payload, id_=event_id))

    def start_trace(self, trace_id: str | None = None) -> None:
        """Do nothing: what there is to say of a trace is known at its end."""

    def end_trace(
        self, trace_id: str | None = None, trace_map: Mapping[str, list[str]] | None = None
    ) -> None:
        """Remember the trace as the last one, and print it if that is asked for."""
        self._trace_id, self._tree = trace_id, trace_map or {}
        if self.print_trace_on_end:
            self.print_trace_map()

    # reading ----------------------------------------------------------------------------------------------

    @property
    def event_pairs_by_type(self) -> dict[CBEventType, list[CBEvent]]:
        """Starts and ends by type, in order; the dict itself."""
        return self._by_type

    @property
    def events_pairs_by_id(self) -> dict[str, list[CBEvent]]:
        """Starts and ends by the id of their event, in order; the dict itself."""
        return self._by_id

    @property
    def sequential_events(self) -> list[CBEvent]:
        """All starts and ends, in order; the list itself."""
        return self._sequence

    def get_events(self, event_type: CBEventType | None = None) -> list[CBEvent]:
        """Return all starts and ends, in order.

        Args:
            event_type: Only those of this type.
        """
        return list(self._sequence if event_type is None else self._by_type.get(event_type, ()))

    def get_event_pairs(self, event_type: CBEventType | None = None) -> list[list[CBEvent]]:
        """Return a list ``[start, end]`` for each event, in order of the start; of what is open, ``[start]``.

        Args:
            event_type: Only those of this type.
        """
        pairs: dict[str, list[CBEvent]] = {}
        for event in self.get_events(event_type):
            pairs.setdefault(event.id_, []).append(event)
        return list(pairs.values())

    def get_llm_inputs_outputs(self) -> list[list[CBEvent]]:
        """Return `get_event_pairs` of the calls of models."""
        return self.get_event_pairs(CBEventType.LLM)

    def get_event_time_info(self, event_type: CBEventType | None = None) -> EventStats:
        """Return how long the events took that have ended.

        Args:
            event_type: Only those of this type.
        """
        durations = [_seconds(pair) for pair in self.get_event_pairs(event_type) if len(pair) > 1]
        total = sum(durations)
        return EventStats(total, total / len(durations) if durations else 0.0, len(durations))

    def print_trace_map(self) -> None:
        """Print the tree of the trace that ended last, each level two blanks deeper than the one above it."""
        lines = ["*" * 10, f"Trace: {self._trace_id}"]
        # The map is a tree, as deep as calls can be nested; a stack of our own can be that deep, too.
        waiting = [(event_id, 2) for event_id in reversed(self._tree.get(BASE_TRACE_EVENT, ()))]
        while waiting:
            event_id, level = waiting.pop()
            pair = self._by_id.get(event_id)
            if pair:
                lines.append(f"{'  ' * level}|_{pair[0].event_type!s} -> {_seconds(pair):.6f} seconds")
            waiting.extend((child, level + 1) for child in reversed(self._tree.get(event_id, ())))
        lines.append("*" * 10)
        for line in lines:
            self._print(line)


def _seconds(pair: list[CBEvent]) -> float:
    return (pair[-1].time_ns - pair[0].time_ns) / 1e9
