"""A LlamaIndex pipeline over the files of a folder, in several processes, with mock embeddings."""

import asyncio
import sys

from llama_index.core import MockEmbedding, SimpleDirectoryReader
from llama_index.core.ingestion import IngestionPipeline
from llama_index.core.node_parser import SentenceSplitter


async def main() -> None:
    documents = SimpleDirectoryReader(sys.argv[1], required_exts=[".rst"]).load_data()
    pipeline = IngestionPipeline(
        transformations=[SentenceSplitter(chunk_size=256, chunk_overlap=16), MockEmbedding(embed_dim=8)]
    )
    nodes = await pipeline.arun(documents=documents, num_workers=2)
    alone = await pipeline.arun(documents=documents)
    print(f"{len(documents)} documents, {len(nodes)} nodes, {len(alone)} alone")
    print(sum(len(node.get_content()) for node in nodes), sum(node.embedding is not None for node in nodes))


if __name__ == "__main__":
    asyncio.run(main())
