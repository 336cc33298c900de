# expect: LOOP_BLOCKED
# names: validate
import asyncio
import re


class V:
    def check(self, text):
        return re.match(r"(a+)+$", text)  # here


async def validate(v):
    await asyncio.sleep(0.2)
    return v.check("a" * 40 + "!")  # here


async def ping():
    while True:
        await asyncio.sleep(0.1)


async def main():
    t = asyncio.create_task(ping())
    await asyncio.create_task(validate(V()), name="job-1")


asyncio.run(main())
