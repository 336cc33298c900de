# expect: NESTED_LIMITER
# names: crawl_site, fetch_page
# line: 24
# when: hang
# Two sites hold both slots of the adaptive limiter while they stream their pages under the same
# limiter.
import asyncio
import functools

from spanloom import AdaptiveLimiter, async_map, stream

polite = AdaptiveLimiter(initial=2, minimum=2, maximum=2, name="polite")


async def fetch_page(site, number):
    await asyncio.sleep(0.01)
    return number


async def crawl_site(site):
    await asyncio.sleep(0.02)
    total = 0
    async with stream(functools.partial(fetch_page, site), range(3), limit=polite) as pages:
        async for page in pages:
            total += page.unwrap()
    return total


async def main():
    print(await async_map(crawl_site, [f"site-{n}" for n in range(9)], limit=polite))


if __name__ == "__main__":
    asyncio.run(main())
