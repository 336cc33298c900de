"""The rules that need the past: each turns what is remembered into findings."""

from spanloom.diagnosis.history.rules.every import find

__all__ = ["find"]
