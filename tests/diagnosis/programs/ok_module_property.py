# expect: OK
# What has the event is a proxy, whose class has a property where others have the name of their module.
import asyncio


class Proxy:
    def __init__(self, inner):
        self.inner = inner

    __module__ = property(lambda self: self.inner.__module__)


async def later(proxy):
    await asyncio.sleep(30)
    proxy.inner.set()


async def main():
    ready = asyncio.Event()
    await asyncio.gather(later(Proxy(ready)), asyncio.create_task(ready.wait()))
