# expect: OK
# names: -
# line: -
# when: end
# A thread sends its readings to a loop of uvloop's, and asks what became of each, later or by a callback.
import asyncio
import threading
import time

import uvloop

kept, refused = [], []


async def keep(reading):
    await asyncio.sleep(0.001)
    if reading % 3 == 0:
        raise ValueError(reading)
    kept.append(reading)


def told(future):
    refused.append(future.exception())


def measure(loop):
    sent = []
    for n in range(900):
        time.sleep(0.01)
        if n % 2:
            asyncio.run_coroutine_threadsafe(keep(n), loop).add_done_callback(told)
            continue
        sent.append(asyncio.run_coroutine_threadsafe(keep(n), loop))
        if len(sent) > 10:
            refused.append(sent.pop(0).exception())


async def main():
    threading.Thread(target=measure, args=(asyncio.get_running_loop(),), daemon=True).start()
    while len(kept) < 590:
        await asyncio.sleep(0.5)


uvloop.run(main())
