# expect: OK
# names: -
# line: -
# when: end
# Readers wait on a condition that a slow thermometer notifies every seven seconds, one of them with
# notify() and a predicate that holds for one reader only.
import asyncio


class Thermometer:
    def __init__(self):
        self.changed = asyncio.Condition()
        self.readings = []

    async def measure(self, rounds):
        for number in range(rounds):
            await asyncio.sleep(7)
            async with self.changed:
                self.readings.append(20 + number)
                self.changed.notify_all()

    async def warmer_than(self, degrees):
        async with self.changed:
            await self.changed.wait_for(lambda: self.readings and self.readings[-1] > degrees)
            return self.readings[-1]


async def heater(thermometer, degrees, log):
    log.append(await thermometer.warmer_than(degrees))


async def main():
    thermometer, log = Thermometer(), []
    async with asyncio.TaskGroup() as group:
        group.create_task(thermometer.measure(3), name="thermometer")
        for degrees in (18, 19, 20, 21):
            group.create_task(heater(thermometer, degrees, log), name=f"heater-{degrees}")
    print(log)


if __name__ == "__main__":
    asyncio.run(main())
