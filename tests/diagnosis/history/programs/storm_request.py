# expect: RETRY_STORM
# names: fetch, ConnectError
# line: 29
# when: hang
# Each try is a request that is a thousand calls of functions: what hears them is full after two or three.
import asyncio
import socket

import httpx
from tenacity import retry, retry_if_exception_type, stop_never


def closed_port():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]


class Mirror:
    def __init__(self, client):
        self.client = client
        self.pages = []

    async def work(self, names):
        while names:
            self.pages.append(await self.fetch(names.pop()))

    @retry(retry=retry_if_exception_type(httpx.TransportError), stop=stop_never)
    async def fetch(self, name):
        return (await self.client.get(f"/{name}")).content


async def main():
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{closed_port()}") as client:
        mirror = Mirror(client)
        names = [f"page {n}" for n in range(300)]
        await asyncio.gather(*(mirror.work(names) for _ in range(8)))


asyncio.run(main())
