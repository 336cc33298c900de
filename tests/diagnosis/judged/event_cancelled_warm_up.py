# expect: EVENT_NEVER_SET
# names: warm|warm_up|_opened, predict|passed|question-0|question-1|question-2|question-3
# line: 23|42
# when: hang
# The warm-up was cut short by its own deadline, which was logged and forgotten; those who wait for
# the model to be warm sit behind a latch, a shield and a TaskGroup.
import asyncio
import logging

log = logging.getLogger("model")


class Latch:
    """Opens once, and stays open."""

    def __init__(self):
        self._opened = asyncio.Event()

    def open(self):
        self._opened.set()

    async def passed(self):
        await self._opened.wait()
        return True


class Model:
    def __init__(self):
        self.warm = Latch()
        self.layers = {}

    async def load(self, layer):
        await asyncio.sleep(0.05)
        self.layers[layer] = bytes(10)

    async def warm_up(self):
        for layer in range(40):
            await self.load(layer)
        self.warm.open()

    async def predict(self, text):
        await asyncio.shield(asyncio.ensure_future(self.warm.passed()))
        await asyncio.sleep(0.01)
        return len(text) % 3


async def start(model):
    try:
        await asyncio.wait_for(asyncio.create_task(model.warm_up(), name="warm-up"), 0.5)
    except TimeoutError:
        log.info("the warm-up takes long; going on")


async def answer(model, name):
    async with asyncio.TaskGroup() as group:
        halves = [group.create_task(model.predict(f"{name} {half}")) for half in "ab"]
    return sum(half.result() for half in halves)


async def heartbeat():
    while True:
        await asyncio.sleep(0.1)


async def main():
    model = Model()
    beat = asyncio.create_task(heartbeat(), name="heartbeat")
    starting = asyncio.create_task(start(model), name="start")
    answers = await asyncio.gather(
        *(asyncio.create_task(answer(model, f"question {n}"), name=f"question-{n}") for n in range(4))
    )
    print(answers, starting.done())
    beat.cancel()


if __name__ == "__main__":
    asyncio.run(main())
