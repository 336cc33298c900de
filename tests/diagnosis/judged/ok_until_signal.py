# expect: OK
# names: -
# line: -
# when: hang
# The daemon waits for an event that only a handler of the old kind sets, when somebody sends SIGHUP
# or SIGTERM; until then there is nothing to do.
import asyncio
import signal


class Daemon:
    def __init__(self, loop):
        self.loop = loop
        self.reload = asyncio.Event()
        self.stopped = loop.create_future()
        self.settings = {}

    def install(self):
        signal.signal(signal.SIGHUP, self._on_hangup)
        signal.signal(signal.SIGTERM, self._on_terminate)

    def _on_hangup(self, number, frame):
        self.loop.call_soon_threadsafe(self.reload.set)

    def _on_terminate(self, number, frame):
        self.loop.call_soon_threadsafe(self.stopped.set_result, None)

    async def keep_settings(self):
        while True:
            await self.reload.wait()
            self.reload.clear()
            self.settings["loaded"] = self.loop.time()


async def main():
    daemon = Daemon(asyncio.get_running_loop())
    daemon.install()
    settings = asyncio.create_task(daemon.keep_settings(), name="settings")
    await daemon.stopped
    settings.cancel()


if __name__ == "__main__":
    asyncio.run(main())
