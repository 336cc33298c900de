"""A server on this machine that answers as openai's and anthropic's APIs do, with no model behind it."""

from __future__ import annotations

import json
import re
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final

from spanloom.events.event import Event
from spanloom.testing import EventCapture

PIECES: Final = ("The ", "answer ", "is ", "42.")
USAGE: Final = {
    "prompt_tokens": 7,
    "completion_tokens": 4,
    "total_tokens": 11,
    "prompt_tokens_details": {"cached_tokens": 3},
    "completion_tokens_details": {"reasoning_tokens": 1},
}
CLAUDE_USAGE: Final = {
    "input_tokens": 5,
    "output_tokens": 4,
    "cache_read_input_tokens": 2,
    "cache_creation_input_tokens": 1,
}
DIMENSIONS: Final = 8


class ModelServer(ThreadingHTTPServer):
    """Serves on 127.0.0.1.

    Attributes:
        failures: Status and headers of the next answers; when it is empty, all goes well.
        latency_s: Seconds that each answer takes.
        breaks_after: Chunks of a stream after which the connection is cut; ``None`` for never.
        paths: What was asked for, in order.
    """

    daemon_threads = True
    request_queue_size = 256

    def __init__(self, latency_s: float = 0.0) -> None:
        super().__init__(("127.0.0.1", 0), _Answers)
        self.failures: list[tuple[int, dict[str, str]]] = []
        self.latency_s = latency_s
        self.breaks_after: int | None = None
        self.paths: list[str] = []

    @property
    def port(self) -> int:
        """Where it listens."""
        return int(self.server_address[1])

    @property
    def url(self) -> str:
        """Its address, without a path."""
        return f"http://127.0.0.1:{self.port}"

    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing: clients that leave early are what is tested."""


@contextmanager
def model_server(latency_s: float = 0.0) -> Iterator[ModelServer]:
    """Run a `ModelServer` in a thread of its own for the length of the block."""
    with ModelServer(latency_s) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


class _Answers(BaseHTTPRequestHandler):
    server: ModelServer
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def log_message(self, format: str, *args: object) -> None:
        pass

    def do_GET(self) -> None:
        self.server.paths.append(self.path)
        self._send(200, {"object": "list", "data": [{"id": "m", "object": "model"}], "has_more": False})

    def do_POST(self) -> None:
        server = self.server
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        server.paths.append(self.path)
        if server.latency_s:
            time.sleep(server.latency_s)
        if server.failures:
            status, headers = server.failures.pop(0)
            self._send(status, {"error": {"message": "no", "type": "some_error"}}, headers)
            return
        path = re.sub("^/v1|/deployments/[^/]+", "", self.path.partition("?")[0])
        answer, chunks = _ANSWERS[path](body)
        if body.get("stream"):
            self._stream(chunks, done=path.startswith("/chat"))
        else:
            self._send(200, answer)

    def _send(self, status: int, answer: object, headers: dict[str, str] | None = None) -> None:
        data = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self._ids()
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data)

    def _ids(self) -> None:
        self.send_header("x-request-id", f"req_{len(self.server.paths)}")
        self.send_header("request-id", f"req_{len(self.server.paths)}")

    def _stream(self, chunks: list[tuple[str, dict[str, Any]]], *, done: bool) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Transfer-Encoding", "chunked")
        self._ids()
        self.end_headers()
        for number, (kind, chunk) in enumerate(chunks):
            if number == self.server.breaks_after:
                self.close_connection = True
                return
            self._chunk((f"event: {kind}\n" if kind else "") + f"data: {json.dumps(chunk)}\n\n")
        if done:
            self._chunk("data: [DONE]\n\n")
        self.wfile.write(b"0\r\n\r\n")

    def _chunk(self, text: str) -> None:
        self.wfile.write(f"{len(text):x}\r\n{text}\r\n".encode())
        self.wfile.flush()


Answer = tuple[dict[str, Any], list[tuple[str, dict[str, Any]]]]


def _chat(body: dict[str, Any]) -> Answer:
    base = {"id": "chatcmpl-1", "created": 1, "model": f"{body['model']}-2026"}
    reason = "stop"
    message: dict[str, Any] = {"role": "assistant", "content": "".join(PIECES)}
    if body.get("tools"):  # the arguments that the schema of the first tool asks for
        function = body["tools"][0]["function"]
        fields = function["parameters"].get("properties", {})
        given = {name: 42 if field.get("type") == "integer" else "42" for name, field in fields.items()}
        call = {"name": function["name"], "arguments": json.dumps(given)}
        message = {
            "role": "assistant",
            "tool_calls": [{"id": "call_1", "type": "function", "function": call}],
        }
        reason = "tool_calls"
    whole = {
        **base,
        "object": "chat.completion",
        "choices": [
            {"index": index, "message": message, "finish_reason": reason}
            for index in range(body.get("n") or 1)
        ],
        "usage": USAGE,
    }
    part = {**base, "object": "chat.completion.chunk"}
    deltas = [{"role": "assistant"}, *({"content": piece} for piece in PIECES), {}]
    chunks = [
        {**part, "choices": [{"index": 0, "delta": delta, "finish_reason": None if delta else "stop"}]}
        for delta in deltas
    ]
    if (body.get("stream_options") or {}).get("include_usage"):
        chunks.append({**part, "choices": [], "usage": USAGE})
    return whole, [("", chunk) for chunk in chunks]


def _embeddings(body: dict[str, Any]) -> Answer:
    texts = body["input"] if isinstance(body["input"], list) else [body["input"]]
    data = [
        {"object": "embedding", "index": index, "embedding": [0.5] * DIMENSIONS}
        for index in range(len(texts))
    ]
    usage = {"prompt_tokens": len(texts), "total_tokens": len(texts)}
    return {"object": "list", "data": data, "model": body["model"], "usage": usage}, []


def _responses(body: dict[str, Any]) -> Answer:
    message = {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "status": "completed",
        "content": [{"type": "output_text", "text": "".join(PIECES), "annotations": []}],
    }
    base = {
        "id": "resp_1",
        "object": "response",
        "created_at": 1,
        "model": body["model"],
        "parallel_tool_calls": True,
        "tool_choice": "auto",
        "tools": [],
    }
    usage = {
        "input_tokens": 7,
        "output_tokens": 4,
        "total_tokens": 11,
        "input_tokens_details": {"cached_tokens": 3},
        "output_tokens_details": {"reasoning_tokens": 1},
    }
    whole = {**base, "status": "completed", "output": [message], "usage": usage}
    begun = {**base, "status": "in_progress", "output": []}
    chunks = [
        {"type": "response.created", "sequence_number": 0, "response": begun},
        {"type": "response.completed", "sequence_number": 1, "response": whole},
    ]
    return whole, [(str(chunk["type"]), chunk) for chunk in chunks]


def _messages(body: dict[str, Any]) -> Answer:
    base = {"id": "msg_1", "type": "message", "role": "assistant", "model": f"{body['model']}-2026"}
    text = {"type": "text", "text": "".join(PIECES)}
    whole = {
        **base,
        "content": [text],
        "stop_reason": "end_turn",
        "stop_sequence": None,
        "usage": CLAUDE_USAGE,
    }
    begun = {**base, "content": [], "stop_reason": None, "stop_sequence": None}
    chunks: list[dict[str, Any]] = [
        {"type": "message_start", "message": {**begun, "usage": {**CLAUDE_USAGE, "output_tokens": 1}}},
        {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
        *(
            {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": piece}}
            for piece in PIECES
        ),
        {"type": "content_block_stop", "index": 0},
        {
            "type": "message_delta",
            "delta": {"stop_reason": "end_turn", "stop_sequence": None},
            "usage": {"output_tokens": 4},
        },
        {"type": "message_stop"},
    ]
    return whole, [(chunk["type"], chunk) for chunk in chunks]


def _count(body: dict[str, Any]) -> Answer:
    return {"input_tokens": len(body["messages"])}, []


_ANSWERS: Final = {
    "/chat/completions": _chat,
    "/embeddings": _embeddings,
    "/responses": _responses,
    "/messages": _messages,
    "/messages/count_tokens": _count,
}


def call_of(captured: EventCapture) -> Event:
    """Return the one call of a model that was captured."""
    (call,) = [event for event in captured.started if event.parent_id is None]
    return call
