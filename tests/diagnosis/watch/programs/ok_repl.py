# expect: OK
# names: -
import asyncio
import signal


async def listen(p):
    while line := await p.stdout.readline():
        pass


async def command(p, q):
    while True:
        p.stdin.write(await q.get())
        await p.stdin.drain()


async def main():
    p = await asyncio.create_subprocess_exec("cat", stdin=-1, stdout=-1)
    q = asyncio.Queue()
    asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, q.put_nowait, b"x\n")
    await asyncio.gather(listen(p), command(p, q), p.wait())


asyncio.run(main())
