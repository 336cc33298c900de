# expect: OK
# names: -
# line: -
# when: end
# Ten watchers look every fifty milliseconds whether a file is there, which is not elegant, but costs
# nothing; a thread writes it after a while.
import asyncio
import pathlib
import tempfile
import threading
import time


class Mailbox:
    def __init__(self, folder):
        self.folder = pathlib.Path(folder)

    def deliver_later(self, seconds):
        def deliver():
            time.sleep(seconds)
            (self.folder / "letter").write_text("hello")

        threading.Thread(target=deliver, daemon=True, name="postman").start()

    async def wait_for(self, name):
        while not (self.folder / name).exists():
            await asyncio.sleep(0.05)
        return (self.folder / name).read_text()


async def main():
    with tempfile.TemporaryDirectory() as folder:
        mailbox = Mailbox(folder)
        mailbox.deliver_later(18)
        watchers = (asyncio.create_task(mailbox.wait_for("letter"), name=f"watch-{n}") for n in range(10))
        print(await asyncio.gather(*watchers))


if __name__ == "__main__":
    asyncio.run(main())
