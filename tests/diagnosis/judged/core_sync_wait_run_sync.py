# expect: SYNC_WAIT_ON_OWN_LOOP
# names: render_page, load_user
# line: 22|27
# when: hang
# run_sync runs the coroutine on a loop of its own while it keeps the outer loop waiting, but that
# coroutine asks the outer loop for the user.
import asyncio

from spanloom import run_jobs, run_sync


class Users:
    def __init__(self, loop):
        self._loop = loop

    async def load_user(self, number):
        await asyncio.sleep(0.01)
        return f"user {number}"

    async def from_anywhere(self, number):
        user = asyncio.run_coroutine_threadsafe(self.load_user(number), self._loop)
        return await asyncio.wrap_future(user)


async def render_page(users, number):
    await asyncio.sleep(0.02)
    return "Hello " + run_sync(users.from_anywhere(number))


async def main():
    users = Users(asyncio.get_running_loop())
    print(await run_jobs((render_page(users, n) for n in range(6)), workers=3))


if __name__ == "__main__":
    asyncio.run(main())
