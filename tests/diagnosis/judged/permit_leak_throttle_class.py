# expect: PERMIT_LEAK
# names: _tokens|throttle, lookup
# line: 16|36|40|41|49
# when: hang
# The throttle's __aexit__ gives the token back only if all went well; each failed lookup costs one,
# and after four of them the rest waits for ever.
import asyncio


class Throttle:
    def __init__(self, calls):
        self._tokens = asyncio.Semaphore(calls)
        self.calls = self.failures = 0

    async def __aenter__(self):
        await self._tokens.acquire()
        self.calls += 1
        return self

    async def __aexit__(self, kind, error, trace):
        if kind is not None:
            self.failures += 1
            return False
        self._tokens.release()
        return False


class Whois:
    def __init__(self):
        self.throttle = Throttle(4)
        self.owners = {}

    async def _ask(self, domain):
        await asyncio.sleep(0.01)
        if domain.endswith(".test"):
            raise LookupError(domain)
        return domain.upper()

    async def lookup(self, domain):
        async with self.throttle:
            self.owners[domain] = await self._ask(domain)


async def lookup_all(whois, domains):
    tasks = [
        asyncio.create_task(whois.lookup(domain), name=f"lookup-{number}")
        for number, domain in enumerate(domains)
    ]
    return await asyncio.gather(*tasks, return_exceptions=True)


async def pulse():
    while True:
        await asyncio.sleep(0.1)


async def main():
    whois = Whois()
    beating = asyncio.create_task(pulse(), name="pulse")
    domains = [f"name{n}.{'test' if n % 5 == 0 else 'org'}" for n in range(40)]
    results = await lookup_all(whois, domains)
    print(len(results), whois.throttle.failures)
    beating.cancel()


if __name__ == "__main__":
    asyncio.run(main())
