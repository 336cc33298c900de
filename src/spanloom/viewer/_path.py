"""The critical path: the chain of events that had to be as long as it was for the run to last as long as it did.

The definition is that of CRISP (Zhang and others, *CRISP: Critical Path Analysis of Large-Scale Microservice
Architectures*, USENIX ATC 2022), which carries Yang and Miller's longest path through a program activity graph
(*Critical Path Analysis for the Execution of Parallel and Distributed Programs*, ICDCS 1988) over to trees of spans.
Walk backwards from the end of an event: the child that ended last is on the path, and so is everything on the path
inside it; from its start, go on with the child that had ended last by then; and so on until no child had ended before.
The gaps are the event's own time. The parts are disjoint and fill the event from start to end, so they add up to it.

A job that waited for a slot started when a sibling freed one, and that sibling is the one that had ended last: so the
path goes from a job to the job that it waited for, and a batch under a limit needs no rule of its own.

To walk backwards, one would have to keep the whole run. But the child that has ended last when another one starts is
known at that moment. So each open event carries the path of its children up to the last of their ends as a `Chain`: how
much of it was whose, not which events it went through. A chain is as large as there are names.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from spanloom.store.model import Record
from spanloom.viewer._names import NameStats

if TYPE_CHECKING:
    from spanloom.viewer._sweep import Node

__all__ = ["Chain", "CriticalPath", "Step"]

_LONGEST: Final = 5
"""Events of the path that are kept one by one."""


class Step(NamedTuple):
    """One event on the critical path.

    Attributes:
        self_ns: How much of the path was its own time.
        number: Its place among the steps, from 0: tells equal ones apart.
        record: The event.
    """

    self_ns: int
    number: int
    record: Record


class Chain(NamedTuple):
    """The critical path through the children of one event, up to the end of one of them.

    Attributes:
        end_ns: Until then.
        gaps_ns: How much of it lay between the children, and was the event's own time.
        spent_ns: How much of it was spent in events of each type and name, inside the children.
        steps: How many events it goes through.
        longest: Those with the most time of their own.
    """

    end_ns: int
    gaps_ns: int
    spent_ns: dict[NameStats, int]
    steps: int
    longest: tuple[Step, ...]


class CriticalPath:
    """Follows the path while the run is swept.

    Attributes:
        whole: The path through the roots of all traces: that of the run.
    """

    def __init__(self) -> None:
        self.whole = Chain(0, 0, {}, 0, ())

    def started(self, node: Node) -> None:
        """Note whom `node` comes after."""
        parent = node.parent
        node.base = self.whole if parent is None else parent.chain

    def ended(self, node: Node) -> None:
        """Put `node`, which has ended, at the end of the path through its parent."""
        parent, base, inner = node.parent, node.base, node.chain
        if base is None:  # nothing under its parent had ended by then: all before it is the parent's own
            base = Chain(node.start_ns if parent is None else parent.start_ns, 0, {}, 0, ())
        gap_ns = base.gaps_ns + node.start_ns - base.end_ns
        spent_ns, steps, longest = dict(base.spent_ns), base.steps, base.longest
        own_ns = node.end_ns - node.start_ns
        if inner is not None:
            own_ns = inner.gaps_ns + node.end_ns - inner.end_ns
            for stats, ns in inner.spent_ns.items():
                spent_ns[stats] = spent_ns.get(stats, 0) + ns
            steps += inner.steps
            for step in inner.longest:
                longest = _with(longest, step)
        spent_ns[node.stats] = spent_ns.get(node.stats, 0) + own_ns
        if len(longest) < _LONGEST or own_ns > longest[-1].self_ns:
            longest = _with(longest, Step(own_ns, steps, node.record))
        chain = Chain(node.end_ns, gap_ns, spent_ns, steps + 1, longest)
        if parent is None:
            self.whole = chain
        else:
            parent.chain = chain


def _with(longest: tuple[Step, ...], step: Step) -> tuple[Step, ...]:
    """Return the longest of `longest` and `step`, the longest first; of equal ones, those that were there."""
    if len(longest) == _LONGEST and step.self_ns <= longest[-1].self_ns:
        return longest
    return tuple(sorted((*longest, step), key=lambda other: -other.self_ns)[:_LONGEST])
