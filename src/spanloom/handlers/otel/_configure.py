"""Export in one line: provider, exporter and handler as the environment describes them."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING, Final, Self, Unpack

from opentelemetry import metrics, trace

from spanloom.handlers.otel._connection import CLOSE_TIMEOUT_S
from spanloom.handlers.otel._handler import OpenTelemetryHandler
from spanloom.handlers.otel._options import HandlerOptions
from spanloom.handlers.otel._place import PLACE
from spanloom.handlers.otel._setup import Helper, global_meter_provider, global_tracer_provider

if TYPE_CHECKING:
    from opentelemetry.sdk.metrics import MeterProvider
    from opentelemetry.sdk.trace import TracerProvider

    from spanloom.handlers.otel._environment import Providers

__all__ = ["Configuration", "configure"]

_lock: Final = threading.Lock()
_current: Configuration | None = None


def configure(*, set_global: bool = False, **options: Unpack[HandlerOptions]) -> Configuration:
    """Export the events of the process's default manager, configured by the ``OTEL_*`` variables.

    For programs that have no OpenTelemetry of their own: makes a tracer provider with its exporters, a meter provider
    if ``OTEL_METRICS_EXPORTER`` asks for one, and an `OpenTelemetryHandler` on the default manager. Without any
    variable, spans go by OTLP over HTTP to ``localhost:4318``. The end of the process waits at most 2 s for the rest to
    be sent.

    If the default manager has an `OpenTelemetryHandler` already, from ``SPANLOOM_HANDLERS=otel`` or
    ``opentelemetry-instrument``, this one takes its place, and `Configuration.shutdown` gives it back: spans would be
    exported twice. Called again with the same arguments, it returns the same `Configuration`.

    Args:
        set_global: Make the providers the global ones, so that other instrumented libraries use them, too.
        options: Keyword arguments of `OpenTelemetryHandler`.

    Returns:
        What was set up, with ``flush`` and ``shutdown``.

    Raises:
        MissingDependencyError: an exporter that the environment names is not installed; the message says what to
            install.
        RuntimeError: it was called before with other arguments and not shut down since, or `set_global` is asked for
            and there is a global provider.
        ValueError: an option or a variable has a value that is not allowed.
    """
    from spanloom.handlers.otel._environment import (
        make_providers,
    )  # the SDK's configurator loads half of the SDK

    global _current  # noqa: PLW0603 -- there is one default manager, and so one configuration of it
    with _lock:
        if _current is None:
            if set_global:
                _refuse_to_replace_global()
            _current = Configuration(make_providers(), options, is_global=set_global)
        elif not _current._was_made_by(set_global, options):  # noqa: SLF001 -- they are two halves of one thing
            raise RuntimeError(
                "spanloom.handlers.otel.configure() was called before with other arguments; "
                "call shutdown() of what it returned first"
            )
        current = _current
    if current.handler is not None:
        PLACE.take(current.handler)
    return current


def _refuse_to_replace_global() -> None:
    for provider in (global_tracer_provider(), global_meter_provider()):
        if provider is not None:
            raise RuntimeError(
                f"configure(set_global=True): there is a global {type(provider).__name__} already, and OpenTelemetry "
                "lets none be replaced; leave set_global out, or hand the provider to an OpenTelemetryHandler"
            )


class Configuration:
    """What `configure` has set up; a context manager that shuts it down at its end.

    Attributes:
        handler: On the process's default manager; ``None`` if the environment says that nothing is exported.
        tracer_provider: For spans of your own, which nest under the jobs that they are in, whether the provider is the
            global one or not.
        meter_provider: ``None`` unless ``OTEL_METRICS_EXPORTER`` names an exporter.
    """

    def __init__(self, providers: Providers, options: HandlerOptions, *, is_global: bool) -> None:
        self.tracer_provider: TracerProvider = providers.tracers
        self.meter_provider: MeterProvider | None = providers.meters
        self.handler: OpenTelemetryHandler | None = None
        self._made_by = (is_global, options)
        self._finish = _Finish(providers)
        try:
            if not providers.is_silent:
                self.handler = _HandlerOfProviders(self._finish, providers, options)
        except BaseException:  # an option that is not allowed: no thread of the providers is left behind
            self._finish.shutdown(CLOSE_TIMEOUT_S)
            raise
        if is_global:
            trace.set_tracer_provider(providers.tracers)
            if providers.meters is not None:
                metrics.set_meter_provider(providers.meters)

    def _was_made_by(self, is_global: bool, options: HandlerOptions) -> bool:
        return self._made_by == (is_global, options)

    def flush(self, timeout: float = CLOSE_TIMEOUT_S) -> bool:
        """Have everything exported that ended before this call; flushes the default manager.

        Blocks its thread; on an event loop use ``await asyncio.to_thread(configuration.flush)``.

        Args:
            timeout: Seconds to wait at most.

        Returns:
            True if everything was exported in time.
        """
        deadline = time.monotonic() + timeout
        done = self.handler is None or PLACE.flush(timeout)
        return self._finish.flush(deadline - time.monotonic()) and done

    def shutdown(self, timeout: float = CLOSE_TIMEOUT_S) -> bool:
        """Export what is left, take the handler out of the default manager, and shut the providers down.

        The default manager is then as it was before `configure`, which can be called again. Only global providers stay
        where they are: OpenTelemetry sets each of them once. Called again, it does nothing.

        Args:
            timeout: Seconds to wait at most; what takes longer goes on behind.

        Returns:
            True if everything was exported in time.
        """
        global _current  # noqa: PLW0603 -- see configure
        with _lock:
            if _current is not self:
                return True
            _current = None
        deadline = time.monotonic() + timeout
        done = self.handler is None or PLACE.leave(self.handler, timeout)
        return self._finish.shutdown(deadline - time.monotonic()) and done

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.shutdown()


class _HandlerOfProviders(OpenTelemetryHandler):
    """A handler that also flushes its providers when it closes, as they do nothing at exit.

    They export metrics, and spans of user code, which the handler itself does not.
    """

    def __init__(self, finish: _Finish, providers: Providers, options: HandlerOptions) -> None:
        super().__init__(providers.tracers, providers.meters, **options)
        self._finish = finish

    def close(self) -> None:
        deadline = time.monotonic() + CLOSE_TIMEOUT_S
        connection = self._connection
        super().close()
        # What the last flush could not send in its time, this one would not send either.
        if connection is None or not connection.is_stuck:
            self._finish.flush(deadline - time.monotonic())


class _Finish:
    """Flushes and shuts the providers down within a deadline; the SDK alone may take up to 30 s."""

    def __init__(self, providers: Providers) -> None:
        self._providers = [
            provider for provider in (providers.tracers, providers.meters) if provider is not None
        ]
        self._helper = Helper("spanloom-otel-providers")

    def flush(self, timeout: float) -> bool:
        return self._all([provider.force_flush for provider in self._providers], timeout)

    def shutdown(self, timeout: float) -> bool:
        done = self._all([provider.shutdown for provider in self._providers], timeout)
        self._helper.stop()
        return done

    def _all(self, functions: list[Callable[[], object]], timeout: float) -> bool:
        if not self._helper.is_ours:  # in a forked child
            self._helper = Helper("spanloom-otel-providers")
        return self._helper.call(lambda: [function() for function in functions], timeout) is not None
