"""The interface to a collector: one request's bytes out, one verdict back.

What an answer means depends on the protocol (OTLP specification 1.x, "OTLP/gRPC Response" and "OTLP/HTTP Response"), so
the transports decide that. What to do about a verdict is decided once, in the sender.
"""

from __future__ import annotations

import enum
from typing import Final, NamedTuple, Protocol

__all__ = ["Reply", "Transport", "Verdict", "one_line"]

MAX_MESSAGE: Final = 200
"""Characters of an answer that go to the log."""


class Verdict(enum.Enum):
    """The result of a request.

    Attributes:
        ACCEPTED: The collector has it; `Reply.rejected` of its spans it did not want.
        RETRY: It may or may not have it; send it again.
        REFUSED: It rejected it, and sending it again would not help.
        TOO_LARGE: It may accept the same spans in smaller requests.
    """

    ACCEPTED = "accepted"
    RETRY = "retry"
    REFUSED = "refused"
    TOO_LARGE = "too large"


class Reply(NamedTuple):
    """The answer to one request.

    Attributes:
        verdict: What became of the request.
        reason: Why, as one of a few fixed texts, by which lost spans are counted.
        message: What the collector or the network said, for the log; at most a line.
        rejected: How many spans of an accepted request the collector did not take.
        retry_after_s: Seconds that it asked to wait before a retry; ``None`` if it did not ask.
    """

    verdict: Verdict
    reason: str = ""
    message: str = ""
    rejected: int = 0
    retry_after_s: float | None = None


class Transport(Protocol):
    """Sends requests to one endpoint; any number at a time, from any thread.

    Attributes:
        timeout_s: How long one request may take, as the exporter is configured.
        max_body: Bytes of the largest request, before compression, that it will send.
    """

    timeout_s: float
    max_body: int

    def send(self, body: bytes, *, spans: int, timeout_s: float) -> Reply:
        """Send one complete ``ExportTraceServiceRequest`` with so many spans; never raises."""

    def abort(self) -> None:
        """Make the requests under way fail soon. Safe from any thread."""

    def renew(self) -> None:
        """Drop the connections of the parent process; in a forked child, before anything is sent."""

    def close(self) -> None:
        """Close the connections that are this transport's own."""


def one_line(text: str) -> str:
    """Return a message of a collector or the network as one line that is safe to log."""
    return "".join(char if char.isprintable() else " " for char in text[:MAX_MESSAGE]).strip()
