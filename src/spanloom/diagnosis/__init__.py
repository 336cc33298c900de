"""Why a program is stuck or slow: the snapshot of it, the analysis of the snapshot, and the findings in words."""

import typing

from spanloom._offers import offered as _offered
from spanloom.diagnosis.look import look
from spanloom.diagnosis.why import why

if typing.TYPE_CHECKING:
    from spanloom.diagnosis.finding import Finding as Finding
    from spanloom.diagnosis.verdict import diagnose as diagnose

__all__ = ["Finding", "diagnose", "look", "why"]

# Loaded on first use: the watchdog lies in this package, too, and starts with the program, which must stay quick.
_LATE: typing.Final = {"Finding": "spanloom.diagnosis.finding", "diagnose": "spanloom.diagnosis.verdict"}


def __getattr__(name: str) -> object:
    return _offered(__name__, _LATE, name)
