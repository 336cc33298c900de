# expect: LOST_EXCEPTION
# names: keep, ValueError
# line: 17
# when: end
# A thread sends its readings to a loop of uvloop's and throws the futures away; one reading was refused.
import asyncio
import threading
import time

import uvloop

kept = []


async def keep(reading):
    if reading < 0:
        raise ValueError(reading)
    kept.append(reading)


def measure(loop):
    for n in range(600):
        time.sleep(0.05)
        asyncio.run_coroutine_threadsafe(keep(-1 if n == 9 else n), loop)


async def main():
    threading.Thread(target=measure, args=(asyncio.get_running_loop(),), daemon=True).start()
    while len(kept) < 590:
        await asyncio.sleep(0.5)


uvloop.run(main())
