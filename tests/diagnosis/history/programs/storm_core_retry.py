# expect: RETRY_STORM
# names: send_mail, ConnectionResetError
# line: 13|17
# when: hang
# spanloom's own retry with no pause worth the name, in one job.
import asyncio

from spanloom import retry


async def send_mail():
    await asyncio.sleep(0.002)
    raise ConnectionResetError("mail server")


async def main():
    await retry(send_mail, attempts=10_000_000, base_delay=0.002, max_delay=0.002, multiplier=1.0, jitter=0.0)


asyncio.run(main())
