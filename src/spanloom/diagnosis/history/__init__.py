"""What is remembered of a program between looks, and the rules that need it."""

from spanloom.diagnosis.history.memory import Memory

__all__ = ["Memory"]
