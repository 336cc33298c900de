"""Existing code, made visible or limited without being changed. The only package that imports wrapt.

What is put into one's own code, `traced` and `limited`, is offered by `spanloom` only: what patches libraries starts
with a program, and does without.
"""

from spanloom.instrument.instrument import instrument, instrumented, uninstrument
from spanloom.instrument.patches import Patches

__all__ = ["Patches", "instrument", "instrumented", "uninstrument"]
