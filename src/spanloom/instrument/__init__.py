"""Existing code, made visible or limited without being changed. The only package that imports wrapt."""

from spanloom.instrument.instrument import instrument, instrumented, uninstrument
from spanloom.instrument.limited import limited
from spanloom.instrument.patches import Patches
from spanloom.instrument.traced import instrument_class, instrument_module, traced

__all__ = [
    "Patches",
    "instrument",
    "instrument_class",
    "instrument_module",
    "instrumented",
    "limited",
    "traced",
    "uninstrument",
]
