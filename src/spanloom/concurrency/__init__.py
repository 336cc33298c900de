"""Run many awaitables: one engine, and on top of it one noun per file.

Exports nothing: users import from `spanloom`, and other packages import the few modules that they need.
"""

__all__: list[str] = []
