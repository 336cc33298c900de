"""Jaeger v2, and what its query API answers."""

from __future__ import annotations

import json
import urllib.error
import urllib.parse
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from tools.backends.server import ROOT, Server, build, fetch, free_port

__all__ = ["Jaeger"]

# On top of jaeger.yaml. The store in memory stays configured, and empty. Without `consistency` there is no fsync for
# each span, 8 ms of it: what was written outlives the process all the same.
_ON_DISK: Final = """yaml:
extensions:
  jaeger_storage:
    backends:
      disk:
        badger:
          ephemeral: false
          consistency: false
          directories: {{keys: {folder}, values: {folder}}}
  jaeger_query:
    storage: {{traces: disk}}
exporters:
  jaeger_storage_exporter: {{trace_storage: disk}}
"""


class Jaeger(Server):
    """A Jaeger that keeps traces in memory, or on disk to have them after a restart.

    Args:
        folder: For its log and its traces.
        on_disk: Keep the traces of a run for the next.
        standard_ports: Take the port that Jaeger is known for where it is free.
    """

    def __init__(self, folder: Path, *, on_disk: bool = False, standard_ports: bool = False) -> None:
        query, query_grpc, grpc, http, health = (
            free_port(port if standard_ports else None) for port in (16686, 16685, 14317, 14318, 13134)
        )
        self.url = f"http://127.0.0.1:{query}"
        self.otlp_grpc = f"127.0.0.1:{grpc}"
        self.grpc_url = f"http://127.0.0.1:{grpc}"
        self.http_url = f"http://127.0.0.1:{http}"
        command = [str(build("jaeger")), "--config", str(ROOT / "tools" / "backends" / "jaeger.yaml")]
        if on_disk:
            command += ["--config", _ON_DISK.format(folder=folder / "traces")]
        super().__init__(
            command,
            {
                "JAEGER_QUERY_HTTP": f"127.0.0.1:{query}",
                "JAEGER_QUERY_GRPC": f"127.0.0.1:{query_grpc}",
                "JAEGER_OTLP_GRPC": self.otlp_grpc,
                "JAEGER_OTLP_HTTP": f"127.0.0.1:{http}",
                "JAEGER_HEALTH": f"127.0.0.1:{health}",
                # Of its own queries: it would send them to port 4317, and when it ends wait 10 s for whoever is there.
                "OTEL_TRACES_SAMPLER": "always_off",
            },
            health_url=f"http://127.0.0.1:{health}/status",
            log=folder / "jaeger.log",
        )

    def traces(self, service: str, limit: int = 1000, **query: str) -> list[dict[str, Any]]:
        """Return the traces of a service, as the API of Jaeger's own page gives them: times in microseconds."""
        found: list[dict[str, Any]] = self._get("/api/traces", service=service, limit=limit, **query)["data"]
        return found

    def find_spans(
        self, service: str, since_ns: int, until_ns: int, *, raw: bool = False
    ) -> list[dict[str, Any]]:
        """Return the traces of a service that began between two times, as OTLP JSON: a list of ``resourceSpans``.

        Args:
            service: Value of ``service.name``.
            since_ns: Nanoseconds since the Unix epoch; the API takes no query without both times.
            until_ns: The same.
            raw: As they are stored, not as they are shown: duplicates are not put together.
        """
        return self._resource_spans(
            "/api/v3/traces",
            **{
                "query.service_name": service,
                "query.start_time_min": _rfc3339(since_ns),
                "query.start_time_max": _rfc3339(until_ns),
                "query.num_traces": 100_000,
                "query.raw_traces": "true" if raw else "false",
            },
        )

    def trace(self, trace_id: int, *, raw: bool = False) -> list[dict[str, Any]]:
        """Return one trace as OTLP JSON, a list of ``resourceSpans``; an empty one if it is not known."""
        return self._resource_spans(f"/api/v3/traces/{trace_id:032x}", raw_traces="true" if raw else "false")

    def _resource_spans(self, path: str, **query: object) -> list[dict[str, Any]]:
        try:
            found: list[dict[str, Any]] = self._get(path, **query)["result"]["resourceSpans"]
        except urllib.error.HTTPError as error:
            if error.code == 404:
                return []
            raise
        return found

    def _get(self, path: str, **query: object) -> Any:
        return json.loads(fetch(f"{self.url}{path}?{urllib.parse.urlencode(query)}"))


def _rfc3339(wall_ns: int) -> str:
    seconds, nanoseconds = divmod(wall_ns, 1_000_000_000)
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}.{nanoseconds:09d}Z"
