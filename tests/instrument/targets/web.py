"""A web server on 127.0.0.1 that answers as its paths say, in a thread of its own.

With ``delay_ms=`` and a number in the query, it does so that many milliseconds later.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from spanloom.testing import EventCapture

PAGE = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"
ANSWERS = {
    "/page": PAGE,
    "/busy": b"HTTP/1.1 429 Too Many Requests\r\nRetry-After: 7\r\nContent-Length: 0\r\n\r\n",
    "/moved": b"HTTP/1.1 302 Found\r\nLocation: /page?secret=2\r\nContent-Length: 0\r\n\r\n",
    # Says that there are 100 bytes, and hangs up after 5 of them.
    "/cut": b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhello",
    # The first part of a body whose second never comes.
    "/stuck": b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhello",
    "/silent": b"",
}
HANGS_UP = {"/cut"}
NEVER_ENDS = {"/stuck", "/silent"}
NAMED = [
    ("https://API.example.com/users/7?key=secret", "GET api.example.com", None),
    ("https://api.example.com:443/", "GET api.example.com", None),
    ("http://api.example.com:443/", "GET api.example.com:443", 443),
    ("http://user:p@ss@api.example.com:8000/#part", "GET api.example.com:8000", 8000),
    ("http://b\u00fccher.example/", "GET xn--bcher-kva.example", None),
    ("http://xn--bcher-kva.example/", "GET xn--bcher-kva.example", None),
]
"""URLs of requests, what the events of these are called, and the port that they tell if it is not the scheme's."""


async def _serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while line := await reader.readline():
            path, _, query = line.decode().split()[1].partition("?")
            while (await reader.readline()).strip():
                pass
            await asyncio.sleep(int(query.partition("delay_ms=")[2] or 0) / 1e3)
            writer.write(ANSWERS.get(path, b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"))
            await writer.drain()
            if path in NEVER_ENDS:
                await reader.read()  # until the client gives up
            if path in HANGS_UP | NEVER_ENDS:
                return
    except ConnectionError:
        pass
    finally:
        writer.close()


@contextmanager
def web() -> Iterator[str]:
    """Run the server for a block; the value is its address, without a slash at the end."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    starting = asyncio.start_server(_serve, "127.0.0.1", 0)
    server = asyncio.run_coroutine_threadsafe(starting, loop).result()
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        asyncio.run_coroutine_threadsafe(_stop(server), loop).result()
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


async def _stop(server: asyncio.Server) -> None:
    server.close()
    while tasks := asyncio.all_tasks() - {asyncio.current_task()}:
        for task in tasks:
            task.cancel()
        await asyncio.sleep(0)  # not by gather, which would be a batch where asyncio is patched


def tree(captured: EventCapture, site: str) -> str:
    """Return the tree of events, with ``site`` in the place of the server's host and port."""
    return captured.tree().replace(f" {site.removeprefix('http://')} ", " site ")


def payloads(captured: EventCapture) -> list[dict[str, object]]:
    """Return what the events say, as plain dictionaries."""
    return [dict(event.payload) for event in captured.events]


def address(site: str) -> dict[str, object]:
    """Return what an event says of the server."""
    return {"server_address": "127.0.0.1", "server_port": int(site.rpartition(":")[2])}
