"""The rules: from dead tasks to a code and a sentence, one family a file."""

__all__: list[str] = []
