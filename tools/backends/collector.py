"""The OpenTelemetry Collector, with the configuration that this repository recommends."""

from __future__ import annotations

from pathlib import Path

from tools.backends.server import ROOT, Server, build, free_port

__all__ = ["Collector"]


class Collector(Server):
    """A Collector that takes OTLP, queues on disk and sends to Jaeger, as ``otel-collector.yaml`` says.

    Args:
        folder: For its queue and its log.
        jaeger: ``host:port`` where Jaeger takes OTLP over gRPC.
        standard_ports: Take the ports that OTLP is known for where they are free.
        on_top: More configuration, as YAML; it wins over the file.
    """

    def __init__(self, folder: Path, *, jaeger: str, standard_ports: bool = False, on_top: str = "") -> None:
        grpc, http, health, metrics = (
            free_port(port if standard_ports else None) for port in (4317, 4318, 13133, 8888)
        )
        self.grpc_url = f"http://127.0.0.1:{grpc}"
        self.http_url = f"http://127.0.0.1:{http}"
        self.metrics_url = f"http://127.0.0.1:{metrics}/metrics"
        command = [str(build("otelcol")), "--config", str(ROOT / "otel-collector.yaml")]
        super().__init__(
            command + (["--config", f"yaml:{on_top}"] if on_top else []),
            {
                "OTELCOL_OTLP_GRPC": f"127.0.0.1:{grpc}",
                "OTELCOL_OTLP_HTTP": f"127.0.0.1:{http}",
                "OTELCOL_HEALTH": f"127.0.0.1:{health}",
                "OTELCOL_METRICS_PORT": str(metrics),
                "OTELCOL_STORAGE": str(folder / "queue"),
                "JAEGER_OTLP_GRPC": jaeger,
            },
            health_url=f"http://127.0.0.1:{health}/",
            log=folder / "otelcol.log",
        )
