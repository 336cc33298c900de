# expect: OK
# Signals with receivers that are known by weak references to their methods.
import asyncio
import weakref


class Signal:
    def __init__(self):
        self.receivers = []

    def connect(self, method):
        self.receivers.append(weakref.WeakMethod(method))

    def send(self, **kwargs):
        for ref in self.receivers:
            receiver = ref()
            if receiver is not None:
                receiver(**kwargs)


changed = Signal()


class View:
    def __init__(self):
        self.redraw = asyncio.Event()
        changed.connect(self.on_changed)

    def on_changed(self, **_):
        self.redraw.set()

    async def run(self):
        while True:
            await self.redraw.wait()
            self.redraw.clear()


async def model():
    while True:
        await asyncio.sleep(10)
        changed.send(value=1)


async def main():
    await asyncio.gather(model(), View().run(), View().run())
