# expect: BUSY_SPIN
# names: collect|collector
# line: 28|34
# when: hang
# Tasks that are done stay in the set that is waited for, so that asyncio.wait() returns at once, turn
# after turn, for as long as the slow ones take.
import asyncio


class Probe:
    def __init__(self, host, seconds):
        self.host, self.seconds = host, seconds

    async def measure(self):
        await asyncio.sleep(self.seconds)
        return self.host, self.seconds


class Survey:
    def __init__(self, probes):
        self.probes = probes
        self.results = {}

    def start(self):
        return {asyncio.create_task(p.measure(), name=f"probe-{p.host}") for p in self.probes}

    async def wait_for_some(self, tasks):
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        return done

    async def collect(self):
        tasks = self.start()
        while len(self.results) < len(self.probes):
            for task in await self.wait_for_some(tasks):
                host, seconds = task.result()
                self.results[host] = seconds
        return self.results


async def keep_screen_on(seconds):
    while True:
        await asyncio.sleep(seconds)


async def main():
    probes = [Probe(f"host{n}", 0.1 * n + (600 if n == 9 else 0)) for n in range(10)]
    survey = Survey(probes)
    screen = asyncio.create_task(keep_screen_on(1), name="screen")
    results = await asyncio.create_task(survey.collect(), name="collector")
    print(results)
    screen.cancel()


if __name__ == "__main__":
    asyncio.run(main())
