"""One facade for each system that spanloom replaces: the names its users import, on spanloom's engine.

Each is a module of its own; change the import and keep the code::

    from spanloom.compat.lionherd import bounded_map, gather
"""

__all__: list[str] = []
