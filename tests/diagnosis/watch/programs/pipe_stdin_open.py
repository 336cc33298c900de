# expect: PIPE_DEADLOCK
# names: sort
import asyncio


async def main():
    p = await asyncio.create_subprocess_exec(
        "sort", stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
    )
    p.stdin.write(b"b\na\n")
    await p.stdin.drain()
    print(await p.stdout.read())  # here


asyncio.run(main())
