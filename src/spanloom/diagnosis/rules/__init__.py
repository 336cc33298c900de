"""The rules: from what is dead to a code and a sentence, one family a file."""

__all__: list[str] = []
