"""Import this before anything else to instrument the libraries that the program imports.

::

    import spanloom.autopatch

Calls `spanloom.instrument` with the targets that ``SPANLOOM_INSTRUMENT`` names; with all of them if it names none.
"""

from spanloom._wiring import instrument_as_asked

__all__: list[str] = []

instrument_as_asked()
