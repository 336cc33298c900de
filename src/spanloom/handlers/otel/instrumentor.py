"""spanloom as a library that ``opentelemetry-instrument`` finds; needs the extra ``instrument``.

The command loads what is listed in the entry-point group ``opentelemetry_instrumentor`` before the program starts.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import TYPE_CHECKING, Any, Unpack

from spanloom.callbacks.registry import instrument_libraries
from spanloom.exceptions import MissingDependencyError
from spanloom.handlers.otel._connection import CLOSE_TIMEOUT_S
from spanloom.handlers.otel._handler import OpenTelemetryHandler
from spanloom.handlers.otel._options import HandlerOptions
from spanloom.handlers.otel._place import PLACE

try:
    # It tells type checkers to look away.
    from opentelemetry.instrumentation.instrumentor import BaseInstrumentor  # type: ignore[attr-defined] # as above
except ImportError as _error:
    raise MissingDependencyError(
        "opentelemetry-instrumentation is not installed: pip install 'spanloom[instrument]'"
    ) from _error

if TYPE_CHECKING:
    from opentelemetry.metrics import MeterProvider
    from opentelemetry.trace import TracerProvider

__all__ = ["SpanloomInstrumentor"]


class SpanloomInstrumentor(BaseInstrumentor):  # type: ignore[misc] # as above
    """Make spans and metrics of every event of the process's default manager.

    Libraries that have no events of their own are patched so that they have: those that ``SPANLOOM_INSTRUMENT`` names,
    or else all; see `spanloom.instrument`.

    Without arguments, as ``opentelemetry-instrument`` calls ``instrument``, they go to the global providers, and
    without those where the environment says: see `OpenTelemetryHandler`, whose keyword arguments ``instrument`` takes,
    too. An `OpenTelemetryHandler` that the default manager has already gives its place to this one, and gets it back
    by ``uninstrument``, which leaves the default manager as it was.
    """

    _handler: OpenTelemetryHandler | None = None
    _undo: Callable[[], object] | None = None

    def instrumentation_dependencies(self) -> Collection[str]:
        """Return nothing: it comes with the library that it instruments."""
        return ()

    def _instrument(
        self,
        tracer_provider: TracerProvider | None = None,
        meter_provider: MeterProvider | None = None,
        **options: Unpack[HandlerOptions],
    ) -> None:
        self._handler = OpenTelemetryHandler(tracer_provider, meter_provider, **options)
        PLACE.take(self._handler)
        self._undo = instrument_libraries()

    def _uninstrument(self, **kwargs: Any) -> None:
        undo, self._undo = self._undo, None
        if undo is not None:
            undo()
        handler, self._handler = self._handler, None
        if handler is not None:
            PLACE.leave(handler, CLOSE_TIMEOUT_S)
