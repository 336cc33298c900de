"""httpx2: as httpx, whose successor it is; its clients and responses have the same shape."""

from __future__ import annotations

from collections.abc import Mapping
from types import ModuleType
from typing import Final

from spanloom.instrument.patches import Patches
from spanloom.instrument.targets.httpx import patch_clients

__all__ = ["VERSIONS", "patch"]

VERSIONS: Final[Mapping[str, str]] = {"httpx2": "2.16.2"}


def patch(module: ModuleType, patches: Patches) -> None:
    """Patch both clients, and the closing of responses."""
    patch_clients(module, patches)
