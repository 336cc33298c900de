"""What can be read off a recorded run: trees, statistics, comparisons, and forms for other programs."""

__all__: list[str] = []
