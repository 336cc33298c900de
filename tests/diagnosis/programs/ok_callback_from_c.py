# expect: OK
# A library in C calls back when a timer of its own is due: no thread, no handle and no socket of Python's tells of it.
import asyncio
import ctypes

CALLBACK = ctypes.CFUNCTYPE(None, ctypes.c_void_p)
SIGEV_THREAD = 2
CLOCK_MONOTONIC = 1


class Event(ctypes.Structure):
    _fields_ = [
        ("value", ctypes.c_void_p),
        ("signal", ctypes.c_int),
        ("notify", ctypes.c_int),
        ("function", CALLBACK),
        ("attributes", ctypes.c_void_p),
        ("reserved", ctypes.c_byte * 32),
    ]


class Times(ctypes.Structure):
    _fields_ = [("repeat", ctypes.c_long * 2), ("first", ctypes.c_long * 2)]


class Library:
    """As a wrapper of one would be: it keeps the callbacks alive."""

    def __init__(self):
        self._c = ctypes.CDLL(None)
        self._callbacks = []

    def call_in(self, seconds, function):
        event = Event(notify=SIGEV_THREAD, function=CALLBACK(lambda _: function()))
        self._callbacks.append(event)
        timer = ctypes.c_void_p()
        assert self._c.timer_create(CLOCK_MONOTONIC, ctypes.byref(event), ctypes.byref(timer)) == 0
        times = Times((0, 0), (int(seconds), int(seconds % 1 * 1e9)))
        assert self._c.timer_settime(timer, 0, ctypes.byref(times), None) == 0


async def fetch(library, seconds):
    loop = asyncio.get_running_loop()
    answer = loop.create_future()
    library.call_in(seconds, lambda: loop.call_soon_threadsafe(answer.set_result, seconds))
    return await answer


async def main():
    library = Library()
    while True:
        await asyncio.gather(*(fetch(library, seconds) for seconds in (0.9, 1.1)))


if __name__ == "__main__":
    asyncio.run(main())
