"""A strict reader of Chrome trace JSON: whatever the format's document does not allow is an error.

Source: "Trace Event Format", the document of Chrome's trace viewer, and what Perfetto's importer does. What both would
put up with silently, such as a slice that overlaps another one of its track, is an error here, too.
"""

from __future__ import annotations

import json
from collections import defaultdict
from typing import Any

_METADATA = {
    "process_name": ("name", str),
    "process_sort_index": ("sort_index", int),
    "thread_name": ("name", str),
    "thread_sort_index": ("sort_index", int),
}
_COMMON = {"ph", "name", "pid", "tid", "args"}
_FIELDS = {
    "M": _COMMON,
    "X": _COMMON | {"cat", "ts", "dur"},
    "i": _COMMON | {"cat", "ts", "s"},
    "C": _COMMON | {"ts"},
    "s": (_COMMON | {"cat", "ts", "id"}) - {"args"},
    "f": (_COMMON | {"cat", "ts", "id", "bp"}) - {"args"},
    "b": (_COMMON | {"cat", "ts", "id2"}) - {"args"},
    "e": (_COMMON | {"cat", "ts", "id2"}) - {"args"},
}
"""The fields of each phase, all of which have to be there."""


class Trace:
    """A trace that was found to be in order.

    Args:
        data: The file.

    Attributes:
        slices: Complete events, each with its time in ns and what it lies in, in ``start``, ``end`` and ``parent``.
        flows: Pairs of the slices that an arrow begins and ends in.
        waits: Async events: name, start and end.
        counters: By name: times and values.
        processes: Names by number.
        tracks: By number of process and of thread: names.
    """

    def __init__(self, data: bytes) -> None:
        self.whole: dict[str, Any] = json.loads(data, parse_constant=_refuse)
        assert set(self.whole) == {"displayTimeUnit", "otherData", "traceEvents"}
        assert self.whole["displayTimeUnit"] in ("ms", "ns")
        self.events: list[dict[str, Any]] = self.whole["traceEvents"]
        self.processes: dict[int, str] = {}
        self.tracks: dict[tuple[int, int], str] = {}
        self.slices: list[dict[str, Any]] = []
        self.instants: list[dict[str, Any]] = []
        self.counters: dict[str, list[tuple[int, float]]] = defaultdict(list)
        for event in self.events:
            _check_fields(event)
        self._read_metadata()
        for event in self.events:
            self._check_place(event)
        self._by_track = self._nest()
        self.flows = self._pair_flows()
        self.waits = self._pair_waits()
        self._read_counters()

    def on(self, track: str, process: str | None = None) -> list[dict[str, Any]]:
        """Return the slices of the track of that name, in the order of their starts."""
        return [
            event
            for event in self.slices
            if self.tracks[event["pid"], event["tid"]] == track
            and process in (None, self.processes[event["pid"]])
        ]

    def _read_metadata(self) -> None:
        seen: set[tuple[Any, ...]] = set()
        for event in self.events:
            if event["ph"] != "M":
                continue
            key, kind = _METADATA[event["name"]]
            assert set(event["args"]) == {key}
            assert type(event["args"][key]) is kind
            about = (event["name"], event["pid"], event["tid"])
            assert about not in seen, f"said twice: {about}"
            seen.add(about)
            if event["name"] == "process_name":
                self.processes[event["pid"]] = event["args"]["name"]
            elif event["name"] == "thread_name":
                self.tracks[event["pid"], event["tid"]] = event["args"]["name"]
        tids = [tid for _, tid in self.tracks]
        assert len(set(tids)) == len(tids), "a thread's number is used in two processes"
        for kind in ("process", "thread"):
            named = {about[1:] for about in seen if about[0] == f"{kind}_name"}
            assert named >= {about[1:] for about in seen if about[0] == f"{kind}_sort_index"}

    def _check_place(self, event: dict[str, Any]) -> None:
        assert event["pid"] in self.processes, f"no name for process {event['pid']}"
        if event["ph"] not in "MC":
            assert (event["pid"], event["tid"]) in self.tracks, f"no name for thread {event['tid']}"

    def _nest(self) -> dict[tuple[int, int], list[dict[str, Any]]]:
        """Return the slices by track; no two of one overlap in part."""
        by_track: dict[tuple[int, int], list[dict[str, Any]]] = defaultdict(list)
        for event in self.events:
            if event["ph"] == "X":
                event["start"] = _ns(event["ts"])
                event["end"] = event["start"] + _ns(event["dur"])
                by_track[event["pid"], event["tid"]].append(event)
                self.slices.append(event)
            elif event["ph"] == "i":
                assert event["s"] in ("g", "p", "t")
                self.instants.append(event)
        for slices in by_track.values():
            slices.sort(key=lambda event: (event["start"], -event["end"]))
            around: list[dict[str, Any]] = []
            for event in slices:
                while around and around[-1]["end"] <= event["start"]:
                    around.pop()
                event["parent"] = around[-1] if around else None
                assert not around or event["end"] <= around[-1]["end"], f"{event} overlaps {around[-1]}"
                around.append(event)
        self.slices.sort(key=lambda event: (event["start"], -event["end"]))
        return by_track

    def _pair_flows(self) -> list[tuple[dict[str, Any], dict[str, Any]]]:
        ends: dict[str, dict[Any, dict[str, Any]]] = {"s": {}, "f": {}}
        for event in self.events:
            if event["ph"] in ends:
                assert event["id"] not in ends[event["ph"]], f"a flow begins or ends twice: {event}"
                ends[event["ph"]][event["id"]] = event
        assert ends["s"].keys() == ends["f"].keys(), "a flow has only one end"
        pairs = []
        for number, source in ends["s"].items():
            target = ends["f"][number]
            assert (source["cat"], source["name"]) == (target["cat"], target["name"])
            assert source["ts"] <= target["ts"]
            assert target["bp"] == "e"
            pairs.append((self._around(source), self._around(target)))
        return pairs

    def _around(self, end: dict[str, Any]) -> dict[str, Any]:
        at = _ns(end["ts"])
        around = [
            event
            for event in self._by_track[end["pid"], end["tid"]]
            if event["start"] <= at < event["end"] or event["start"] == at
        ]
        assert around, f"a flow leads to or from nothing: {end}"
        return around[-1]

    def _pair_waits(self) -> list[tuple[str, int, int]]:
        ends: dict[str, dict[tuple[Any, ...], dict[str, Any]]] = {"b": {}, "e": {}}
        for event in self.events:
            if event["ph"] in ends:
                assert list(event["id2"]) == ["local"], "an id of the whole trace is an old form"
                assert int(event["id2"]["local"], 16) > 0
                key = (event["pid"], event["cat"], event["id2"]["local"])
                assert key not in ends[event["ph"]], f"begins or ends twice: {event}"
                ends[event["ph"]][key] = event
        assert ends["b"].keys() == ends["e"].keys(), "an async event has only one end"
        waits = []
        for key, begin in ends["b"].items():
            end = ends["e"][key]
            assert begin["name"] == end["name"]
            assert begin["ts"] <= end["ts"]
            waits.append((begin["name"], _ns(begin["ts"]), _ns(end["ts"])))
        return waits

    def _read_counters(self) -> None:
        for event in self.events:
            if event["ph"] == "C":
                assert event["args"], "a counter without a value"
                assert all(type(value) in (int, float) for value in event["args"].values())
                values = self.counters[event["name"]]
                assert not values or values[-1][0] <= _ns(event["ts"]), (
                    f"a counter goes back in time: {event}"
                )
                (value,) = event["args"].values()
                values.append((_ns(event["ts"]), value))


def _refuse(word: str) -> None:
    raise AssertionError(f"{word} is not JSON")


def _check_fields(event: dict[str, Any]) -> None:
    phase = event["ph"]
    assert phase in _FIELDS, f"no such phase: {event}"
    assert set(event) == _FIELDS[phase], f"fields {set(event) ^ _FIELDS[phase]} of {event}"
    assert type(event["name"]) is str
    assert event["name"]
    assert type(event["pid"]) is int
    assert type(event["tid"]) is int
    if "cat" in event:
        assert type(event["cat"]) is str
    for key in {"ts", "dur"} & event.keys():
        assert type(event[key]) in (int, float), f"{key} is no number: {event}"
        assert event[key] >= 0, f"{key} is negative: {event}"
    if "args" in event:
        assert type(event["args"]) is dict


def _ns(microseconds: float) -> int:
    """Return nanoseconds; nothing finer may be said."""
    nanoseconds = round(microseconds * 1000)
    assert abs(microseconds * 1000 - nanoseconds) < 1e-2, f"{microseconds!r} us is finer than a nanosecond"
    return nanoseconds
