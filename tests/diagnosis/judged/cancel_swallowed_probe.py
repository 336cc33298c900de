# expect: CANCEL_SWALLOWED
# names: poll|poll_once|probe
# line: 15|21|30
# when: hang
# wait_for() cancels the probe after its time, but the probe takes every exception for a bad answer
# and tries again.
import asyncio


class Probe:
    def __init__(self):
        self.bad = 0

    async def poll_once(self):
        await asyncio.sleep(0.2)
        return False

    async def probe(self):
        while True:
            try:
                if await self.poll_once():
                    return self.bad
            except BaseException:
                self.bad += 1


async def main():
    probe = Probe()
    try:
        print(await asyncio.wait_for(probe.probe(), timeout=0.5))
    except TimeoutError:
        print("no answer")


if __name__ == "__main__":
    asyncio.run(main())
