"""Why a program is stuck or slow: what is seen of it, what follows from that, and how it is said."""

import typing

from spanloom.diagnosis.look import look
from spanloom.diagnosis.why import why

if typing.TYPE_CHECKING:
    from spanloom.diagnosis.finding import Finding as Finding
    from spanloom.diagnosis.verdict import diagnose as diagnose

__all__ = ["Finding", "diagnose", "look", "why"]


def __getattr__(name: str) -> object:
    # Not before somebody asks: what watches a program is in this package, too, and starts with the program.
    if name == "Finding":
        from spanloom.diagnosis.finding import Finding

        return Finding
    if name == "diagnose":
        from spanloom.diagnosis.verdict import diagnose

        return diagnose
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
