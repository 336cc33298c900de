"""Existing code, made visible or limited without being changed. The only package that imports wrapt."""

import typing

from spanloom._offers import offered as _offered
from spanloom.instrument.instrument import instrument, instrumented, uninstrument
from spanloom.instrument.patches import Patches

if typing.TYPE_CHECKING:
    from spanloom.instrument.limiting import limited as limited
    from spanloom.instrument.tracing import instrument_class as instrument_class
    from spanloom.instrument.tracing import instrument_module as instrument_module
    from spanloom.instrument.tracing import traced as traced

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

# Names for one's own code, loaded on first use: patching libraries starts with the program, and does not need them.
_LATE: typing.Final = {
    "limited": "spanloom.instrument.limiting",
    "instrument_class": "spanloom.instrument.tracing",
    "instrument_module": "spanloom.instrument.tracing",
    "traced": "spanloom.instrument.tracing",
}


def __getattr__(name: str) -> object:
    return _offered(__name__, _LATE, name)
