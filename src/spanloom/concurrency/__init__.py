"""Running many awaitables: one engine, one noun per file on top, imported by whoever uses it.

Nothing is offered here: what watches a program needs a few of them, and users have the rest from `spanloom`.
"""

__all__: list[str] = []
