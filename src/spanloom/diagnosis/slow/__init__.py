"""Why a run that is over was slow, from its record."""

from spanloom.diagnosis.slow.explain import explain

__all__ = ["explain"]
