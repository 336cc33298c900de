"""The rules that need to know what was before: each turns what is remembered into findings."""

from spanloom.diagnosis.history.rules.every import find

__all__ = ["find"]
