"""Import this first of all, and the libraries that the program imports then are instrumented.

::

    import spanloom.autopatch

It does what `spanloom.instrument` does, with the targets that ``SPANLOOM_INSTRUMENT`` names, or else with all of them.
"""

from spanloom._wiring import instrument_as_asked

__all__: list[str] = []

instrument_as_asked()
