# expect: OK
# names: -
# line: -
# when: end
# Job times are spread over two orders of magnitude, as with files of all sizes: the long ones that
# are left are long, but of the same kind as the others.
import asyncio
import math


class Converter:
    def __init__(self, machines):
        self.machines = asyncio.Semaphore(machines)
        self.done = 0

    async def convert(self, size):
        async with self.machines:
            await asyncio.sleep(size)
            self.done += 1


def sizes(count):
    """From a tenth of a second to nine seconds, evenly on a logarithmic scale, mixed."""
    even = [0.1 * math.exp(4.5 * n / (count - 1)) for n in range(count)]
    return [even[(n * 17) % count] for n in range(count)]


async def main():
    converter = Converter(8)
    jobs = [
        asyncio.create_task(converter.convert(size), name=f"file-{number}")
        for number, size in enumerate(sizes(70))
    ]
    await asyncio.gather(*jobs)
    print(converter.done, "files")


if __name__ == "__main__":
    asyncio.run(main())
