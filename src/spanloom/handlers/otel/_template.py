"""The frame of a job's span as a template with a few blanks.

The spans of a batch's jobs differ in their id, two times, the index and the queue time; as long as
a job ended well and nobody attached anything to it, everything else is the same, bytes and lengths
included. So one of them is written field by field, and the others are a single ``Struct.pack``:
0.6 us instead of 5. An index is a varint, as long as it has to be, so there is a form for each length.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from typing import Final

from opentelemetry.trace import SpanContext, TraceState

from spanloom.events.event import JobEvent
from spanloom.events.ids import event_id_at
from spanloom.handlers.otel._encode import NO_STATUS, SPAN_ATTRIBUTE, attribute, encode_flags, head, varint
from spanloom.handlers.otel._frame import SPAN_ID_OFFSET, frame

__all__ = ["MAX_INDEX", "JobTemplate"]

INDEX: Final = "spanloom.job.index"
QUEUE_S: Final = "spanloom.job.queue_s"

_NO_ID: Final = bytes(8)
_END: Final = 0x41
_MAX_LENGTH: Final = 5
"""Bytes of an index as a varint."""
MAX_INDEX: Final = 1 << 7 * _MAX_LENGTH
"""One more than the highest index that there is a form for: 34 billion jobs."""


class JobTemplate:
    """Fills in the spans of one batch's jobs.

    Args:
        trace_id: The trace of all of them.
        state: Its vendors' part.
        parent: The context of the batch's span.
        name: Of the spans.
        attributes: Those of any such span, in their order. `INDEX` and, behind it, `QUEUE_S` are the blanks.

    Raises:
        ValueError: one of the blanks is missing, or a text cannot be encoded.
    """

    def __init__(
        self,
        trace_id: int,
        state: TraceState | None,
        parent: SpanContext,
        name: str,
        attributes: Mapping[str, object],
    ) -> None:
        keys = list(attributes)
        first, second = keys.index(INDEX), keys.index(QUEUE_S, keys.index(INDEX))
        parts = [
            b"".join([attribute(SPAN_ATTRIBUTE, key, attributes[key]) for key in some])
            for some in (keys[:first], keys[first + 1 : second], keys[second + 1 :])
        ]
        before = head(trace_id, _NO_ID, state, parent, name)
        after = NO_STATUS + encode_flags(parent)
        self._forms = _Forms(before, parts, after)

    def fill(self, span_id: int, index: int, start_ns: int, end_ns: int, queue_s: float) -> bytes:
        """Return the frame of one job.

        Args:
            span_id: Its event id.
            index: Its index, below `MAX_INDEX`.
            start_ns: Its start, in nanoseconds since the Unix epoch.
            end_ns: Its end, likewise.
            queue_s: Seconds that it waited.
        """
        digits = varint(index)
        form = self._forms[len(digits)]
        return form.pack(
            form.before, span_id.to_bytes(8, "big"), form.name, start_ns, _END, end_ns,
            form.to_index, digits, form.to_queue, queue_s, form.after,
        )  # fmt: skip

    def fill_all(self, jobs: Sequence[JobEvent], base_id: int, anchor_ns: int, ready_ns: int) -> list[bytes]:
        """Return the frames of `jobs`, of which there is one.

        Args:
            jobs: Ended jobs of one batch.
            base_id: Where the ids of its jobs begin.
            anchor_ns: What to add to their times, for nanoseconds since the Unix epoch.
            ready_ns: Since when they could have run.
        """
        indexes = [job.index for job in jobs]
        length = len(varint(max(indexes)))
        if len(varint(min(indexes))) < length:
            return [
                self.fill(
                    event_id_at(base_id, job.index), job.index, job.start_ns + anchor_ns,
                    (job.end_ns or job.start_ns) + anchor_ns, (job.start_ns - ready_ns) / 1e9,
                )
                for job in jobs
            ]  # fmt: skip
        form = self._forms[length]
        pack, before, name, after = form.pack, form.before, form.name, form.after
        to_index, to_queue = form.to_index, form.to_queue
        return [
            pack(
                before, event_id_at(base_id, index := job.index).to_bytes(8, "big"), name,
                (start_ns := job.start_ns) + anchor_ns, _END, (job.end_ns or start_ns) + anchor_ns,
                to_index, varint(index), to_queue, (start_ns - ready_ns) / 1e9, after,
            )
            for job in jobs
        ]  # fmt: skip


class _Form:
    """What stands between the blanks, for indices of one length."""

    __slots__ = ("after", "before", "name", "pack", "to_index", "to_queue")

    def __init__(self, head: bytes, parts: list[bytes], after: bytes, length: int) -> None:
        # An attribute is encoded with a value of the right length, and the value cut off again.
        index = attribute(SPAN_ATTRIBUTE, INDEX, 1 << 7 * (length - 1))[:-length]
        queue_s = attribute(SPAN_ATTRIBUTE, QUEUE_S, 0.0)[:-8]
        self.to_index = parts[0] + index
        self.to_queue = parts[1] + queue_s
        self.after = parts[2] + after
        fixed = (
            len(head) + 1 + 8 + 1 + 8 + len(self.to_index) + length + len(self.to_queue) + 8 + len(self.after)
        )
        whole = frame(head + bytes(fixed - len(head)))
        at = len(whole) - fixed + SPAN_ID_OFFSET
        self.before = whole[:at]
        self.name = head[SPAN_ID_OFFSET + 8 :] + b"\x39"
        sizes = (
            len(self.before),
            len(self.name),
            len(self.to_index),
            length,
            len(self.to_queue),
            len(self.after),
        )
        self.pack = struct.Struct("<{}s8s{}sQBQ{}s{}s{}sd{}s".format(*sizes)).pack


class _Forms(dict[int, _Form]):
    """The forms of one template by the length of the index, made when they are needed: a shard has one or two."""

    def __init__(self, head: bytes, parts: list[bytes], after: bytes) -> None:
        super().__init__()
        self._around = head, parts, after

    def __missing__(self, length: int) -> _Form:
        form = self[length] = _Form(*self._around, length)
        return form
