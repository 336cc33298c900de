# expect: LOCK_ABANDONED
# names: _lease, deploy-1, HealthCheckFailed
# line: 25|34
# when: hang
# A deployment takes the lease, fails at its health check and ends without giving it back; the
# next ones wait.
import asyncio
import threading


class HealthCheckFailed(Exception):
    pass


_lease = asyncio.Lock()


class Environment:
    def __init__(self, name):
        self.name = name
        self._lease = _lease
        self.version = 0

    async def claim(self):
        await self._lease.acquire()

    def give_back(self):
        self._lease.release()


async def health_check(version):
    await asyncio.sleep(0.05)
    if version == 1:
        raise HealthCheckFailed(version)


async def deploy(environment, version):
    await environment.claim()
    before, environment.version = environment.version, version
    await health_check(version)
    environment.give_back()
    return before


async def main():
    staging = Environment("staging")
    deployments = [
        asyncio.create_task(deploy(staging, version), name=f"deploy-{version}") for version in range(5)
    ]
    for result in await asyncio.gather(*deployments, return_exceptions=True):
        print(result)


_side = threading.Thread(target=lambda: asyncio.run(main()), name="side")
_side.start()
_side.join()
