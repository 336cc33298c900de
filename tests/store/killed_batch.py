"""A program that kills a batch of 1,000 jobs at random instants, resumes it, and says what became of its jobs.

Usage: python killed_batch.py SEED KILLS FOLDER

Prints one JSON object for each kill. Every batch runs in a process of its own, forked from this one before it has any
thread, so that a hundred of them need no hundred starts of an interpreter.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import select
import signal
import sys
import time
import traceback
from pathlib import Path

from spanloom import CallbackManager, Checkpoint, async_map, use_callback_manager

JOBS = 1000
LIMIT = 16
SLEEP_S = 0.002
SPAN_S = 0.3
"""Within which a batch is killed: about as long as one takes."""


class Acknowledge:
    """Writes the index of each job that has ended well to a pipe, the moment that it is told to have."""

    def __init__(self, pipe: int) -> None:
        self._pipe = pipe

    def on_event_end(self, event: object) -> None:
        if getattr(event, "job_index", None) is not None and getattr(event, "status", None) == "ok":
            os.write(self._pipe, b"%d\n" % event.job_index)  # type: ignore[attr-defined]  # see above


def run_batch(folder: Path, pipe: int) -> list[object]:
    """Run the batch to its end; append a line to a file for each call of the job."""
    starts = os.open(folder / "starts", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(pipe, b"go\n")

    async def job(number: int) -> dict[str, int]:
        os.write(starts, b"%d\n" % number)
        await asyncio.sleep(SLEEP_S)
        return {"number": number, "square": number * number}

    checkpoint = Checkpoint(folder / "results.db")
    with use_callback_manager(CallbackManager([Acknowledge(pipe)])):
        return list(asyncio.run(async_map(job, range(JOBS), limit=LIMIT, checkpoint=checkpoint)))


def fork_batch(folder: Path) -> tuple[int, int]:
    """Start a process that runs the batch; return its id and what it writes to."""
    reading, writing = os.pipe()
    child = os.fork()
    if child:
        os.close(writing)
        return child, reading
    code = 1
    try:
        os.close(reading)
        results = run_batch(folder, writing)
        (folder / "results.json").write_text(json.dumps(results))
        code = 0
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(code)


def read_all(pipe: int, until: float | None = None) -> bytes:
    """Return what is written to the pipe until its end, or until that time."""
    data = b""
    while True:
        timeout = None if until is None else max(0.0, until - time.monotonic())
        if not select.select([pipe], [], [], timeout)[0]:
            return data
        chunk = os.read(pipe, 65536)
        if not chunk:
            return data
        data += chunk


def numbers(data: bytes) -> list[int]:
    return [int(line) for line in data.split(b"\n")[:-1] if line != b"go"]


def kill_one(folder: Path, delay_s: float) -> dict[str, object] | None:
    """Kill a batch that long after it began, resume it; return what happened, or ``None`` if it had ended by then."""
    folder.mkdir()
    child, pipe = fork_batch(folder)
    begin = b""
    while not begin.startswith(b"go\n"):
        begin += os.read(pipe, 3)
    data = begin + read_all(pipe, time.monotonic() + delay_s)
    os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    data += read_all(pipe)
    os.close(pipe)
    if not os.WIFSIGNALED(status):
        return None
    acknowledged = numbers(data)
    first = numbers((folder / "starts").read_bytes())
    child, pipe = fork_batch(folder)
    ended = numbers(read_all(pipe))
    os.close(pipe)
    _, status = os.waitpid(child, 0)
    every = numbers((folder / "starts").read_bytes())
    return {
        "delay_s": delay_s,
        "code": os.waitstatus_to_exitcode(status),
        "acknowledged": acknowledged,
        "first": first,
        "second": every[len(first) :],
        "ended": ended,
        "results": json.loads((folder / "results.json").read_text()),
    }


def main() -> None:
    seed, kills, folder = int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3])
    chance = random.Random(seed)
    done = tried = 0
    while done < kills:
        tried += 1
        found = kill_one(folder / f"{tried}", chance.uniform(0, SPAN_S))
        if found is not None:
            done += 1
            sys.stdout.write(json.dumps(found) + "\n")
            sys.stdout.flush()


if __name__ == "__main__":
    main()
