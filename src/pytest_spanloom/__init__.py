"""The pytest plugin of spanloom, a package of its own: every pytest of an environment loads it, few need spanloom."""

__all__: list[str] = []
