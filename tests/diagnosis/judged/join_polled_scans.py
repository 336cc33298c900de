# expect: JOIN_WITHOUT_TASK_DONE
# names: scans, sort_scans|sorter-0|sorter-1|sorter-2
# line: 33
# when: hang
# The sorters ask for a scan without waiting for it, and rest when there is none; one that cannot be read is put aside
# and never reported.
import asyncio


async def sort_scans(scans, sorted_in, unreadable):
    while True:
        try:
            page = scans.get_nowait()
        except asyncio.QueueEmpty:
            await asyncio.sleep(0.05)
            continue
        await asyncio.sleep(0.003)
        if page % 17 == 11:
            unreadable.append(page)
            continue
        sorted_in[page % 3].append(page)
        scans.task_done()


async def main():
    scans = asyncio.Queue()
    sorted_in, unreadable = ([], [], []), []
    names = (f"sorter-{n}" for n in range(3))
    sorters = [asyncio.create_task(sort_scans(scans, sorted_in, unreadable), name=name) for name in names]
    for page in range(100):
        scans.put_nowait(page)
        await asyncio.sleep(0.001)
    await scans.join()
    print(*map(len, sorted_in))
    for sorter in sorters:
        sorter.cancel()


if __name__ == "__main__":
    asyncio.run(main())
