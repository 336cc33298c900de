# expect: OK
# names: -
# line: -
# when: end
# Sessions are held weakly by name, and their tasks by nothing but the loop's timers; an answer finds
# its session by looking the name up, when it comes at last.
import asyncio
import weakref


class Session:
    def __init__(self, name):
        self.name = name
        self.answer = asyncio.get_running_loop().create_future()

    async def wait(self):
        return self.name, await self.answer


class Registry:
    def __init__(self, loop):
        self.loop = loop
        self.sessions = weakref.WeakValueDictionary()

    def open(self, name):
        session = self.sessions[name] = Session(name)
        return asyncio.create_task(session.wait(), name=f"session-{name}")

    def on_packet(self, name, text):
        session = self.sessions.get(name)
        if session is not None:
            session.answer.set_result(text)


def radio(registry, names):
    for number, name in enumerate(names):
        registry.loop.call_later(16 + number, registry.on_packet, name, "roger")


async def main():
    registry = Registry(asyncio.get_running_loop())
    names = ["alfa", "bravo", "charlie"]
    sessions = [registry.open(name) for name in names]
    radio(registry, names)
    print(await asyncio.gather(*sessions))


if __name__ == "__main__":
    asyncio.run(main())
