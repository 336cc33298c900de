# expect: TASK_COLLECTED
# names: subscription-2|listen|subscription-0|subscription-1
# line: 15|20|32
# when: end
# Subscriptions hold their task, and the task holds its subscription, but nothing holds the two of
# them: the garbage collector takes them away, and no message arrives any more.
import asyncio
import gc


class Subscription:
    def __init__(self, topic, seen):
        self.topic, self.seen = topic, seen
        self._next = None
        self.task = asyncio.create_task(self.listen(), name=f"subscription-{topic}")

    async def listen(self):
        while True:
            self._next = asyncio.get_running_loop().create_future()
            self.seen.append(await self._next)

    def deliver(self, message):
        self._next.set_result((self.topic, message))


class Hub:
    def __init__(self):
        self.seen = []
        self.published = 0

    async def subscribe(self, topic):
        subscription = Subscription(topic, self.seen)
        await asyncio.sleep(0.05)
        subscription.deliver("welcome")

    async def publish(self, seconds):
        for _ in range(int(seconds * 20)):
            await asyncio.sleep(0.05)
            self.published += 1


async def tidy_up():
    """Keep the memory of a small machine small."""
    while True:
        await asyncio.sleep(0.5)
        gc.collect()


async def main():
    hub = Hub()
    tidying = asyncio.create_task(tidy_up(), name="tidy-up")
    for topic in range(3):
        await hub.subscribe(topic)
    await hub.publish(60)
    print(len(hub.seen), "messages")
    tidying.cancel()


if __name__ == "__main__":
    asyncio.run(main())
