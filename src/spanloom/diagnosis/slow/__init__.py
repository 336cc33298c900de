"""Why a run that has ended was slow, from its record."""

from spanloom.diagnosis.slow.explain import explain

__all__ = ["explain"]
