"""The parts of `spanloom.compat.async_batch_llm` that the processor itself can do without."""

__all__: list[str] = []
