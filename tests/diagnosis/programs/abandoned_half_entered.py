# expect: LOCK_ABANDONED
# names: _busy, first|second|third
# line: 13
# The way in takes the lock and fails, and its caller takes the error for no matter: he is told of, who ended well.
import asyncio


class Device:
    def __init__(self):
        self._busy = asyncio.Lock()

    async def __aenter__(self):
        await self._busy.acquire()
        raise OSError("no such device")

    async def __aexit__(self, *error):
        self._busy.release()


async def scan(device):
    async with device:
        await asyncio.sleep(0)


async def desk(device):
    try:
        await scan(device)
    except OSError:
        return


async def main():
    device = Device()
    early = [asyncio.create_task(desk(device), name="first")]
    await asyncio.wait(early)
    await asyncio.create_task(desk(device), name="late")


if __name__ == "__main__":
    asyncio.run(main())
