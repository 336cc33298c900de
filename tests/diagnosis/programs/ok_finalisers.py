# expect: OK
# What ends the waits is called when an object is gone, which a task only holds and a timer lets go of.
import asyncio
import weakref


class Permit:
    def __init__(self, pool):
        self.pool = pool

    def __del__(self):
        self.pool.release()


class Session:
    pass


async def use(pool):
    await pool.acquire()
    permit = Permit(pool)  # noqa: F841 -- held until the end
    await asyncio.sleep(30)


async def wait(event):
    await event.wait()


async def main():
    sessions = [Session(), Session()]
    gone, noticed = asyncio.Event(), asyncio.Event()
    weakref.finalize(sessions[0], gone.set)
    kept = weakref.ref(sessions[1], lambda _: noticed.set())
    asyncio.get_running_loop().call_later(30, sessions.clear)
    pool = asyncio.Semaphore(1)
    await asyncio.gather(wait(gone), wait(noticed), use(pool), use(pool))
    del kept
