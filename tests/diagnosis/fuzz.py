"""Random programs, and whether what was said of them stays true.

A program is the source of a handful of coroutines, each a list of random steps on shared locks, semaphores, queues,
events, conditions, futures, timers and threads, with helpers, groups and deadlines in between. It runs until nothing
moves any more; looks are taken on the way. What two looks in a row called dead must not have moved by the end, and what
never moves again must have been called dead by the last look.
"""

from __future__ import annotations

import asyncio
import json
import random
import sys
import threading
import time
from itertools import pairwise
from typing import Any, NamedTuple

from spanloom.diagnosis import look
from spanloom.diagnosis.case import Case

TICK_S = 0.004
LONGEST_S = 0.4
LEAST_LOOKS = 6
"""How long, and for how many looks, a program is watched that never comes to rest: on a busy machine they take long."""
HELPERS = """
import asyncio, threading, time, contextlib

class World:
    def __init__(self):
        self.l0, self.l1, self.l2 = asyncio.Lock(), asyncio.Lock(), asyncio.Lock()
        self.s0, self.s1 = asyncio.Semaphore(1), asyncio.Semaphore(2)
        self.q0, self.q1, self.q2 = asyncio.Queue(), asyncio.Queue(1), asyncio.Queue(2)
        self.e0, self.e1, self.e2 = asyncio.Event(), asyncio.Event(), asyncio.Event()
        self.c0 = asyncio.Condition()
        self.f0, self.f1 = [asyncio.get_running_loop().create_future() for _ in range(2)]
        self.b0 = asyncio.Barrier(2)

    def ring(self, name):
        getattr(self, name).set()

    async def push(self, queue):
        await queue.put(1)

    @contextlib.asynccontextmanager
    async def held(self, lock):
        async with lock:
            yield lock

def later(event, seconds):
    def work():
        time.sleep(seconds)
        try:
            loop.call_soon_threadsafe(event.set)
        except RuntimeError:
            pass
    loop = asyncio.get_running_loop()
    threading.Thread(target=work, daemon=True).start()

def resolve(future):
    if not future.done():
        future.set_result(None)

w = None
tasks = []
"""


class Writer:
    """Writes one program."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.functions: list[str] = []
        self.tasks = self.random.randint(2, 6)

    def pick(self, *names: str) -> str:
        return self.random.choice(names)

    def source(self) -> str:
        for number in range(self.tasks):
            self.function(f"task{number}", self.random.randint(1, 5), 3)
        main = ["async def main():", "    global w", "    w = World()"]
        main += [
            f"    tasks.append(asyncio.create_task(task{n}(w), name='task{n}'))" for n in range(self.tasks)
        ]
        main += ["    await asyncio.wait(tasks)"]
        return HELPERS + "\n\n".join(self.functions) + "\n\n" + "\n".join(main) + "\n"

    def function(self, name: str, steps: int, depth: int) -> None:
        body = [line for _ in range(steps) for line in self.step(depth)]
        if self.random.random() < 0.12:
            body = ["while True:", *[f"    {line}" for line in ["await asyncio.sleep(0.003)", *body]]]
        elif self.random.random() < 0.15:
            body = [
                "try:",
                *[f"    {line}" for line in body],
                "finally:",
                f"    w.{self.pick('e0', 'e1', 'e2')}.set()",
            ]
        text = "\n".join(f"    {line}" for line in body)
        self.functions.append(f"async def {name}(w):\n{text}")

    def inner(self, depth: int, steps: int = 1) -> list[str]:
        lines = [line for _ in range(steps) for line in self.step(depth - 1)]
        return [f"    {line}" for line in lines]

    def child(self, depth: int) -> str:
        name = f"child{len(self.functions)}_{self.random.randrange(10**6)}"
        self.function(name, self.random.randint(1, 2), depth - 1)
        return f"{name}(w)"

    def step(self, depth: int) -> list[str]:
        """Return the lines of one random step; those that contain others only where there is depth left."""
        lock, semaphore = self.pick("w.l0", "w.l1", "w.l2"), self.pick("w.s0", "w.s1")
        queue, event, future = (
            self.pick("w.q0", "w.q1", "w.q2"),
            self.pick("e0", "e1", "e2"),
            self.pick("w.f0", "w.f1"),
        )
        kinds = [
            ["await asyncio.sleep(0.004)"],
            ["await asyncio.sleep(0)"],
            [f"await {queue}.put(1)"],
            [f"await w.push({queue})"],
            [f"await {queue}.get()"],
            [f"await {queue}.get()"],
            [f"w.{event}.set()"],
            [f"w.ring('{event}')"],
            [f"await w.{event}.wait()"],
            [f"await w.{event}.wait()"],
            [f"asyncio.get_running_loop().call_later(0.012, w.{event}.set)"],
            [f"later(w.{event}, 0.012)"],
            ["await asyncio.to_thread(time.sleep, 0.004)"],
            ["async with w.c0:", "    await w.c0.wait()"],
            ["async with w.c0:", "    w.c0.notify(1)"],
            [f"await asyncio.wait([{future}])"],
            [f"await asyncio.shield({future})"],
            [f"resolve({future})"],
            ["async with w.b0:", "    pass"],
            [f"await asyncio.wait([tasks[{self.random.randrange(self.tasks)} % len(tasks)]])"],
            [f"tasks[{self.random.randrange(self.tasks)} % len(tasks)].cancel()"],
        ]
        if depth > 0 and self.random.random() < 0.45:
            return self.nested(depth, lock, semaphore)
        return self.random.choice(kinds)

    def nested(self, depth: int, lock: str, semaphore: str) -> list[str]:
        """Return the lines of a step that has others in it."""
        match self.random.randrange(12):
            case 0:
                return [f"async with {lock}:", *self.inner(depth, 2)]
            case 1:
                return [f"async with w.held({lock}):", *self.inner(depth)]
            case 2:
                return [f"await {lock}.acquire()", *self.step(depth - 1), f"{lock}.release()"]
            case 3:
                return [f"async with {semaphore}:", *self.inner(depth)]
            case 4:
                return [f"await {semaphore}.acquire()", *self.step(depth - 1), f"{semaphore}.release()"]
            case 5:
                return [f"await asyncio.gather({self.child(depth)}, {self.child(depth)})"]
            case 6:
                start = f"    group.create_task({self.child(depth)})"
                return ["async with asyncio.TaskGroup() as group:", start, *self.inner(depth)]
            case 7:
                inside = [f"    {line}" for line in self.inner(depth)]
                return [
                    "try:",
                    "    async with asyncio.timeout(0.016):",
                    *inside,
                    "except TimeoutError:",
                    "    pass",
                ]
            case 8:
                call = f"    await asyncio.wait_for({self.child(depth)}, 0.016)"
                return ["try:", call, "except TimeoutError:", "    pass"]
            case 9:
                both = ", ".join(f"asyncio.ensure_future({self.child(depth)})" for _ in range(2))
                return [f"await asyncio.wait([{both}], return_when=asyncio.FIRST_COMPLETED)"]
            case 10:
                both = ", ".join(self.child(depth) for _ in range(2))
                return [f"for next_one in asyncio.as_completed([{both}]):", "    await next_one"]
            case _:
                return [f"await asyncio.shield({self.child(depth)})"]


class Outcome:
    """What is wrong with what was said of one program: nothing, one hopes."""

    def __init__(self) -> None:
        self.moved: list[str] = []
        self.missed: list[str] = []
        self.dead = 0


def fingerprint(loop: asyncio.AbstractEventLoop) -> dict[int, tuple[int, Any]]:
    """Return what each task of a loop awaits now."""
    return {id(task): (id(task._fut_waiter), task) for task in asyncio.all_tasks(loop)}  # type: ignore[attr-defined] # what wakes it


def start(seed: int) -> tuple[dict[str, Any], threading.Thread]:
    """Start the program of `seed` in a thread of its own; return where its loop is noted, and the thread."""
    ready = threading.Event()
    box: dict[str, Any] = {}

    def body() -> None:
        async def main() -> None:
            box["loop"] = asyncio.get_running_loop()
            box["loop"].set_exception_handler(lambda *_: None)
            namespace: dict[str, Any] = {"__name__": f"fuzz{seed}"}
            exec(compile(Writer(seed).source(), f"fuzz{seed}.py", "exec"), namespace)
            ready.set()
            await namespace["main"]()

        try:
            asyncio.run(main())
        except BaseException as error:
            box["error"] = error
        finally:
            box["over"] = True
            ready.set()

    thread = threading.Thread(target=body, daemon=True)
    thread.start()
    ready.wait(5)
    return box, thread


class Look(NamedTuple):
    """What one look called dead: what each task awaits, in words too; and all tasks, so that identities stay unique."""

    awaited: dict[int, int]
    told: dict[int, str]
    tasks: dict[int, Any]


def take(loop: asyncio.AbstractEventLoop) -> Look:
    """Look, and return what is called dead."""
    tasks = {id(task): task for task in asyncio.all_tasks(loop)}
    snapshot = look()
    case = Case(snapshot)
    dead = [snapshot.tasks[key] for key in case.dead - case.live]
    return Look(
        {task.key: task.wait.awaited or 0 for task in dead if task.wait is not None},
        {task.key: f"{task.wait} {task.at}" for task in dead},
        tasks,
    )


def watch(box: dict[str, Any]) -> tuple[list[Look], bool]:
    """Look at a program until it is over or at rest; return the looks, and whether it came to rest."""
    loop = box["loop"]
    said: list[Look] = []
    last: Any = None
    steady = 0
    until = time.monotonic() + LONGEST_S
    while steady < 3 and not box.get("over") and (time.monotonic() < until or len(said) < LEAST_LOOKS):
        try:
            said.append(take(loop))
            time.sleep(2 * TICK_S)
            awaited = {key: future for key, (future, _) in fingerprint(loop).items()}
        except RuntimeError:  # all_tasks() met a change
            continue
        busy = any(thread.name.endswith("(work)") for thread in threading.enumerate())
        busy = busy or bool(loop._scheduled or loop._ready)
        steady = steady + 1 if awaited == last and not busy else 0
        last = awaited
    return said, steady >= 3


def run(seed: int) -> Outcome:
    """Run the program of `seed`, look at it, and compare what was called dead in two looks with what came of it."""
    outcome = Outcome()
    box, thread = start(seed)
    said, rested = watch(box)
    alive = {} if box.get("over") else fingerprint(box["loop"])
    for before, now in pairwise(said):
        for key, future in now.awaited.items():
            confirmed = before.awaited.get(key) == future and key in now.tasks
            if confirmed and (key not in alive or alive[key][0] != future):
                outcome.moved.append(f"seed {seed}: {now.told[key]}")
    if rested and alive:
        dead = said[-1].awaited
        outcome.dead = len(dead)
        outcome.missed = [f"seed {seed}: {task}" for key, (_, task) in alive.items() if key not in dead]
    end(box, thread)
    return outcome


def end(box: dict[str, Any], thread: threading.Thread) -> None:
    """End a program that hangs."""
    loop = box["loop"]

    def stop() -> None:
        for task in asyncio.all_tasks(loop):
            try:
                task.cancel()
            except RecursionError:
                pass

    for _ in range(100):
        if not thread.is_alive():
            return
        try:
            loop.call_soon_threadsafe(stop)
        except RuntimeError:
            pass
        thread.join(0.02)


if __name__ == "__main__":
    outcomes = [run(seed) for seed in range(int(sys.argv[1]))]
    print(  # noqa: T201 -- the test reads it
        json.dumps(
            {
                "moved": [line for outcome in outcomes for line in outcome.moved],
                "missed": [line for outcome in outcomes for line in outcome.missed],
                "dead": sum(outcome.dead for outcome in outcomes),
            }
        )
    )
