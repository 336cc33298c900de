# expect: QUEUE_NO_CONSUMER|QUEUE_NO_PRODUCER
# names: decoder|decode, UnicodeDecodeError
# line: 25|28|39|50
# when: hang
# The stage in the middle died of a line in another encoding: those before it wait for room, those
# behind it for rows, and the one repair is in the middle.
import asyncio


class Stage:
    """One step of the import: takes from one queue, gives to the next."""

    def __init__(self, name, step, size=8):
        self.name = name
        self.step = step
        self.inbox = asyncio.Queue(maxsize=size)
        self.next = None

    def __rshift__(self, other):
        self.next = other
        return other

    async def run(self):
        while True:
            item = await self.inbox.get()
            result = await self.step(item)
            if self.next is not None:
                await self.next.inbox.put(result)
            self.inbox.task_done()


async def strip(line):
    await asyncio.sleep(0.001)
    return line.strip()


async def decode(line):
    await asyncio.sleep(0.001)
    return line.decode("utf-8")


async def store(row, rows=[]):
    await asyncio.sleep(0.001)
    rows.append(row.split(";"))


async def read_lines(first, count):
    for number in range(count):
        text = f"{number};caf\xe9 {number}"
        await first.inbox.put(text.encode("latin-1" if number == 70 else "utf-8"))


async def main():
    stripper, decoder, storer = (Stage("strip", strip), Stage("decode", decode), Stage("store", store))
    stripper >> decoder >> storer
    stages = [
        asyncio.create_task(stripper.run(), name="stripper"),
        asyncio.create_task(decoder.run(), name="decoder"),
        asyncio.create_task(storer.run(), name="storer-0"),
        asyncio.create_task(storer.run(), name="storer-1"),
    ]
    await asyncio.create_task(read_lines(stripper, 400), name="reader")
    for stage in (stripper, decoder, storer):
        await stage.inbox.join()
    for task in stages:
        task.cancel()


if __name__ == "__main__":
    asyncio.run(main())
