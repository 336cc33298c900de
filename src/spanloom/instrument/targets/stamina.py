"""stamina: one event of type ``retry`` for each call of a decorated function, each block and each caller.

Its own hooks, ``set_on_retry_hooks``, tell of back-offs only, and who sets hooks takes away those of others. So the
calls of tenacity that it consists of are watched.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import ModuleType
from typing import Final

from spanloom.instrument.patches import Patches
from spanloom.instrument.targets.tenacity import is_of_stamina, watch_calls

__all__ = ["VERSIONS", "patch"]

VERSIONS: Final[Mapping[str, str]] = {"stamina": "26.1.0", "tenacity": "9.2.1"}


def patch(module: ModuleType, patches: Patches) -> None:
    """Watch the calls of tenacity that are stamina's."""
    import tenacity

    del module
    watch_calls(tenacity, patches, is_of_stamina)
