"""The handlers: each in a module of its own, imported by whoever uses it."""

__all__: list[str] = []
