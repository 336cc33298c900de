# expect: CANCEL_SWALLOWED
# names: sync-agent|sync
# line: 26|33|56
# when: hang
# On its cancellation the agent saves its state, which is good, and then goes round its loop again,
# which is not; the TaskGroup that failed because of another task waits for its end.
import asyncio


class Agent:
    def __init__(self):
        self.state = {"position": 0}
        self.saved = []
        self.rounds = 0

    async def _fetch_changes(self):
        await asyncio.sleep(0.1)
        self.state["position"] += 1

    async def _save(self):
        await asyncio.sleep(0.02)
        self.saved.append(dict(self.state))

    async def _round(self):
        try:
            await self._fetch_changes()
            self.rounds += 1
        except asyncio.CancelledError:
            await self._save()

    async def sync(self):
        while True:
            await self._round()


class LowBattery(Exception):
    pass


async def watch_battery(percent):
    while percent > 20:
        await asyncio.sleep(0.05)
        percent -= 9
    raise LowBattery(f"{percent} %")


async def blink(seconds):
    while True:
        await asyncio.sleep(seconds)


async def main():
    agent = Agent()
    led = asyncio.create_task(blink(0.2), name="led")
    try:
        async with asyncio.TaskGroup() as group:
            group.create_task(agent.sync(), name="sync-agent")
            group.create_task(watch_battery(80), name="battery")
    except* LowBattery:
        print("saved", len(agent.saved))
    led.cancel()


if __name__ == "__main__":
    asyncio.run(main())
