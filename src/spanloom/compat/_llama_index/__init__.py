"""The parts of `spanloom.compat.llama_index`."""

__all__: list[str] = []
