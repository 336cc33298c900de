# expect: OK
# names: -
# line: -
# when: end
# Failures of background tasks go to the handler that the program has for them.
import asyncio

reports = []


def report(loop, context):
    reports.append((context["message"], repr(context.get("exception"))))


async def fail(n):
    await asyncio.sleep(0.05)
    raise ValueError(n)


async def main():
    asyncio.get_running_loop().set_exception_handler(report)
    for n in range(100):
        asyncio.create_task(fail(n))
        await asyncio.sleep(0.2)
    print(len(reports))


asyncio.run(main())
