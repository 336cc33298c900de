# expect: CANCEL_SWALLOWED
# names: poll_device
# line: 14
# when: hang
# A timeout cancels the poller, which takes that for a failed poll.
import asyncio


async def poll_device(device):
    values = []
    while len(values) < 1_000_000:
        try:
            async with asyncio.Lock():
                await asyncio.sleep(0.05)
            values.append(device)
        except:  # noqa: E722 -- it is the mistake
            values.append(None)
    return values


async def main():
    async with asyncio.timeout(0.4):
        await poll_device("thermometer")


asyncio.run(main())
