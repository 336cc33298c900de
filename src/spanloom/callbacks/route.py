"""The route: who gets an event of one type. Worked out once, then one attribute access per event."""

from __future__ import annotations

from spanloom.callbacks.guard import EventHook, Guard
from spanloom.events.event import Event

__all__ = ["Route"]

JobHooks = tuple[list[tuple[EventHook, Guard]], list[EventHook]]


class Route:
    """The interested handlers, sorted by what they define.

    An event keeps the route of its start until its end: a handler that is added in between gets
    neither, so that every end it sees had a start.

    Attributes:
        type: The event type that it is for.
        guards: All that may get such an event, in the order in which the handlers were added.
        starts: What is called with a started event: for those that define ``on_event_start`` and want it for this type,
            or whose thread looks at open events.
        ends: What is called with an ended event, for those that get it, in its task or in lists.
        takers: These.
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
        """Tell everyone of a start."""
        for hook in self.starts:
            hook(event)

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
        for hook in self.ends:
            hook(event)

    def point(self, event: Event) -> None:
        """Tell everyone of a point event."""
        for guard in self.guards:
            guard.point(event)

    def job_hooks(self, batch: Event) -> JobHooks:
        """Return what a runner calls with each started job of `batch`, and whose it is; and with each ended one.

        The jobs are accounted for in bulk.
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
        if not any(guard.binds_jobs for guard in self.guards):  # those say it batch by batch
            self._job_hooks = starts, sinks
        return starts, sinks

    def batch_started(self) -> None:
        """Wake the drains: jobs will end without a word to them."""
        for guard in self.takers:
            if guard.drain is not None:
                guard.drain.batch_started()

    def batch_ended(self, jobs: int) -> None:
        """Account for the jobs of a batch that has ended."""
        for guard in self.takers:
            guard.produced(jobs)
            if guard.drain is not None:
                guard.drain.batch_ended()
