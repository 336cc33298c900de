"""The route: who gets an event of one type. Worked out once, then one attribute access per event."""

from __future__ import annotations

from spanloom.callbacks.guard import Guard, JobHook
from spanloom.events.event import Event

__all__ = ["Route"]


class Route:
    """The interested handlers, sorted by what they define.

    An event keeps the route of its start until its end: a handler that is added in between gets
    neither, so that every end it sees had a start.

    Attributes:
        type: The event type that it is for.
        guards: All that may get such an event, in the order in which the handlers were added.
        starts: Those that define ``on_event_start`` and want it for this type, or whose thread looks at open events.
        ends: Those that get the ended event, in its task or in lists.
    """

    __slots__ = ("ends", "guards", "starts", "type")

    def __init__(self, type: str, guards: tuple[Guard, ...]) -> None:
        self.type: str = type
        self.guards: tuple[Guard, ...] = guards
        self.starts: tuple[Guard, ...] = tuple(
            guard for guard in guards if guard.watches or guard.defines_inline("on_event_start", type)
        )
        self.ends: tuple[Guard, ...] = tuple(
            guard for guard in guards if guard.drain is not None or guard.defines_inline("on_event_end", type)
        )

    def without(self, guards: tuple[Guard, ...]) -> Route:
        """Return the route for events that the hooks of `guards` themselves emit."""
        return Route(self.type, tuple(guard for guard in self.guards if guard not in guards))

    def start(self, event: Event) -> None:
        """Tell everyone of a start."""
        for guard in self.starts:
            guard.start(event)

    def pause(self, event: Event) -> None:
        """Tell everyone that the body of the event's generator does not run for a while."""
        for guard in self.guards:
            guard.pause(event)

    def resume(self, event: Event) -> None:
        """Tell everyone that it runs again."""
        for guard in self.guards:
            guard.resume(event)

    def end(self, event: Event) -> None:
        """Tell everyone of an end."""
        for guard in self.ends:
            guard.end(event)

    def point(self, event: Event) -> None:
        """Tell everyone of a point event."""
        for guard in self.guards:
            guard.point(event)

    def job_hooks(self, batch: Event) -> tuple[list[tuple[JobHook, Guard]], list[JobHook]]:
        """Return what a runner calls with each started job of `batch`, and whose it is; and with each ended one.

        The jobs are accounted for in bulk.
        """
        starts: list[tuple[JobHook, Guard]] = []
        sinks: list[JobHook] = []
        inline = 0
        for guard in self.guards:
            start, end = guard.job_hooks(batch, first=not starts and not inline)
            if start is not None:
                starts.append((start, guard))
            if guard.drain is not None:
                sinks.append(guard.drain.outbox.append)
            if end is not None:
                sinks.append(end)
                inline += 1
        return starts, sinks

    def batch_started(self) -> None:
        """Wake the drains: jobs will end without a word to them."""
        for guard in self.ends:
            if guard.drain is not None:
                guard.drain.batch_started()

    def batch_ended(self, jobs: int) -> None:
        """Account for the jobs of a batch that has ended."""
        for guard in self.ends:
            guard.produced(jobs)
            if guard.drain is not None:
                guard.drain.batch_ended()
