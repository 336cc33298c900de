# expect: LOCK_ABANDONED
# names: _turn, opener|open_session
# line: 16|29|34
# when: hang
# On the loop of a second thread, a session is opened with acquire() and should be closed by whoever
# opened it, who failed first.
import asyncio
import threading


class Device:
    def __init__(self):
        self._turn = asyncio.Lock()

    async def open(self):
        await self._turn.acquire()
        return self

    def close(self):
        self._turn.release()

    async def measure(self):
        await asyncio.sleep(0.05)


async def open_session(device):
    session = await device.open()
    await session.measure()
    raise TimeoutError("no answer from the device")


async def use(device, n):
    await asyncio.sleep(0.02)
    session = await device.open()
    await session.measure()
    session.close()
    return n


async def laboratory():
    device = Device()
    jobs = [asyncio.create_task(open_session(device), name="opener")]
    jobs += [asyncio.create_task(use(device, n), name=f"user-{n}") for n in range(3)]
    print(await asyncio.gather(*jobs, return_exceptions=True))


async def main():
    thread = threading.Thread(target=asyncio.run, args=(laboratory(),), name="laboratory", daemon=True)
    thread.start()
    while thread.is_alive():
        await asyncio.sleep(0.1)


if __name__ == "__main__":
    asyncio.run(main())
