# expect: JOIN_WITHOUT_TASK_DONE
# names: pages, worker
# The only worker died of a bad page.
import asyncio


async def worker(pages):
    while True:
        page = await pages.get()
        await asyncio.sleep(0.001)
        int(page)
        pages.task_done()


async def main():
    pages = asyncio.Queue()
    for page in ("1", "2", "x", "3"):
        pages.put_nowait(page)
    task = asyncio.create_task(worker(pages), name="worker")
    await pages.join()
    task.cancel()


if __name__ == "__main__":
    asyncio.run(main())
