# expect: LOCK_ABANDONED
# names: _window|window
# line: 22|38|48
# when: hang
# The deadline struck between acquire() and the try that would have released; the one deployment is
# long forgotten, and the next ones wait for the window.
import asyncio
import logging

log = logging.getLogger("deploy")


class Cluster:
    def __init__(self):
        self._window = asyncio.Lock()
        self.versions = []

    async def _announce(self, version):
        await asyncio.sleep(1.0 if version == "2.1" else 0.02)

    async def deploy(self, version):
        await self._window.acquire()
        await self._announce(version)
        try:
            await asyncio.sleep(0.05)
            self.versions.append(version)
        finally:
            self._window.release()


class Pipeline:
    def __init__(self, cluster):
        self.cluster = cluster
        self.late = []

    async def run(self, version, deadline):
        job = asyncio.create_task(self.cluster.deploy(version), name=f"deploy-{version}")
        _, pending = await asyncio.wait({job}, timeout=deadline)
        if pending:
            job.cancel()
            self.late.append(version)
            log.info("%s did not make it", version)


async def commits(pipeline):
    for minor in range(8):
        deadline = 0.5 if minor < 2 else None
        await pipeline.run(f"2.{minor}", deadline)


async def monitor(cluster):
    while True:
        await asyncio.sleep(0.25)
        len(cluster.versions)


async def main():
    cluster = Cluster()
    monitoring = asyncio.create_task(monitor(cluster), name="monitor")
    await asyncio.create_task(commits(Pipeline(cluster)), name="commits")
    print(cluster.versions)
    monitoring.cancel()


if __name__ == "__main__":
    asyncio.run(main())
