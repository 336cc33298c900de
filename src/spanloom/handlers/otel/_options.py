"""What can be said about an `OpenTelemetryHandler` where something else makes it."""

from __future__ import annotations

import os
from typing import Final, Literal, TypedDict

from spanloom.handlers.otel._tail import TailPolicy

__all__ = ["MAX_CONTENT", "MAX_SPANS_PER_TRACE", "MAX_TEXT", "HandlerOptions"]

MAX_SPANS_PER_TRACE: Final = 500
"""Jaeger's page gets slow from a few hundred spans on, and gives up at some ten thousand (jaeger-ui #645)."""
MAX_TEXT: Final = 256
"""Characters kept of a payload text, unless told otherwise: identifiers and URLs, not documents."""
MAX_CONTENT: Final = 16_384
"""Characters kept of one prompt or answer, unless told otherwise: some 4,000 tokens."""


class HandlerOptions(TypedDict, total=False):
    """The keyword arguments of `OpenTelemetryHandler`, which says what they mean; one left out has its default."""

    live_parents: bool
    max_spans_per_trace: int | None
    tail: TailPolicy | None
    max_text: int
    profile: Literal["plain", "gen_ai", "openinference"]
    capture_content: bool | None
    max_content: int
    spool: str | os.PathLike[str] | None
    spool_max_bytes: int | None
    spool_max_age_s: float | None
    flush_on_sigterm: bool
