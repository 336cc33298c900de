"""A Jaeger and a Collector of one's own on this machine: for `make jaeger` and for the tests in tests/jaeger."""

from tools.backends.collector import Collector
from tools.backends.jaeger import Jaeger
from tools.backends.server import Server, free_port

__all__ = ["Collector", "Jaeger", "Server", "free_port"]
