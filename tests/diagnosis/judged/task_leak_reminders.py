# expect: TASK_LEAK
# names: sleep, 60 min
# line: 17
# when: end
# Each request sets a reminder of an hour, a bare sleep with a callback, and never takes it back.
import asyncio


class Reminders:
    def __init__(self):
        self.rung = 0

    def ring(self, task):
        self.rung += 1

    def remind(self):
        asyncio.ensure_future(asyncio.sleep(3600)).add_done_callback(self.ring)


async def main():
    reminders = Reminders()
    for _ in range(6000):
        reminders.remind()
        await asyncio.sleep(0.01)


if __name__ == "__main__":
    asyncio.run(main())
