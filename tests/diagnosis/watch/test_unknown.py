"""UNKNOWN: told of what has stood still for the stall time, unless anything can be seen that will end that."""

from __future__ import annotations

import re
import textwrap
import time
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from spanloom.diagnosis.watch.asking import why_process
from spanloom.diagnosis.watch.client import watched_pid
from tests.diagnosis.watch.running import findings_of, run

STALL_S = 4.0
HELD_IN_C = """
    import asyncio, ctypes

    def future():
        answer = asyncio.get_running_loop().create_future()
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(answer))
        return answer

    async def fetch(n):
        answer = future()
        await answer
"""
STANDING = {
    "batch": "from spanloom import async_map\nasyncio.run(async_map(fetch, range(5), limit=2))",
    "gather": """
        async def main():
            await asyncio.gather(*(fetch(n) for n in range(3)))
        asyncio.run(main())
        """,
}
GOING_ON = {
    "a batch with a job that sleeps": """
        from spanloom import async_map
        async def job(n):
            await (fetch(n) if n else asyncio.sleep(1_000))
        asyncio.run(async_map(job, range(2)))
        """,
    "heartbeat": """
        async def main():
            beat = asyncio.create_task(asyncio.sleep(1_000))
            await fetch(0)
        asyncio.run(main())
        """,
    "server": """
        async def main():
            server = await asyncio.start_server(lambda reader, writer: None, "127.0.0.1", 0)
            await asyncio.gather(server.serve_forever(), fetch(0))
        asyncio.run(main())
        """,
    "idle consumers": """
        async def consume(queue):
            while True:
                await queue.get()
                queue.task_done()
        async def main():
            queue = asyncio.Queue()
            consumers = [asyncio.create_task(consume(queue)) for _ in range(3)]
            asyncio.get_running_loop().add_signal_handler(10, queue.put_nowait, 1)
            await asyncio.gather(*consumers)
        asyncio.run(main())
        """,
    "until a signal": """
        async def main():
            stop = asyncio.Event()
            asyncio.get_running_loop().add_signal_handler(10, stop.set)
            await stop.wait()
        asyncio.run(main())
        """,
}


@pytest.fixture(scope="module")
def answers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, list[list[dict[str, Any]]]]]:
    """What each program answers before the stall time is over, and after it; run side by side."""
    base = tmp_path_factory.mktemp("unknown")
    found: dict[str, list[list[dict[str, Any]]]] = {}
    with ExitStack() as stack:
        running = {}
        for number, (name, text) in enumerate({**STANDING, **GOING_ON}.items()):
            folder = base / str(number)
            folder.mkdir()
            path = folder / "program.py"
            path.write_text(textwrap.dedent(HELD_IN_C) + textwrap.dedent(text), encoding="utf-8")
            running[name] = stack.enter_context(run(path, folder, "--stall-after", str(STALL_S)))
        for name, process in running.items():
            found[name] = [why_process(watched_pid(process.pid, wait_s=20.0), timeout_s=20.0)]
        time.sleep(STALL_S)
        for name, process in running.items():
            found[name].append(findings_of(process.pid, within_s=15.0 if name in STANDING else 0.0))
        for name in STANDING:
            log = (base / str(list(running).index(name)) / "program.out").read_text(encoding="utf-8")
            found[name].append([{"log": log}])
        yield found


@pytest.mark.slow
@pytest.mark.parametrize("name", STANDING)
def test_it_is_said_who_waits_for_what(name: str, answers: dict[str, Any]) -> None:
    """One finding, at the level UNKNOWN, and not before the stall time is over."""
    early, late, _ = answers[name]
    assert early == []
    [finding] = late
    assert (finding["code"], finding["level"], finding["severity"]) == ("UNKNOWN", "UNKNOWN", "warning")
    assert finding["since_s"] >= STALL_S
    assert finding["resource"] == "answer"
    assert finding["location"].endswith("program.py:11")
    who = {"batch": "`fetch[0]` and `fetch[1]`", "gather": "3 tasks `fetch`"}[name]
    assert f"{who} wait at program.py:11 for a future `answer`, which code that cannot" in finding["message"]
    begin = {"batch": "batch `fetch` has stood still", "gather": "no task has moved"}[name]
    assert f"It is unknown why {begin} for" in finding["message"]


@pytest.mark.slow
def test_the_stall_report_says_so(answers: dict[str, Any]) -> None:
    """The log has the sentence that who asks is told."""
    _, _, [log] = answers["batch"]
    said = r"batch fetch has stood still for \d+ s \(0 jobs done, 2 in flight\)\. It is unknown why"
    assert re.search(said, log["log"])


@pytest.mark.slow
@pytest.mark.parametrize("name", GOING_ON)
def test_nothing_is_said_of_what_can_be_seen_to_go_on(name: str, answers: dict[str, Any]) -> None:
    """Of what waits for a timer, a socket or a signal, however long."""
    assert answers[name] == [[], []]
