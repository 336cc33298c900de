"""What a report says of where it was made: the processor, the interpreter, the versions of the peers."""

import os
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

PACKAGES = (
    "spanloom",
    "aiometer",
    "anyio",
    "llama-index-core",
    "llama-index-observability-otel",
    "logfire",
    "opentelemetry-sdk",
    "stamina",
    "tenacity",
    "tqdm",
)


def _processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _versions() -> dict[str, str]:
    found = {}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def describe() -> dict[str, object]:
    """Return the facts of this machine, without its name, its user or its paths."""
    return {
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "system": f"{platform.system()} {platform.machine()}",
        "processor": _processor(),
        "processors": os.cpu_count(),
        "packages": _versions(),
    }
