# expect: OK
# The method that sets the event belongs to the class of a class.
import asyncio


class Registry(type):
    def announce(cls):
        cls.ready.set()


class Service(metaclass=Registry):
    ready = None


async def later():
    await asyncio.sleep(30)
    Service.announce()


async def main():
    Service.ready = asyncio.Event()
    await asyncio.gather(later(), asyncio.create_task(Service.ready.wait()))
