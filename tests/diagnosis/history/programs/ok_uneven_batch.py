# expect: OK
# names: -
# line: -
# when: end
# Jobs of very different length, several of them long.
import asyncio


async def job(n):
    await asyncio.sleep(0.1 if n % 2 else 12)


async def main():
    await asyncio.gather(*(asyncio.create_task(job(n), name=f"job-{n}") for n in range(20)))


asyncio.run(main())
