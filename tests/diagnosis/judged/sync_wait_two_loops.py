# expect: SYNC_WAIT_ON_OWN_LOOP
# names: show-invoice|show_invoice
# line: 48|53
# when: hang
# The web loop waits synchronously for a coroutine of the database's loop, and that one asks the web
# loop for the session: neither can answer the other.
import asyncio
import threading


class LoopThread:
    def __init__(self, name):
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self.loop.run_forever, name=name, daemon=True)
        self._thread.start()

    def call(self, coro):
        return asyncio.run_coroutine_threadsafe(coro, self.loop)


class Sessions:
    """Lives in the web loop."""

    def __init__(self, loop):
        self.loop = loop
        self._tokens = {"ada": "secret"}

    async def token(self, user):
        await asyncio.sleep(0.005)
        return self._tokens[user]


class Database:
    """Lives in a loop of its own."""

    def __init__(self, sessions):
        self.thread = LoopThread("database")
        self.sessions = sessions

    async def _query(self, user, statement):
        token = await asyncio.wrap_future(
            asyncio.run_coroutine_threadsafe(self.sessions.token(user), self.sessions.loop)
        )
        await asyncio.sleep(0.01)
        return f"{statement} as {user} {len(token)}"

    def query(self, user, statement):
        return self.thread.call(self._query(user, statement)).result()


async def show_invoice(database, number):
    await asyncio.sleep(0.1)
    invoice = database.query("ada", f"select {number}")
    return invoice


async def other_pages():
    while True:
        await asyncio.sleep(0.02)


async def main():
    database = Database(Sessions(asyncio.get_running_loop()))
    pages = asyncio.create_task(other_pages(), name="other-pages")
    print(await asyncio.create_task(show_invoice(database, 17), name="show-invoice"))
    pages.cancel()


if __name__ == "__main__":
    asyncio.run(main())
