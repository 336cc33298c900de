# expect: STRAGGLER
# names: tile-23|render_tile
# line: 22|28
# when: slow
# Forty-seven of forty-eight tiles were rendered by child processes in a twinkling; the one of tile
# 23 takes more than a minute.
import asyncio

RENDER = 'sleep "$1"; echo "tile $2"'


class Farm:
    def __init__(self, machines):
        self._machines = asyncio.Semaphore(machines)
        self.rendered = {}

    async def _run(self, seconds, tile):
        process = await asyncio.create_subprocess_exec(
            *("sh", "-c", RENDER, "render", str(seconds), str(tile)),
            stdout=asyncio.subprocess.PIPE,
        )
        output, _ = await process.communicate()
        return output.decode().strip()

    async def render_tile(self, tile):
        async with self._machines:
            seconds = 75 if tile == 23 else 0.01
            self.rendered[tile] = await self._run(seconds, tile)


async def bar(farm, total):
    while len(farm.rendered) < total:
        await asyncio.sleep(0.25)


async def main():
    farm = Farm(6)
    async with asyncio.TaskGroup() as group:
        group.create_task(bar(farm, 48), name="progress-bar")
        for tile in range(48):
            group.create_task(farm.render_tile(tile), name=f"tile-{tile}")
    print(len(farm.rendered), "tiles")


if __name__ == "__main__":
    asyncio.run(main())
