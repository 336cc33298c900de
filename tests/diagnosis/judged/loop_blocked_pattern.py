# expect: LOOP_BLOCKED
# names: check-comment-3|moderate|is_spam
# line: 19|23
# when: hang
# A pattern that looks harmless backtracks over one of the comments for longer than anybody will wait,
# in a call in C that lets no other thread run meanwhile.
import asyncio
import re

SHOUTING = re.compile(r"(?:[A-Z]+ ?)+!")


class Moderator:
    def __init__(self):
        self.checked = 0
        self.spam = []

    def is_spam(self, text):
        return SHOUTING.fullmatch(text) is not None

    async def moderate(self, number, text):
        await asyncio.sleep(0.05 * number)
        if self.is_spam(text):
            self.spam.append(number)
        self.checked += 1


async def feed(moderator, comments):
    async with asyncio.TaskGroup() as group:
        for number, text in enumerate(comments):
            group.create_task(moderator.moderate(number, text), name=f"check-comment-{number}")


async def websocket(pings):
    while True:
        await asyncio.sleep(0.1)
        pings.append("ping")


async def main():
    moderator = Moderator()
    socket = asyncio.create_task(websocket([]), name="websocket")
    comments = ["nice", "BUY NOW!", "so so", "A" * 60 + "?", "VERY NICE!", "thanks"]
    await feed(moderator, comments)
    print(moderator.checked, moderator.spam)
    socket.cancel()


if __name__ == "__main__":
    asyncio.run(main())
