# expect: RETRY_STORM
# names: push_change|push|sync_folder, Conflict
# line: 25|45|50|64
# when: hang
# Every push but one in some hundreds collides and is tried again after a few milliseconds, from jobs
# that each run a retry of their own several frames down.
import asyncio

from spanloom import RetryPolicy, run_jobs


class Conflict(Exception):
    pass


class Remote:
    def __init__(self):
        self.revision = 0
        self.pushes = 0

    async def push(self, change):
        await asyncio.sleep(0.002)
        self.pushes += 1
        if self.pushes % 401:
            raise Conflict(f"409: {change} is not based on revision {self.revision}")
        self.revision += 1
        return self.revision


EAGER = RetryPolicy(
    attempts=1_000_000,
    base_delay=0.002,
    max_delay=0.004,
    jitter=0.5,
    retry_on=(Conflict,),
)


class Client:
    def __init__(self, remote):
        self.remote = remote
        self.push = EAGER.retrying(self.push_change)

    async def push_change(self, change):
        return await self.remote.push(change)

    async def sync_folder(self, folder, changes):
        revisions = []
        for number in range(changes):
            revisions.append(await self.push(f"{folder}/{number}"))
        return revisions


async def watch(remote):
    while True:
        await asyncio.sleep(0.5)
        print("revision", remote.revision)


async def main():
    remote = Remote()
    watching = asyncio.create_task(watch(remote), name="watch")
    client = Client(remote)
    await run_jobs([client.sync_folder(f"folder-{n}", 10_000) for n in range(12)], workers=12)
    watching.cancel()


if __name__ == "__main__":
    asyncio.run(main())
