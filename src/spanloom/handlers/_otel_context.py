"""A runtime context for OpenTelemetry that lets go of what was attached somewhere else without a word.

A span of user code that is current across a ``yield`` is detached where its generator ends. If that is in another task,
or if the garbage collector ends it, OpenTelemetry logs "Failed to detach context" with a traceback, for each of them,
although nothing is wrong: the context that it was attached in is gone, or is not this one's to change. Where such
generators are common, ``OTEL_PYTHON_CONTEXT=spanloom`` chooses this one.

It is loaded while OpenTelemetry's own context module is: nothing else of OpenTelemetry may be imported here.
"""

from __future__ import annotations

from contextvars import Token

from opentelemetry.context.context import Context
from opentelemetry.context.contextvars_context import ContextVarsRuntimeContext

__all__ = ["LenientRuntimeContext"]


class LenientRuntimeContext(ContextVarsRuntimeContext):
    """OpenTelemetry's own, but for a token that comes back in another context than it was made in."""

    def detach(self, token: Token[Context]) -> None:
        """Set back what was current before, if the token was made here; else leave what is current alone.

        Raises:
            RuntimeError: the token has been used before.
        """
        try:
            super().detach(token)
        except ValueError:
            pass  # made in a different context: see the module
