"""The route: who gets the events of one type. Computed once, then one attribute access per event."""

from __future__ import annotations

from spanloom.callbacks.guard import EventHook, Guard
from spanloom.events.event import Event

__all__ = ["Route"]

JobHooks = tuple[list[tuple[EventHook, Guard]], list[EventHook]]


class Route:
    """The interested handlers, sorted by the hooks they define.

    An event keeps the route of its start until its end. A handler that is added in between gets
    neither, so for every end that it sees it has seen the start.

    Attributes:
        type: The event type.
        guards: All handlers that want the type, in the order in which they were added.
        starts: Functions to call with a started event: of handlers that define ``on_event_start`` and want it for this
            type, or that have ``on_tick`` and take lists.
        ends: Functions to call with an ended event: of handlers that get it, inline or in lists.
        takers: These handlers.
    """

    __slots__ = ("_job_hooks", "ends", "guards", "starts", "takers", "type")

    def __init__(self, type: str, guards: tuple[Guard, ...]) -> None:
        self.type: str = type
        self.guards: tuple[Guard, ...] = guards
        self.starts: tuple[EventHook, ...] = tuple(
            hook for guard in guards for hook in guard.start_hooks(type)
        )
        self.ends: tuple[EventHook, ...] = tuple(hook for guard in guards for hook in guard.end_hooks(type))
        self.takers: tuple[Guard, ...] = tuple(guard for guard in guards if guard.end_hooks(type))
        self._job_hooks: JobHooks | None = None

    def without(self, guards: tuple[Guard, ...]) -> Route:
        """Return the route for events that the hooks of `guards` themselves emit."""
        return Route(self.type, tuple(guard for guard in self.guards if guard not in guards))

    def start(self, event: Event) -> None:
        """Deliver the start of an event."""
        for hook in self.starts:
            hook(event)

    def pause(self, event: Event) -> None:
        """Deliver that the body of the event's generator is suspended."""
        for guard in self.guards:
            guard.pause(event)

    def resume(self, event: Event) -> None:
        """Deliver that it runs again."""
        for guard in self.guards:
            guard.resume(event)

    def end(self, event: Event) -> None:
        """Deliver the end of an event."""
        for hook in self.ends:
            hook(event)

    def point(self, event: Event) -> None:
        """Deliver a point event."""
        for guard in self.guards:
            guard.point(event)

    def job_hooks(self, batch: Event) -> JobHooks:
        """Return the functions for a runner to call with each started and each ended job of `batch`.

        Jobs are accounted for in bulk, by `batch_ended`.

        Returns:
            Pairs of a function for started jobs and its guard; functions for ended jobs.
        """
        if self._job_hooks is not None:
            return self._job_hooks
        starts: list[tuple[EventHook, Guard]] = []
        sinks: list[EventHook] = []
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
        if not any(guard.binds_jobs for guard in self.guards):  # these differ from batch to batch
            self._job_hooks = starts, sinks
        return starts, sinks

    def batch_started(self) -> None:
        """Wake the drains, which are not told of the end of each job."""
        for guard in self.takers:
            if guard.drain is not None:
                guard.drain.batch_started()

    def batch_ended(self, jobs: int) -> None:
        """Account for the jobs of a batch that has ended."""
        for guard in self.takers:
            guard.produced(jobs)
            if guard.drain is not None:
                guard.drain.batch_ended()
