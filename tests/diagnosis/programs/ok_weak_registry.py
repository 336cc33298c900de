# expect: OK
# Only a weak table leads to the events.
import asyncio
import weakref

events = weakref.WeakValueDictionary()


async def wait_for(name):
    event = asyncio.Event()
    events[name] = event
    await event.wait()


async def ring():
    await asyncio.sleep(10)
    for event in list(events.values()):
        event.set()


async def main():
    ringing = asyncio.create_task(ring())
    await asyncio.gather(*(wait_for(n) for n in range(3)))
    await ringing


if __name__ == "__main__":
    asyncio.run(main())
