"""A runtime context for OpenTelemetry that silently ignores a detach of what was attached in another context.

A user's span that is current across a ``yield`` is detached where its generator ends. If that is in another task, or in
the garbage collector, OpenTelemetry logs "Failed to detach context" with a traceback each time, although nothing is
wrong: the context in which it was attached is gone, or must not be changed from here. Where such generators are common,
``OTEL_PYTHON_CONTEXT=spanloom`` selects this context.

OpenTelemetry's own context module imports this one: nothing else of OpenTelemetry may be imported here.
"""

from __future__ import annotations

from contextvars import Token

from opentelemetry.context.context import Context
from opentelemetry.context.contextvars_context import ContextVarsRuntimeContext

__all__ = ["LenientRuntimeContext"]


class LenientRuntimeContext(ContextVarsRuntimeContext):
    """OpenTelemetry's own runtime context, except that it accepts a token from another context."""

    def detach(self, token: Token[Context]) -> None:
        """Restore what was current before, if the token was made in this context; else do nothing.

        Raises:
            RuntimeError: the token has been used before.
        """
        try:
            super().detach(token)
        except ValueError:
            pass  # made in a different context: see the module
