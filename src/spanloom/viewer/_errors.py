"""Errors, grouped by their type and the shape of their message."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from spanloom.events.error import ErrorInfo, Frame
from spanloom.events.types import FAILED, EventType
from spanloom.viewer._frames import is_library
from spanloom.viewer._names import OTHER
from spanloom.viewer._shape import masked, wildcards

if TYPE_CHECKING:
    from spanloom.viewer._sweep import Node

__all__ = ["ErrorGroup", "Errors"]

_MAX_SHAPES: Final = 200
"""Shapes that are counted separately for each type of error; later ones are counted under `OTHER`."""
_MAX_TYPES: Final = 200
_MAX_KNOWN: Final = 5_000
"""Messages whose shape is cached: most errors of a run have the message of an earlier one."""
_MAX_NAMES: Final = 20
"""Names of events that a group keeps."""
_MAX_BELOW: Final = 64
"""Different errors of its children that an event keeps, to recognise one that passes through it."""


class ErrorGroup:
    """Errors of one type whose messages have one shape.

    Attributes:
        type: The exception's class.
        shape: The message without its variable parts.
        example: One full message.
        frame: Where the example was raised; ``None`` if no traceback was recorded.
        own_frame: The innermost frame of it that is no library's; ``None`` if there is none, or if it is `frame`.
        count: How often it was raised: an exception that passes through an attempt, a job and a batch counts once.
        jobs: How many jobs ended with it.
        names: In events of which type and name it was raised, and how often.
        first_ns, last_ns: When it first and last ended something.
    """

    __slots__ = (
        "count",
        "example",
        "first_ns",
        "frame",
        "jobs",
        "last_ns",
        "names",
        "own_frame",
        "shape",
        "type",
    )

    def __init__(self, type: str, shape: str, example: ErrorInfo, at_ns: int) -> None:
        self.type = type
        self.shape = shape
        self.example = example.message
        self.frame: Frame | None = example.frames[-1] if example.frames else None
        own = next((frame for frame in reversed(example.frames) if not is_library(frame.filename)), None)
        self.own_frame: Frame | None = None if own is self.frame else own
        self.count = self.jobs = 0
        self.names: dict[tuple[str, str], int] = {}
        self.first_ns = self.last_ns = at_ns

    def merge(self, other: ErrorGroup) -> None:
        """Add what `other` has counted."""
        self.count += other.count
        self.jobs += other.jobs
        self.first_ns = min(self.first_ns, other.first_ns)
        self.last_ns = max(self.last_ns, other.last_ns)
        for key, count in other.names.items():
            self.named(key, count)

    def named(self, key: tuple[str, str], count: int) -> None:
        """Count where it was raised."""
        if key not in self.names and len(self.names) >= _MAX_NAMES:
            key = OTHER, OTHER
        self.names[key] = self.names.get(key, 0) + count


class Errors:
    """The groups while they grow."""

    def __init__(self) -> None:
        self._types: dict[str, dict[str, ErrorGroup]] = {}
        self._known: dict[str, str] = {}

    def ended(self, node: Node) -> None:
        """Count the error that ended `node`, if one did, and note it for its parent."""
        record = node.record
        error = record.error
        if error is None or record.status not in FAILED:
            return
        this = error.type, error.message
        parent = node.parent
        if parent is not None:
            if parent.failures is None:
                parent.failures = {this}
            elif len(parent.failures) < _MAX_BELOW:
                parent.failures.add(this)
        raised = node.failures is None or this not in node.failures
        is_job = record.type == EventType.JOB
        if not raised and not is_job:
            return
        group = self._group(error, node.end_ns)
        group.last_ns = max(group.last_ns, node.end_ns)
        group.jobs += is_job
        if raised:
            group.count += 1
            group.named((record.type, record.name), 1)

    def groups(self) -> list[ErrorGroup]:
        """Return the groups, the largest first."""
        groups: list[ErrorGroup] = []
        for shapes in self._types.values():
            merged = wildcards(shapes)
            whole: dict[str, ErrorGroup] = {}
            for shape, group in shapes.items():
                common = merged.get(shape, shape)
                if common in whole:
                    whole[common].merge(group)
                else:
                    group.shape = common
                    whole[common] = group
            groups += whole.values()
        return sorted(groups, key=lambda group: (-group.count, -group.jobs, group.first_ns))

    def _group(self, error: ErrorInfo, at_ns: int) -> ErrorGroup:
        shape = self._known.get(error.message)
        if shape is None:
            shape = masked(error.message)
            if len(self._known) < _MAX_KNOWN:
                self._known[error.message] = shape
        type = error.type if error.type in self._types or len(self._types) < _MAX_TYPES else OTHER
        shapes = self._types.setdefault(type, {})
        group = shapes.get(shape)
        if group is None:
            if len(shapes) >= _MAX_SHAPES:
                shape = OTHER
            group = shapes.get(shape) or ErrorGroup(type, shape, error, at_ns)
            shapes[shape] = group
        return group
