# expect: LOST_EXCEPTION
# names: watch, ConnectionError
# line: 16
# when: end
# The failed task and its owner hold only each other, until garbage collection comes.
import asyncio
import gc


class Session:
    def start(self):
        self.task = asyncio.create_task(self.watch(), name="watch")

    async def watch(self):
        await asyncio.sleep(0.1)
        raise ConnectionError("peer is gone")


def open_session():
    Session().start()


async def main():
    open_session()
    await asyncio.sleep(0.5)
    gc.collect()
    await asyncio.sleep(60)


asyncio.run(main())
