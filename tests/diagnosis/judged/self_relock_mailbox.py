# expect: SELF_RELOCK
# names: compact|compact-inbox
# line: 28|36
# when: hang
# The compaction holds the mailbox's condition, and counts the letters by a method that enters the
# same condition; readers wait for letters meanwhile, which is as it should be.
import asyncio
import contextlib


class Mailbox:
    def __init__(self, owner):
        self.owner = owner
        self.letters = []
        self._changed = asyncio.Condition()

    async def deliver(self, letter):
        async with self._changed:
            self.letters.append(letter)
            self._changed.notify_all()

    async def next_letter(self):
        async with self._changed:
            await self._changed.wait_for(lambda: self.letters)
            return self.letters.pop(0)

    async def count(self, kind):
        async with self._changed:
            return sum(letter["kind"] == kind for letter in self.letters)

    async def compact(self, kinds):
        async with contextlib.AsyncExitStack() as stack:
            await stack.enter_async_context(self._changed)
            kept = []
            for kind in kinds:
                if await self.count(kind) < 100:
                    kept += [letter for letter in self.letters if letter["kind"] == kind]
            self.letters = kept
            self._changed.notify_all()


async def postman(mailbox, rounds):
    for number in range(rounds):
        await asyncio.sleep(0.02)
        await mailbox.deliver({"kind": "bill" if number % 3 else "card", "number": number})


async def reader(mailbox, name):
    read = []
    while len(read) < 1_000:
        read.append(await mailbox.next_letter())
    return name


async def main():
    mailbox = Mailbox("inbox")
    people = [asyncio.create_task(reader(mailbox, n), name=f"reader-{n}") for n in range(3)]
    post = asyncio.create_task(postman(mailbox, 12), name="postman")
    await post
    await asyncio.sleep(0.1)
    await asyncio.create_task(mailbox.compact(["bill", "card"]), name="compact-inbox")
    for person in people:
        person.cancel()


if __name__ == "__main__":
    asyncio.run(main())
