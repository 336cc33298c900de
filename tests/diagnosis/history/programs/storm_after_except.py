# expect: RETRY_STORM
# names: login, PermissionError
# line: 14|20|25
# when: hang
# Five sessions log in again and again; the pause comes after the except block.
import asyncio
import logging

log = logging.getLogger("app")


async def login(user):
    await asyncio.sleep(0.003)
    raise PermissionError(f"{user}: bad password")


async def session(user):
    for attempt in range(1_000_000):
        try:
            token = await login(user)
        except Exception as error:
            log.debug("attempt %d failed: %s", attempt, error)
        else:
            return token
        await asyncio.sleep(0.01)


async def heartbeat():
    while True:
        await asyncio.sleep(0.05)


async def main():
    beat = asyncio.create_task(heartbeat(), name="heartbeat")
    async with asyncio.TaskGroup() as group:
        for n in range(5):
            group.create_task(session(f"user-{n}"), name=f"session-{n}")
    beat.cancel()


asyncio.run(main())
