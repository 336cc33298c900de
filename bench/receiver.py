"""A receiver of OTLP over HTTP in a process of its own: counts spans, and answers after as long as it is told.

Usage: python -m bench.receiver

Prints its port. `POST /v1/traces` takes an export; `POST /behave?latency_ms=N` sets the latency and forgets
what has come; `GET /seen` says what has come since, as JSON.
"""

import asyncio
import json
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from urllib.parse import parse_qs, urlsplit

from bench.subprocesses import ROOT


@dataclass(slots=True)
class Seen:
    """What has come.

    Attributes:
        spans: How many, whether they came before or not.
        leaves: How many of different ids that are no other's parent: the jobs, whatever was made around them.
        requests: How many exports.
        last_ns: When the last one was answered, by the monotonic clock that all processes share.
    """

    spans: int = 0
    leaves: int = 0
    requests: int = 0
    last_ns: int = 0


@dataclass(frozen=True, slots=True)
class Receiver:
    """The receiver as another process sees it."""

    url: str

    def behave(self, latency_ms: int = 0) -> None:
        """Answer after `latency_ms` from now on, and forget what has come."""
        self._ask(f"/behave?latency_ms={latency_ms}", b"")

    def seen(self) -> Seen:
        """Return what has come since."""
        return Seen(**json.loads(self._ask("/seen")))

    def _ask(self, path: str, body: bytes | None = None) -> bytes:
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(self.url + path, body, timeout=60) as answer:
            text: bytes = answer.read()
            return text


@contextmanager
def receiving() -> Iterator[Receiver]:
    """Give a receiver that runs until the end of the block."""
    command = [sys.executable, "-m", "bench.receiver"]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield Receiver(f"http://127.0.0.1:{int(process.stdout.readline())}")
        finally:
            process.terminate()


class _Server:
    def __init__(self) -> None:
        self.latency_s = 0.0
        self.seen = Seen()
        self.ids: set[bytes] = set()
        self.parents: set[bytes] = set()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                method, target = head.split(b" ", 2)[:2]
                length = next(
                    (
                        int(line[15:])
                        for line in head.lower().split(b"\r\n")
                        if line.startswith(b"content-length:")
                    ),
                    0,
                )
                body = await reader.readexactly(length)
                answer = await self.answer(method.decode(), target.decode(), body)
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(answer), answer))
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass  # the other side has gone
        finally:
            writer.close()

    async def answer(self, method: str, target: str, body: bytes) -> bytes:
        parts = urlsplit(target)
        if parts.path == "/seen":
            self.seen.leaves = len(self.ids - self.parents)
            return json.dumps({name: getattr(self.seen, name) for name in Seen.__slots__}).encode()
        if parts.path == "/behave":
            self.latency_s = int(parse_qs(parts.query)["latency_ms"][0]) / 1000
            self.seen, self.ids, self.parents = Seen(), set(), set()
            return b""
        await asyncio.sleep(self.latency_s)
        self.count(body)
        return b""

    def count(self, body: bytes) -> None:
        from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

        request = ExportTraceServiceRequest.FromString(body)
        spans = [
            span
            for resource in request.resource_spans
            for scope in resource.scope_spans
            for span in scope.spans
        ]
        self.ids.update(span.span_id for span in spans)
        self.parents.update(span.parent_span_id for span in spans)
        self.seen.spans += len(spans)
        self.seen.requests += 1
        self.seen.last_ns = time.monotonic_ns()


async def _main() -> None:
    async with await asyncio.start_server(_Server().serve, "127.0.0.1", 0, limit=1 << 20) as server:
        print(server.sockets[0].getsockname()[1], flush=True)
        await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(_main())
