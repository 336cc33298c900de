# expect: OK
# names: -
# line: -
# when: end
# Background jobs that failed are kept in a dictionary, and a nightly report asks them for their
# errors; others have a callback that logs the error at once.
import asyncio
import logging

log = logging.getLogger("jobs")


class Jobs:
    def __init__(self):
        self.tasks = {}
        self.logged = 0

    def start(self, name, coro):
        self.tasks[name] = asyncio.create_task(coro, name=name)

    def start_logged(self, name, coro):
        asyncio.create_task(coro, name=name).add_done_callback(self._log)

    def _log(self, task):
        if not task.cancelled() and (error := task.exception()):
            self.logged += 1
            log.info("%s failed: %s", task.get_name(), error)

    def report(self):
        return {name: repr(task.exception()) for name, task in self.tasks.items() if task.done()}


async def import_file(number):
    await asyncio.sleep(0.05 * number)
    if number % 3 == 0:
        raise FileNotFoundError(f"part-{number}.csv")
    return number


async def main():
    jobs = Jobs()
    for number in range(20):
        jobs.start(f"import-{number}", import_file(number))
        jobs.start_logged(f"check-{number}", import_file(number))
    await asyncio.sleep(18)
    print(len(jobs.report()), jobs.logged)


if __name__ == "__main__":
    asyncio.run(main())
