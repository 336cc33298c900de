"""Questions to a LlamaIndex index, several at once, with a mock model."""

import asyncio
import sys

from llama_index.core import MockEmbedding, SimpleDirectoryReader, VectorStoreIndex
from llama_index.core.async_utils import run_jobs
from llama_index.core.llms import MockLLM


async def main() -> None:
    documents = SimpleDirectoryReader(sys.argv[1], required_exts=[".rst"]).load_data()
    index = VectorStoreIndex.from_documents(documents, embed_model=MockEmbedding(embed_dim=8))
    engine = index.as_query_engine(llm=MockLLM(max_tokens=16))
    answers = await run_jobs(
        [engine.aquery(f"what is {word}?") for word in ("a task", "a lock", "a file")], workers=2
    )
    for answer in answers:
        print(answer)
    for chunk in MockLLM(max_tokens=8).stream_complete("one two three four"):
        print(chunk.delta, end="|")
    print()


asyncio.run(main())
