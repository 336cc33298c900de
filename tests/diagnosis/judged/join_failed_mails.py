# expect: JOIN_WITHOUT_TASK_DONE
# names: outbox, deliver|postman-0|postman-1|postman-2
# line: 33|42
# when: hang
# When a mail cannot be sent, the error is logged and the loop goes on, past the task_done() at its
# end; a shutdown in a task of its own waits for the outbox to be done.
import asyncio
import logging

log = logging.getLogger("mail")


class BadAddress(Exception):
    pass


class Mailer:
    def __init__(self, workers):
        self.outbox = asyncio.Queue(maxsize=100)
        self.sent = 0
        self.workers = [
            asyncio.create_task(self.deliver(), name=f"postman-{number}") for number in range(workers)
        ]

    async def send(self, address):
        await asyncio.sleep(0.004)
        if "@" not in address:
            raise BadAddress(address)
        self.sent += 1

    async def deliver(self):
        while True:
            address = await self.outbox.get()
            try:
                await self.send(address)
            except BadAddress as error:
                log.info("not sent: %s", error)
                continue
            self.outbox.task_done()

    async def shut_down(self):
        await self.outbox.join()
        for worker in self.workers:
            worker.cancel()
        await asyncio.gather(*self.workers, return_exceptions=True)


async def newsletter(mailer):
    for number in range(90):
        domain = "example.org" if number % 30 else ""
        await mailer.outbox.put(f"reader{number}@{domain}" if domain else f"reader{number}")


async def main():
    mailer = Mailer(3)
    await newsletter(mailer)
    ending = asyncio.create_task(mailer.shut_down(), name="shut-down")
    await asyncio.shield(ending)
    print(mailer.sent, "mails")


if __name__ == "__main__":
    asyncio.run(main())
