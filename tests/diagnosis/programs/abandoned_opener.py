# expect: LOCK_ABANDONED
# names: _turn, opener, died of OSError
# line: 14
# Who opened it, by a method that has returned, has failed before he closed it: only his code leads to the lock.
import asyncio


class Device:
    def __init__(self):
        self._turn = asyncio.Lock()

    async def open(self):
        await asyncio.sleep(0)
        await self._turn.acquire()

    def close(self):
        self._turn.release()


async def probe(device):
    await device.open()
    raise OSError("no answer")


async def use(device):
    await device.open()
    device.close()


async def main():
    device = Device()
    opener = asyncio.create_task(probe(device), name="opener")
    await asyncio.gather(opener, *(use(device) for _ in range(2)), return_exceptions=True)


if __name__ == "__main__":
    asyncio.run(main())
