"""The parts of `spanloom.compat.async_batch_llm` that are not in `spanloom.processing`."""

__all__: list[str] = []
