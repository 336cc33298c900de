"""The parts of `spanloom.compat.dotevals`."""

__all__: list[str] = []
