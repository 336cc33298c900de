"""Why a program is stuck or slow: what is seen of it, what follows from that, and how it is said."""

from spanloom.diagnosis.finding import Finding
from spanloom.diagnosis.look import look
from spanloom.diagnosis.verdict import diagnose
from spanloom.diagnosis.why import why

__all__ = ["Finding", "diagnose", "look", "why"]
