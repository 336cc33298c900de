"""Trace events in the form that Chrome, Perfetto and Speedscope read, one at a time.

A trace is a JSON object whose ``traceEvents`` is a list of objects; their order does not matter. Times are
microseconds, here since the start of the run, with three decimals: nanoseconds.

Source: "Trace Event Format", the document that Chrome's and Perfetto's importers go by.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

import msgspec

__all__ = ["ChromeTrace"]

_encode: Final = msgspec.json.Encoder().encode
PROCESS: Final = 1
_BLOCK: Final = 64 << 10
"""Bytes that are written together."""


class ChromeTrace:
    """Writes trace events.

    Args:
        write: Takes the next piece of the file.
        name: Of the one group that all tracks are in: the Perfetto UI shows several in an order of its own.
        about: Metadata of the trace, under ``otherData``.
    """

    def __init__(self, write: Callable[[bytes], object], name: str, about: Mapping[str, object]) -> None:
        self._write = write
        self._block = [b'{"displayTimeUnit":"ms","otherData":' + _encode(about) + b',"traceEvents":[\n']
        self._size = 0
        self._is_first = True
        self._flows = 0
        self._put({"ph": "M", "name": "process_name", "pid": PROCESS, "tid": 0, "args": {"name": name}})

    def name_track(self, tid: int, name: str, sort_index: int) -> None:
        """Name a track, and say where among the others it is shown."""
        self._put({"ph": "M", "name": "thread_name", "pid": PROCESS, "tid": tid, "args": {"name": name}})
        at = {"sort_index": sort_index}
        self._put({"ph": "M", "name": "thread_sort_index", "pid": PROCESS, "tid": tid, "args": at})

    def slice(
        self, tid: int, name: str, category: str, start_ns: int, end_ns: int, args: Mapping[str, object]
    ) -> None:
        """Draw something with a duration: a complete event."""
        self._put(
            {
                "ph": "X",
                "name": name,
                "cat": category,
                "pid": PROCESS,
                "tid": tid,
                "ts": start_ns / 1000,
                "dur": (end_ns - start_ns) / 1000,
                "args": args,
            }
        )

    def instant(self, tid: int, name: str, category: str, at_ns: int, args: Mapping[str, object]) -> None:
        """Draw something without a duration, on its track."""
        self._put(
            {
                "ph": "i",
                "s": "t",
                "name": name,
                "cat": category,
                "pid": PROCESS,
                "tid": tid,
                "ts": at_ns / 1000,
                "args": args,
            }
        )

    def flow(self, name: str, source: tuple[int, int], target: tuple[int, int]) -> None:
        """Draw an arrow from a slice to another; each is given as its track, and a time within it."""
        self._flows += 1
        for phase, (tid, at_ns) in (("s", source), ("f", target)):
            event = {"ph": phase, "name": name, "cat": "flow", "id": self._flows, "pid": PROCESS, "tid": tid}
            event["ts"] = at_ns / 1000
            if phase == "f":
                event["bp"] = "e"  # it belongs to the slice around it, not to the next one
            self._put(event)

    def counter(self, name: str, unit: str, at_ns: int, value: int) -> None:
        """Record the value of a number that is drawn over time; `name` and `unit` together name its track."""
        self._put(
            {"ph": "C", "name": name, "pid": PROCESS, "tid": 0, "ts": at_ns / 1000, "args": {unit: value}}
        )

    def wait(self, tid: int, name: str, category: str, number: int, start_ns: int, end_ns: int) -> None:
        """Draw something with a duration that may overlap with others of its kind.

        Args:
            tid: Any track.
            name: Of the slice, and of its track.
            category: Of the slice.
            number: Different for each. Local to the process: one id for all is an old form, which Perfetto puts into
                a group "Global Legacy Events".
            start_ns: When it began.
            end_ns: When it was over.
        """
        common = {"name": name, "cat": category, "id2": {"local": hex(number)}, "pid": PROCESS, "tid": tid}
        self._put({"ph": "b", **common, "ts": start_ns / 1000})
        self._put({"ph": "e", **common, "ts": end_ns / 1000})

    def finish(self) -> None:
        """Write the rest, and the end of the file."""
        self._block.append(b"\n]}\n")
        self._flush()

    def _put(self, event: Mapping[str, object]) -> None:
        encoded = _encode(event)
        self._block.append(encoded if self._is_first else b",\n" + encoded)
        self._is_first = False
        self._size += len(encoded)
        if self._size > _BLOCK:
            self._flush()

    def _flush(self) -> None:
        self._write(b"".join(self._block))
        self._block, self._size = [], 0
