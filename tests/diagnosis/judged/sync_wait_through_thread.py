# expect: SYNC_WAIT_ON_OWN_LOOP
# names: sync-profile|sync_profile|load_profile
# line: 29|32|40|48
# when: hang
# A synchronous wrapper waits for a thread, and that thread waits for a coroutine of the loop whose
# own thread stands in the wrapper.
import asyncio
import concurrent.futures


class ProfileStore:
    """The asynchronous API."""

    async def fetch(self, user):
        await asyncio.sleep(0.01)
        return {"user": user, "theme": "dark"}


class SyncStore:
    """The same for plugins, which know nothing of coroutines."""

    def __init__(self, store, loop):
        self.store = store
        self.loop = loop
        self.helper = concurrent.futures.ThreadPoolExecutor(2, thread_name_prefix="sync-store")

    def _call(self, user):
        future = asyncio.run_coroutine_threadsafe(self.store.fetch(user), self.loop)
        return future.result()

    def fetch(self, user):
        return self.helper.submit(self._call, user).result()


class ThemePlugin:
    def __init__(self, store):
        self.store = store

    def load_profile(self, user):
        profile = self.store.fetch(user)
        return profile["theme"]


async def sync_profile(plugin, users):
    themes = []
    for user in users:
        await asyncio.sleep(0.05)
        themes.append(plugin.load_profile(user))
    return themes


async def typing_indicator():
    while True:
        await asyncio.sleep(0.1)


async def main():
    loop = asyncio.get_running_loop()
    indicator = asyncio.create_task(typing_indicator(), name="indicator")
    plugin = ThemePlugin(SyncStore(ProfileStore(), loop))
    print(await asyncio.create_task(sync_profile(plugin, ["ada", "bob"]), name="sync-profile"))
    indicator.cancel()


if __name__ == "__main__":
    asyncio.run(main())
