# expect: BARRIER_SHORT
# names: worker-c
# line: 23
# when: hang
# Worker c ran out of its time limit in the second epoch and is gone; the other three stand at a
# barrier for four.
import asyncio
from dataclasses import dataclass, field


@dataclass
class Cluster:
    size: int
    weights: dict = field(default_factory=dict)

    def __post_init__(self):
        self.epoch_end = asyncio.Barrier(self.size)

    async def train(self, name, pace):
        for epoch in range(50):
            await asyncio.sleep(pace * (1 + epoch))
            self.weights[name] = epoch
            async with self.epoch_end:
                if name == min(self.weights):
                    print("epoch", epoch, self.weights, flush=True)


class Limits:
    def __init__(self, **seconds):
        self._seconds = seconds
        self.exceeded = []

    async def guard(self, name, work):
        try:
            async with asyncio.timeout(self._seconds.get(name)):
                await work
        except TimeoutError:
            self.exceeded.append(name)


async def report(limits):
    while True:
        await asyncio.sleep(0.5)
        print("over their limit:", limits.exceeded or "nobody", flush=True)


async def main():
    cluster = Cluster(4)
    limits = Limits(c=0.3)
    reporter = asyncio.create_task(report(limits), name="reporter")
    workers = [
        asyncio.create_task(
            limits.guard(name, cluster.train(name, 0.15 if name == "c" else 0.01)),
            name=f"worker-{name}",
        )
        for name in "abcd"
    ]
    await asyncio.gather(*workers)
    reporter.cancel()


if __name__ == "__main__":
    asyncio.run(main())
