# expect: QUEUE_NO_CONSUMER
# names: requests|replies
# Two workers put into each other's full queue, and neither takes out.
import asyncio


class Peer:
    def __init__(self, name):
        self.inbox = asyncio.Queue(2)
        self.name = name

    async def talk(self, other):
        for n in range(10):
            await other.inbox.put(n)
        for _ in range(10):
            await self.inbox.get()


async def main():
    left, right = Peer("requests"), Peer("replies")
    async with asyncio.TaskGroup() as group:
        group.create_task(left.talk(right), name="requests")
        group.create_task(right.talk(left), name="replies")


if __name__ == "__main__":
    asyncio.run(main())
