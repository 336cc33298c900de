"""What can be said about an `OpenTelemetryHandler` where something else makes it."""

from __future__ import annotations

import os
from typing import Literal, TypedDict

from spanloom.handlers.otel._tail import TailPolicy

__all__ = ["HandlerOptions"]


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
