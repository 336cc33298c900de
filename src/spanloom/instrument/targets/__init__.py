"""What can be patched, one file a library, loaded when that is imported; see `spanloom.instrument.targets.registry`."""

from spanloom.instrument.targets.registry import TARGETS, Target

__all__ = ["TARGETS", "Target"]
