"""tqdm: its own gather, and one `update` per job."""

import asyncio
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from tqdm import tqdm
from tqdm.asyncio import tqdm_asyncio

from bench.contender import Contender, Session
from bench.load import Load
from bench.peers.pool import run_pool


@contextmanager
def _open_gather() -> Iterator[Session]:
    with Path(os.devnull).open("w", encoding="utf-8") as nowhere:

        async def run(load: Load) -> list[int]:
            slots = asyncio.Semaphore(load.limit)

            async def bounded(index: int) -> int:
                async with slots:
                    return await load.job(index)

            results: list[int] = await tqdm_asyncio.gather(*map(bounded, range(load.count)), file=nowhere)
            return results

        yield Session(run)


@contextmanager
def _open_update() -> Iterator[Session]:
    with Path(os.devnull).open("w", encoding="utf-8") as nowhere:

        async def run(load: Load) -> list[int]:
            with tqdm(total=load.count, file=nowhere) as bar:

                async def counted(index: int) -> int:
                    result = await load.job(index)
                    bar.update()
                    return result

                return await run_pool(replace(load, job=counted))

        yield Session(run)


TQDM_GATHER = Contender("tqdm.asyncio gather + Semaphore", _open_gather, max_jobs=10_000)
TQDM_UPDATE = Contender("P + tqdm.update", _open_update)
