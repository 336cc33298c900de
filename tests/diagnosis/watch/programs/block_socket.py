# expect: LOOP_BLOCKED
# names: poll
import asyncio
import socket


async def poll():
    await asyncio.sleep(0.2)
    a, b = socket.socketpair()
    return a.recv(10)  # here


async def server():
    s = await asyncio.start_server(lambda r, w: None, "127.0.0.1", 0)
    await s.serve_forever()


async def main():
    await asyncio.gather(server(), poll())


asyncio.run(main())
